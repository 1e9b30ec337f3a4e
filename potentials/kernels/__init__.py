"""Compiled evaluation and relaxation on CPUs, equal to the torch reference to rounding.

Nothing here is compiled, nor Numba imported, before it is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from potentials.descriptors import Descriptor
    from potentials.descriptors.acsf import Acsf
    from potentials.ensemble import Ensemble

#: most channels that are kept in registers
MOST_CHANNELS = 16
#: highest degree of the spherical harmonics that are written out
HIGHEST_DEGREE = 4
#: highest power of a cosine in symmetry functions, and most widths of their angular Gaussians
HIGHEST_POWER, MOST_WIDTHS = 16, 12


def describes(descriptor: "Descriptor") -> bool:
    """Whether there is compiled code for this descriptor."""
    from potentials.descriptors.acsf import Acsf
    from potentials.descriptors.moments import Moments

    if type(descriptor) is Moments:
        return descriptor.harmonics <= HIGHEST_DEGREE and descriptor.angular <= MOST_CHANNELS
    return type(descriptor) is Acsf and _common(descriptor)


def _common(descriptor: "Acsf") -> bool:
    """Whether these are functions as published sets have them: G2, and G4 on the atom."""
    functions = descriptor.all_functions()
    angular = [f for f in functions if f.kind != "radial"]
    return (
        (descriptor.envelope, descriptor.inner) == ("cos", 0.0)
        and all(f.cutoff in (None, descriptor.cutoff) for f in functions)
        and all(f.kind == "narrow" and f.shift == 0.0 for f in angular)
        and all(f.zeta in range(1, HIGHEST_POWER + 1) and abs(f.lam) <= 1.0 for f in angular)
        and 0 < len({f.eta for f in angular}) <= MOST_WIDTHS
    )


def supported(ensemble: "Ensemble") -> bool:
    """Whether there is compiled code for this descriptor and these networks."""
    networks = ensemble.networks
    if not describes(ensemble.spec.descriptor):
        return False
    if networks is None:
        return True
    return len(networks.weights) > 1 and set(networks.activations) == {"tanh"}

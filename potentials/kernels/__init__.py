"""Compiled evaluation and relaxation on CPUs, equal to the torch reference to rounding.

Nothing here is compiled, nor Numba imported, before it is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from potentials.descriptors import Descriptor
    from potentials.ensemble import Ensemble

#: most channels that are kept in registers
MOST_CHANNELS = 16
#: highest degree of the spherical harmonics that are written out
HIGHEST_DEGREE = 4


def describes(descriptor: "Descriptor") -> bool:
    """Whether there is compiled code for this descriptor."""
    from potentials.descriptors.moments import Moments

    if type(descriptor) is not Moments:
        return False
    return descriptor.harmonics <= HIGHEST_DEGREE and descriptor.angular <= MOST_CHANNELS


def supported(ensemble: "Ensemble") -> bool:
    """Whether there is compiled code for this descriptor and these networks."""
    networks = ensemble.networks
    if not describes(ensemble.spec.descriptor):
        return False
    if networks is None:
        return True
    return len(networks.weights) > 1 and set(networks.activations) == {"tanh"}

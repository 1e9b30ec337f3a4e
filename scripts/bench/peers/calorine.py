"""calorine's CPUNEP: neuroevolution potentials (NEP4) in C++, random weights.

Fan et al., J. Chem. Phys. 157, 114801 (2022), doi:10.1063/5.0106617.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from peers.prepared import Found, Prepared, Variant
from peers.systems import CUTOFF

PACKAGE = "calorine"
REQUIRES = ("calorine",)
#: n_max and basis_size (radial, angular), l_max (3-, 4-, 5-body), units of the hidden layer
N_MAX, BASIS, L_MAX, NEURONS = (4, 4), (8, 8), (4, 2, 0), 30
VARIANTS = (
    Variant("calorine NEP4", 1, f"rc 6/6, n_max 4 4, l_max 4 2, {NEURONS} units, fp64", {}),
)


class Ready(Prepared):
    """One calculator for every structure."""

    def __init__(self, structures: Sequence[Atoms], path: Path) -> None:
        from calorine.calculators import CPUNEP

        super().__init__(structures)
        self.calculators = [CPUNEP(str(path)) for _ in structures]

    def evaluate(self) -> None:
        """Energy, forces and stress come out of one call."""
        for atoms, calculator in zip(self.structures, self.calculators, strict=True):
            calculator.calculate(atoms, ["energy", "forces", "stress"])

    def results(self) -> list[Found]:
        """What the calculators hold."""
        self.evaluate()
        return [
            Found(
                float(one.results["energy"]),
                one.results["forces"],
                voigt_6_to_full_3x3_stress(one.results["stress"]),
            )
            for one in self.calculators
        ]


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Calculators of one random potential for the elements of these structures."""
    del variant
    symbols = sorted(set(structures[0].get_chemical_symbols()))
    path = folder / f"nep_{''.join(symbols)}.txt"
    path.write_text(potential(symbols))
    return Ready(structures, path)


def potential(symbols: Sequence[str]) -> str:
    """A potential file with random weights: header, networks, expansions, scaling."""
    rng = np.random.default_rng(0)
    radial, angular = N_MAX[0] + 1, (N_MAX[1] + 1) * (L_MAX[0] + sum(n > 0 for n in L_MAX[1:]))
    size, kinds = radial + angular, len(symbols)
    networks = rng.normal(0.0, 0.3, kinds * (size + 2) * NEURONS + 1)
    pairs = (N_MAX[0] + 1) * (BASIS[0] + 1) + (N_MAX[1] + 1) * (BASIS[1] + 1)
    expansions = rng.normal(0.0, 0.5, kinds**2 * pairs)
    header = [
        f"nep4 {kinds} {' '.join(symbols)}",
        f"cutoff {CUTOFF:g} {CUTOFF:g} 500 500",
        f"n_max {N_MAX[0]} {N_MAX[1]}",
        f"basis_size {BASIS[0]} {BASIS[1]}",
        f"l_max {L_MAX[0]} {L_MAX[1]} {L_MAX[2]}",
        f"ANN {NEURONS} 0",
    ]
    numbers = np.concatenate([networks, expansions, np.full(size, 0.1)])
    return "\n".join([*header, *(f"{number:.7e}" for number in numbers)]) + "\n"

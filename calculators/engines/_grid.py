"""What plane-wave engines make of a structure before they compute it: k-points, a box, a cutoff."""

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import kptdensity2monkhorstpack

from calculators.engines import Engine

#: empty space around a cluster on each side [Å]; plane waves repeat in any case
VACUUM = 5.0
# the box grows in steps, so that a relaxation mostly stays on one grid [Å]
_BOX_STEP = 1.0

# a density that makes one point of every box [Å]
_GAMMA_ALONE = 1e-6

AnyEngine = TypeVar("AnyEngine", bound=Engine)

#: elements that norm-conserving and PAW sets make soft
SOFT = frozenset(("Al", "Si"))
#: the first row of transition metals, the hardest
METALS_3D = frozenset(("Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"))


def grid(atoms: Atoms, density: float) -> tuple[int, int, int]:
    """Numbers of k-points of a grid that is to contain Gamma.

    The same numbers as GPAW's for ``{"density": density, "gamma": True}``. Engines get numbers and
    a shift of their own: what ASE makes of ``gamma`` leaves Gamma out of even grids in Quantum
    ESPRESSO, ABINIT and CP2K.

    Args:
        atoms: one point along what does not repeat.
        density: k-points per 1/Å along each axis [Å].
    """
    first, second, third = kptdensity2monkhorstpack(atoms, density, even=False)
    return int(first), int(second), int(third)


def pointed(engine: AnyEngine, atoms: Atoms) -> AnyEngine:
    """An engine as it is to compute a structure: of a cluster Gamma alone, whatever its box."""
    return engine if atoms.pbc.any() else engine.model_copy(update={"kpts_density": _GAMMA_ALONE})


def boxed(atoms: Atoms) -> Atoms:
    """A cluster in the middle of a cubic box of vacuum, which repeats; crystals as they are."""
    if atoms.pbc.any():
        return atoms
    wide = float(np.ptp(atoms.positions, axis=0).max()) + 2 * VACUUM
    box = Atoms(numbers=atoms.numbers, positions=atoms.positions, pbc=True)
    box.set_cell(np.eye(3) * _BOX_STEP * np.ceil(wide / _BOX_STEP))
    box.center()
    return box


def by_class(symbols: Iterable[str], soft: float, others: float, metals_3d: float) -> float:
    """The cutoff [eV] that the hardest of some elements needs."""
    names = set(symbols)
    if names & METALS_3D:
        return metals_3d
    return soft if names <= SOFT else others


def moments(atoms: Atoms, by_element: dict[str, float]) -> list[float]:
    """Starting moments of the atoms [Bohr magneton] (N,); elements not named start at zero."""
    return [by_element.get(symbol, 0.0) for symbol in atoms.symbols]

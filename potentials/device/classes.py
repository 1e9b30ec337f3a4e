"""Which structures go together: rows of a batch have room for equal numbers of everything."""

from collections.abc import Sequence
from math import ceil, pi

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

#: sizes and neighbour numbers of a batch differ by no more than this factor where there are many
SPREAD = 1.5
#: a group smaller than this is joined by larger structures, up to the factor FAR
FEW = 32
FAR = 3.0
#: neighbours beyond what the density says, for lists of uneven structures
UNEVEN = 1.35
#: an estimate is never larger than this; a list that is too narrow grows
WIDEST = 4096


def expected(structures: Sequence[Atoms], radius: float) -> NDArray[np.int64]:
    """Neighbours of an atom within ``radius`` [Å] by the density of each structure (M,)."""
    sphere = 4.0 / 3.0 * pi * radius**3
    found = []
    for atoms in structures:
        cell = atoms.cell.array
        # a determinant warns of numbers that are not finite
        volume = abs(float(np.linalg.det(cell))) if np.isfinite(cell).all() else 0.0
        usable = np.isfinite(volume) and volume > 0.0
        number = sphere * len(atoms) / volume if usable else float(len(atoms))
        found.append(ceil(min(UNEVEN * number, WIDEST)) + 8)
    return np.array(found, dtype=np.int64)


def classes(sizes: NDArray[np.int64], widths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of structures that go together, by number of atoms, then by neighbours.

    Args:
        sizes: atoms of each structure (M,).
        widths: neighbours expected for each (M,).

    Returns:
        Every index once; similar structures together, small groups joined.
    """
    found: list[NDArray[np.int64]] = []
    for own in _steps(sizes, np.arange(len(sizes))):
        found.extend(_steps(widths, own))
    return found


def _steps(values: NDArray[np.int64], index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split an index by value, smallest first, where a group is large enough to stand alone."""
    order = index[np.argsort(values[index], kind="stable")]
    groups: list[NDArray[np.int64]] = []
    start = 0
    for place in range(1, len(order)):
        ratio = values[order[place]] / values[order[start]]
        if ratio > FAR or (ratio > SPREAD and place - start >= FEW):
            groups.append(order[start:place])
            start = place
    return [*groups, order[start:]]

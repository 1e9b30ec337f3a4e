"""Neighbour pairs of a structure, every periodic image counted."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Pairs(NamedTuple):
    """Each pair once; an atom may be its own neighbour through a periodic image.

    Attributes:
        first: index of one atom (P,).
        second: index of the other (P,).
        distances: how far apart they are [Å] (P,).
        vectors: from the first to the second [Å] (P, 3).
    """

    first: IntArray
    second: IntArray
    distances: FloatArray
    vectors: FloatArray


def neighbours(atoms: Atoms, cutoff: float) -> Pairs:
    """All pairs closer than ``cutoff`` [Å]; cells may be much smaller than the cutoff."""
    from vesin import NeighborList  # imports torch where torch is installed

    first, second, distances, vectors = NeighborList(cutoff=cutoff, full_list=False).compute(
        points=np.ascontiguousarray(atoms.positions),
        box=np.ascontiguousarray(atoms.cell.array),
        periodic=bool(atoms.pbc.any()),
        quantities="ijdD",
    )
    return Pairs(first.astype(np.int64), second.astype(np.int64), distances, vectors)

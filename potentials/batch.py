"""Many structures as flat arrays with their neighbour pairs: what every evaluation takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Ordered neighbour pairs (each bond twice), sorted by their first atom.

    Attributes:
        first: index of the atom (P,).
        second: index of its neighbour (P,).
        shifts: lattice translations of the neighbour, in cell vectors (P, 3).
    """

    first: Tensor
    second: Tensor
    shifts: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """M structures of N atoms together.

    Attributes:
        positions: Cartesian [Å] (N, 3).
        cells: cell vectors as rows [Å] (M, 3, 3).
        species: element index of each atom (N,).
        system: structure index of each atom, ascending (N,).
        pairs: neighbours within the cutoff.
    """

    positions: Tensor
    cells: Tensor
    species: Tensor
    system: Tensor
    pairs: Pairs

    @property
    def n_systems(self) -> int:
        """Number of structures M."""
        return len(self.cells)

    @property
    def n_atoms(self) -> Tensor:
        """Atoms per structure (M,)."""
        return torch.bincount(self.system, minlength=self.n_systems)

    def vectors(self) -> Tensor:
        """From each pair's first atom to its second [Å] (P, 3)."""
        pairs = self.pairs
        cells = self.cells[self.system[pairs.first]]
        moved = torch.einsum("pa,pab->pb", pairs.shifts.to(cells.dtype), cells)
        return self.positions[pairs.second] - self.positions[pairs.first] + moved


class UnknownElementError(ValueError):
    """A structure holds an element that the model does not know."""


def element_indices(atoms: Atoms, elements: Sequence[int]) -> IntArray:
    """Index of every atom's element in ``elements`` (atomic numbers) (N,).

    Raises:
        UnknownElementError: an element is not in ``elements``.
    """
    table = {number: index for index, number in enumerate(elements)}
    missing = sorted({int(number) for number in atoms.numbers} - set(table))
    if missing:
        from ase.data import chemical_symbols

        known = ", ".join(chemical_symbols[number] for number in elements)
        wrong = ", ".join(chemical_symbols[number] for number in missing)
        raise UnknownElementError(
            f"{atoms.get_chemical_formula()} holds {wrong}, which the ensemble was not trained on "
            f"(it knows {known}); train one that knows all elements"
        )
    return np.array([table[int(number)] for number in atoms.numbers], dtype=np.int64)


def neighbours(
    positions: FloatArray, cell: FloatArray, periodic: Sequence[bool], cutoff: float
) -> tuple[IntArray, IntArray, IntArray]:
    """Ordered pairs within ``cutoff`` [Å] of one structure: first, second (P,), shifts (P, 3)."""
    from vesin import NeighborList

    finder = NeighborList(cutoff=cutoff, full_list=True)
    first, second, shifts = finder.compute(
        points=positions, box=cell, periodic=list(periodic), quantities="ijS"
    )
    order = np.argsort(first, kind="stable")
    return (
        np.asarray(first, dtype=np.int64)[order],
        np.asarray(second, dtype=np.int64)[order],
        np.asarray(shifts, dtype=np.int64)[order],
    )


def make_batch(
    structures: Sequence[Atoms],
    elements: Sequence[int],
    cutoff: float,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Join structures into one batch with their neighbour pairs.

    Args:
        structures: at least one; periodic or not.
        elements: atomic numbers in the order of the element index.
        cutoff: radius of the neighbour list [Å].
        dtype: floating-point type of positions and cells.

    Raises:
        UnknownElementError: an element is not in ``elements``.
    """
    first, second, shifts = [], [], []
    offset = 0
    for atoms in structures:
        i, j, shift = neighbours(atoms.positions, atoms.cell.array, [*map(bool, atoms.pbc)], cutoff)
        first.append(i + offset)
        second.append(j + offset)
        shifts.append(shift)
        offset += len(atoms)
    sizes = [len(atoms) for atoms in structures]
    return Batch(
        positions=torch.as_tensor(np.concatenate([a.positions for a in structures]), dtype=dtype),
        cells=torch.as_tensor(np.stack([a.cell.array for a in structures]), dtype=dtype),
        species=torch.as_tensor(np.concatenate([element_indices(a, elements) for a in structures])),
        system=torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        pairs=Pairs(
            torch.as_tensor(np.concatenate(first)),
            torch.as_tensor(np.concatenate(second)),
            torch.as_tensor(np.concatenate(shifts)),
        ),
    )

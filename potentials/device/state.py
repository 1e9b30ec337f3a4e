"""Structures of one size class side by side, with everything that a relaxation changes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.batch import element_indices
from potentials.fire import MIXING, START_STEP

if TYPE_CHECKING:
    from potentials.relax import Offset

#: what a structure is doing
RUNNING, CONVERGED, STEPS, GATE = range(4)


class State(NamedTuple):
    """M structures of at most A atoms, K members; rows of all tensors are structures.

    Attributes:
        positions: before deformation [Å] (M, A, 3).
        cells: before deformation, vectors as rows [Å] (M, 3, 3).
        species: element index, 0 where there is no atom (M, A).
        real: where there is an atom (M, A).
        size: number of atoms (M,).
        periodic: along which cell vectors (M, 3).
        force_offset: added to the model [eV/Å] (M, A, 3).
        stress_offset: [eV/Å^3] (M, 3, 3).
        deformation: columns act on the undeformed geometry, r = x F^T (M, 3, 3).
        velocity: (M, A, 3).
        cell_velocity: (M, 3, 3).
        dt, mixing: of FIRE (M,).
        downhill: steps since the last one uphill (M,).
        steps: made so far (M,).
        status: RUNNING and so on (M,).
        reason: why a gate stopped it, by number (M,).
        energy: of the members [eV] (M, K).
        fmax: largest force [eV/Å] (M,).
    """

    positions: Tensor
    cells: Tensor
    species: Tensor
    real: Tensor
    size: Tensor
    periodic: Tensor
    force_offset: Tensor
    stress_offset: Tensor
    deformation: Tensor
    velocity: Tensor
    cell_velocity: Tensor
    dt: Tensor
    mixing: Tensor
    downhill: Tensor
    steps: Tensor
    status: Tensor
    reason: Tensor
    energy: Tensor
    fmax: Tensor

    def rows(self, index: Tensor) -> "State":
        """Some of the structures."""
        return State(*(tensor[index] for tensor in self))

    def to(self, device: torch.device) -> "State":
        """The same on another device."""
        return State(*(tensor.to(device) for tensor in self))

    def put(self, index: Tensor, rows: "State") -> None:
        """Overwrite some of the structures by others, in place."""
        for mine, theirs in zip(self, rows, strict=True):
            mine[index] = theirs.to(mine.device)

    def now(self) -> tuple[Tensor, Tensor]:
        """Positions [Å] (M, A, 3) and cells [Å] (M, 3, 3) as they are now."""
        from potentials.device.algebra import turn

        turned = self.deformation.transpose(1, 2)
        return turn(self.positions, turned), turn(self.cells, turned)


def state_of(
    structures: Sequence[Atoms],
    elements: Sequence[int],
    members: int,
    dtype: torch.dtype,
    offsets: Sequence["Offset"] | None = None,
    *,
    crystals: bool,
) -> State:
    """Structures at the start of a relaxation, on the host.

    Args:
        structures: any periodicity; a cell vector that is missing is completed.
        elements: atomic numbers in the order of the element index.
        members: number of members K.
        dtype: of everything that is a number of physics.
        offsets: corrections of the model, one per structure.
        crystals: all repeat along all three cell vectors, whatever they say themselves.

    Raises:
        UnknownElementError: an element is not in ``elements``.
    """
    n_systems, widest = len(structures), max(len(atoms) for atoms in structures)
    positions = np.zeros((n_systems, widest, 3))
    force_offset = np.zeros((n_systems, widest, 3))
    species = np.zeros((n_systems, widest), dtype=np.int64)
    sizes = np.array([len(atoms) for atoms in structures])
    for row, atoms in enumerate(structures):
        positions[row, : sizes[row]] = atoms.positions
        species[row, : sizes[row]] = element_indices(atoms, elements)
        if offsets is not None:
            force_offset[row, : sizes[row]] = offsets[row].forces
    periodic = np.stack([atoms.pbc | crystals for atoms in structures])
    cells = np.stack([_cell(atoms, own) for atoms, own in zip(structures, periodic, strict=True)])
    stress = np.zeros((n_systems, 3, 3)) if offsets is None else [o.stress for o in offsets]
    real = np.arange(widest) < sizes[:, None]

    def number(values: object) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float64)).to(dtype)

    def full(value: float) -> Tensor:
        return torch.full((n_systems,), value, dtype=dtype)

    def zeros() -> Tensor:
        return torch.zeros(n_systems, dtype=torch.int64)

    return State(
        positions=number(positions),
        cells=number(cells),
        species=torch.as_tensor(species),
        real=torch.as_tensor(real),
        size=number(sizes),
        periodic=torch.as_tensor(periodic),
        force_offset=number(force_offset),
        stress_offset=number(stress),
        deformation=torch.eye(3, dtype=dtype).repeat(n_systems, 1, 1),
        velocity=torch.zeros(n_systems, widest, 3, dtype=dtype),
        cell_velocity=torch.zeros(n_systems, 3, 3, dtype=dtype),
        dt=full(START_STEP),
        mixing=full(MIXING),
        downhill=zeros(),
        steps=zeros(),
        status=zeros(),
        reason=zeros(),
        energy=torch.zeros(n_systems, members, dtype=dtype),
        fmax=full(0.0),
    )


def _cell(atoms: Atoms, periodic: np.ndarray) -> np.ndarray:
    """Cell vectors; those along which nothing repeats are made up."""
    cell = atoms.cell.array
    if periodic.all():
        return np.array(cell)
    return np.array(Atoms(cell=cell * periodic[:, None]).cell.complete().array)

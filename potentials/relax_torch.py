"""Relaxation in torch: the reference of the compiled one, for every descriptor.

FIRE on positions and deformation gradient (the convention of ASE's UnitCellFilter), every
structure with its own time step, its own stop and its own failure. The cell moves where it repeats
in three directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.batch import Batch, Pairs, element_indices, neighbours
from potentials.ensemble import Ensemble, Prediction
from potentials.fire import (
    GROW,
    LARGEST_STEP,
    LONGEST_MOVE,
    MIXING,
    MIXING_DECAY,
    MOST_IMAGES,
    PATIENCE,
    SHRINK,
    START_STEP,
)
from potentials.gates import Gates, Relaxed, Stopped
from potentials.relax import Offset


def relax(
    structures: Sequence[Atoms],
    ensemble: Ensemble,
    *,
    pressure: float,
    fmax: float,
    max_steps: int,
    gates: Gates | None,
    offsets: Sequence[Offset] | None,
) -> list[Relaxed]:
    """As `potentials.relax.relax`."""
    if not structures:
        return []
    state = _State.of(structures, ensemble, offsets)
    results: list[Relaxed | None] = [None] * len(structures)
    bounds = _Bounds.of(gates, ensemble)
    active = torch.arange(len(structures))
    for step in range(max_steps + 1):
        batch, atoms = state.batch(active, ensemble)
        reasons = bounds.reasons(batch, state.periodic[active], ensemble.cutoff)
        found = ensemble.evaluate(batch)
        forces, pull, largest = state.gradients(found, batch, active, atoms, pressure)
        sane = torch.isfinite(largest) & torch.isfinite(found.energy)
        done = (largest < fmax) | ~sane
        ends = [
            (reason or ("" if ok else "the model gave a number that is not finite"))
            for reason, ok in zip(reasons, sane.tolist(), strict=True)
        ]
        stop = done | torch.tensor([bool(end) for end in ends]) | (step == max_steps)
        for place in torch.nonzero(stop).flatten().tolist():
            index = int(active[place])
            real = found.forces + state.force_offset[atoms]
            end = _end(batch, found, real, place, structures[index], pressure)
            stopped: Stopped = "gate" if ends[place] else "converged" if done[place] else "steps"
            results[index] = replace(end, stopped=stopped, reason=ends[place], steps=step)
        keep = ~stop
        if not bool(keep.any()):
            break
        state.move(active, atoms, forces, pull, batch, keep)
        active = active[keep]
    return [result for result in results if result is not None]


def _end(
    batch: Batch,
    found: Prediction,
    real: Tensor,
    place: int,
    given: Atoms,
    pressure: float,
) -> Relaxed:
    """One structure of the batch as it is now."""
    own = batch.system == place
    cell = batch.cells[place].numpy()
    volume = float(torch.linalg.det(batch.cells[place]).abs()) if given.pbc.all() else 0.0
    positions = batch.positions[own].numpy()
    return Relaxed(
        atoms=Atoms(numbers=given.numbers, positions=positions, cell=cell, pbc=given.pbc),
        stopped="steps",
        reason="",
        steps=0,
        enthalpy=(float(found.energy[place]) + pressure * volume) / len(given),
        spread=float(found.energy_std[place]),
        fmax=float(torch.linalg.vector_norm(real[own], dim=1).max()),
        volume=volume,
    )


@dataclass(eq=False, slots=True)
class _State:
    """Undeformed positions and deformation of all structures, and their FIRE variables."""

    positions: Tensor  # (N, 3) before deformation
    cells: Tensor  # (M, 3, 3) before deformation
    periodic: Tensor  # (M, 3)
    species: Tensor  # (N,)
    system: Tensor  # (N,)
    count: Tensor  # (M,) atoms
    force_offset: Tensor  # (N, 3)
    stress_offset: Tensor  # (M, 3, 3)
    deformation: Tensor = field(init=False)  # (M, 3, 3)
    velocity: Tensor = field(init=False)  # (N, 3)
    cell_velocity: Tensor = field(init=False)  # (M, 3, 3)
    dt: Tensor = field(init=False)  # (M,)
    mixing: Tensor = field(init=False)  # (M,)
    downhill: Tensor = field(init=False)  # (M,)

    def __post_init__(self) -> None:
        n_systems = len(self.cells)
        self.deformation = torch.eye(3, dtype=torch.float64).repeat(n_systems, 1, 1)
        self.velocity = torch.zeros_like(self.positions)
        self.cell_velocity = torch.zeros_like(self.cells)
        self.dt = torch.full((n_systems,), START_STEP, dtype=torch.float64)
        self.mixing = torch.full((n_systems,), MIXING, dtype=torch.float64)
        self.downhill = torch.zeros(n_systems, dtype=torch.int64)

    @classmethod
    def of(
        cls, structures: Sequence[Atoms], ensemble: Ensemble, offsets: Sequence[Offset] | None
    ) -> "_State":
        sizes = torch.tensor([len(atoms) for atoms in structures])
        positions = torch.as_tensor(np.concatenate([a.positions for a in structures]))
        cells = torch.as_tensor(np.stack([a.cell.array for a in structures]))
        species = np.concatenate([element_indices(a, ensemble.elements) for a in structures])
        return cls(
            positions=positions,
            cells=cells,
            periodic=torch.as_tensor(np.stack([a.pbc for a in structures])),
            species=torch.as_tensor(species),
            system=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
            count=sizes,
            force_offset=torch.zeros_like(positions)
            if offsets is None
            else torch.as_tensor(np.concatenate([o.forces for o in offsets])),
            stress_offset=torch.zeros_like(cells)
            if offsets is None
            else torch.as_tensor(np.stack([o.stress for o in offsets])),
        )

    def batch(self, active: Tensor, ensemble: Ensemble) -> tuple[Batch, Tensor]:
        """The active structures as they are now, and the indices of their atoms."""
        place = torch.full((len(self.cells),), -1)
        place[active] = torch.arange(len(active))
        atoms = torch.nonzero(place[self.system] >= 0).flatten()
        system = place[self.system[atoms]]
        turned = self.deformation[active].transpose(1, 2)
        cells = self.cells[active] @ turned
        positions = torch.einsum("na,nab->nb", self.positions[atoms], turned[system])
        periodic = self.periodic[active]
        pairs = _pairs(positions, cells, periodic, self.count[active], ensemble.cutoff)
        return Batch(positions, cells, self.species[atoms], system, pairs), atoms

    def gradients(
        self, found: Prediction, batch: Batch, active: Tensor, atoms: Tensor, pressure: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Forces on undeformed positions (n, 3) and deformations (m, 3, 3); the largest (m,)."""
        count = self.count[active].to(torch.float64)
        real = found.forces.double() + self.force_offset[atoms]
        stress = found.stress.double() + self.stress_offset[active]
        # what has no volume does not strain
        volume = torch.linalg.det(batch.cells).abs() * self.periodic[active].all(dim=1)
        identity = torch.eye(3, dtype=torch.float64)
        virial = -volume[:, None, None] * (stress + pressure * identity)
        deformation = self.deformation[active]
        forces = torch.einsum("na,nab->nb", real, deformation[batch.system])
        inverse = torch.linalg.inv(deformation)
        pull = (virial @ inverse.transpose(1, 2)) / count[:, None, None]
        size = torch.linalg.vector_norm(real, dim=1)
        largest = torch.scatter_reduce(torch.zeros_like(count), 0, batch.system, size, "amax")
        strain = (virial / count[:, None, None]).abs().amax(dim=(1, 2))
        return forces, pull, torch.maximum(largest, strain)

    def move(
        self,
        active: Tensor,
        atoms: Tensor,
        forces: Tensor,
        pull: Tensor,
        batch: Batch,
        keep: Tensor,
    ) -> None:
        """One FIRE step of the structures to keep; the cell counts as n times its deformation."""
        moving = active[keep]
        own = keep[batch.system]
        atoms, forces, pull = atoms[own], forces[own], pull[keep]
        system = self.system[atoms]
        n_systems = len(self.cells)

        def total(of_atoms: Tensor, of_cells: Tensor) -> Tensor:
            summed = of_atoms.new_zeros(n_systems).index_add(0, system, of_atoms.sum(dim=1))
            return summed[moving] + of_cells.sum(dim=(1, 2))

        velocity, cell_velocity = self.velocity[atoms], self.cell_velocity[moving]
        power = total(velocity * forces, cell_velocity * pull)
        uphill = power <= 0.0
        speed = total(velocity**2, cell_velocity**2).sqrt()
        slope = total(forces**2, pull**2).sqrt().clamp(min=1e-300)
        mixing, dt, downhill = self.mixing[moving], self.dt[moving], self.downhill[moving]
        keep_share = torch.where(uphill, 0.0, 1.0 - mixing)
        push_share = torch.where(uphill, 0.0, mixing * speed / slope)
        long_run = ~uphill & (downhill > PATIENCE)
        dt = torch.where(long_run, (dt * GROW).clamp(max=LARGEST_STEP), dt)
        self.mixing[moving] = torch.where(
            uphill, MIXING, torch.where(long_run, mixing * MIXING_DECAY, mixing)
        )
        dt = torch.where(uphill, dt * SHRINK, dt)
        self.dt[moving] = dt
        self.downhill[moving] = torch.where(uphill, 0, downhill + 1)

        def spread(values: Tensor) -> Tensor:
            wide = values.new_zeros(n_systems)
            wide[moving] = values
            return wide[system][:, None]

        velocity = spread(keep_share) * velocity + spread(push_share + dt) * forces
        wide_share = (push_share + dt)[:, None, None]
        cell_velocity = keep_share[:, None, None] * cell_velocity + wide_share * pull
        self.velocity[atoms], self.cell_velocity[moving] = velocity, cell_velocity
        length = total((spread(dt) * velocity) ** 2, (dt[:, None, None] * cell_velocity) ** 2)
        limited = dt * (LONGEST_MOVE / length.sqrt().clamp(min=1e-300)).clamp(max=1.0)
        self.positions[atoms] += spread(limited) * velocity
        count = self.count[moving].to(torch.float64)
        self.deformation[moving] += (limited / count)[:, None, None] * cell_velocity


def _pairs(
    positions: Tensor, cells: Tensor, periodic: Tensor, count: Tensor, cutoff: float
) -> Pairs:
    """Neighbours of all structures; a crystal without a finite cell of some volume gets none."""
    where, boxes, solid = positions.numpy(), cells.numpy(), _solid(cells, periodic, cutoff).tolist()
    first, second, shifts, start = [], [], [], 0
    for box, axes, size, usable in zip(
        boxes, periodic.tolist(), count.tolist(), solid, strict=True
    ):
        own = where[start : start + size]
        if usable and np.isfinite(own).all():
            i, j, shift = neighbours(own, box, axes, cutoff)
            first.append(i + start)
            second.append(j + start)
            shifts.append(shift)
        start += size
    empty = np.zeros(0, dtype=np.int64)
    return Pairs(
        torch.as_tensor(np.concatenate([empty, *first])),
        torch.as_tensor(np.concatenate([empty, *second])),
        torch.as_tensor(np.concatenate([empty.reshape(0, 3), *shifts])),
    )


def _extents(batch: Batch) -> Tensor:
    """Largest extent of each structure along x, y or z [Å] (M,)."""
    own = batch.system[:, None].expand(-1, 3)
    empty = batch.positions.new_zeros(batch.n_systems, 3)
    high = empty.scatter_reduce(0, own, batch.positions, "amax", include_self=False)
    low = empty.scatter_reduce(0, own, batch.positions, "amin", include_self=False)
    return (high - low).amax(dim=1)


def _height(cells: Tensor) -> Tensor:
    """Smallest distance between opposite faces of each cell [Å] (M,); NaN where it has none."""
    others = torch.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]], dim=2)
    faces = torch.linalg.vector_norm(others, dim=2).amax(dim=1)
    height: Tensor = torch.linalg.det(cells).abs() / faces
    return height


def _solid(cells: Tensor, periodic: Tensor, cutoff: float) -> Tensor:
    """Whether a neighbour list of each crystal is finite work: at most 20 images each way (M,)."""
    return (_height(cells) > cutoff / MOST_IMAGES) | ~periodic.all(dim=1)


@dataclass(frozen=True, eq=False, slots=True)
class _Bounds:
    """Gates as tensors."""

    gates: Gates | None
    shortest: Tensor  # (E, E) [Å]

    @classmethod
    def of(cls, gates: Gates | None, ensemble: Ensemble) -> "_Bounds":
        from ase.data import chemical_symbols

        symbols = [chemical_symbols[number] for number in ensemble.elements]
        table = {} if gates is None else gates.min_distance
        shortest = [[table.get((min(a, b), max(a, b)), 0.0) for b in symbols] for a in symbols]
        return cls(gates, torch.tensor(shortest, dtype=torch.float64))

    def reasons(self, batch: Batch, periodic: Tensor, cutoff: float) -> list[str]:
        """The gate that each structure has left, or an empty string."""
        reasons = [""] * batch.n_systems
        unsound = self._unsound(batch, periodic, cutoff)
        for reason, broken in (unsound | self._left(batch, periodic)).items():
            for place in torch.nonzero(broken).flatten().tolist():
                reasons[place] = reasons[place] or reason
        return reasons

    def _unsound(self, batch: Batch, periodic: Tensor, cutoff: float) -> dict[str, Tensor]:
        """What no model can evaluate: such structures were given no neighbours at all."""
        astray = batch.system[~torch.isfinite(batch.positions).all(dim=1)]
        strange = torch.bincount(astray, minlength=batch.n_systems) > 0
        strange |= ~torch.isfinite(batch.cells).all(dim=(1, 2))
        return {
            "a position or cell vector is not finite": strange,
            "cell too flat": ~strange & ~_solid(batch.cells, periodic, cutoff),
        }

    def _left(self, batch: Batch, periodic: Tensor) -> dict[str, Tensor]:
        """The gates of the user."""
        if self.gates is None:
            return {}
        crystal, cluster = periodic.all(dim=1), ~periodic.any(dim=1)
        lengths = torch.linalg.vector_norm(batch.cells, dim=2)
        per_atom = torch.linalg.det(batch.cells).abs() / batch.n_atoms
        low, high = self.gates.volume_per_atom
        return {
            "atoms too close": self._close(batch),
            "volume per atom below the gate": crystal & (per_atom < low),
            "volume per atom above the gate": crystal & (per_atom > high),
            "cell thinner than the gate": crystal & (_height(batch.cells) < self.gates.min_height),
            "cell vector too long": crystal & (lengths.amax(dim=1) > self.gates.max_length),
            "atoms too far apart": cluster & (_extents(batch) > self.gates.max_length),
        }

    def _close(self, batch: Batch) -> Tensor:
        pairs = batch.pairs
        limit = self.shortest[batch.species[pairs.first], batch.species[pairs.second]]
        distance = torch.linalg.vector_norm(batch.vectors(), dim=1)
        broken = batch.system[pairs.first[distance < limit]]
        return torch.bincount(broken, minlength=batch.n_systems) > 0

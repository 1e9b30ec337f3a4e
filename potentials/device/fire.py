"""One step of the relaxation of a whole batch, without a look at the device.

The same steps as `potentials.relax_torch`. A structure that has stopped, or whose neighbour list
does not hold any more, stays exactly as it is.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from potentials.device.algebra import determinant, heights, inverse
from potentials.device.dense import Found, evaluate
from potentials.device.model import Groups, Model
from potentials.device.neighbours import Lists, sound
from potentials.device.state import CONVERGED, GATE, RUNNING, STEPS, State
from potentials.fire import (
    GROW,
    LARGEST_STEP,
    LONGEST_MOVE,
    MIXING,
    MIXING_DECAY,
    PATIENCE,
    SHRINK,
)

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble
    from potentials.gates import Gates

#: why a gate stopped a structure, by number; the first that applies counts
REASONS = (
    "",
    "a position or cell vector is not finite",
    "cell too flat",
    "atoms too close",
    "volume per atom below the gate",
    "volume per atom above the gate",
    "cell thinner than the gate",
    "cell vector too long",
    "the model gave a number that is not finite",
)


@dataclass(frozen=True, eq=False, slots=True)
class Rules:
    """When a structure stops.

    Attributes:
        pressure: [eV/Å^3].
        fmax: converged below it [eV/Å].
        max_steps: of each structure.
        gates: bounds to keep, or None.
        shortest: squared shortest distances by pair of elements [Å^2] (E x E,).
    """

    pressure: float
    fmax: float
    max_steps: int
    gates: "Gates | None"
    shortest: Tensor

    @classmethod
    def of(
        cls, ensemble: "Ensemble", gates: "Gates | None", limits: tuple[float, float, int]
    ) -> "Rules":
        """Rules on the host; ``limits`` are pressure, fmax and the largest number of steps."""
        from ase.data import chemical_symbols

        symbols = [chemical_symbols[number] for number in ensemble.elements]
        table = {} if gates is None else gates.min_distance
        shortest = [table.get((min(a, b), max(a, b)), 0.0) ** 2 for a in symbols for b in symbols]
        return cls(*limits, gates, torch.tensor(shortest, dtype=torch.float64))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Rules":
        """The same on a device, to be compared with numbers of a type."""
        shortest = self.shortest.to(dtype).to(device)
        return Rules(self.pressure, self.fmax, self.max_steps, self.gates, shortest)

    def reasons(self, state: State, found: Found, finite: Tensor, solid: Tensor) -> Tensor:
        """Number of the first gate that each structure has left, or 0 (M,)."""
        broken = [~finite, ~solid]
        if self.gates is not None:
            _, cells = state.now()
            per_atom = determinant(cells).abs() / state.size
            low, high = self.gates.volume_per_atom
            longest = torch.linalg.vector_norm(cells, dim=2).amax(dim=1)
            broken += [
                self._close(state, found),
                per_atom < low,
                per_atom > high,
                heights(cells).amin(dim=1) < self.gates.min_height,
                longest > self.gates.max_length,
            ]
        reason = torch.zeros_like(state.reason)
        for number in range(len(broken), 0, -1):
            reason.masked_fill_(broken[number - 1], number)
        return reason

    def _close(self, state: State, found: Found) -> Tensor:
        n_elements = round(len(self.shortest) ** 0.5)
        limit = self.shortest[state.species[:, :, None] * n_elements + found.kind]
        return (found.square < limit).flatten(1).any(dim=1)


def step(
    state: State, lists: Lists, groups: Groups, model: Model, rules: Rules, radius: float
) -> None:
    """Evaluate all structures, stop those that are done, move the others; in place.

    Args:
        state: what is relaxed.
        lists: neighbours of all structures up to ``radius`` [Å].
        groups: atoms by element.
        model: the ensemble.
        rules: when to stop.
        radius: of the lists [Å].
    """
    new = advanced(state, lists, groups, model, rules, radius)
    # nothing is overwritten before everything is there: memory may run out above
    for old, fresh in zip(state, new, strict=True):
        if fresh is not old:
            old.copy_(fresh)


def advanced(
    state: State, lists: Lists, groups: Groups, model: Model, rules: Rules, radius: float
) -> State:
    """The state after `step`."""
    finite, solid = sound(state, model.cutoff)
    holds = lists.use(state, model.cutoff, radius) < 1.0
    live = (state.status == RUNNING) & (holds | ~solid)
    found = evaluate(state, lists, groups, model, solid)
    forces, pull, fmax, largest = gradients(state, found, rules.pressure)
    sane = torch.isfinite(largest) & torch.isfinite(found.energy).all(dim=1)
    reason = rules.reasons(state, found, finite, solid)
    reason.masked_fill_((reason == 0) & ~sane, len(REASONS) - 1)
    ended = torch.full_like(state.status, RUNNING)
    ended.masked_fill_(state.steps >= rules.max_steps, STEPS)
    ended.masked_fill_(largest < rules.fmax, CONVERGED)
    ended.masked_fill_(reason > 0, GATE)
    moved = _moved(state, forces, pull, live & (ended == RUNNING))
    return moved._replace(
        status=torch.where(live, ended, state.status),
        reason=torch.where(live, reason, state.reason),
        energy=torch.where(live[:, None], found.energy, state.energy),
        fmax=torch.where(live, fmax, state.fmax),
    )


def gradients(state: State, found: Found, pressure: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Forces on undeformed positions (M, A, 3) and deformation (M, 3, 3), and how large they are.

    Returns:
        Both forces, the largest force on an atom (M,), and the largest of that and V (stress + p)/n
        (M,), all [eV/Å] or [eV].
    """
    real = found.forces + state.force_offset
    _, cells = state.now()
    volume = determinant(cells).abs()[:, None, None]
    identity = torch.eye(3, dtype=volume.dtype, device=volume.device)
    virial = -found.virial - volume * (state.stress_offset + pressure * identity)
    forces = real @ state.deformation
    count = state.size[:, None, None]
    pull = (virial @ inverse(state.deformation).transpose(1, 2)) / count
    fmax = torch.linalg.vector_norm(real, dim=2).amax(dim=1)
    strain = (virial / count).abs().amax(dim=2).amax(dim=1)
    return forces, pull, fmax, torch.maximum(fmax, strain)


def _moved(state: State, forces: Tensor, pull: Tensor, moving: Tensor) -> State:
    """One step of FIRE for the structures that move; the cell counts as n times its deformation."""

    def total(of_atoms: Tensor, of_cells: Tensor) -> Tensor:
        return of_atoms.flatten(1).sum(dim=1) + of_cells.flatten(1).sum(dim=1)

    def wide(values: Tensor) -> Tensor:
        return values[:, None, None]

    tiny = torch.finfo(forces.dtype).tiny
    uphill = total(state.velocity * forces, state.cell_velocity * pull) <= 0.0
    speed = total(state.velocity**2, state.cell_velocity**2).sqrt()
    slope = total(forces**2, pull**2).sqrt().clamp(min=tiny)
    zero = torch.zeros_like(speed)
    keep = torch.where(uphill, zero, 1.0 - state.mixing)
    push = torch.where(uphill, zero, state.mixing * speed / slope)
    long_run = ~uphill & (state.downhill > PATIENCE)
    dt = torch.where(long_run, (state.dt * GROW).clamp(max=LARGEST_STEP), state.dt)
    dt = torch.where(uphill, dt * SHRINK, dt)
    mixing = torch.where(long_run, state.mixing * MIXING_DECAY, state.mixing)
    velocity = wide(keep) * state.velocity + wide(push + dt) * forces
    cell_velocity = wide(keep) * state.cell_velocity + wide(push + dt) * pull
    length = total((wide(dt) * velocity) ** 2, (wide(dt) * cell_velocity) ** 2).sqrt()
    limited = wide(dt * (LONGEST_MOVE / length.clamp(min=tiny)).clamp(max=1.0))
    change = limited * cell_velocity / wide(state.size)
    new = {
        "positions": state.positions + limited * velocity,
        "deformation": state.deformation + change,
        "velocity": velocity,
        "cell_velocity": cell_velocity,
        "dt": dt,
        "mixing": torch.where(uphill, torch.full_like(mixing, MIXING), mixing),
        "downhill": torch.where(uphill, torch.zeros_like(state.downhill), state.downhill + 1),
        "steps": state.steps + 1,
    }
    old = state._asdict()
    for name, values in new.items():
        shape = (-1, *(1 for _ in values.shape[1:]))
        new[name] = torch.where(moving.reshape(shape), values, old[name])
    return state._replace(**new)

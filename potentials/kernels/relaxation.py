"""FIRE on positions and deformation gradient, the whole loop in compiled code.

The same steps as `potentials.relax_torch`, one structure after the other: nothing in one depends on
another. Everything that moves is float64. The cell moves where it repeats in three directions.
"""

from typing import Any, NamedTuple

import numpy as np

from potentials.fire import (
    GROW,
    LARGEST_STEP,
    LONGEST_MOVE,
    MIXING,
    MIXING_DECAY,
    MOST_IMAGES,
    PATIENCE,
    SHRINK,
)
from potentials.kernels.calling import Evaluator, evaluated
from potentials.kernels.compiling import compiled
from potentials.kernels.grids import part_of
from potentials.kernels.lattice import determinant, invert, lowest_height
from potentials.kernels.structure import DONE, UNSOUND, Result, Structure, structure_of

#: what a structure is doing
RUNNING, CONVERGED, STEPS, GATE = range(4)
#: why a gate stopped it, by number
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
    "atoms too far apart",
)
_SOUND, _STRANGE, _FLAT, _CLOSE, _BELOW, _ABOVE, _THIN, _LONG, _WILD, _WIDE = range(10)


class Moving(NamedTuple):
    """All structures of a relaxation: M structures, N atoms, E elements, K members.

    Attributes:
        batch: the structures as they are now.
        positions, cells: before deformation [Å] (N, 3), (M, 3, 3).
        force_offset, stress_offset: added to the model [eV/Å] (N, 3), [eV/Å^3] (M, 3, 3).
        deformation: (M, 3, 3).
        velocity, cell_velocity: (N, 3), (M, 3, 3).
        step, mixing: of FIRE (M,).
        downhill: steps since the last one uphill (M,).
        steps: made so far (M,).
        status, reason: what each is doing, and why a gate stopped it (M,).
        energy: of the members [eV] (M, K).
        fmax: largest force [eV/Å] (M,).
    """

    batch: Any
    positions: Any
    cells: Any
    force_offset: Any
    stress_offset: Any
    deformation: Any
    velocity: Any
    cell_velocity: Any
    step: Any
    mixing: Any
    downhill: Any
    steps: Any
    status: Any
    reason: Any
    energy: Any
    fmax: Any


class Rules(NamedTuple):
    """When to stop, and scratch space of one thread.

    Attributes:
        pressure: [eV/Å^3].
        fmax: converged below it [eV/Å].
        max_steps: of each structure.
        gated: whether the bounds below are to be kept (0 or 1).
        volume_low, volume_high: per atom [Å^3].
        min_height, max_length: of a cell, and extent of a cluster [Å].
        shortest: squared shortest distances by elements [Å^2] (E, E).
        inverse: scratch (3, 3).
        pull: forces on the deformation [eV] (3, 3).
    """

    pressure: float
    fmax: float
    max_steps: int
    gated: int
    volume_low: float
    volume_high: float
    min_height: float
    max_length: float
    shortest: Any
    inverse: Any
    pull: Any


@compiled
def advance(evaluator: Evaluator, moving: Moving, m: Any, rules: Rules, most: Any) -> Any:
    """Relax one structure until it stops, for at most ``most`` steps; says how that ended."""
    batch, result = moving.batch, evaluator.result
    structure = structure_of(batch, m)
    start, count = batch.first[m], len(structure.species)
    for _ in range(most):
        _deform(moving, m, start, count)
        reason = _unsound(structure, evaluator.cutoff, rules)
        if reason == _SOUND:
            ended = evaluated(evaluator, batch, m, 0)
            if ended == UNSOUND:
                reason = _FLAT
            elif ended != DONE:
                return ended
        if reason != _SOUND:
            evaluated(evaluator, batch, m, 1)
        elif rules.gated:
            reason = _left(structure, rules, result)
        largest, sane = _gradients(moving, m, structure, rules, result)
        if reason == _SOUND and not sane:
            reason = _WILD
        if reason != _SOUND or largest < rules.fmax or moving.steps[m] == rules.max_steps:
            moving.reason[m] = reason
            moving.status[m] = CONVERGED if largest < rules.fmax else STEPS
            if reason != _SOUND:
                moving.status[m] = GATE
            return DONE
        _move(moving, m, start, count, rules, result)
        moving.steps[m] += 1
    return DONE


@compiled
def _deform(moving: Moving, m: Any, start: Any, count: Any) -> None:
    """Cell and positions as they are now."""
    turn = moving.deformation[m]
    for a in range(3):
        for b in range(3):
            summed = 0.0
            for c in range(3):
                summed += moving.cells[m, a, c] * turn[b, c]
            moving.batch.cells[m, a, b] = summed
    for i in range(start, start + count):
        for b in range(3):
            summed = 0.0
            for c in range(3):
                summed += moving.positions[i, c] * turn[b, c]
            moving.batch.positions[i, b] = summed


@compiled
def _unsound(structure: Structure, cutoff: Any, rules: Rules) -> Any:
    """Why no model could evaluate it, if so."""
    summed = 0.0
    for i in range(len(structure.species)):
        for a in range(3):
            # zero where finite, else NaN
            summed += structure.positions[i, a] * 0.0
    for a in range(3):
        for b in range(3):
            summed += structure.cell[a, b] * 0.0
    if summed != 0.0:
        return _STRANGE
    if not _is_crystal(structure):
        return _SOUND
    invert(structure.cell, rules.inverse)
    return _SOUND if lowest_height(rules.inverse) > cutoff / MOST_IMAGES else _FLAT


@compiled
def _left(structure: Structure, rules: Rules, result: Result) -> Any:
    """The gate that it has left, if any."""
    for e in range(rules.shortest.shape[0]):
        for other in range(rules.shortest.shape[0]):
            if result.nearest[e, other] < rules.shortest[e, other]:
                return _CLOSE
    if not _is_crystal(structure):
        return _WIDE if _extent(structure) > rules.max_length else _SOUND
    volume = abs(determinant(structure.cell)) / len(structure.species)
    if volume < rules.volume_low:
        return _BELOW
    if volume > rules.volume_high:
        return _ABOVE
    if lowest_height(rules.inverse) < rules.min_height:
        return _THIN
    longest = 0.0
    for a in range(3):
        square = structure.cell[a, 0] ** 2 + structure.cell[a, 1] ** 2 + structure.cell[a, 2] ** 2
        longest = max(longest, np.sqrt(square))
    return _LONG if longest > rules.max_length else _SOUND


@compiled
def _is_crystal(structure: Structure) -> Any:
    """Whether it repeats in three directions, so that there is a cell to relax."""
    return structure.periodic[0] and structure.periodic[1] and structure.periodic[2]


@compiled
def _extent(structure: Structure) -> Any:
    """Of a cluster, the largest along x, y or z [Å]; 0 where an axis is periodic."""
    widest = 0.0
    if structure.periodic[0] or structure.periodic[1] or structure.periodic[2]:
        return widest
    for a in range(3):
        low, high = np.inf, -np.inf
        for i in range(len(structure.species)):
            low = min(low, structure.positions[i, a])
            high = max(high, structure.positions[i, a])
        widest = max(widest, high - low)
    return widest


@compiled
def _gradients(moving: Moving, m: Any, structure: Structure, rules: Rules, result: Result) -> Any:
    """Forces on undeformed positions and deformation, in place; the largest; if all is finite."""
    start, count = moving.batch.first[m], len(structure.species)
    turn = moving.deformation[m]
    worst, summed = 0.0, 0.0
    for k in range(len(result.energy)):
        moving.energy[m, k] = result.energy[k]
        summed += result.energy[k]
    for i in range(count):
        x = result.forces[i, 0] + moving.force_offset[start + i, 0]
        y = result.forces[i, 1] + moving.force_offset[start + i, 1]
        z = result.forces[i, 2] + moving.force_offset[start + i, 2]
        square = x * x + y * y + z * z
        worst = max(worst, square)
        summed += square
        for a in range(3):
            result.forces[i, a] = x * turn[0, a] + y * turn[1, a] + z * turn[2, a]
    worst = np.sqrt(worst)
    moving.fmax[m] = worst
    for a in range(3):
        for b in range(3):
            rules.pull[a, b] = 0.0
    if _is_crystal(structure):
        excess, beyond = _pull(moving, m, structure, rules, result)
        worst, summed = max(worst, excess), summed + beyond
    return worst, np.isfinite(summed)


@compiled
def _pull(moving: Moving, m: Any, structure: Structure, rules: Rules, result: Result) -> Any:
    """Forces on the deformation, in place; the largest strain derivative per atom; their sum."""
    count, turn = len(structure.species), moving.deformation[m]
    worst, summed = 0.0, 0.0
    volume = abs(determinant(structure.cell))
    invert(turn, rules.inverse)
    for a in range(3):
        for c in range(3):
            # Voigt order of the virial
            place = a if a == c else 6 - a - c
            excess = volume * moving.stress_offset[m, a, c] + result.virial[place]
            if a == c:
                excess += volume * rules.pressure
            worst = max(worst, abs(excess) / count)
            summed += excess
            for b in range(3):
                rules.pull[a, b] -= excess * rules.inverse[b, c] / count
    return worst, summed


@compiled
def _move(moving: Moving, m: Any, start: Any, count: Any, rules: Rules, result: Result) -> None:
    """One step of FIRE; the cell counts as n times its deformation."""
    velocity = part_of(moving.velocity, start, count)
    forces = part_of(result.forces, 0, count)
    cell_velocity = moving.cell_velocity[m]
    power = _product(velocity, forces) + _product(cell_velocity, rules.pull)
    speed = _product(velocity, velocity) + _product(cell_velocity, cell_velocity)
    slope = _product(forces, forces) + _product(rules.pull, rules.pull)
    keep, push = _adapt(moving, m, power <= 0.0, np.sqrt(speed), max(np.sqrt(slope), 1e-300))
    step = moving.step[m]
    _mix(velocity, keep, forces, push + step)
    _mix(cell_velocity, keep, rules.pull, push + step)
    length = step * np.sqrt(_product(velocity, velocity) + _product(cell_velocity, cell_velocity))
    limited = step * min(LONGEST_MOVE / max(length, 1e-300), 1.0)
    _mix(part_of(moving.positions, start, count), 1.0, velocity, limited)
    _mix(moving.deformation[m], 1.0, cell_velocity, limited / count)


@compiled
def _product(one: Any, other: Any) -> Any:
    """Sum of the products of two arrays (n, 3)."""
    summed = 0.0
    for i in range(len(one)):
        for a in range(3):
            summed += one[i, a] * other[i, a]
    return summed


@compiled
def _mix(one: Any, keep: Any, other: Any, add: Any) -> None:
    """Write keep x one + add x other over the first (n, 3)."""
    for i in range(len(one)):
        for a in range(3):
            one[i, a] = keep * one[i, a] + add * other[i, a]


@compiled
def _adapt(moving: Moving, m: Any, uphill: Any, speed: Any, slope: Any) -> Any:
    """Change step and mixing; how much of the velocity to keep and of the forces to add."""
    if uphill:
        moving.mixing[m] = MIXING
        moving.step[m] *= SHRINK
        moving.downhill[m] = 0
        return 0.0, 0.0
    mixing = moving.mixing[m]
    if moving.downhill[m] > PATIENCE:
        moving.step[m] = min(moving.step[m] * GROW, LARGEST_STEP)
        moving.mixing[m] *= MIXING_DECAY
    moving.downhill[m] += 1
    return 1.0 - mixing, mixing * speed / slope

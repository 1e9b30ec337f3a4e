"""What Python calls: many structures in one call, as far as they fit the room."""

from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.compiling import compiled, entry
from potentials.kernels.grids import part_of
from potentials.kernels.relaxation import RUNNING, advance
from potentials.kernels.structure import DONE, Structure, evaluate


class Still(NamedTuple):
    """Structures to evaluate, and what is found: M structures, N atoms, E elements, K members.

    Attributes:
        first: first atom of each, and the end (M + 1,).
        positions, cells: [Å] (N, 3), (M, 3, 3).
        periodic: by axis (M, 3).
        species: element index (N,).
        order: atoms sorted by element, counted from the first of their structure (N,).
        begin: first of each element in that order, and the end (M, E + 1).
        energy: of the members [eV] (M, K).
        forces: of the mean [eV/Å] (N, 3).
        virial: of the mean [eV], Voigt order (M, 6).
        variance: of the members' force vectors (N,), or none.
        extrapolation: (M,).
    """

    first: Any
    positions: Any
    cells: Any
    periodic: Any
    species: Any
    order: Any
    begin: Any
    energy: Any
    forces: Any
    virial: Any
    variance: Any
    extrapolation: Any


@entry
def evaluate_many(model: Any, still: Any, start: int, stop: int, room: Any, result: Any) -> Any:
    """Evaluate structures from ``start`` to ``stop``; the first that was not, and why."""
    for m in range(start, stop):
        first = still.first[m]
        count = still.first[m + 1] - first
        structure = Structure(
            part_of(still.positions, first, count),
            still.cells[m],
            still.periodic[m],
            part_of(still.species, first, count),
            part_of(still.order, first, count),
            still.begin[m],
        )
        ended = evaluate(model, structure, room, result)
        if ended != DONE:
            return m, ended
        for k in range(len(result.energy)):
            still.energy[m, k] = result.energy[k]
        for place in range(6):
            still.virial[m, place] = result.virial[place]
        still.extrapolation[m] = result.extrapolation[0]
        for i in range(count):
            for a in range(3):
                still.forces[first + i, a] = result.forces[i, a]
            if len(still.variance):
                still.variance[first + i] = _variance(result.member_forces, i)
    return stop, DONE


@compiled
def _variance(forces: Any, i: Any) -> Any:
    """Unbiased variance over the members of one force vector, (K, n, 3) to a number."""
    count, summed = forces.shape[0], 0.0
    for a in range(3):
        mean = 0.0
        for k in range(count):
            mean += forces[k, i, a] / count
        for k in range(count):
            summed += (forces[k, i, a] - mean) ** 2
    return summed / (count - 1) if count > 1 else np.nan


@entry
def relax_many(model: Any, moving: Any, rules: Any, part: Any, room: Any, result: Any) -> Any:
    """Relax structures; the first that does not fit, and why.

    Args:
        model: parameters.
        moving: structures.
        rules: when to stop.
        part: first structure, the end, and the largest number of steps of each in this call.
        room: working memory.
        result: likewise.
    """
    start, stop, most = part
    for m in range(start, stop):
        if moving.status[m] == RUNNING:
            ended = advance(model, moving, m, rules, room, result, most)
            if ended != DONE:
                return m, ended
    return stop, DONE

"""What Python calls: many structures in one call, as far as they fit the room."""

from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.calling import evaluated
from potentials.kernels.compiling import compiled, entry
from potentials.kernels.relaxation import RUNNING, advance
from potentials.kernels.structure import DONE


class Still(NamedTuple):
    """What is found for a batch: M structures, N atoms, K members.

    Attributes:
        batch: the structures.
        energy: of the members [eV] (M, K).
        forces: of the mean [eV/Å] (N, 3).
        virial: of the mean [eV], Voigt order (M, 6).
        variance: of the members' force vectors (N,), or none.
        extrapolation: (M,).
    """

    batch: Any
    energy: Any
    forces: Any
    virial: Any
    variance: Any
    extrapolation: Any


@entry
def evaluate_many(evaluator: Any, still: Any, start: int, stop: int) -> Any:
    """Evaluate structures from ``start`` to ``stop``; the first that was not, and why."""
    result = evaluator.result
    for m in range(start, stop):
        ended = evaluated(evaluator, still.batch, m, 0)
        if ended != DONE:
            return m, ended
        for k in range(len(result.energy)):
            still.energy[m, k] = result.energy[k]
        for place in range(6):
            still.virial[m, place] = result.virial[place]
        still.extrapolation[m] = result.extrapolation[0]
        first = still.batch.first[m]
        for i in range(still.batch.first[m + 1] - first):
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
def relax_many(evaluator: Any, moving: Any, rules: Any, part: Any) -> Any:
    """Relax structures; the first that does not fit, and why.

    Args:
        evaluator: the model.
        moving: structures.
        rules: when to stop.
        part: first structure, the end, and the largest number of steps of each in this call.
    """
    start, stop, most = part
    for m in range(start, stop):
        if moving.status[m] == RUNNING:
            ended = advance(evaluator, moving, m, rules, most)
            if ended != DONE:
                return m, ended
    return stop, DONE

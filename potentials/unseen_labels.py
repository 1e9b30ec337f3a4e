"""What members say of labels that they have not seen, for the calibration of their spread.

Without networks, members are solved again for each fold without its labels. Networks are not
trained again: every member held some labels out for early stopping, and its linear term alone is
solved without them.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from potentials.calibration import Unseen
from potentials.linear import Row, Targets, solve, solve_without

if TYPE_CHECKING:
    from potentials.closed_form import Closed, Joined
    from potentials.dataset import DataSet


def of_folds(data: "DataSet", closed: "Closed") -> Iterator[Unseen]:
    """Members of the linear term on labels of the fold that they were solved without.

    Args:
        data: the labels.
        closed: the closed form; its labels must be in `FOLDS` folds.
    """
    n_elements, variants = len(data.scaling.mean), closed.variants(closed.blend)
    members = solve_without(closed.problem, closed.times, closed.folds, variants, n_elements)
    folds = closed.folds[closed.problem.block].tolist()
    every = torch.ones(len(closed.times), dtype=torch.bool)
    for row, target, fold in zip(closed.rows(data), data.targets, folds, strict=True):
        yield _unseen(members[fold], row, [target] * len(every), every)


def of_members(data: "DataSet", closed: "Closed", found: "Joined") -> Iterator[Unseen]:
    """Members with networks on all labels; the linear term is solved without those held out.

    Args:
        data: the labels.
        closed: the closed form.
        found: the linear term beside networks, and what these leave of the labels.
    """
    n_elements, variants = len(data.scaling.mean), closed.variants(found.blend)
    members = torch.zeros(len(closed.times), closed.problem.energy.shape[1], dtype=torch.float64)
    for place, (problem, seen) in enumerate(zip(found.problems, closed.seen, strict=False)):
        members[place] = solve(problem, seen[None], variants, n_elements)[0]
    blind = closed.kept_out[:, closed.problem.block].T
    left = zip(*found.left, strict=True)
    for row, own, mask in zip(closed.rows(data), left, blind, strict=True):
        yield _unseen(members, row, own, mask)


def _unseen(members: Tensor, row: Row, goals: Sequence[Targets], blind: Tensor) -> Unseen:
    """Errors of coefficients (K, C) against what each member should give."""
    n_atoms = row.forces.shape[0] // 3
    energy = torch.stack([goal.energy for goal in goals])
    forces = torch.stack([goal.forces for goal in goals])
    return Unseen((members @ row.energy - energy) / n_atoms, members @ row.forces.T - forces, blind)

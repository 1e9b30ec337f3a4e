"""The linear term of an ensemble: its basis is chosen, its members are solved and calibrated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potentials import selection
from potentials.calibration import Calibration, FoldMembers, cross_calibration
from potentials.dataset import DataSet
from potentials.linear import (
    Equations,
    Row,
    Split,
    Targets,
    equations,
    fold_splits,
    held_out,
    row,
    solve,
    split,
    with_targets,
)
from potentials.network import Networks
from potentials.network_training import fold_of, kept_out
from potentials.scaling import Scaling
from potentials.selection import Choice
from potentials.spec import EnsembleSpec

#: added to every Poisson count, so that no member ignores a label altogether
BOOTSTRAP_FLOOR = 0.05


@dataclass(frozen=True, eq=False, slots=True)
class LinearTerm:
    """The closed form of all members: coefficients (K, E, C) on a basis, constants (K, E)."""

    scaling: Scaling
    coefficients: Tensor
    constants: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Closed:
    """The closed form before its members are solved.

    Attributes:
        problem: equations on the basis of ``scaling``.
        scaling: with as many components as the largest basis tried.
        tried: numbers of components worth trying.
        choice: what held-out errors chose.
        folds: fold of each block (B,).
        times: how often each member counts each block (K, B).
        kept_out: blocks whose labels a member's networks do not see (K, B).
    """

    problem: Equations
    scaling: Scaling
    tried: list[int]
    choice: Choice
    folds: Tensor
    times: Tensor
    kept_out: Tensor

    def rows(self, data: DataSet) -> Iterator[Row]:
        """Columns of all structures, one by one."""
        return (row(found, self.scaling) for found in data.features)

    @property
    def seen(self) -> Tensor:
        """How often each member's networks count each block (K, B)."""
        return torch.where(self.kept_out, 0.0, self.times)

    def used(self, choice: Choice) -> Tensor:
        """Places of the coefficients that a choice uses (U,)."""
        n_elements, _, most = self.scaling.components.shape
        n_columns = self.problem.energy.shape[1]
        return selection.used_of(n_columns, choice.components, most, n_elements)

    def left_out(self) -> FoldMembers:
        """Members of fits that leave one fold out each."""
        n_elements, choice, used = len(self.scaling.mean), self.choice, self.used(self.choice)
        found = []
        for fold in range(selection.FOLDS):
            seen = self.times * (self.folds != fold)
            found.append(solve(self.problem, seen, choice.loss, choice.ridge, used, n_elements))
        return FoldMembers(torch.stack(found), self.folds, used)

    def solved(self, problems: Sequence[Equations], times: Tensor, choice: Choice) -> LinearTerm:
        """Members on their own goals, or all on the same."""
        n_elements, used = len(self.scaling.mean), self.used(choice)
        found = [
            solve(problem, own, choice.loss, choice.ridge, used, n_elements)
            for problem, own in zip(problems, times.split(len(times) // len(problems)), strict=True)
        ]
        solution = torch.cat(found)
        basis = solution[:, :-n_elements].reshape(len(times), n_elements, -1)
        return LinearTerm(self.scaling.leading(choice.components), basis, solution[:, -n_elements:])

    def member_splits(self, problems: Sequence[Equations]) -> list[Split]:
        """Each member's fit without the labels that its networks have not seen."""
        return [
            split(problem, seen, kept_out)
            for problem, seen, kept_out in zip(problems, self.seen, self.kept_out, strict=True)
            if bool(kept_out.any()) and bool((seen > 0).any())
        ]


def closed_form(spec: EnsembleSpec, data: DataSet, rng: np.random.Generator) -> Closed:
    """Sums over the data, and the basis, ridge and weights that held-out errors choose."""
    ids = data.ids
    drawn = fold_of(ids, selection.MOST_BLOCKS)
    block, folds = selection.blocks(drawn)
    n_equations = sum(1 + len(t.forces) + 6 * (t.virial is not None) for t in data.targets)
    n_elements, n_plain = data.scaling.mean.shape
    tried = [0]
    if spec.linear.enabled:
        tried = selection.candidates(spec.linear, len(ids), n_equations, n_elements, n_plain)
    scaling = data.scaling.leading(tried[-1])
    rows = (row(found, scaling) for found in data.features)
    problem = equations(rows, data.targets, data.weights, block)
    # with fewer folds nothing can be judged
    judged = spec.linear.enabled and len(folds.unique()) == selection.FOLDS
    splits = fold_splits(problem, folds) if judged else []
    choice, _ = selection.choose(splits, spec.linear, spec.loss, tried, len(ids), n_elements)
    single = problem.n_blocks == len(ids)
    # by what was drawn, not by place: a block that no label is in may get one later
    names = ids if single else [f"block {name}" for name in drawn.unique().tolist()]
    unseen = kept_out(names, spec.members, spec.network.held_out)
    times = _bootstrap(spec, problem.n_blocks, rng)
    return Closed(problem, scaling, tried, choice, folds, times, unseen)


def calibrated(
    spec: EnsembleSpec, data: DataSet, closed: Closed, given: float | None
) -> Calibration:
    """As given, or from labels that members have not seen; networks are not counted."""
    enough = len(closed.folds.unique()) == selection.FOLDS and spec.members > 1
    if given is not None or not enough or not spec.linear.enabled:
        return Calibration(given or 1.0, given or 1.0)
    return cross_calibration(closed.problem, closed.rows(data), data.targets, closed.left_out())


def no_linear(spec: EnsembleSpec, data: DataSet) -> LinearTerm:
    """Zero: the bare networks carry everything."""
    n_elements, n_plain = data.scaling.mean.shape
    zero = torch.zeros(spec.members, n_elements, n_plain, dtype=torch.float64)
    return LinearTerm(data.scaling.leading(0), zero, zero[:, :, 0])


@dataclass(frozen=True, eq=False, slots=True)
class Joined:
    """The linear term and the networks that it stands beside, with the choice that was made."""

    term: LinearTerm
    networks: Networks | None
    choice: Choice


def joined(spec: EnsembleSpec, data: DataSet, closed: Closed, networks: Networks | None) -> Joined:
    """The linear term on all labels: on what networks leave, if that is better than without them.

    Networks are trained on what the descriptors alone leave, and products are fitted after them:
    the other way round they find nothing but the noise of the products. Both ways are judged by
    labels that a member's networks have not seen.
    """
    if not spec.linear.enabled:
        return Joined(no_linear(spec, data), networks, closed.choice)
    alone = closed.choice
    if networks is None:
        return _without(closed)
    n_elements = len(data.scaling.mean)
    left = _left(data, networks)
    problems = with_targets(closed.problem, closed.rows(data), left)
    choice, errors = selection.choose(
        closed.member_splits(problems),
        spec.linear,
        alone.loss,
        closed.tried,
        len(data.ids),
        n_elements,
    )
    [others] = held_out(
        closed.member_splits([closed.problem] * spec.members),
        alone.loss,
        [alone.ridge],
        closed.used(alone),
        n_elements,
    )
    if errors is None or not selection.merit(errors, others, spec.loss):
        return _without(closed)
    return Joined(closed.solved(problems, closed.times, choice), networks, choice)


def _without(closed: Closed) -> Joined:
    """The linear term by itself."""
    term = closed.solved([closed.problem], closed.times, closed.choice)
    return Joined(term, None, closed.choice)


def _left(data: DataSet, networks: Networks) -> list[list[Targets]]:
    """What the networks of each member leave of each label."""
    found: list[list[Targets]] = [[] for _ in range(networks.weights[0].shape[1])]
    for features, targets in zip(data.features, data.targets, strict=True):
        scaled = data.scaling.apply(features.values, features.species)
        with torch.no_grad():
            energies, slopes = networks(scaled, features.species)
        pull = slopes / data.scaling.spread[features.species]
        slope = pull.flatten(1) @ features.jacobian.flatten(0, 1)
        for member, own in enumerate(found):
            own.append(targets.minus(energies[member].sum(), slope[member]))
    return found


def _bootstrap(spec: EnsembleSpec, n_blocks: int, rng: np.random.Generator) -> Tensor:
    """How often each member counts each block of labels (K, B)."""
    if spec.bootstrap == "none":
        return torch.ones(spec.members, n_blocks, dtype=torch.float64)
    counts = rng.poisson(1.0, (spec.members, n_blocks)) + BOOTSTRAP_FLOOR
    return torch.as_tensor(counts, dtype=torch.float64)

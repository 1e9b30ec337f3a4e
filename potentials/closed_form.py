"""The linear term of an ensemble: its basis is chosen, its members are solved and calibrated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potentials import selection
from potentials.calibration import Calibration, cross_calibration
from potentials.dataset import DataSet
from potentials.linear import (
    Equations,
    Row,
    Split,
    Targets,
    Variant,
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
from potentials.selection import Blend, Choice
from potentials.spec import EnsembleSpec
from potentials.unseen_labels import of_folds, of_members

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
        blend: what held-out errors chose.
        folds: fold of each block (B,).
        times: how often each member counts each block (K, B).
        kept_out: blocks whose labels a member's networks do not see (K, B).
    """

    problem: Equations
    scaling: Scaling
    tried: list[int]
    blend: Blend
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

    @property
    def choice(self) -> Choice:
        """The best of the choices."""
        return self.blend.best

    def used(self, components: int) -> Tensor:
        """Places of the coefficients of so many components (U,)."""
        n_elements, _, most = self.scaling.components.shape
        return selection.used_of(self.problem.energy.shape[1], components, most, n_elements)

    def variants(self, blend: Blend) -> list[Variant]:
        """Choices as ways to solve the equations."""
        return [
            Variant(choice.loss, choice.ridge, self.used(choice.components), share)
            for choice, share in zip(blend.choices, blend.shares, strict=True)
        ]

    def solved(self, problems: Sequence[Equations], times: Tensor, blend: Blend) -> LinearTerm:
        """Members on their own goals, or all on the same."""
        n_elements, used = len(self.scaling.mean), self.used(blend.components)
        found = [
            solve(problem, own, self.variants(blend), n_elements)
            for problem, own in zip(problems, times.split(len(times) // len(problems)), strict=True)
        ]
        solution = torch.cat(found)[:, used]
        basis = solution[:, :-n_elements].reshape(len(times), n_elements, -1)
        return LinearTerm(self.scaling.leading(blend.components), basis, solution[:, -n_elements:])

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
    blend, _ = selection.choose(splits, spec.linear, spec.loss, tried, len(ids), n_elements)
    single = problem.n_blocks == len(ids)
    # by what was drawn, not by place: a block that no label is in may get one later
    names = ids if single else [f"block {name}" for name in drawn.unique().tolist()]
    unseen = kept_out(names, spec.members, spec.network.held_out)
    times = _bootstrap(spec, problem.n_blocks, rng)
    return Closed(problem, scaling, tried, blend, folds, times, unseen)


def calibrated(
    spec: EnsembleSpec, data: DataSet, closed: Closed, found: "Joined", given: float | None
) -> Calibration:
    """As given, or from labels that members have not seen, as far as there are any.

    Args:
        spec: the settings.
        data: the labels.
        closed: the closed form.
        found: the linear term and the networks.
        given: factor from spread to error, or None.
    """
    alike = spec.bootstrap == "none" and found.networks is None
    if given is not None or spec.members == 1 or alike:
        return Calibration(given or 1.0, given or 1.0)
    if found.networks is not None:
        return cross_calibration(of_members(data, closed, found))
    enough = len(closed.folds.unique()) == selection.FOLDS and spec.linear.enabled
    return cross_calibration(of_folds(data, closed) if enough else ())


def no_linear(spec: EnsembleSpec, data: DataSet) -> LinearTerm:
    """Zero: the bare networks carry everything."""
    n_elements, n_plain = data.scaling.mean.shape
    zero = torch.zeros(spec.members, n_elements, n_plain, dtype=torch.float64)
    return LinearTerm(data.scaling.leading(0), zero, zero[:, :, 0])


@dataclass(frozen=True, eq=False, slots=True)
class Joined:
    """The linear term and the networks that it stands beside, with the choice that was made.

    Attributes:
        term: the linear term.
        networks: or None.
        blend: the choice.
        left: what the networks of each member leave of each label; empty without them.
        problems: equations of each member for what is left; empty where one term is missing.
    """

    term: LinearTerm
    networks: Networks | None
    blend: Blend
    left: Sequence[Sequence[Targets]] = ()
    problems: Sequence[Equations] = ()


def joined(spec: EnsembleSpec, data: DataSet, closed: Closed, networks: Networks | None) -> Joined:
    """The linear term on all labels: on what networks leave, if that is better than without them.

    Networks are trained on what the descriptors alone leave, and products are fitted after them:
    the other way round they find nothing but the noise of the products. Both ways are judged by
    labels that a member's networks have not seen.
    """
    if not spec.linear.enabled:
        left = [] if networks is None else _left(data, networks)
        return Joined(no_linear(spec, data), networks, closed.blend, left)
    alone = closed.choice
    if networks is None:
        return _without(closed)
    n_elements = len(data.scaling.mean)
    left = _left(data, networks)
    problems = with_targets(closed.problem, closed.rows(data), left)
    blend, errors = selection.choose(
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
        closed.used(alone.components),
        n_elements,
    )
    if errors is None or not selection.merit(errors, others, spec.loss):
        return _without(closed)
    term = closed.solved(problems, closed.times, blend)
    return Joined(term, networks, blend, left, problems)


def _without(closed: Closed) -> Joined:
    """The linear term by itself."""
    term = closed.solved([closed.problem], closed.times, closed.blend)
    return Joined(term, None, closed.blend)


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

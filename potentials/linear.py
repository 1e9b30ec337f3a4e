"""The linear term: ridge regression on energies, forces and stresses in closed form.

Members differ only in how often they count each block of labels, and a smaller basis is a part of
a larger one, so that all fits and all cross-validation are solved from the same sums.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from potentials.basis import expand, size
from potentials.features import Features
from potentials.scaling import Scaling
from potentials.spec import LossWeights

#: ridge on the constants, relative to that on the descriptors: they must stay free
CONSTANT_RIDGE = 1e-4


@dataclass(frozen=True, eq=False, slots=True)
class Targets:
    """What a model should reproduce for one structure.

    Attributes:
        energy: total energy without reference energies [eV].
        forces: (3N,) [eV/Å].
        virial: V * stress in Voigt order (6,) [eV], or None where the stress is not known.
    """

    energy: Tensor
    forces: Tensor
    virial: Tensor | None

    def minus(self, energy: Tensor, slope: Tensor) -> "Targets":
        """What another term leaves, given its energy and derivatives (3N + 6,)."""
        virial = None if self.virial is None else self.virial - slope[-6:]
        return Targets(self.energy - energy, self.forces + slope[:-6], virial)


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One structure's columns: energy (C,), forces (3N, C) and virial (6, C) by coefficient."""

    energy: Tensor
    forces: Tensor
    virial: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Equations:
    """Weighted least squares for F structures in B blocks, C coefficients.

    Energies and virials, few, are kept by structure and per atom; forces as sums over blocks.

    Attributes:
        energy: columns (F, C).
        energy_goal: (F,).
        virial: columns (F, 6, C), zero where the stress is not known.
        virial_goal: (F, 6).
        with_virial: whether the stress is known (F,).
        force_left: sum of weight / 3N * X^T X (B, C, C).
        force_right: sum of weight / 3N * X^T y (B, C).
        force_square: sum of weight / 3N * y^T y (B,).
        weights: of the structures (F,).
        block: of each structure (F,).
    """

    energy: Tensor
    energy_goal: Tensor
    virial: Tensor
    virial_goal: Tensor
    with_virial: Tensor
    force_left: Tensor
    force_right: Tensor
    force_square: Tensor
    weights: Tensor
    block: Tensor

    @property
    def n_blocks(self) -> int:
        """Number of blocks B."""
        return len(self.force_left)


@dataclass(frozen=True, slots=True)
class Errors:
    """Root of weighted mean squares: energy [eV/atom], forces [eV/Å], virial [eV/atom]."""

    energy: float
    forces: float
    virial: float


def row(found: Features, scaling: Scaling) -> Row:
    """Columns of one structure: basis functions by element (E, C'), then constants (E)."""
    n_elements = len(scaling.mean)
    scaled = scaling.apply(found.values, found.species)
    jacobian = found.jacobian / scaling.spread[found.species][:, :, None]
    member = torch.nn.functional.one_hot(found.species, n_elements).to(scaled)
    basis, slope = expand(scaled, jacobian, member, scaling)
    energy = torch.cat([basis.flatten(), member.sum(dim=0)])
    slope = slope.flatten(0, 1)
    slope = torch.cat([slope, slope.new_zeros(n_elements, slope.shape[1])]).T
    return Row(energy, -slope[:-6], slope[-6:])


def equations(
    rows: Iterable[Row], targets: Sequence[Targets], weights: Tensor, block: Tensor
) -> Equations:
    """Sums over all structures; rows are taken one by one and not kept.

    Args:
        rows: columns of each structure.
        targets: what to reproduce, F entries.
        weights: how much each structure counts (F,).
        block: block of each structure, 0 to B - 1 (F,).
    """
    n_blocks = int(block.max()) + 1
    energy, virial, known, left, right = [], [], [], None, None
    square = weights.new_zeros(n_blocks)
    for index, (own, goal) in enumerate(zip(rows, targets, strict=True)):
        if left is None or right is None:
            left = weights.new_zeros(n_blocks, len(own.energy), len(own.energy))
            right = weights.new_zeros(n_blocks, len(own.energy))
        n_atoms, place = len(goal.forces) / 3, int(block[index])
        share = weights[index] / len(goal.forces)
        left[place].addmm_(own.forces.T * share, own.forces)
        right[place].addmv_(own.forces.T, goal.forces * share)
        square[place] += share * goal.forces.square().sum()
        energy.append(own.energy / n_atoms)
        known.append(goal.virial is not None)
        virial.append(own.virial / n_atoms * known[-1])
    if left is None or right is None:
        raise ValueError("equations need at least one structure")
    energy_goal, virial_goal = _goals(targets, weights)
    return Equations(
        energy=torch.stack(energy),
        energy_goal=energy_goal,
        virial=torch.stack(virial),
        virial_goal=virial_goal,
        with_virial=torch.tensor(known),
        force_left=left,
        force_right=right,
        force_square=square,
        weights=weights,
        block=block,
    )


def with_targets(
    problem: Equations, rows: Iterable[Row], targets: Sequence[Sequence[Targets]]
) -> list[Equations]:
    """The same equations with other goals, for every member.

    Args:
        problem: the equations.
        rows: those that the equations were made of.
        targets: what to reproduce, by member and structure.
    """
    right = problem.force_right.new_zeros(len(targets), *problem.force_right.shape)
    square = problem.force_square.new_zeros(len(targets), problem.n_blocks)
    for index, own in enumerate(rows):
        goal = torch.stack([member[index].forces for member in targets])
        place, share = int(problem.block[index]), problem.weights[index] / goal.shape[1]
        right[:, place] += share * (goal @ own.forces)
        square[:, place] += share * goal.square().sum(dim=1)
    found = []
    for member, own_right, own_square in zip(targets, right, square, strict=True):
        energy, virial = _goals(member, problem.weights)
        found.append(
            replace(
                problem,
                energy_goal=energy,
                virial_goal=virial,
                force_right=own_right,
                force_square=own_square,
            )
        )
    return found


def _goals(targets: Sequence[Targets], like: Tensor) -> tuple[Tensor, Tensor]:
    """Energies (F,) and virials (F, 6) per atom; zero where the stress is not known."""
    count = like.new_tensor([len(goal.forces) / 3 for goal in targets])
    zero = like.new_zeros(6)
    virial = torch.stack([zero if t.virial is None else t.virial for t in targets])
    return torch.stack([t.energy for t in targets]) / count, virial / count[:, None]


def used_columns(n_elements: int, n_plain: int, most: int, components: int) -> Tensor:
    """Places of the coefficients of a basis with fewer components among all (U,)."""
    per_element = size(n_plain, most)
    own = torch.arange(size(n_plain, components))
    basis = (torch.arange(n_elements)[:, None] * per_element + own).flatten()
    return torch.cat([basis, n_elements * per_element + torch.arange(n_elements)])


@dataclass(frozen=True, eq=False, slots=True)
class Sums:
    """Weighted sums over some blocks, for energies, forces and virials in this order.

    Attributes:
        left: X^T X (3, C, C).
        right: X^T y (3, C).
        square: y^T y (3,).
        weight: sum of weights (3,).
    """

    left: Tensor
    right: Tensor
    square: Tensor
    weight: Tensor


def sums(problem: Equations, times: Tensor) -> Sums:
    """Sums with every block counted so many times (B,)."""
    counted = times[problem.block] * problem.weights
    known = counted * problem.with_virial
    energy = _products(problem.energy, problem.energy_goal, counted)
    virial = _products(
        problem.virial.flatten(0, 1),
        problem.virial_goal.flatten(),
        (known / 6.0).repeat_interleave(6),
    )
    forces_left = torch.zeros_like(problem.force_left[0])
    for own, count in zip(problem.force_left, times.tolist(), strict=True):
        if count:
            forces_left.add_(own, alpha=count)
    forces = (forces_left, problem.force_right.T @ times, problem.force_square @ times)
    left, right, square = (torch.stack(part) for part in zip(energy, forces, virial, strict=True))
    return Sums(left, right, square, torch.stack([counted.sum(), counted.sum(), known.sum()]))


def _products(columns: Tensor, goal: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    own = torch.nonzero(weights).squeeze(1)
    columns, goal, weights = columns[own], goal[own], weights[own]
    weighted = columns.T * weights
    return weighted @ columns, weighted @ goal, weights @ goal.square()


def fold_sums(problem: Equations, times: Tensor, folds: Tensor) -> list[Sums]:
    """Sums over the blocks of each fold, every block counted so many times (B,)."""
    return [sums(problem, torch.where(folds == name, times, 0.0)) for name in folds.unique()]


def _others(parts: Sequence[Sums], place: int) -> Sums:
    """The sum of all parts but one: added up, because a difference would keep its rounding."""
    [first, *rest] = [one for index, one in enumerate(parts) if index != place]
    left, right = first.left.clone(), first.right.clone()
    square, weight = first.square.clone(), first.weight.clone()
    for one in rest:
        left += one.left
        right += one.right
        square += one.square
        weight += one.weight
    return Sums(left, right, square, weight)


def _system(given: Sums, loss: LossWeights, used: Tensor) -> tuple[Tensor, Tensor]:
    """Left (U, U) and right (U,) side for some weights of the loss."""
    parts = given.weight.new_tensor([loss.energy, loss.forces, loss.virial]) / given.weight[0]
    left = torch.einsum("p,pcd->cd", parts, given.left)
    return _rows_and_columns(left, used), parts @ given.right[:, used]


def _rows_and_columns(left: Tensor, used: Tensor) -> Tensor:
    """Those in use of the last two axes; large, so not copied where all are."""
    return left if len(used) == left.shape[-1] else left[..., used, :][..., used]


@dataclass(frozen=True, eq=False, slots=True)
class Variant:
    """One way to solve the equations.

    Attributes:
        loss: weights of energies, forces and virials.
        ridge: ridge parameter on scaled descriptors; constants are nearly free.
        used: places of the coefficients in use (U,).
        share: of its solution in the whole.
    """

    loss: LossWeights
    ridge: float
    used: Tensor
    share: float = 1.0


def solve(
    problem: Equations, times: Tensor, variants: Sequence[Variant], n_elements: int
) -> Tensor:
    """Coefficients of every member by ridge regression, the mean over variants (K, C).

    The weights of a member are normalised to sum one, so that a ridge means the same for any
    number of labels. Coefficients that no variant uses are zero.

    Args:
        problem: the equations.
        times: how often each member counts each block (K, B).
        variants: ways to solve them, whose shares sum to one.
        n_elements: number of constants, the last columns.
    """
    return torch.stack([_solved(sums(problem, own), variants, n_elements) for own in times])


def solve_without(
    problem: Equations,
    times: Tensor,
    folds: Tensor,
    variants: Sequence[Variant],
    n_elements: int,
) -> Tensor:
    """As `solve`, of every member without the labels of each fold in turn (folds, K, C).

    Args:
        problem: the equations.
        times: how often each member counts each block (K, B).
        folds: the fold of each block (B,).
        variants: ways to solve them, whose shares sum to one.
        n_elements: number of constants, the last columns.
    """
    members = []
    for own in times:
        parts = fold_sums(problem, own, folds)
        others = (_others(parts, place) for place in range(len(parts)))
        members.append(torch.stack([_solved(one, variants, n_elements) for one in others]))
    return torch.stack(members, dim=1)


def _solved(given: Sums, variants: Sequence[Variant], n_elements: int) -> Tensor:
    """The mean over variants of the coefficients of one fit (C,)."""
    found = torch.zeros_like(given.right[0])
    systems: dict[tuple[LossWeights, int], tuple[Tensor, Tensor]] = {}
    for one in variants:
        # a smaller basis is a part of a larger one, so that its size says which it is
        key = (one.loss, len(one.used))
        if key not in systems:
            systems[key] = _system(given, one.loss, one.used)
        found[one.used] += one.share * _ridge(*systems[key], one.ridge, n_elements)
    return found


def _ridge(left: Tensor, right: Tensor, ridge: float, n_elements: int) -> Tensor:
    """Solution of (left + ridge) c = right (U,)."""
    penalty = torch.full((len(right),), ridge, dtype=right.dtype)
    penalty[-n_elements:] *= CONSTANT_RIDGE
    firm = left.clone()
    firm.diagonal().add_(penalty)
    factor, failed = torch.linalg.cholesky_ex(firm)
    if int(failed):
        # a ridge below the rounding of the sums leaves them short of positive
        solution: Tensor = torch.linalg.solve(firm, right)
        return solution
    return torch.cholesky_solve(right[:, None], factor).squeeze(1)


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """Sums that a fit is made from, and sums over what it has not seen, by which it is judged."""

    seen: Sums
    judged: Sums


def split(problem: Equations, times: Tensor, judged: Tensor) -> Split:
    """A fit that counts blocks so many times (B,) and is judged by others (B,), as a mask."""
    return Split(sums(problem, times), sums(problem, judged.to(torch.float64)))


def fold_splits(problem: Equations, folds: Tensor) -> list[Split]:
    """A fit for every fold, which has not seen it.

    Args:
        problem: the equations.
        folds: the fold of each block (B,).
    """
    parts = fold_sums(problem, torch.ones(len(folds), dtype=torch.float64), folds)
    return [Split(_others(parts, place), part) for place, part in enumerate(parts)]


def held_out(
    splits: Sequence[Split],
    loss: LossWeights,
    ridges: Sequence[float],
    used: Tensor,
    n_elements: int,
) -> list[Errors]:
    """Errors, for every ridge, of all fits on what they have not seen.

    Args:
        splits: the fits.
        loss: weights of energies, forces and virials.
        ridges: ridge parameters.
        used: places of the coefficients in use (U,).
        n_elements: number of constants, the last columns.
    """
    squares = torch.zeros(len(ridges), 3, dtype=torch.float64)
    weight = torch.zeros(3, dtype=torch.float64)
    for own in splits:
        left, right = _system(own.seen, loss, used)
        weight += own.judged.weight
        found = torch.stack([_ridge(left, right, ridge, n_elements) for ridge in ridges], dim=1)
        # all ridges at once: the sums are much larger than the solutions
        quadratic = ((_rows_and_columns(own.judged.left, used) @ found) * found).sum(dim=1)
        linear = own.judged.right[:, used] @ found
        squares += (quadratic - 2.0 * linear + own.judged.square[:, None]).T
    roots = (squares.clamp(min=0.0) / weight.clamp(min=1e-300)).sqrt()
    return [Errors(*row) for row in roots.tolist()]


def reference_energies(counts: Tensor, energies: Tensor, weights: Tensor) -> Tensor:
    """Energy per atom of each element by weighted least squares of least norm (E,).

    Args:
        counts: atoms of each element in each structure (F, E).
        energies: total energies [eV] (F,).
        weights: weight of each structure (F,).
    """
    scale = (weights.sqrt() / counts.sum(dim=1))[:, None]
    solution: Tensor = torch.linalg.pinv(counts * scale) @ (energies[:, None] * scale).squeeze(1)
    return solution

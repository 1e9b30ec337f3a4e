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


def with_targets(problem: Equations, rows: Iterable[Row], targets: Sequence[Targets]) -> Equations:
    """The same equations with other goals; rows are those that the equations were made of."""
    right = torch.zeros_like(problem.force_right)
    square = torch.zeros_like(problem.force_square)
    for index, (own, goal) in enumerate(zip(rows, targets, strict=True)):
        place, share = int(problem.block[index]), problem.weights[index] / len(goal.forces)
        right[place].addmv_(own.forces.T, goal.forces * share)
        square[place] += share * goal.forces.square().sum()
    energy, virial = _goals(targets, problem.weights)
    return replace(
        problem, energy_goal=energy, virial_goal=virial, force_right=right, force_square=square
    )


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


def solve(
    problem: Equations,
    times: Tensor,
    loss: LossWeights,
    ridge: float,
    used: Tensor,
    n_elements: int,
) -> Tensor:
    """Coefficients in use, of every member, by ridge regression (K, U).

    The weights of a member are normalised to sum one, so that ``ridge`` means the same for any
    number of labels.

    Args:
        problem: the equations.
        times: how often each member counts each block (K, B).
        loss: weights of energies, forces and virials.
        ridge: ridge parameter on scaled descriptors; constants are nearly free.
        used: places of the coefficients in use (U,).
        n_elements: number of constants, the last columns.
    """
    members = [_normal(problem, own, loss, used) for own in times]
    return torch.stack([_ridge(left, right, ridge, n_elements) for left, right in members])


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


def _normal(
    problem: Equations, times: Tensor, loss: LossWeights, used: Tensor
) -> tuple[Tensor, Tensor]:
    """X^T X (U, U) and X^T y (U,) of one member."""
    counted = times[problem.block] * problem.weights
    total = counted.sum()
    every = len(used) == problem.energy.shape[1]
    left = used.new_zeros(len(used), len(used), dtype=torch.float64)
    for own, share in zip(problem.force_left, times * (loss.forces / total), strict=True):
        if share:
            left.add_(own if every else own[used][:, used], alpha=float(share))
    right = problem.force_right[:, used].T @ (times * (loss.forces / total))
    energy, virial = problem.energy[:, used], problem.virial[:, :, used].flatten(0, 1)
    of_energy = counted * (loss.energy / total)
    of_virial = (counted * problem.with_virial * (loss.virial / 6 / total)).repeat_interleave(6)
    left.addmm_(energy.T * of_energy, energy).addmm_(virial.T * of_virial, virial)
    right = right + energy.T @ (of_energy * problem.energy_goal)
    return left, right + virial.T @ (of_virial * problem.virial_goal.flatten())


def errors(problem: Equations, coefficients: Tensor, used: Tensor, blocks: Tensor) -> Tensor:
    """Sums of weighted squares of what one member leaves in some blocks, and of weights (2, 3)."""
    own = torch.isin(problem.block, blocks)
    weights, known = problem.weights[own], problem.with_virial[own]
    energy = problem.energy[own][:, used] @ coefficients - problem.energy_goal[own]
    virial = problem.virial[own][:, :, used] @ coefficients - problem.virial_goal[own]
    forces = torch.zeros((), dtype=torch.float64)
    every = len(used) == problem.energy.shape[1]
    for place in blocks.tolist():
        left = problem.force_left[place] if every else problem.force_left[place][used][:, used]
        forces += coefficients @ (left @ coefficients) + problem.force_square[place]
        forces -= 2.0 * problem.force_right[place, used] @ coefficients
    squares = [
        (weights * energy.square()).sum(),
        forces.clamp(min=0.0),
        (weights * known * virial.square().mean(dim=1)).sum(),
    ]
    total = weights.sum()
    return torch.stack([torch.stack(squares), torch.stack([total, total, (weights * known).sum()])])


def held_out(
    problem: Equations,
    folds: Tensor,
    loss: LossWeights,
    ridges: Sequence[float],
    used: Tensor,
    n_elements: int,
) -> list[Errors]:
    """Errors, for every ridge, on every block by a fit that has not seen its fold.

    Args:
        problem: the equations.
        folds: the fold of each block (B,).
        loss: weights of energies, forces and virials.
        ridges: ridge parameters.
        used: places of the coefficients in use (U,).
        n_elements: number of constants, the last columns.
    """
    total = torch.zeros(len(ridges), 2, 3, dtype=torch.float64)
    for name in folds.unique():
        left, right = _normal(problem, (folds != name).to(torch.float64), loss, used)
        own = torch.nonzero(folds == name).flatten()
        for place, ridge in enumerate(ridges):
            coefficients = _ridge(left, right, ridge, n_elements)
            total[place] += errors(problem, coefficients, used, own)
    roots = (total[:, 0] / total[:, 1].clamp(min=1e-300)).sqrt()
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

"""The linear term: ridge regression on energies, forces and stresses in closed form.

Members differ only in how much they count each label, so that all are solved from the same
products in milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """One structure as weighted equations design @ coefficients = goal; (R, C) and (R,)."""

    design: Tensor
    goal: Tensor

    def minus(self, energy: Tensor, slope: Tensor, scale: Tensor) -> Tensor:
        """The goal that another term leaves (R,).

        Args:
            energy: that term's energy [eV].
            slope: its derivatives by position and strain (3N + 6,).
            scale: weights of the equations as `row_scale` gives them (R,).
        """
        rows = torch.cat([energy.reshape(1), -slope[:-6], slope[-6:]])[: len(scale)]
        return self.goal - rows * scale


def columns(found: Features, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Energy (E C + E,) and its derivatives (3N + 6, E C + E) per unit of every coefficient.

    Columns: basis functions by element (E, C), then the constants of the elements (E).
    """
    n_elements = len(scaling.mean)
    scaled = scaling.apply(found.values, found.species)
    jacobian = found.jacobian / scaling.spread[found.species][:, :, None]
    member = torch.nn.functional.one_hot(found.species, n_elements).to(scaled)
    basis, moves = expand(scaled, jacobian, found.species, scaling)
    energy = torch.cat([(member.T @ basis).flatten(), member.sum(dim=0)])
    slope = torch.einsum("ne,ncx->xec", member, moves).flatten(1)
    return energy, torch.cat([slope, slope.new_zeros(len(slope), n_elements)], dim=1)


def row_scale(n_atoms: int, loss: LossWeights, *, stress: bool) -> Tensor:
    """Weights of the equations of one structure: energy, 3N forces, 6 virials if known (R,)."""
    parts = [(1, loss.energy**0.5 / n_atoms), (3 * n_atoms, (loss.forces / (3 * n_atoms)) ** 0.5)]
    if stress:
        parts.append((6, (loss.virial / 6) ** 0.5 / n_atoms))
    return torch.cat([torch.full((count,), weight, dtype=torch.float64) for count, weight in parts])


def rows(found: Features, targets: Targets, scaling: Scaling, loss: LossWeights) -> Rows:
    """One structure's equations for the loss (dE/n)^2 + <dF^2> + <(dVirial/n)^2>."""
    energy, slope = columns(found, scaling)
    stress = targets.virial is not None
    scale = row_scale(len(found.species), loss, stress=stress)
    design = torch.cat([energy[None, :], -slope[:-6], slope[-6:]])[: len(scale)]
    parts = [targets.energy.reshape(1), targets.forces]
    if targets.virial is not None:
        parts.append(targets.virial)
    return Rows(design * scale[:, None], torch.cat(parts) * scale)


def solve(
    equations: Sequence[Rows],
    weights: Tensor,
    ridge: float,
    n_elements: int,
    goals: Sequence[Sequence[Tensor]] | None = None,
) -> Tensor:
    """Coefficients of every member (K, C) by ridge regression.

    The weights of a member are normalised to sum one, so that ``ridge`` means the same for any
    number of labels.

    Args:
        equations: one entry per structure, F in all.
        weights: how much each member counts each structure (K, F).
        ridge: ridge parameter on scaled descriptors; constants are nearly free.
        n_elements: number of constants, the last columns.
        goals: right sides by member and structure instead of the equations' own.
    """
    share = weights / weights.sum(dim=1, keepdim=True)
    left, right = _normal_equations(equations, share)
    if goals is not None:
        right = torch.stack(
            [
                sum(
                    (s * (r.design.T @ g) for s, r, g in zip(mine, equations, own, strict=True)),
                    start=torch.zeros(left.shape[-1], dtype=left.dtype),
                )
                for mine, own in zip(share, goals, strict=True)
            ]
        )
    solution: Tensor = torch.linalg.solve(left + _penalty(left, ridge, n_elements), right)
    return solution


def _normal_equations(equations: Sequence[Rows], share: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of X^T X (K, C, C) and X^T y (K, C) over the structures."""
    design = torch.cat([r.design for r in equations])
    goal = torch.cat([r.goal for r in equations])
    count = torch.tensor([len(r.goal) for r in equations])
    weighted = [design.T * torch.repeat_interleave(own, count) for own in share]
    return torch.stack([w @ design for w in weighted]), torch.stack([w @ goal for w in weighted])


def _penalty(left: Tensor, ridge: float, n_elements: int) -> Tensor:
    """The ridge as a matrix (C, C)."""
    penalty = left.new_full((left.shape[-1],), ridge)
    penalty[-n_elements:] *= CONSTANT_RIDGE
    return torch.diag(penalty)


def without_products(equations: Sequence[Rows], scaling: Scaling) -> list[Rows]:
    """The equations with all products of descriptors left out (their coefficients become zero)."""
    n_elements, n_plain = scaling.mean.shape
    used = torch.zeros(n_elements, size(scaling), dtype=torch.float64)
    used[:, :n_plain] = 1.0
    mask = torch.cat([used.flatten(), torch.ones(n_elements, dtype=torch.float64)])
    return [Rows(r.design * mask, r.goal) for r in equations]


def held_out_loss(
    equations: Sequence[Rows], weights: Tensor, folds: Tensor, ridge: float, n_elements: int
) -> float:
    """Weighted mean loss of every structure by a fit that has not seen its fold.

    Args:
        equations: one entry per structure, F in all.
        weights: how much each structure counts (F,).
        folds: the fold of each structure (F,).
        ridge: ridge parameter.
        n_elements: number of constants, the last columns.
    """
    names = folds.unique()
    seen = (folds[None, :] != names[:, None]).to(weights) * weights
    total = 0.0
    for solution, fold in zip(solve(equations, seen, ridge, n_elements), names, strict=True):
        for index in torch.nonzero(folds == fold).flatten().tolist():
            left = equations[index].goal - equations[index].design @ solution
            total += float(weights[index] * (left**2).sum())
    return total / float(weights.sum())


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

"""Derivatives of all symmetry functions by all pair vectors, for training.

Differentiating one component after the other would go through all triplets as many times as there
are components. Here they are written out: with p and q two neighbours of an atom, d their
distance, c the cosine between them, R = rho(r_p) rho(r_q) gamma(d) and A(c) the factors of a
function,

    d(R A)/d(v_p) = v_p [A (rho'(r_p) rho(r_q) gamma / r_p + rho rho gamma' / d) - A' R c / r_p^2]
                  + v_q [-A rho rho gamma' / d + A' R / (r_p r_q)]

so that the sum over q of all functions is a few matrix products per neighbour p.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from potentials.moment_tensors import moments
from potentials.symmetry_functions import Plan, gaussians, triplets


def slopes(
    plan: Plan, vectors: Tensor, first: Tensor, neighbour: Tensor, species: Tensor
) -> Tensor:
    """Derivatives of the components of each pair's first atom by the pair vector (P, D, 3) [1/Å].

    Args:
        plan: what to compute.
        vectors: from an atom to its neighbour [Å] (P, 3).
        first: index of the atom of each pair (P,).
        neighbour: element index of the neighbour of each pair (P,).
        species: element index of every atom (N,).
    """
    n_pairs, n_elements = len(vectors), len(plan.table)
    distance = torch.linalg.vector_norm(vectors, dim=1)
    _, by_distance = _with_slope(lambda r: gaussians(plan.radial, r, plan.envelope), distance)
    by_vector = by_distance[:, :, None] * (vectors / distance[:, None])[:, None, :]
    radial = by_vector.new_zeros(n_pairs, n_elements, len(plan.radial), 3)
    radial[torch.arange(n_pairs, device=vectors.device), neighbour] = by_vector
    parts = [radial.flatten(1, 2)]
    if plan.angles:
        parts.extend(_angular(plan, vectors, distance, first, neighbour))
    flat = torch.cat([*parts, radial.new_zeros(n_pairs, 1, 3)], dim=1)
    table = torch.tensor(plan.table, dtype=torch.int64, device=vectors.device)
    place = table.reshape(n_elements, -1)[species[first]]
    return flat.gather(1, place[:, :, None].expand(-1, -1, 3))


def _with_slope(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, F) of functions of one number each and their derivatives (N, F)."""
    with torch.enable_grad():
        given = x.detach().requires_grad_()
        values = function(given)
        columns = [
            torch.autograd.grad(values[:, f].sum(), given, retain_graph=True)[0]
            for f in range(values.shape[1])
        ]
    return values.detach(), torch.stack(columns, 1) if columns else torch.zeros_like(values)


def _angular(
    plan: Plan, vectors: Tensor, distance: Tensor, first: Tensor, neighbour: Tensor
) -> list[Tensor]:
    """Of every unordered element pair in order, each (P, factors * angles, 3)."""
    reach = max(f.radius for f in (*plan.narrow, *plan.wide))
    near = torch.nonzero(distance < reach).flatten()
    both = (*plan.narrow, *plan.wide)
    rho, drho = _with_slope(lambda r: gaussians(both, r, plan.envelope), distance)
    one, other = triplets(first[near])
    p, q = near[torch.cat([one, other])], near[torch.cat([other, one])]
    n_elements = len(plan.table)
    low, high = torch.minimum(neighbour[p], neighbour[q]), torch.maximum(neighbour[p], neighbour[q])
    parts = []
    for a in range(n_elements):
        for b in range(a, n_elements):
            own = torch.nonzero((low == a) & (high == b)).flatten()
            parts.append(_one_couple(plan, vectors, distance, rho, drho, (p[own], q[own])))
    return parts


def _one_couple(
    plan: Plan,
    vectors: Tensor,
    distance: Tensor,
    rho: Tensor,
    drho: Tensor,
    couple: tuple[Tensor, Tensor],
) -> Tensor:
    """The sum over q of the formula above, for all factors and angles (P, factors * angles, 3)."""
    p, q = couple
    n_pairs, n_wide = len(vectors), len(plan.wide)
    r_p, r_q = distance[p, None], distance[q, None]
    third = torch.linalg.vector_norm(vectors[q] - vectors[p], dim=1)
    gamma, dgamma = _with_slope(lambda r: gaussians(plan.narrow, r, plan.envelope), third)
    gamma = torch.cat([gamma, gamma.new_ones(len(p), n_wide)], dim=1)
    dgamma = torch.cat([dgamma / third[:, None], gamma.new_zeros(len(p), n_wide)], dim=1)
    product = rho[p] * rho[q]
    cosine = (vectors[p] * vectors[q]).sum(dim=1, keepdim=True) / (r_p * r_q)
    turn, bend = _angles(plan, cosine)
    closing = product * dgamma
    radial = product * gamma
    along = moments(drho[p] * rho[q] * gamma / r_p + closing, turn, p, n_pairs)
    along = along + moments(radial, -bend * cosine / r_p**2, p, n_pairs)
    across = moments(-closing, _times(turn, vectors[q]), p, n_pairs)
    across = across + moments(radial, _times(bend / (r_p * r_q), vectors[q]), p, n_pairs)
    along = along.flatten(1)[:, :, None] * vectors[:, None, :]
    return along + across.reshape(*along.shape[:2], 3)


def _times(factors: Tensor, vectors: Tensor) -> Tensor:
    """All products of factors (T, A) and components of vectors (T, 3), (T, 3 A)."""
    return (factors[:, :, None] * vectors[:, None, :]).flatten(1)


def _angles(plan: Plan, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """All angular factors of cosines (T, 1) and their derivatives, each (T, A)."""
    values, derivatives = [], []
    for angle in plan.angles:
        base = (1.0 + angle.lam * cosine[:, 0]).clamp(min=0.0)
        scale = plan.factor * 2.0 ** (1.0 - angle.zeta)
        below = scale * base ** (angle.zeta - 1.0)
        values.append(below * base)
        derivatives.append(angle.lam * angle.zeta * below)
    return torch.stack(values, 1), torch.stack(derivatives, 1)

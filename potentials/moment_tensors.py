"""The mathematics of the moment descriptor: radial functions, moment tensors, invariants.

Tensors are stored as their distinct monomials x^a y^b z^c; the multiplicity of each enters where
two tensors are contracted (Shapeev, doi:10.1137/15M1054183).
"""

from functools import lru_cache
from math import factorial

import torch
from torch import Tensor

#: half width of a radial function in units of the distance between their centres
OVERLAP = 3.5


def shells(distance: Tensor, cutoff: float, count: int) -> Tensor:
    """Smooth local functions (1 - ((r - c)/w)^2)^3 on evenly spaced centres c (P, count).

    Local, because a fit must not have leverage where no data are: polynomials over the whole range
    (Chebyshev, say) fit the same labels and fall off a cliff at distances shorter than any
    labelled one, which is where a relaxation then goes.
    """
    gap = cutoff / (count + 1)
    centres = gap * torch.arange(1, count + 1, dtype=distance.dtype, device=distance.device)
    inside = 1.0 - ((distance[:, None] - centres) / (OVERLAP * gap)) ** 2
    return inside.clamp(min=0.0) ** 3


def moments(local: Tensor, directions: Tensor, slot: Tensor, n_slots: int) -> Tensor:
    """Sum over the neighbours of each slot of local x direction monomials (n_slots, A, L).

    Neighbours are laid out as a dense block per slot so that the sum is one batched matrix
    product and the outer product of every pair is never stored.
    """
    counts = torch.bincount(slot, minlength=n_slots)
    order = torch.argsort(slot, stable=True)
    sorted_slot = slot[order]
    start = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(slot), device=slot.device) - start[sorted_slot]
    width = int(counts.max()) if len(slot) else 0
    place = (sorted_slot, rank)
    left = local.new_zeros(n_slots, width, local.shape[1]).index_put(place, local[order])
    right = local.new_zeros(n_slots, width, directions.shape[1]).index_put(place, directions[order])
    return torch.bmm(left.transpose(1, 2), right)


def invariants(moments: Tensor, degree: int) -> Tensor:
    """Legendre invariants by unordered element pair, width and degree (n_atoms, pairs*A*(l+1))."""
    n_elements = moments.shape[1]
    upper = torch.triu_indices(n_elements, n_elements, device=moments.device)
    products = moments[:, upper[0]] * moments[:, upper[1]]
    contraction = _contraction(degree).to(moments)
    return (products @ contraction).flatten(1)


@lru_cache(maxsize=8)
def _exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents of the monomials x^a y^b z^c of degree 0, 1, ..., ``degree``."""
    return tuple(
        (a, b, total - a - b)
        for total in range(degree + 1)
        for a in range(total, -1, -1)
        for b in range(total - a, -1, -1)
    )


@lru_cache(maxsize=8)
def _recursion(degree: int) -> tuple[tuple[list[int], list[int]], ...]:
    """For each degree above 0: index of the parent within the degree below, and the axis."""
    levels = []
    for total in range(1, degree + 1):
        below = [e for e in _exponents(degree) if sum(e) == total - 1]
        parents, axes = [], []
        for exponent in (e for e in _exponents(degree) if sum(e) == total):
            axis = next(k for k in range(3) if exponent[k] > 0)
            parent = tuple(n - (k == axis) for k, n in enumerate(exponent))
            parents.append(below.index((parent[0], parent[1], parent[2])))
            axes.append(axis)
        levels.append((parents, axes))
    return tuple(levels)


def monomials(directions: Tensor, degree: int) -> Tensor:
    """All monomials of unit vectors up to ``degree`` (P, (degree+1)(degree+2)(degree+3)/6)."""
    levels = [torch.ones_like(directions[:, :1])]
    for parents, axes in _recursion(degree):
        levels.append(levels[-1][:, parents] * directions[:, axes])
    return torch.cat(levels, dim=1)


@lru_cache(maxsize=8)
def _contraction(degree: int) -> Tensor:
    """From products of monomial moments to Legendre polynomials of cos(theta) (L, degree+1)."""
    exponents = _exponents(degree)
    powers = torch.zeros(len(exponents), degree + 1, dtype=torch.float64)
    for row, (a, b, c) in enumerate(exponents):
        total = a + b + c
        powers[row, total] = factorial(total) / (factorial(a) * factorial(b) * factorial(c))
    return powers @ _legendre(degree)


def _legendre(degree: int) -> Tensor:
    """Coefficients of P_l in powers of x, one polynomial a column (degree+1, degree+1)."""
    table = torch.zeros(degree + 1, degree + 1, dtype=torch.float64)
    table[0, 0] = 1.0
    table[1, 1] = 1.0
    for order in range(1, degree):
        shifted = torch.roll(table[:, order], 1)
        table[:, order + 1] = ((2 * order + 1) * shifted - order * table[:, order - 1]) / (
            order + 1
        )
    return table

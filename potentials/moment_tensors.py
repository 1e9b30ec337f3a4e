"""The mathematics of the moment descriptor: radial functions, harmonic moments, invariants.

Moments are sums over neighbours of a radial function times real spherical harmonics, normalised
so that the sum over m of Y_lm(u) Y_lm(v) is the Legendre polynomial P_l(u.v).
"""

from functools import lru_cache
from math import factorial

import numpy as np
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


def envelope(distance: Tensor, cutoff: float) -> Tensor:
    """The cosine cutoff (cos(pi r/rc) + 1)/2, zero beyond rc (P,)."""
    inside = 0.5 * (torch.cos(distance * (torch.pi / cutoff)) + 1.0)
    return torch.where(distance < cutoff, inside, torch.zeros_like(inside))


def harmonics(directions: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics of unit vectors, l = 0 to ``degree`` (P, (degree + 1)^2).

    Order: l ascending, within it m = -l to l. By recursion in m (powers of x + iy) and in l
    (associated Legendre polynomials without their powers of sin(theta)).
    """
    x, y, z = directions.unbind(dim=1)
    cosine, sine = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        cosine, sine = (
            [*cosine, x * cosine[-1] - y * sine[-1]],
            [*sine, x * sine[-1] + y * cosine[-1]],
        )
    legendre = _associated(z, degree)
    found = []
    for order in range(degree + 1):
        for m in range(-order, order + 1):
            turn = cosine[m] if m >= 0 else sine[-m]
            found.append(_norm(order, abs(m)) * legendre[order, abs(m)] * turn)
    return torch.stack(found, dim=1)


def _associated(z: Tensor, degree: int) -> dict[tuple[int, int], Tensor]:
    """Associated Legendre polynomials over sin^m(theta), by (l, m)."""
    table: dict[tuple[int, int], Tensor] = {}
    for m in range(degree + 1):
        table[m, m] = torch.full_like(z, float(factorial(2 * m) // (2**m * factorial(m))))
        if m < degree:
            table[m + 1, m] = (2 * m + 1) * z * table[m, m]
        for order in range(m + 2, degree + 1):
            higher = (2 * order - 1) * z * table[order - 1, m]
            table[order, m] = (higher - (order + m - 1) * table[order - 2, m]) / (order - m)
    return table


def _norm(order: int, m: int) -> float:
    """Schmidt's semi-normalisation: squares of one l sum to one on the sphere's every point."""
    share = factorial(order - m) / factorial(order + m)
    return float(((1 if m == 0 else 2) * share) ** 0.5)


def moments(local: Tensor, directions: Tensor, slot: Tensor, n_slots: int) -> Tensor:
    """Sum over the neighbours of each slot of local x harmonics (n_slots, A, L).

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


def pair_invariants(moments: Tensor, degree: int) -> Tensor:
    """Sums over m of M_lm M'_lm by unordered element pair, channel and l (N, pairs A (l+1)).

    Args:
        moments: by atom, neighbour element and channel (N, E, A, (degree + 1)^2).
        degree: highest l.
    """
    n_elements = moments.shape[1]
    upper = torch.triu_indices(n_elements, n_elements, device=moments.device)
    products = moments[:, upper[0]] * moments[:, upper[1]]
    order = torch.tensor([level for level in range(degree + 1) for _ in range(2 * level + 1)])
    member = torch.nn.functional.one_hot(order, degree + 1).to(moments)
    return (products @ member).flatten(1)


def triple_invariants(moments: Tensor, triples: tuple[tuple[int, int, int], ...]) -> Tensor:
    """Invariant products of three moments of one channel (N, A x triples).

    Args:
        moments: by atom and channel, summed over neighbour elements (N, A, L).
        triples: degrees (l1, l2, l3) that are coupled.
    """
    number, one, two, three, factor = couplings(triples)
    products = (
        torch.as_tensor(factor).to(moments)
        * moments[..., one.tolist()]
        * moments[..., two.tolist()]
        * moments[..., three.tolist()]
    )
    member = torch.nn.functional.one_hot(torch.as_tensor(number), len(triples)).to(moments)
    return (products @ member).flatten(1)


Couplings = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@lru_cache(maxsize=8)
def couplings(triples: tuple[tuple[int, int, int], ...]) -> Couplings:
    """Non-zero coupling coefficients: index of the triple, three indices lm, coefficient (C,).

    The integral over the sphere of three harmonics is the one invariant of each triple (Gaunt,
    up to a factor); coefficients of a triple are scaled to unit sum of squares.
    """
    degree = max((max(triple) for triple in triples), default=0)
    directions, weights = _sphere(3 * degree)
    values = harmonics(torch.as_tensor(directions), degree).numpy()
    parts: list[tuple[np.ndarray, ...]] = []
    for number, triple in enumerate(triples):
        own = [np.arange(order**2, (order + 1) ** 2) for order in triple]
        block = np.einsum("p,pa,pb,pc->abc", weights, *(values[:, index] for index in own))
        block /= np.sqrt((block**2).sum())
        places = np.nonzero(np.abs(block) > 1e-10)
        index = [axis[place] for axis, place in zip(own, places, strict=True)]
        parts.append((np.full(len(places[0]), number), *index, block[places]))
    one, two, three, four, factor = (np.concatenate(column) for column in zip(*parts, strict=True))
    return one, two, three, four, factor


def _sphere(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions (P, 3) and weights (P,) that integrate polynomials up to ``degree`` exactly."""
    count = degree + 2
    heights, parts = np.polynomial.legendre.leggauss(count)
    angles = 2.0 * np.pi * np.arange(count) / count
    height, angle = (grid.ravel() for grid in np.meshgrid(heights, angles, indexing="ij"))
    ring = np.sqrt(1.0 - height**2)
    directions = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    return directions, np.repeat(parts, count) / (2.0 * count)

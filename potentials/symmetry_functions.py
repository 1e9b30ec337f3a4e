"""The mathematics of symmetry functions: cutoff functions, triplets, radial and angular sums.

Behler, J. Chem. Phys. 134, 074106 (2011), doi:10.1063/1.3553717. With u = r - r_s:

    G2 = sum_j exp(-eta u_ij^2) fc(r_ij)
    G4 = 2^(1 - zeta) sum_(j<k) (1 + lambda cos theta_ijk)^zeta
         exp(-eta (u_ij^2 + u_ik^2 + u_jk^2)) fc(r_ij) fc(r_ik) fc(r_jk)
    G5 = the same without the factors of r_jk

An angular function is a product of three numbers that depend on one pair each and one that
depends on the angle, so that exponentials are taken by pair and the sum over triplets of all
functions is one matrix product per atom.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi, tanh

import torch
from torch import Tensor

from potentials.moment_tensors import moments


def _exponential(x: Tensor) -> Tensor:
    return torch.exp(1.0 - 1.0 / (1.0 - x**2))


#: cutoff functions of x = (r - inner) / (radius - inner), for 0 <= x < 1
ENVELOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "hard": torch.ones_like,
    "cos": lambda x: 0.5 * (torch.cos(pi * x) + 1.0),
    "tanh3": lambda x: torch.tanh(1.0 - x) ** 3,
    "tanh3_unit": lambda x: (torch.tanh(1.0 - x) / tanh(1.0)) ** 3,
    "exp": _exponential,
    "poly1": lambda x: (2.0 * x - 3.0) * x**2 + 1.0,
    "poly2": lambda x: ((15.0 - 6.0 * x) * x - 10.0) * x**3 + 1.0,
    "poly3": lambda x: (x * (x * (20.0 * x - 70.0) + 84.0) - 35.0) * x**4 + 1.0,
    "poly4": lambda x: (x * (x * ((315.0 - 70.0 * x) * x - 540.0) + 420.0) - 126.0) * x**5 + 1.0,
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """The cutoff function of a descriptor.

    Attributes:
        name: a key of `ENVELOPES`.
        inner: share of the radius up to which it stays at its value for r = 0.
    """

    name: str
    inner: float

    def values(self, distance: Tensor, radius: float) -> Tensor:
        """Cutoff function of distances [Å], zero from ``radius`` [Å] on; of any shape."""
        start = self.inner * radius
        x = (distance - start) / (radius - start)
        inside = x < 1.0
        # what lies outside must not reach the formula, where a slope may be infinite
        safe = torch.where(inside, x, torch.zeros_like(x)).clamp(min=0.0)
        return torch.where(inside, ENVELOPES[self.name](safe), torch.zeros_like(x))


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A radial factor exp(-eta (r - shift)^2) fc(r); [1/Å^2], [Å], [Å]."""

    eta: float
    shift: float
    radius: float


@dataclass(frozen=True, slots=True)
class Angle:
    """An angular factor 2^(1 - zeta) (1 + lam cos theta)^zeta."""

    zeta: float
    lam: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be computed for all functions of a descriptor.

    All factors are computed for every atom; ``table`` picks the products that are functions of an
    atom's element. The flat list it points into holds the radial sums (neighbour element,
    ``radial``), then for every unordered element pair ``narrow`` x ``angles``, then ``wide`` x
    ``angles``, and a zero at its end.

    Attributes:
        radial, narrow, wide: distinct radial factors of G2, G4 and G5.
        angles: distinct angular factors of G4 and G5.
        table: places in the flat list by element and component (E, D).
        envelope: the cutoff function.
        factor: of angular sums, 2 where every pair of neighbours counts twice.
    """

    radial: tuple[Gaussian, ...]
    narrow: tuple[Gaussian, ...]
    wide: tuple[Gaussian, ...]
    angles: tuple[Angle, ...]
    table: tuple[tuple[int, ...], ...]
    envelope: Envelope
    factor: float


def evaluate(
    plan: Plan, vectors: Tensor, first: Tensor, neighbour: Tensor, species: Tensor
) -> Tensor:
    """Components of every atom (N, D), differentiable in ``vectors`` (P, 3) [Å].

    Args:
        plan: what to compute.
        vectors: from an atom to its neighbour.
        first: index of the atom of each pair (P,).
        neighbour: element index of the neighbour of each pair (P,).
        species: element index of every atom (N,).
    """
    n_atoms, n_elements = len(species), len(plan.table)
    distance = torch.linalg.vector_norm(vectors, dim=1)
    slot = first * n_elements + neighbour
    by_pair = gaussians(plan.radial, distance, plan.envelope)
    sums = by_pair.new_zeros(n_atoms * n_elements, len(plan.radial)).index_add(0, slot, by_pair)
    parts = [sums.reshape(n_atoms, -1)]
    if plan.angles:
        parts.extend(_angular(plan, vectors, distance, first, neighbour, n_atoms))
    flat = torch.cat([*parts, sums.new_zeros(n_atoms, 1)], dim=1)
    table = torch.tensor(plan.table, dtype=torch.int64, device=vectors.device)
    return flat.gather(1, table.reshape(n_elements, -1)[species])


def triplets(first: Tensor) -> tuple[Tensor, Tensor]:
    """Every unordered pair of pairs with the same first atom, as indices of pairs (T,), (T,)."""
    order = torch.argsort(first, stable=True)
    counts = torch.bincount(first)
    place = torch.arange(len(first), device=first.device)
    end = torch.cumsum(counts, 0)[first[order]]
    later = end - 1 - place
    one = torch.repeat_interleave(place, later)
    start = torch.cumsum(later, 0) - later
    rank = torch.arange(len(one), device=first.device) - start[one]
    return order[one], order[one + 1 + rank]


def gaussians(factors: Sequence[Gaussian], distance: Tensor, envelope: Envelope) -> Tensor:
    """All radial factors of distances (P,), by factor (P, F)."""
    made = {r: envelope.values(distance, r) for r in {f.radius for f in factors}}
    columns = [torch.exp(-f.eta * (distance - f.shift) ** 2) * made[f.radius] for f in factors]
    return torch.stack(columns, dim=1) if columns else distance.new_zeros(len(distance), 0)


def _angular(
    plan: Plan,
    vectors: Tensor,
    distance: Tensor,
    first: Tensor,
    neighbour: Tensor,
    n_atoms: int,
) -> list[Tensor]:
    """Angular sums of every unordered element pair in order, each (N, factors * angles)."""
    reach = max(f.radius for f in (*plan.narrow, *plan.wide))
    near = torch.nonzero(distance < reach).flatten()
    vectors, distance, first, neighbour = (x[near] for x in (vectors, distance, first, neighbour))
    ends = [gaussians(own, distance, plan.envelope) for own in (plan.narrow, plan.wide)]
    one, other = triplets(first)
    n_elements = len(plan.table)
    low = torch.minimum(neighbour[one], neighbour[other])
    high = torch.maximum(neighbour[one], neighbour[other])
    parts = []
    for a in range(n_elements):
        for b in range(a, n_elements):
            own = torch.nonzero((low == a) & (high == b)).flatten()
            j, k = one[own], other[own]
            cosine = (vectors[j] * vectors[k]).sum(dim=1) / (distance[j] * distance[k])
            radial = torch.cat([end[j] * end[k] for end in ends], dim=1)
            if plan.narrow:
                third = torch.linalg.vector_norm(vectors[k] - vectors[j], dim=1)
                closing = gaussians(plan.narrow, third, plan.envelope)
                count = len(plan.narrow)
                radial = torch.cat([radial[:, :count] * closing, radial[:, count:]], dim=1)
            turns = _angles(plan, cosine)
            parts.append(moments(radial, turns, first[j], n_atoms).flatten(1))
    return parts


def _angles(plan: Plan, cosine: Tensor) -> Tensor:
    """All angular factors of cosines (T,), by factor (T, A)."""
    columns = []
    for angle in plan.angles:
        # rounding may take the base of a straight angle below zero
        base = (1.0 + angle.lam * cosine).clamp(min=0.0)
        columns.append(plan.factor * 2.0 ** (1.0 - angle.zeta) * base**angle.zeta)
    return torch.stack(columns, dim=1)

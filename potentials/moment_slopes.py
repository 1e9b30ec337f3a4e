"""Derivatives of the moment descriptor by pair vectors, written out.

A component is a sum of products of two or three moments M = sum_p f(r_p) Y(u_p), so that its
derivative by one pair vector is a weight, the product of the other moments, times the derivative
of f Y for that pair. One derivative of f and Y for each pair serves all components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from potentials import moment_tensors as tensors


@dataclass(frozen=True, eq=False, slots=True)
class Basis:
    """Functions of each pair and their derivatives.

    Attributes:
        radial: f(r) of the angular part (P, A).
        radial_slope: df/dr (P, A).
        harmonics: Y(u) (P, L).
        harmonics_slope: dY/d(vector) (P, L, 3).
        directions: unit vectors (P, 3).
    """

    radial: Tensor
    radial_slope: Tensor
    harmonics: Tensor
    harmonics_slope: Tensor
    directions: Tensor

    def pull(self, weight: Tensor, levels: list[slice]) -> Tensor:
        """Derivatives of the sums over each level of weight x f x Y (P, A, levels, 3).

        Args:
            weight: dG/dM for the moments that a pair enters (P, A, L).
            levels: the parts of L that belong to one component each.
        """
        along = torch.stack(
            [(weight[..., own] * self.harmonics[:, None, own]).sum(dim=2) for own in levels], dim=2
        )
        across = torch.stack(
            [weight[..., own] @ self.harmonics_slope[:, own] for own in levels], dim=2
        )
        slope = (along * self.radial_slope[..., None])[..., None] * self.directions[:, None, None]
        return slope + across * self.radial[..., None, None]


def basis(vectors: Tensor, reach: float, channels: int, degree: int) -> Basis:
    """Radial functions and harmonics of pair vectors (P, 3), with their derivatives."""
    moving = vectors.detach().requires_grad_()
    distance = torch.linalg.vector_norm(moving, dim=1)
    values = tensors.harmonics(moving / distance[:, None], degree)
    slopes = [
        # the first harmonic is a constant
        torch.autograd.grad(column.sum(), moving, retain_graph=True)[0]
        if index
        else torch.zeros_like(vectors)
        for index, column in enumerate(values.unbind(dim=1))
    ]
    radial, radial_slope = shells(distance.detach(), reach, channels)
    return Basis(
        radial,
        radial_slope,
        values.detach(),
        torch.stack(slopes, dim=1),
        vectors.detach() / distance.detach()[:, None],
    )


def shells(distance: Tensor, reach: float, count: int) -> tuple[Tensor, Tensor]:
    """Shells times the cutoff function and their derivatives by the distance (P, count)."""
    moving = distance.detach().requires_grad_()
    values = tensors.shells(moving, reach, count) * tensors.envelope(moving, reach)[:, None]
    slopes = [
        torch.autograd.grad(column.sum(), moving, retain_graph=True)[0]
        for column in values.unbind(dim=1)
    ]
    return values.detach(), torch.stack(slopes, dim=1)


def pair_weights(moments: Tensor, first: Tensor, neighbour: Tensor, one: int, other: int) -> Tensor:
    """d(M_one . M_other)/dM for the moment that each pair enters (P, A, L).

    Args:
        moments: by atom and neighbour element (N, E, A, L).
        first: atom of each pair (P,).
        neighbour: element of its neighbour (P,).
        one: index of one element.
        other: index of the other, or the same.
    """
    is_one = (neighbour == one).to(moments)[:, None, None]
    is_other = (neighbour == other).to(moments)[:, None, None]
    return is_one * moments[first, other] + is_other * moments[first, one]


def triple_weights(moments: Tensor, triples: tuple[tuple[int, int, int], ...]) -> Tensor:
    """d(triple)/dM of moments summed over elements (N, A, triples, L)."""
    number, one, two, three, factor = tensors.couplings(triples)
    length = moments.shape[-1]
    values = torch.as_tensor(factor).to(moments)
    place = torch.as_tensor(number) * length
    index = [torch.as_tensor(axis) for axis in (one, two, three)]
    weights = moments.new_zeros(*moments.shape[:-1], len(triples) * length)
    for turn in range(3):
        own, left, right = (index[(turn + step) % 3] for step in range(3))
        products = values * moments[..., left] * moments[..., right]
        weights.index_add_(2, place + own, products)
    unfolded: Tensor = weights.unflatten(2, (len(triples), length))
    return unfolded

"""Gaussian density weights: forces on atoms in rare surroundings count more.

Jeong et al., J. Phys. Chem. C 122, 22790 (2018), doi:10.1021/acs.jpcc.8b08063:

    rho_i = mean over j of exp(-|G_i - G_j|^2 / (2 sigma^2 D)),   weight = theta(1/rho_i)
    theta(x) = x / (1 + exp(-b (x - c))), normalised to mean 1

with sigma a third of the largest distance of an atom to its nearest one, and c the value that a
line through the lower three quarters of the sorted 1/rho has at their end.
"""

import torch
from torch import Tensor

#: steepness b of the step of theta
STEEPNESS = 1.0
#: share of the sorted 1/rho that counts as common
COMMON = 0.75
#: surroundings whose scaled descriptors differ less than this are the same
SAME = 1e-6
#: rows of the distance matrix that are held at once
CHUNK = 512


def rarity(scaled: Tensor, species: Tensor, n_elements: int) -> Tensor:
    """Weight of every atom, mean 1 over the atoms of each element (N,).

    Args:
        scaled: scaled descriptors (N, D).
        species: element index (N,).
        n_elements: number of elements.
    """
    weights = torch.ones(len(scaled), dtype=scaled.dtype)
    for element in range(n_elements):
        own = torch.nonzero(species == element).squeeze(1)
        if len(own) > 1:
            weights[own] = _of_element(scaled[own])
    return weights


def _of_element(scaled: Tensor) -> Tensor:
    nearest, _ = _sums(scaled, None)
    width = float(nearest.max().sqrt()) / 3.0
    if width < SAME:
        # all surroundings are the same: none is rare
        return scaled.new_ones(len(scaled))
    _, density = _sums(scaled, width)
    rare = 1.0 / density
    weights = rare * torch.sigmoid(STEEPNESS * (rare - _threshold(rare)))
    return weights / weights.mean()


def _sums(scaled: Tensor, width: float | None) -> tuple[Tensor, Tensor]:
    """Mean squared distance to the nearest other atom, and density for a width (N,) each."""
    nearest, density = [], []
    for start in range(0, len(scaled), CHUNK):
        rows = scaled[start : start + CHUNK]
        squares = torch.cdist(rows, scaled).square() / scaled.shape[1]
        if width is not None:
            density.append(torch.exp(-squares / (2.0 * width**2)).mean(dim=1))
        squares[torch.arange(len(rows)), start + torch.arange(len(rows))] = torch.inf
        nearest.append(squares.amin(dim=1))
    return torch.cat(nearest), torch.cat(density or nearest)


def _threshold(rare: Tensor) -> float:
    """Where a line through the lower part of the sorted values arrives at its end."""
    lower = rare.sort().values[: max(2, int(COMMON * len(rare)))]
    place = torch.arange(len(lower), dtype=rare.dtype)
    middle, level = place.mean(), lower.mean()
    slope = ((place - middle) * (lower - level)).sum() / ((place - middle) ** 2).sum()
    return float(level + slope * (place[-1] - middle))

"""Scaling of descriptors by central element; unlabelled structures count too."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: components that vary less than this share of the median spread are not blown up further
FLOOR = 0.1


@dataclass(frozen=True, eq=False, slots=True)
class Scaling:
    """G -> (G - mean) / spread, and the directions in which scaled descriptors vary most.

    Attributes:
        mean: by element (E, D).
        spread: by element (E, D).
        components: leading principal components as columns (E, D, P).
    """

    mean: Tensor
    spread: Tensor
    components: Tensor

    def apply(self, values: Tensor, species: Tensor) -> Tensor:
        """Scaled descriptors (N, D)."""
        return (values - self.mean[species]) / self.spread[species]


def scaling_of(values: Tensor, species: Tensor, n_elements: int, components: int = 0) -> Scaling:
    """Mean, spread with a floor, and principal components of descriptors (N, D) by element.

    Args:
        values: descriptors.
        species: element index (N,).
        n_elements: number of elements E.
        components: number of principal components P, at most D.

    Raises:
        ValueError: an element has no atom in the data.
    """
    means, spreads, turns = [], [], []
    for element in range(n_elements):
        own = values[species == element]
        if not len(own):
            raise ValueError(f"no atom of element index {element} in the data to scale by")
        spread = own.std(dim=0, unbiased=False)
        floor = FLOOR * spread.median()
        # a single crystal may show no spread at all: leave such components as they are
        spread = torch.where(floor > 0, spread.clamp(min=floor.item() or 1.0), 1.0)
        mean = own.mean(dim=0)
        means.append(mean)
        spreads.append(spread)
        turns.append(_leading((own - mean) / spread, min(components, values.shape[1])))
    return Scaling(torch.stack(means), torch.stack(spreads), torch.stack(turns))


def _leading(scaled: Tensor, count: int) -> Tensor:
    """Principal components of largest variance as columns (D, count), with a fixed sign."""
    directions = torch.linalg.eigh(scaled.T @ scaled)[1].flip(1)[:, :count]
    largest = directions.abs().argmax(dim=0)
    sign = torch.sign(directions[largest, torch.arange(count)])
    turned: Tensor = directions * sign
    return turned

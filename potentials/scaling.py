"""Scaling of descriptors: mean and spread by central element; unlabelled structures count too."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: components that vary less than this share of the median spread are not blown up further
FLOOR = 0.1


@dataclass(frozen=True, eq=False, slots=True)
class Scaling:
    """G -> (G - mean) / spread by central element; both (E, D)."""

    mean: Tensor
    spread: Tensor

    def apply(self, values: Tensor, species: Tensor) -> Tensor:
        """Scaled descriptors (N, D)."""
        return (values - self.mean[species]) / self.spread[species]


def scaling_of(values: Tensor, species: Tensor, n_elements: int) -> Scaling:
    """Mean and standard deviation of descriptors (N, D) by element, the latter with a floor.

    Raises:
        ValueError: an element has no atom in the data.
    """
    means, spreads = [], []
    for element in range(n_elements):
        own = values[species == element]
        if not len(own):
            raise ValueError(f"no atom of element index {element} in the data to scale by")
        spread = own.std(dim=0, unbiased=False)
        floor = FLOOR * spread.median()
        means.append(own.mean(dim=0))
        # a single crystal may show no spread at all: leave such components as they are
        spreads.append(torch.where(floor > 0, spread.clamp(min=floor.item() or 1.0), 1.0))
    return Scaling(torch.stack(means), torch.stack(spreads))

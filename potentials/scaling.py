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
        mean, spread = self.mean.to(values), self.spread.to(values)
        return (values - mean[species]) / spread[species]

    def leading(self, count: int) -> "Scaling":
        """The same with the first ``count`` components only."""
        return Scaling(self.mean, self.spread, self.components[:, :, :count].contiguous())


def scaling_of(
    values: Tensor, species: Tensor, n_elements: int, earlier: Scaling | None = None
) -> Scaling:
    """Mean, spread with a floor, and all principal components of descriptors (N, D) by element.

    Args:
        values: descriptors.
        species: element index (N,).
        n_elements: number of elements E.
        earlier: keep its mean and spread, which networks were trained on.

    An element of an earlier ensemble may have no atom in the data; where nothing earlier is kept of
    it, because the descriptor has learned anew, it is scaled as all atoms are.

    Raises:
        ValueError: there are no atoms at all, and nothing earlier is known.
    """
    if earlier is None and not len(values):
        raise ValueError("no atoms to scale descriptors by")
    means, spreads, turns = [], [], []
    for element in range(n_elements):
        own = values[species == element]
        if earlier is None:
            mean, spread = _moments(own if len(own) else values)
        else:
            mean, spread = _of(earlier, element)
        means.append(mean)
        spreads.append(spread)
        turns.append(_components((own - mean) / spread))
    return Scaling(torch.stack(means), torch.stack(spreads), torch.stack(turns))


def _moments(own: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and floored spread of the descriptors of one element."""
    spread = own.std(dim=0, unbiased=False)
    floor = FLOOR * spread.median()
    # a single crystal may show no spread at all: leave such components as they are
    return own.mean(dim=0), torch.where(floor > 0, spread.clamp(min=floor.item() or 1.0), 1.0)


def _of(earlier: Scaling, element: int) -> tuple[Tensor, Tensor]:
    return earlier.mean[element], earlier.spread[element]


def _components(scaled: Tensor) -> Tensor:
    """Principal components as columns, largest variance first, with a fixed sign (D, D)."""
    directions = torch.linalg.eigh(scaled.T @ scaled)[1].flip(1)
    largest = directions.abs().argmax(dim=0)
    sign = torch.sign(directions[largest, torch.arange(directions.shape[1])])
    turned: Tensor = directions * sign
    return turned

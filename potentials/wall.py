"""The adaptive wall: a pair repulsion that starts just below the shortest labelled distance.

It keeps relaxations out of the region where no label is, where a fit has holes, and is zero on
every label, so that nothing has to be subtracted before fitting.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from ase.data import covalent_radii
from torch import Tensor

from potentials.features import Features

#: energy scale A [eV] of A (R/r)^12 (1 - r^2/C^2)^3
HEIGHT = 50.0
#: start C, as a share of the shortest labelled distance
START = 0.95
#: start C, at most this share of the sum of covalent radii
LONGEST = 1.05
#: start C of a pair of elements that no label shows, as a share of the sum of covalent radii
UNSEEN = 0.85
#: R as a share of C
CORE = 0.85


@dataclass(frozen=True, eq=False, slots=True)
class Wall:
    """Start of the repulsion C [Å] for every pair of elements (E, E), symmetric; 0 is no wall."""

    start: Tensor

    def energies(self, distances: Tensor, one: Tensor, other: Tensor) -> Tensor:
        """Half the pair energy [eV] (P,): every pair is met twice."""
        start = self.start.to(distances)[one, other]
        # without a wall no division by its start may reach a derivative
        start, there = start.where(start > 0, torch.ones_like(start)), (start > 0).to(start)
        inside = there * (1.0 - (distances / start) ** 2).clamp(min=0.0)
        return 0.5 * HEIGHT * (CORE * start / distances) ** 12 * inside**3


def no_wall(n_elements: int) -> Wall:
    """A wall that is nowhere."""
    return Wall(torch.zeros(n_elements, n_elements, dtype=torch.float64))


def wall_of(found: Iterable[Features], elements: Sequence[int]) -> Wall:
    """The wall that follows the shortest distances of the labelled structures."""
    n_elements = len(elements)
    radii = torch.tensor([float(covalent_radii[number]) for number in elements])
    contact = (radii[:, None] + radii[None, :]).double()
    shortest = torch.full((n_elements, n_elements), torch.inf, dtype=torch.float64)
    for structure in found:
        place = structure.bonds[:, 0] * n_elements + structure.bonds[:, 1]
        flat = shortest.flatten().scatter_reduce(0, place, structure.distances, reduce="amin")
        shortest = flat.reshape(n_elements, n_elements)
    seen = torch.minimum(START * shortest, LONGEST * contact)
    return Wall(torch.where(torch.isinf(shortest), UNSEEN * contact, seen))

"""Descriptors on neighbours in a block of static width, without a look at the device.

The `moments` descriptor has a form of its own, from the same functions as its reference. Every
other kind is given the list of its pairs, whose length the host has to know.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from potentials import moment_tensors as tensors
from potentials.descriptors import Descriptor
from potentials.descriptors.moments import Moments
from potentials.wall import Wall

#: vectors (N, W, 3), kind of each neighbour as numbers (N, W, E), zero where there is none, and
#: species (N,), to descriptors (N, D)
Dense = Callable[[Tensor, Tensor, Tensor], Tensor]


def dense(
    descriptor: Descriptor,
    n_elements: int,
    learned: Mapping[str, Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> Dense:
    """The dense form of a descriptor, with all its constants on the device.

    A place without neighbour must hold a vector as long as the cutoff.
    """
    if isinstance(descriptor, Moments):
        return DenseMoments(descriptor, device, dtype)
    return Listed(
        descriptor.bound({name: tensor.to(device, dtype) for name, tensor in learned.items()}),
        n_elements,
    )


class DenseMoments:
    """`Moments.values` as matrix products over the places of each atom."""

    def __init__(self, descriptor: Moments, device: torch.device, dtype: torch.dtype) -> None:
        self.settings = descriptor
        degree = descriptor.degree
        order = torch.tensor([level for level in range(degree + 1) for _ in range(2 * level + 1)])
        self.levels = torch.nn.functional.one_hot(order, degree + 1).to(device, dtype)
        if descriptor.triples:
            number, *places, factor = tensors.couplings(descriptor.triples)
            levels = (descriptor.harmonics + 1) ** 2
            # a product picks its factors without sums in an order of chance in the derivative
            self.picked = [_one_hot(place, levels).T.to(device, dtype) for place in places]
            member = _one_hot(number, len(descriptor.triples))
            self.coupled = (member * torch.as_tensor(factor)[:, None]).to(device, dtype)

    def __call__(self, vectors: Tensor, kind: Tensor, species: Tensor) -> Tensor:
        """Components (N, D) in the order of `Moments.values`."""
        del species
        own = self.settings
        n_atoms, width, n_elements = kind.shape
        flat = vectors.reshape(-1, 3)
        distance = torch.linalg.vector_norm(flat, dim=1)
        radial = _local(distance, own.cutoff, own.radial).reshape(n_atoms, width, -1)
        local = _local(distance, own.angular_range * own.cutoff, own.angular)
        directions = tensors.harmonics(flat / distance[:, None], own.harmonics)
        turned = kind.transpose(1, 2)
        by_kind = turned[:, :, None, :] * local.reshape(n_atoms, 1, width, -1).transpose(2, 3)
        by_kind = by_kind.reshape(n_atoms, -1, width)
        moments = torch.bmm(by_kind, directions.reshape(n_atoms, width, -1))
        moments = moments.reshape(n_atoms, n_elements, own.angular, -1)
        parts = [torch.bmm(turned, radial).flatten(1), self._pairs(moments)]
        if own.triples:
            parts.append(self._triples(moments.sum(dim=1)))
        return torch.cat(parts, dim=1)

    def _pairs(self, moments: Tensor) -> Tensor:
        """As `moment_tensors.pair_invariants`."""
        n_elements = moments.shape[1]
        moments = moments[..., : len(self.levels)]
        products = [
            moments[:, one] * moments[:, other]
            for one in range(n_elements)
            for other in range(one, n_elements)
        ]
        return (torch.stack(products, dim=1) @ self.levels).flatten(1)

    def _triples(self, moments: Tensor) -> Tensor:
        """As `moment_tensors.triple_invariants`."""
        one, two, three = (moments @ picked for picked in self.picked)
        return ((one * two * three) @ self.coupled).flatten(1)


def _one_hot(places: np.ndarray, size: int) -> Tensor:
    """Rows that are one at a place (C, size)."""
    return torch.nn.functional.one_hot(torch.as_tensor(places), size).double()


def _local(distance: Tensor, reach: float, count: int) -> Tensor:
    """Local functions times the envelope (P, count)."""
    return tensors.shells(distance, reach, count) * tensors.envelope(distance, reach)[:, None]


class Listed:
    """Any descriptor, by its list of pairs; the host waits for the number of pairs."""

    def __init__(self, descriptor: Descriptor, n_elements: int) -> None:
        self.descriptor = descriptor
        self.n_elements = n_elements

    def __call__(self, vectors: Tensor, kind: Tensor, species: Tensor) -> Tensor:
        """Components (N, D)."""
        first, place = torch.nonzero(kind.amax(dim=2) > 0, as_tuple=True)
        neighbour = kind[first, place].argmax(dim=1)
        return self.descriptor.values(
            vectors[first, place], first, neighbour, species, self.n_elements
        )


class Local:
    """All that depends on pair vectors: descriptors and wall, differentiated together.

    Args:
        values: the dense form of a descriptor.
        wall: short-distance repulsion, on the device.
        n_elements: number of elements E.
    """

    def __init__(self, values: Dense, wall: Wall, n_elements: int) -> None:
        self.values, self.wall, self.n_elements = values, wall, n_elements

    def __call__(
        self, vectors: Tensor, there: Tensor, kind: Tensor, species: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Descriptors (N, D) and energies of the wall [eV] (N,).

        Args:
            vectors: to the neighbours [Å] (N, W, 3), the cutoff long where there is none.
            there: where there is one (N, W).
            kind: element index of the neighbours (N, W).
            species: of the atoms (N,).
        """
        number = torch.arange(self.n_elements, device=kind.device)
        kinds = ((kind[..., None] == number) & there[..., None]).to(vectors)
        distances = torch.linalg.vector_norm(vectors, dim=2)
        pushes = self.wall.energies(distances, species[:, None].expand_as(kind), kind)
        return self.values(vectors, kinds, species), (pushes * there).sum(dim=1)

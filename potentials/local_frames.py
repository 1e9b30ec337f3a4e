"""Frames fixed to the two nearest neighbours of an atom, and neighbours in their order.

Zhang et al., PRL 120, 143001 (2018), doi:10.1103/PhysRevLett.120.143001.
"""

import torch
from torch import Tensor

#: sine of the angle below which a neighbour is in line with the nearest one
LINE = 0.1
#: distances closer than this [Å] are ordered by direction
TIE = 1e-6


def ranks(key: Tensor, slot: Tensor, n_slots: int) -> Tensor:
    """Place of each entry among those of its slot in ascending order of ``key`` (P,)."""
    order = torch.argsort(key, stable=True)
    order = order[torch.argsort(slot[order], stable=True)]
    counts = torch.bincount(slot, minlength=n_slots)
    start = torch.cumsum(counts, 0) - counts
    place = torch.arange(len(slot), device=slot.device)
    return torch.empty_like(order).index_copy(0, order, place - start[slot[order]])


def axes(vectors: Tensor, distance: Tensor, first: Tensor, n_atoms: int) -> Tensor:
    """Axes of each atom's frame as rows (N, 3, 3), differentiable in ``vectors`` (P, 3) [Å].

    The first axis points to the nearest neighbour a, the second along the part of b across it, the
    third along their cross product; b is the nearest neighbour that is not in line with a. Where
    there is no a or no b the axes that need it are zero, and so are all components along them.
    """
    everyone = torch.arange(len(first), device=first.device)
    made = vectors.new_zeros(n_atoms, 3, 3)
    nearest = everyone[ranks(distance.detach(), first, n_atoms) == 0]
    along = vectors.new_zeros(n_atoms, 3)
    along = along.index_copy(0, first[nearest], vectors[nearest] / distance[nearest, None])
    across = vectors - (vectors * along[first]).sum(dim=1, keepdim=True) * along[first]
    width = torch.linalg.vector_norm(across.detach(), dim=1)
    apart = everyone[width > LINE * distance.detach()]
    second = apart[ranks(distance.detach()[apart], first[apart], n_atoms) == 0]
    one = along[first[second]]
    two = across[second] / torch.linalg.vector_norm(across[second], dim=1, keepdim=True)
    three = torch.linalg.cross(one, two)
    made = torch.cat([along[:, None], made[:, 1:]], dim=1)
    return made.index_copy(0, first[second], torch.stack([one, two, three], dim=1))


def ordered(values: Tensor, rank: Tensor, slot: Tensor, n_slots: int, count: int) -> Tensor:
    """The ``count`` first entries of each slot (P, C) in order, zeros at the end (S, count, C)."""
    own = torch.nonzero(rank < count).squeeze(1)
    place = slot[own] * count + rank[own]
    zero = values.new_zeros(n_slots * count, values.shape[1])
    return zero.index_copy(0, place, values[own]).reshape(n_slots, count, values.shape[1])

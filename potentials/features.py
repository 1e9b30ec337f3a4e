"""Descriptors of labelled structures with their derivatives by positions and strain.

Forces and stress are linear in dE/dG, so that training needs only these arrays and never
differentiates through the descriptor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from ase import Atoms
from torch import Tensor

from potentials.batch import Batch, make_batch
from potentials.descriptors import Descriptor

#: structures are taken together up to this number of atoms
CHUNK = 256


@dataclass(frozen=True, eq=False, slots=True)
class Features:
    """One structure as a model sees it.

    Attributes:
        species: element index of each atom (N,).
        values: descriptors G (N, D).
        jacobian: dG/d(position) [1/Å] and dG/d(strain) (N, D, 3N + 6); strains in Voigt order
            xx, yy, zz, yz, xz, xy with symmetrised shear.
        distances: pair distances [Å] (P,), for the wall.
        bonds: element indices of both ends of each pair (P, 2).
        volume: cell volume [Å^3].
    """

    species: Tensor
    values: Tensor
    jacobian: Tensor
    distances: Tensor
    bonds: Tensor
    volume: float


def features(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> list[Features]:
    """Descriptors and Jacobians of all structures, in their order."""
    found: list[Features] = []
    for chunk in _chunks(structures):
        found.extend(_features_of_chunk(chunk, descriptor, elements))
    return found


def values_only(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Descriptors (N, D) and element index (N,) of all atoms of all structures."""
    values, species = [], []
    for chunk in _chunks(structures):
        batch = make_batch(chunk, elements, descriptor.cutoff)
        values.append(_values(batch, batch.vectors(), descriptor, len(elements)))
        species.append(batch.species)
    return torch.cat(values), torch.cat(species)


def _values(batch: Batch, vectors: Tensor, descriptor: Descriptor, n_elements: int) -> Tensor:
    pairs = batch.pairs
    return descriptor.values(
        vectors, pairs.first, batch.species[pairs.second], batch.species, n_elements
    )


def _chunks(structures: Sequence[Atoms]) -> Iterator[list[Atoms]]:
    chunk: list[Atoms] = []
    for atoms in structures:
        if chunk and sum(map(len, chunk)) + len(atoms) > CHUNK:
            yield chunk
            chunk = []
        chunk.append(atoms)
    if chunk:
        yield chunk


def _features_of_chunk(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> Iterator[Features]:
    batch = make_batch(structures, elements, descriptor.cutoff)
    vectors = batch.vectors().requires_grad_()
    values = _values(batch, vectors, descriptor, len(elements))
    # an atom's components depend on its own pairs only: summing over atoms loses nothing
    by_pair = torch.stack(
        [
            torch.autograd.grad(values[:, d].sum(), vectors, retain_graph=True)[0]
            for d in range(values.shape[1])
        ],
        dim=1,
    )
    values, vectors = values.detach(), vectors.detach()
    pairs, start = batch.pairs, 0
    for index, atoms in enumerate(structures):
        stop = start + len(atoms)
        own = (pairs.first >= start) & (pairs.first < stop)
        first, second = pairs.first[own] - start, pairs.second[own] - start
        species = batch.species[start:stop]
        yield Features(
            species=species,
            values=values[start:stop].clone(),
            jacobian=_fold(by_pair[own], vectors[own], first, second, len(atoms)),
            distances=torch.linalg.vector_norm(vectors[own], dim=1),
            bonds=torch.stack([species[first], species[second]], dim=1),
            volume=float(torch.linalg.det(batch.cells[index]).abs()),
        )
        start = stop


def _fold(by_pair: Tensor, vectors: Tensor, first: Tensor, second: Tensor, n: int) -> Tensor:
    """From derivatives by pair vector (P, D, 3) to positions and strains (n, D, 3n + 6)."""
    size = by_pair.shape[1]
    moves = by_pair.new_zeros(n * n, size, 3)
    moves.index_add_(0, first * n + second, by_pair)
    moves.index_add_(0, first * n + first, -by_pair)
    by_position = moves.reshape(n, n, size, 3).permute(0, 2, 1, 3).reshape(n, size, 3 * n)
    outer = by_pair[:, :, :, None] * vectors[:, None, None, :]
    strain = by_pair.new_zeros(n, size, 3, 3).index_add_(0, first, outer)
    strain = 0.5 * (strain + strain.transpose(2, 3))
    voigt = torch.stack(
        [strain[..., a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))], dim=-1
    )
    return torch.cat([by_position, voigt], dim=2)

"""Descriptors of labelled structures with their derivatives by positions and strain.

Forces and stress are linear in dE/dG, so that training needs only these arrays and never
differentiates through the descriptor.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from ase import Atoms
from torch import Tensor

from potentials import kernels
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


class FeatureSet(Sequence[Features]):
    """Features of all structures: kept, or made again whenever they are asked for.

    Args:
        structures: in their order.
        descriptor: what the atoms see.
        elements: atomic numbers in the order of the element index.
        kept: whether to keep them; decided by their size where not given.
    """

    def __init__(
        self,
        structures: Sequence[Atoms],
        descriptor: Descriptor,
        elements: Sequence[int],
        *,
        kept: bool | None = None,
    ) -> None:
        self._structures, self._descriptor, self._elements = structures, descriptor, elements
        sizes = [len(atoms) for atoms in structures]
        self.bytes = stored_bytes(sizes, descriptor.size(len(elements)))
        self.kept = self.bytes <= memory_limit() if kept is None else kept
        self._made = features(structures, descriptor, elements) if self.kept else None

    def __len__(self) -> int:
        return len(self._structures)

    @overload
    def __getitem__(self, index: int) -> Features: ...

    @overload
    def __getitem__(self, index: slice) -> list[Features]: ...

    def __getitem__(self, index: int | slice) -> Features | list[Features]:
        if self._made is not None:
            return self._made[index]
        if isinstance(index, slice):
            return features(self._structures[index], self._descriptor, self._elements)
        return features([self._structures[index]], self._descriptor, self._elements)[0]

    def __iter__(self) -> Iterator[Features]:
        if self._made is not None:
            yield from self._made
            return
        for chunk in _chunks(self._structures):
            yield from features(chunk, self._descriptor, self._elements)


def stored_bytes(sizes: Sequence[int], n_components: int) -> int:
    """Memory of the Jacobians of structures with these numbers of atoms, in float64."""
    return 8 * sum(n * n_components * (3 * n + 6) for n in sizes)


def memory_limit() -> int:
    """What Jacobians may take: a third of the memory that is available now [bytes]."""
    table = Path("/proc/meminfo")
    if table.is_file():
        # what is free plus what caches would give back
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1]) // 3
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 3


def features(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> list[Features]:
    """Descriptors and Jacobians of all structures, in their order; compiled where it can be."""
    found: list[Features] = []
    for chunk in _chunks(structures):
        if kernels.describes(descriptor):
            from potentials.kernels import derivatives

            found.extend(derivatives.features(chunk, descriptor, elements))
        else:
            found.extend(_features_of_chunk(chunk, descriptor, elements))
    return found


def values_only(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Descriptors (N, D) and element index (N,) of all atoms of all structures."""
    parts = []
    for chunk in _chunks(structures):
        if kernels.describes(descriptor):
            from potentials.kernels import derivatives

            parts.append(derivatives.values_only(chunk, descriptor, elements))
        else:
            parts.append(_values_of_chunk(chunk, descriptor, elements))
    values, species = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(species)


def _values_of_chunk(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> tuple[Tensor, Tensor]:
    batch = make_batch(structures, elements, descriptor.cutoff)
    return _values(batch, batch.vectors(), descriptor, len(elements)), batch.species


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
    vectors = batch.vectors()
    values = _values(batch, vectors, descriptor, len(elements))
    pairs, start = batch.pairs, 0
    # features are made again where nothing else is differentiated, too
    with torch.enable_grad():
        by_pair = descriptor.slopes(
            vectors, pairs.first, batch.species[pairs.second], batch.species, len(elements)
        )
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

"""Features of structures from compiled code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.descriptors import Descriptor
from potentials.features import Features
from potentials.kernels.arrays import Bundle, aligned, up
from potentials.kernels.gathering import FloatArray, IntArray, flat, gather, refuse_infinite, share
from potentials.kernels.harmonics import COUNT
from potentials.kernels.images import images
from potentials.kernels.jacobian import Known, derive_many
from potentials.kernels.neighbours import found
from potentials.kernels.packing import arranged
from potentials.kernels.rooms import sizes
from potentials.kernels.rows import SUMS, Space
from potentials.kernels.simd import WIDTH
from potentials.kernels.structure import DONE, IMAGES, NEIGHBOURS, UNSOUND, Batch

#: what a Jacobian costs, in evaluations
_EFFORT = 10


def features(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> list[Features]:
    """Descriptors and Jacobians of structures, in their order.

    Raises:
        UnknownElementError: an element is not in ``elements``.
        ValueError: a structure has no neighbour list: a position or cell vector is not finite, or
            a periodic cell has no volume.
    """
    known = _derive(structures, descriptor, elements, jacobian=True)
    given: Batch = known.batch.parts
    size, made = known.values.shape[1], []
    species, values = torch.from_numpy(given.species), torch.from_numpy(known.values)
    jacobian = torch.from_numpy(known.jacobian)
    volumes = np.abs(np.linalg.det(given.cells))
    for m, atoms in enumerate(structures):
        start, n, begin = int(given.first[m]), len(atoms), int(known.begin[m])
        pairs = slice(start * known.width, start * known.width + int(known.pairs[m]))
        columns = 3 * n + 6
        made.append(
            Features(
                species=species[start : start + n],
                values=values[start : start + n],
                jacobian=jacobian[begin : begin + n * size * columns].view(n, size, columns),
                distances=torch.from_numpy(known.distances[pairs].copy()),
                bonds=torch.from_numpy(known.bonds[pairs].copy()),
                volume=float(volumes[m]),
            )
        )
    return made


def values_only(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Descriptors (N, D) and element index (N,) of all atoms of all structures.

    Raises:
        UnknownElementError: an element is not in ``elements``.
        ValueError: as for `features`.
    """
    known = _derive(structures, descriptor, elements, jacobian=False)
    return torch.from_numpy(known.values), torch.from_numpy(known.batch.parts.species)


def _derive(
    structures: Sequence[Atoms], descriptor: Descriptor, elements: Sequence[int], *, jacobian: bool
) -> Known:
    given = gather(structures, elements)
    refuse_infinite(given)
    desk = _Desk(_plan(descriptor, len(elements)), int(np.diff(given.first).max()))
    while True:
        known = _known(given, descriptor.size(len(elements)), desk.width, jacobian=jacobian)
        ended = _once(desk, known, _EFFORT if jacobian else 1)
        if max(ended) == DONE:
            return known
        desk.grow(ended)


def _once(desk: "_Desk", known: Known, effort: int) -> list[int]:
    """Describe all structures; how it ended for those that did not fit, after a `DONE`."""
    packed, ended = Bundle(known), [DONE]

    def work(start: int, stop: int) -> None:
        with desk.room() as room:
            place, how = derive_many(desk.recipe, packed, start, stop, room)
        if how == UNSOUND:
            raise ValueError(flat(place))
        ended.append(how)

    share(work, known.batch.parts.first, effort, torch.get_num_threads())
    return ended


def _known(given: Batch, size: int, width: int, *, jacobian: bool) -> Known:
    """Room for what is found."""
    counts = np.diff(given.first)
    ends = np.cumsum(counts * size * (3 * counts + 6)) * jacobian
    n_pairs = len(given.positions) * width
    return Known(
        batch=Bundle(given),
        values=np.empty((len(given.positions), size)),
        jacobian=np.empty(int(ends[-1])),
        begin=np.concatenate([[0], ends[:-1]]),
        width=width,
        distances=np.empty(n_pairs),
        bonds=np.empty((n_pairs, 2), dtype=np.int64),
        pairs=np.zeros(len(counts), dtype=np.int64),
    )


@lru_cache(maxsize=8)
def _plan(descriptor: Descriptor, n_elements: int) -> tuple[Bundle, IntArray]:
    """Parameters of a descriptor, and which component stands where in the compiled code's order."""
    layout, parameters = arranged(descriptor, n_elements, np.float64)
    components = np.full(layout.count, -1)
    components[layout.place] = np.arange(len(layout.place))
    return parameters, components


class _Desk:
    """Working memory that grows where structures do not fit.

    Args:
        plan: what `_plan` gives.
        n_atoms: of the largest structure.
    """

    def __init__(self, plan: tuple[Bundle, IntArray], n_atoms: int) -> None:
        self.recipe, self._components = plan
        self._n_atoms, self._n_images, self.width = n_atoms, 4096, 128
        self._free: list[Bundle] = []

    def grow(self, ended: Sequence[int]) -> None:
        """Double what structures did not fit into."""
        if IMAGES in ended:
            self._n_images *= 2
        if NEIGHBOURS in ended:
            self.width *= 2
        self._free.clear()

    @contextmanager
    def room(self) -> Iterator[Bundle]:
        """Working memory that no other thread has at the same time."""
        try:
            room = self._free.pop()
        except IndexError:
            room = self._new_room()
        yield room
        self._free.append(room)

    def _new_room(self) -> Bundle:
        n_elements, lanes = self.recipe.parts.elements, WIDTH // 8
        rows, moments = sizes(self.recipe.parts, np.float64)

        def zeros(count: int) -> FloatArray:
            made: FloatArray = aligned(count, np.float64)
            return made

        return Bundle(
            Space(
                images=Bundle(images(self._n_images, self._n_atoms, n_elements)),
                found=Bundle(found(1, self.width, n_elements, np.float64)),
                values=zeros(self.width * rows),
                moments=zeros(moments),
                made=zeros(up(len(self._components), lanes)),
                tilt=zeros(3 * COUNT * self.width),
                weights=zeros(moments),
                pulled=zeros(3 * lanes),
                sums=zeros(SUMS * lanes),
                place=self._components,
            )
        )

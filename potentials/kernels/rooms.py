"""Working memory of one thread, made larger where a structure does not fit."""

from typing import Any

import numpy as np

from potentials.kernels.arrays import Bundle
from potentials.kernels.harmonics import COUNT
from potentials.kernels.images import images
from potentials.kernels.model import STRIDE, TILE, Model, blocks_of, rows_of
from potentials.kernels.neighbours import Found
from potentials.kernels.networks import Signals
from potentials.kernels.packing import aligned, up
from potentials.kernels.simd import WIDTH
from potentials.kernels.structure import IMAGES, NEIGHBOURS, Result, Room


class Desk:
    """Room and results for structures of at most ``n_atoms`` atoms.

    Args:
        model: parameters.
        dtype: of the model.
        n_atoms: of the largest structure.
        members: whether forces of every member are wanted.
    """

    def __init__(self, model: Model, dtype: Any, n_atoms: int, *, members: bool) -> None:
        self.model, self.dtype, self.n_atoms = model, dtype, n_atoms
        self.members = members
        self.n_images, self.width = 4096, 128
        n_members, n_elements = model.constants.shape
        self.result = Bundle(
            Result(
                energy=np.zeros(n_members),
                forces=np.zeros((n_atoms, 3)),
                virial=np.zeros(6),
                member_forces=np.zeros((n_members, n_atoms if members else 0, 3)),
                extrapolation=np.zeros(1),
                nearest=np.zeros((n_elements, n_elements)),
            )
        )
        self.signals = self._signals()
        self.room = self._room()

    def grow(self, ended: int) -> None:
        """Double what a structure did not fit into."""
        if ended == IMAGES:
            self.n_images *= 2
        elif ended == NEIGHBOURS:
            self.width *= 2
        self.room = self._room()

    def _signals(self) -> Bundle:
        model, n_members = self.model, len(self.model.constants)
        descriptors = TILE * model.columns
        signals = TILE * int(model.layers[:, STRIDE].sum()) + WIDTH
        halves = TILE * model.form_columns
        sizes = (descriptors, descriptors, descriptors, signals, signals, halves)
        made = [aligned(size, self.dtype) for size in (*sizes, TILE * n_members)]
        return Bundle(Signals(*made))

    def _room(self) -> Bundle:
        n_elements, channels = self.model.constants.shape[1], len(self.model.channels)
        width, moments = TILE * self.width, blocks_of(n_elements) * COUNT * channels
        found = Found(
            x=aligned(width, self.dtype),
            y=aligned(width, self.dtype),
            z=aligned(width, self.dtype),
            atom=np.zeros(width, dtype=np.int64),
            start=np.zeros((TILE, n_elements + 1), dtype=np.int64),
            count=np.zeros((TILE, n_elements), dtype=np.int64),
            near=np.zeros((TILE, n_elements), dtype=np.int64),
            nearest=np.zeros((TILE, n_elements)),
            far=np.zeros(self.width + WIDTH, dtype=np.int64),
        )
        return Bundle(
            Room(
                images=Bundle(images(self.n_images, self.n_atoms, n_elements)),
                found=Bundle(found),
                values=aligned(width * up(rows_of(channels), 4), self.dtype),
                moments=aligned(TILE * moments, self.dtype),
                pulled=aligned(moments, self.dtype),
                signals=self.signals,
                pull=aligned(3 * WIDTH, self.dtype),
                unused=np.zeros(6),
            )
        )

"""Working memory of one thread, made larger where a structure does not fit."""

from typing import Any

import numpy as np

from potentials.kernels import symmetry
from potentials.kernels.arrays import Bundle, aligned, up
from potentials.kernels.calling import Evaluator
from potentials.kernels.compiling import address_of
from potentials.kernels.harmonics import COUNT
from potentials.kernels.images import images
from potentials.kernels.model import STRIDE, TILE, Model, Recipe, blocks_of, rows_of
from potentials.kernels.neighbours import found
from potentials.kernels.networks import Signals
from potentials.kernels.simd import WIDTH
from potentials.kernels.structure import IMAGES, NEIGHBOURS, Batch, Result, Room, evaluate
from potentials.kernels.symmetry import SymmetryRecipe

_NONE = np.zeros(0, dtype=np.int64)
#: a batch of nothing, for its type
EMPTY = Bundle(
    Batch(
        first=_NONE,
        positions=np.zeros((0, 3)),
        cells=np.zeros((0, 3, 3)),
        periodic=np.zeros((0, 3), dtype=np.int64),
        species=_NONE,
        order=_NONE,
        begin=np.zeros((0, 1), dtype=np.int64),
    )
)


def sizes(recipe: Recipe | SymmetryRecipe, dtype: Any) -> tuple[int, int]:
    """Numbers kept for every neighbour of an atom, and sums of an atom."""
    if isinstance(recipe, SymmetryRecipe):
        return up(symmetry.rows_of(recipe), 4), symmetry.room_of(recipe, dtype)
    channels = len(recipe.channels)
    return up(rows_of(channels), 4), blocks_of(recipe.elements) * COUNT * channels


class Desk:
    """Room and results for structures of at most ``n_atoms`` atoms.

    Args:
        packed: parameters.
        dtype: of the model.
        n_atoms: of the largest structure.
        members: whether forces of every member are wanted.
        extrapolation: whether it is asked how far structures leave the training data.
    """

    def __init__(
        self, packed: Bundle, dtype: Any, n_atoms: int, *, members: bool, extrapolation: bool
    ) -> None:
        self._packed, self.dtype, self.n_atoms = packed, dtype, n_atoms
        self.model: Model = packed.parts
        self.members, self.extrapolation = members, extrapolation
        self.n_images, self.width = 4096, 128
        self.result = self._result()
        self.signals = self._signals()
        self.renew()

    def renew(self) -> None:
        """Room of the size at hand, and an evaluator that uses it."""
        self.room = self._room()
        self.evaluator = Bundle(
            Evaluator(
                code=address_of(evaluate, self._packed, EMPTY, 0, 0, self.room, self.result),
                model=self._packed.address,
                room=self.room.address,
                cutoff=self.model.recipe.parts.cutoff,
                result=self.result,
            )
        )

    def grow(self, ended: int) -> None:
        """Double what a structure did not fit into."""
        if ended == IMAGES:
            self.n_images *= 2
        elif ended == NEIGHBOURS:
            self.width *= 2
        self.renew()

    def _result(self) -> Bundle:
        n_members, n_elements = self.model.constants.shape
        return Bundle(
            Result(
                energy=np.zeros(n_members),
                forces=np.zeros((self.n_atoms, 3)),
                virial=np.zeros(6),
                member_forces=np.zeros((n_members, self.n_atoms if self.members else 0, 3)),
                extrapolation=np.zeros(int(self.extrapolation)),
                nearest=np.zeros((n_elements, n_elements)),
            )
        )

    def _signals(self) -> Bundle:
        model, n_members = self.model, len(self.model.constants)
        descriptors = TILE * model.columns
        signals = TILE * int(model.layers[:, STRIDE].sum()) + WIDTH
        halves = TILE * model.form_columns
        means = model.recipe.parts.elements * model.columns
        sizes = (descriptors, descriptors, descriptors, signals, signals, halves)
        made = [aligned(size, self.dtype) for size in (*sizes, TILE * n_members, means)]
        return Bundle(Signals(*made))

    def _room(self) -> Bundle:
        n_elements = self.model.recipe.parts.elements
        rows, moments = sizes(self.model.recipe.parts, self.dtype)
        width = TILE * self.width
        return Bundle(
            Room(
                images=Bundle(images(self.n_images, self.n_atoms, n_elements)),
                found=Bundle(found(TILE, self.width, n_elements, self.dtype)),
                values=aligned(width * rows, self.dtype),
                moments=aligned(TILE * moments, self.dtype),
                pulled=aligned(moments, self.dtype),
                signals=self.signals,
                pull=aligned(3 * WIDTH, self.dtype),
                unused=np.zeros(6),
            )
        )

"""A smaller crystal, repeated."""

from math import gcd
from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.operators import Operator, glide, reframed
from aga.search.space import Space
from aga.search.symmetry import primitive

_INVERTED_SHARE = 0.5


class Supercell(Operator):
    """Stack copies of a part of the crystal along a random lattice direction.

    A parent that is a supercell already gives layers of its primitive cell, which are stacked anew:
    some glide against the one below (polytypes). Of any other a half or a third is cut out and
    repeated: as it is, shifted, or every second one inverted, which makes the crystal
    centrosymmetric. What took long to form once is then there several times, like the subcells of
    Lyakhov, Oganov & Valle 2010, https://doi.org/10.1016/j.cpc.2010.06.007.
    """

    parents: ClassVar[int] = 1

    kind: Literal["supercell"] = "supercell"
    shift_share: float = Field(
        0.5, ge=0, le=1, description="Share of repeated parts that are shifted against each other."
    )
    symprec_a: float = Field(0.1, gt=0, description="How far atoms may be off the symmetry [Å].")

    def applicable(self, space: Space) -> bool:
        """Some part of the cell must have its composition."""
        return super().applicable(space) and gcd(*space.composition.values()) > 1

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where no part of the parent has its composition."""
        parent = parents[0]
        motif = primitive(parent, self.symprec_a)
        copies, rest = divmod(len(parent), len(motif))
        if copies > 1 and rest == 0:
            layers = int(rng.choice([n for n in range(2, copies + 1) if copies % n == 0]))
            layer = reframed(motif, rng).repeat((copies // layers, 1, 1))
            glided = rng.random(layers) < 0.5
            glided[rng.integers(layers)] = True
            return _stacked(layer, glided, rng)
        counts = np.unique(parent.numbers, return_counts=True)[1]
        parts = [n for n in (2, 3, 5) if (counts % n == 0).all()]
        if not parts:
            return None
        copies = int(rng.choice(parts))
        glided = np.full(copies, rng.random() < self.shift_share)
        return _stacked(_cut(reframed(parent, rng), copies), glided, rng)


def _cut(atoms: Atoms, parts: int) -> Atoms:
    """The lowest of ``parts`` slabs as a crystal of its own, with its share of each element."""
    fractions = atoms.get_scaled_positions()
    height = fractions[:, 2]
    top = 1 / parts
    depth = np.minimum.reduce([height, np.abs(height - top), 1 - height])
    rank = np.where(height < top, -depth, 1 + depth)
    chosen: list[int] = []
    for number, count in zip(*np.unique(atoms.numbers, return_counts=True), strict=True):
        of_element = np.flatnonzero(atoms.numbers == number)
        order = of_element[np.argsort(rank[of_element], kind="stable")]
        chosen += order[: count // parts].tolist()
    part = atoms[chosen]
    part.set_cell(atoms.cell.array * [[1.0], [1.0], [top]])
    return part


def _stacked(motif: Atoms, glided: NDArray[np.bool_], rng: Generator) -> Atoms:
    """Layers along the third vector, those that are ``glided`` shifted against the one below.

    All glide by one vector, so that few ways to lie on each other recur (close-packed layers: two).
    Every second layer is inverted, or none, by chance.
    """
    stack = motif.repeat((1, 1, len(glided)))
    layer = np.arange(len(glided)).repeat(len(motif))
    shift = np.outer(np.cumsum(glided), glide(stack, rng))
    if rng.random() < _INVERTED_SHARE:
        # by the middle of its own cell
        middle = (layer[:, None] + 0.5) * motif.cell.array[2] + motif.cell.array[:2].sum(axis=0) / 2
        odd = layer % 2 == 1
        stack.positions[odd] = 2 * middle[odd] - stack.positions[odd]
    stack.positions += np.roll(shift, 1, axis=0)[layer] * (layer > 0)[:, None]
    stack.set_cell(stack.cell.array + np.outer([0, 0, 1], shift[-1]))
    return stack

"""A shifted slab."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator, glide, reframed
from aga.search.space import Space


class Slip(Operator):
    """Shift one part of the crystal along a random lattice plane against the other.

    Either everything above one cut, so that all periods above slip on (a shear of the stacking:
    fcc becomes hcp), or a slab between two cuts (a pair of faults), which may be mirrored in its
    middle (a twin). Moves of stackings as in Vitek 1968,
    https://doi.org/10.1080/14786436808227500.
    """

    parents: ClassVar[int] = 1

    kind: Literal["slip"] = "slip"
    slab_share: float = Field(0.5, ge=0, le=1, description="Share of children with two cuts.")
    twin_share: float = Field(0.3, ge=0, le=1, description="Share of those slabs mirrored.")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where no atom lies on one side of the cuts."""
        child = reframed(parents[0], rng)
        shift = glide(child, rng)
        # the first cut is at 0: `reframed` put the origin anywhere
        if rng.random() >= self.slab_share:
            child.set_cell(child.cell.array + np.outer([0, 0, 1], shift))
            return child
        height = child.get_scaled_positions()[:, 2]
        top = float(rng.uniform(0.2, 0.8))
        slab = height < top
        if not slab.any() or slab.all():
            return None
        if rng.random() < self.twin_share:
            normal = np.cross(*child.cell.array[:2])
            normal /= np.linalg.norm(normal)
            middle = top / 2 * child.cell.array[2] @ normal
            above = child.positions[slab] @ normal - middle
            child.positions[slab] -= 2 * above[:, None] * normal
        child.positions[slab] += shift
        return child

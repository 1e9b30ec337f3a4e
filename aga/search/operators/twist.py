"""A cluster of which one half is turned."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator, rattled, spun
from aga.search.space import Dimension, Space


class Twist(Operator):
    """Turn what lies above a plane near the middle around the normal of the plane.

    Wolf & Landman 1998, https://doi.org/10.1021/jp9814597: halves of a cluster that are packed well
    often only need to be put together otherwise, as an octahedron and its twin.
    """

    parents: ClassVar[int] = 1
    dimensions: ClassVar[tuple[Dimension, ...]] = ("cluster",)

    kind: Literal["twist"] = "twist"
    least_deg: float = Field(20.0, gt=0, le=180, description="Smallest angle [degrees].")
    off_middle: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Largest distance of the plane from the middle, over the size.",
    )
    rattle_a: float = Field(0.05, ge=0, description="Displacement of atoms per component [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where all atoms lie on one side."""
        child = parents[0]
        child.positions = spun(child, rng)
        height = child.positions[:, 2]
        limit = self.off_middle * np.abs(height).max()
        above = height > rng.uniform(-limit, limit)
        if above.all() or not above.any():
            return None
        angle = np.deg2rad(rng.uniform(self.least_deg, 360.0 - self.least_deg))
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        child.positions[above] = child.positions[above] @ turn
        return rattled(child, self.rattle_a, rng)

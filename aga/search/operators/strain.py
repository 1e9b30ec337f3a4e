"""A strained cell."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator, rattled
from aga.search.space import Space


class Strain(Operator):
    """Strain the cell by a random symmetric tensor, atoms with it, and rattle a little."""

    parents: ClassVar[int] = 1

    kind: Literal["strain"] = "strain"
    strain: float = Field(0.1, gt=0, le=0.5, description="Standard deviation of each component.")
    rattle_a: float = Field(0.05, ge=0, description="Displacement of atoms per component [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        child = parents[0]
        tensor = rng.normal(0.0, self.strain, (3, 3))
        # half the sum of two: off-diagonal strain is weaker by the square root of 2
        stretch = np.eye(3) + (tensor + tensor.T) / 2
        if np.linalg.eigvalsh(stretch).min() < 0.2:
            return None
        child.set_cell(child.cell.array @ stretch, scale_atoms=True)
        return rattled(child, self.rattle_a, rng)

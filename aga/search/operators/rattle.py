"""Displaced atoms."""

from typing import ClassVar, Literal

from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator, rattled
from aga.search.space import Dimension, Space


class Rattle(Operator):
    """Move every atom at random."""

    parents: ClassVar[int] = 1
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk", "cluster")

    kind: Literal["rattle"] = "rattle"
    amplitude_a: float = Field(
        0.4, gt=0, description="Standard deviation of the displacement per component [Å]."
    )

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        return rattled(parents[0], self.amplitude_a, rng)

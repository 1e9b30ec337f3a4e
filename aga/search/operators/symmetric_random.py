"""A fresh random crystal or cluster."""

from typing import ClassVar, Literal

from ase import Atoms
from numpy.random import Generator

from aga.search import seeds
from aga.search.operators import Operator
from aga.search.space import Dimension, Space


class SymmetricRandom(Operator):
    """A random crystal of a random space group, or cluster of a random point group (see `seeds`).

    The null of every comparison.
    """

    parents: ClassVar[int] = 0
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk", "cluster")

    kind: Literal["symmetric_random"] = "symmetric_random"
    tries: int = 20

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        return seeds.attempt(space, rng)[0]

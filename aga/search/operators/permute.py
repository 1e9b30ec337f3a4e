"""Exchanged atoms."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator, rattled
from aga.search.space import Dimension, Space


class Permute(Operator):
    """Exchange pairs of unlike atoms and rattle a little."""

    parents: ClassVar[int] = 1
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk", "cluster")

    kind: Literal["permute"] = "permute"
    max_swaps: int = Field(3, ge=1, description="Most pairs exchanged; 1 to this many are drawn.")
    rattle_a: float = Field(0.05, ge=0, description="Displacement of atoms per component [Å].")

    def applicable(self, space: Space) -> bool:
        """Elements have no unlike atoms."""
        return super().applicable(space) and len(space.composition) > 1

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        if not self.applicable(space):
            return None
        child = parents[0]
        numbers = child.numbers.copy()
        # each atom moves at most once, so that no exchange undoes another
        free = rng.permutation(len(numbers)).tolist()
        for _ in range(int(rng.integers(1, self.max_swaps + 1))):
            one = free.pop() if free else None
            two = next((index for index in free if numbers[index] != numbers[one]), None)
            if one is None or two is None:
                break
            free.remove(two)
            numbers[[one, two]] = numbers[[two, one]]
        child.numbers = np.asarray(numbers)
        return rattled(child, self.rattle_a, rng)

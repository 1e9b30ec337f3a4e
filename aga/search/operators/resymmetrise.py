"""A crystal of higher symmetry."""

from typing import ClassVar, Literal

from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator
from aga.search.space import Space
from aga.search.symmetry import operations

# a symmetry that holds within this is there already [Å]
_EXACT = 0.02
_GROWTH = 1.3


class Resymmetrise(Operator):
    """Restore a symmetry that the crystal nearly has.

    The tolerance starts at random, evenly in its logarithm, and grows until spglib finds more
    operations than hold now (Togo, Shinohara & Tanaka 2024,
    https://doi.org/10.1080/27660400.2024.2384822); atoms and cell are averaged over them. Minima
    of high symmetry attract most of what lies around them, yet a relaxation on a rough surface
    stops short of them.
    """

    parents: ClassVar[int] = 1
    #: parents are symmetrised before any operator sees them
    by_default: ClassVar[bool] = False

    kind: Literal["resymmetrise"] = "resymmetrise"
    # a parent without a higher symmetry near has none at the next try
    tries: int = 1
    least_a: float = Field(0.05, gt=0, description="Smallest tolerance [Å].")
    most_a: float = Field(1.0, gt=0, description="Largest tolerance [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where no higher symmetry is near."""
        parent = parents[0]
        present = operations(parent, _EXACT)
        least = 1 if present is None else len(present)
        symprec = self.least_a * (self.most_a / self.least_a) ** float(rng.random())
        while symprec <= self.most_a:
            found = operations(parent, symprec)
            if found is not None and len(found) > least:
                return found.restored(parent)
            symprec *= _GROWTH
        return None

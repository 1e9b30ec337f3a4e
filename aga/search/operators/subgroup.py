"""A crystal moved within a part of its symmetry."""

from typing import ClassVar, Literal

from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator
from aga.search.operators.wyckoff import distorted
from aga.search.space import Space
from aga.search.symmetry import exact


class Subgroup(Operator):
    """Distort a crystal at random, but keep a random subgroup of its operations.

    One or two operations are drawn and made a group; displacements and strain obey it. Crystals
    change into each other this way (Bärnighausen 1980), and low-energy structures mostly have some
    symmetry: what was found for random ones (Lyakhov, Oganov, Stokes & Zhu 2013,
    https://doi.org/10.1016/j.cpc.2012.12.009) holds for displacements as well.
    """

    parents: ClassVar[int] = 1

    kind: Literal["subgroup"] = "subgroup"
    least_a: float = Field(0.2, gt=0, description="Smallest displacement of the atom moved most.")
    most_a: float = Field(2.0, gt=0, description="Largest displacement of the atom moved most [Å].")
    strain: float = Field(0.1, ge=0, le=0.5, description="Standard deviation of each component.")
    symprec_a: float = Field(0.1, gt=0, description="How far atoms may be off the symmetry [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where the parent has no symmetry."""
        found = exact(parents[0], self.symprec_a)
        if found is None:
            return None
        parent, group = found
        kept = group.subgroup(int(rng.integers(1, 3)), rng)
        size = float(rng.uniform(self.least_a, self.most_a))
        return distorted(parent, kept, size, self.strain, rng)

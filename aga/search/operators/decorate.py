"""Another order of the elements on the same sites."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.compositions import counts_of
from aga.search.operators import Operator, rattled
from aga.search.space import Space
from aga.search.symmetry import exact, primitive, symmetrise
from aga.search.volumes import mixture_volume

IntArray = NDArray[np.int64]

_DRAWS = 10
# sites this near to where a symmetry puts them are there [Å]
_SAME = 0.01


class Decorate(Operator):
    """Order the elements anew on the sites of the parent, symmetrically.

    The sites, elements aside, form a lattice of their own (fcc for most alloys). Its primitive
    cell is repeated to a random supercell of the right size; a random group of its operations is
    kept, and sites that the group makes equal get one element. Derivative structures as in Hart &
    Forcade 2008, https://doi.org/10.1103/PhysRevB.77.224115, drawn instead of enumerated.
    """

    parents: ClassVar[int] = 1
    any_composition: ClassVar[bool] = True

    kind: Literal["decorate"] = "decorate"
    symprec_a: float = Field(
        0.4, gt=0, description="How far atoms of unlike size may have moved off the sites [Å]."
    )
    max_generators: int = Field(
        3, ge=1, description="Most operations that make the group; 1 to this many are drawn."
    )
    rattle_a: float = Field(0.05, ge=0, description="Displacement of atoms per component [Å].")

    def applicable(self, space: Space) -> bool:
        """Elements have no unlike atoms."""
        return super().applicable(space) and len(space.composition) > 1

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None where the sites have no symmetry that allows another order."""
        if not self.applicable(space):
            return None
        sites = parents[0]
        growth = mixture_volume(space.composition) / mixture_volume(counts_of(sites))
        sites.numbers[:] = 1
        lattice = symmetrise(sites, self.symprec_a)
        found = None if lattice is None else exact(_resized(lattice, space.n_atoms, rng), _SAME)
        if found is None or len(found[0]) != space.n_atoms:
            return None
        sites, group = found
        sites.set_cell(sites.cell.array * np.cbrt(growth), scale_atoms=True)
        for _ in range(_DRAWS):
            kept = group.subgroup(int(rng.integers(1, self.max_generators + 1)), rng)
            numbers = _shared_out(_orbits(kept.targets), space, rng)
            if numbers is not None:
                sites.numbers = numbers
                return rattled(sites, self.rattle_a, rng)
        return None


def _resized(sites: Atoms, size: int, rng: Generator) -> Atoms:
    """A random supercell of the primitive cell with ``size`` sites (Hermite normal form).

    The sites themselves where the primitive cell does not divide them.
    """
    from ase.build import make_supercell  # slow to import

    small = primitive(sites, _SAME)
    copies, rest = divmod(size, len(small))
    if rest:
        return sites
    first = int(rng.choice(_divisors(copies)))
    second = int(rng.choice(_divisors(copies // first)))
    third = copies // first // second
    upper = rng.integers(0, [second, third, third])
    # its rows are the new cell vectors
    form = [[first, upper[0], upper[1]], [0, second, upper[2]], [0, 0, third]]
    return make_supercell(small, form)


def _divisors(number: int) -> list[int]:
    return [one for one in range(1, number + 1) if number % one == 0]


def _orbits(targets: IntArray) -> list[IntArray]:
    """Sites that the operations (G, N) take to each other."""
    first = targets.min(axis=0)
    return [np.flatnonzero(first == site) for site in np.unique(first)]


def _shared_out(orbits: list[IntArray], space: Space, rng: Generator) -> IntArray | None:
    """An element for each orbit, drawn by how many atoms of it are left; None where none fits."""
    elements = [atomic_numbers[symbol] for symbol in space.symbols]
    left = np.array([space.composition[symbol] for symbol in space.symbols])
    numbers = np.zeros(space.n_atoms, dtype=np.int64)
    # large orbits first: small ones fill what is left
    for orbit in sorted(rng.permutation(len(orbits)), key=lambda one: -len(orbits[one])):
        sites = orbits[orbit]
        chances = np.where(left >= len(sites), left, 0)
        if chances.sum() == 0:
            return None
        drawn = int(rng.choice(len(left), p=chances / chances.sum()))
        numbers[sites] = elements[drawn]
        left[drawn] -= len(sites)
    return numbers

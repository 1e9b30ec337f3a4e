"""A crystal moved within its space group."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import Field

from aga.search.operators import Operator
from aga.search.space import Space
from aga.search.symmetry import Operations, exact


class Wyckoff(Operator):
    """Change the free lattice parameters and Wyckoff coordinates, and keep the space group.

    A random strain and random displacements lose what breaks an operation; the rest is scaled to
    a drawn size. The coordinates that Wyckoff positions leave free are those of the International
    Tables, as in Pickard & Needs 2011, https://doi.org/10.1088/0953-8984/23/5/053201, but no table
    is needed.
    """

    parents: ClassVar[int] = 1
    #: relaxed crystals fall back
    by_default: ClassVar[bool] = False

    kind: Literal["wyckoff"] = "wyckoff"
    least_a: float = Field(0.2, gt=0, description="Smallest displacement of the atom moved most.")
    most_a: float = Field(2.0, gt=0, description="Largest displacement of the atom moved most [Å].")
    strain: float = Field(0.1, ge=0, le=0.5, description="Standard deviation of each component.")
    symprec_a: float = Field(0.1, gt=0, description="How far atoms may be off the symmetry [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; None without symmetry, or where it leaves nothing but the volume."""
        found = exact(parents[0], self.symprec_a)
        if found is None:
            return None
        size = float(rng.uniform(self.least_a, self.most_a))
        return distorted(*found, size, self.strain, rng)


def distorted(
    atoms: Atoms, kept: Operations, size: float, strain: float, rng: Generator
) -> Atoms | None:
    """``atoms`` strained and moved at random as far as the operations allow.

    Args:
        atoms: a crystal that obeys ``kept``.
        kept: the operations that the child obeys.
        size: displacement of the atom moved most [Å].
        strain: standard deviation of each component of the strain before symmetry is restored.
        rng: the only source of chance.

    Returns:
        None where the operations leave nothing free but the volume.
    """
    tensor = rng.normal(0.0, strain, (3, 3))
    stretch = np.eye(3) + (tensor + tensor.T) / 2
    if np.linalg.eigvalsh(stretch).min() < 0.2:
        return None
    cell = kept.cell(atoms.cell.array @ stretch)
    cell *= np.cbrt(atoms.get_volume() / abs(np.linalg.det(cell)))
    move = kept.displacements(rng.normal(size=(len(atoms), 3)) @ np.linalg.inv(atoms.cell.array))
    longest = np.linalg.norm(move @ cell, axis=1).max()
    if longest < 1e-6 and np.allclose(cell, atoms.cell.array, atol=1e-3):
        return None
    if longest > 1e-6:
        move *= size / longest
    fractions = atoms.get_scaled_positions(wrap=False) + move
    return Atoms(numbers=atoms.numbers, scaled_positions=fractions, cell=cell, pbc=True)

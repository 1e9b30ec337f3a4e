"""Random crystals of a space group: atoms on Wyckoff positions of a random cell, or of a part.

Structures of low energy often have small cells, so that a cell is divided at random: a part of it
is drawn with its share of the atoms, and repeated (Lyakhov, Oganov & Valle 2010,
https://doi.org/10.1016/j.cpc.2010.06.007).
"""

from collections.abc import Mapping
from math import gcd

import numpy as np
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray

from aga.search.compositions import named
from aga.search.lattices import random_cell, random_multiple
from aga.search.neighbours import neighbours
from aga.search.orbits import Orbit, conventional_multiple, occupation, primitive_vectors

#: share of random crystals that fill the conventional cell of their space group, not a part of the
#: cell in a random shape: open structures such as diamond are cubic in eight atoms
CONVENTIONAL = 0.25
#: cells and coordinates that are tried for one choice of Wyckoff positions
_PLACEMENTS = 5


def divisors(composition: Mapping[str, int]) -> list[int]:
    """Numbers of equal parts that a composition can be divided into."""
    common = gcd(*composition.values())
    return [parts for parts in range(1, common + 1) if common % parts == 0]


def drawn_parts(composition: Mapping[str, int], rng: Generator) -> int:
    """How many times the primitive cell is to be repeated; smaller parts are less likely.

    A part of n atoms is drawn in proportion to the square root of n: of small ones there are fewer.
    """
    options = divisors(composition)
    weights = np.sqrt(sum(composition.values()) / np.array(options))
    return int(rng.choice(options, p=weights / weights.sum()))


def drawn_supercell(
    number: int, composition: Mapping[str, int], rng: Generator
) -> NDArray[np.int64] | None:
    """Of how many primitive cells of a space group the whole is to be, and in which shape (3, 3).

    None where the composition does not fill the conventional cell that was drawn.
    """
    if rng.random() < CONVENTIONAL:
        matrix = conventional_multiple(number)
        return matrix if cells_of(matrix) in divisors(composition) else None
    return random_multiple(drawn_parts(composition, rng), rng)


def cells_of(matrix: NDArray[np.int64]) -> int:
    """How many cells a supercell holds."""
    return round(abs(float(np.linalg.det(matrix))))


def symmetric_crystal(
    number: int,
    composition: Mapping[str, int],
    volume_per_atom: float,
    shortest: float,
    rng: Generator,
) -> Atoms | None:
    """A random crystal with at least the symmetry of a space group.

    Args:
        number: of the space group.
        composition: atoms in the primitive cell by symbol.
        volume_per_atom: [Å^3].
        shortest: distance that atoms should have; where no placement keeps it, the one that comes
            nearest is taken [Å].
        rng: the only source of chance.

    Returns:
        In its primitive cell; None where the composition fits no choice of Wyckoff positions.
    """
    sites = occupation(number, composition, rng)
    if sites is None:
        return None
    best: tuple[float, Atoms | None] = (-1.0, None)
    for _ in range(_PLACEMENTS):
        crystal = _placed(number, sites, volume_per_atom, rng)
        closest = float(neighbours(crystal, shortest).distances.min(initial=shortest))
        best = max(best, (closest, crystal), key=lambda one: one[0])
        if closest >= shortest:
            break
    return best[1]


def _placed(
    number: int, sites: list[tuple[str, Orbit]], volume_per_atom: float, rng: Generator
) -> Atoms:
    """Random free coordinates in a random cell."""
    symbols = [symbol for symbol, orbit in sites for _ in range(orbit.multiplicity)]
    vectors = primitive_vectors(number)
    volume = len(symbols) * volume_per_atom / abs(float(np.linalg.det(vectors)))
    conventional = random_cell(number, volume, rng)
    fractions = np.concatenate([orbit.points(rng.random(3)) for _, orbit in sites])
    crystal = Atoms(symbols, positions=fractions @ conventional, cell=vectors @ conventional)
    crystal.pbc = True
    crystal.wrap()
    return crystal


def repeated(crystal: Atoms, copies: int, rng: Generator) -> Atoms:
    """A supercell of a random shape; atoms in no order."""
    return supercell(crystal, random_multiple(copies, rng))


def supercell(crystal: Atoms, matrix: NDArray[np.int64]) -> Atoms:
    """A supercell; atoms in no order."""
    if cells_of(matrix) == 1:
        return crystal
    from ase.build import make_supercell  # imports calculators that are installed

    return make_supercell(crystal, matrix)


def part(composition: Mapping[str, int], parts: int) -> dict[str, int]:
    """The composition of one of ``parts`` equal parts.

    Raises:
        ValueError: it cannot be divided so.
    """
    if any(count % parts for count in composition.values()):
        raise ValueError(f"part: expected a divisor of {named(composition)}, got {parts}")
    return {symbol: count // parts for symbol, count in composition.items()}

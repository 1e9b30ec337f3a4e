"""Wyckoff positions of primitive cells, and filling them with a composition.

The tables are PyXtal's (those of the International Tables A, standard settings).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: primitive cells by lattice symbol: rows in units of the conventional vectors
_PRIMITIVE: dict[str, list[list[float]]] = {
    "P": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]],
    "C": [[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]],
    "I": [[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]],
    "F": [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    "R": [[2 / 3, 1 / 3, 1 / 3], [-1 / 3, 1 / 3, 1 / 3], [-1 / 3, -2 / 3, 1 / 3]],
}
#: choices of positions that are tried before a composition is said not to fit
_TRIES = 20


class Orbit(NamedTuple):
    """A Wyckoff position of a primitive cell.

    Attributes:
        matrices: linear parts of its m coordinate triplets (m, 3, 3), of which a point (x, y, z)
            in conventional fractions makes conventional fractions.
        shifts: their constant parts (m, 3).
        free: whether it has a coordinate to choose, so that it may be occupied twice.
    """

    matrices: FloatArray
    shifts: FloatArray
    free: bool

    @property
    def multiplicity(self) -> int:
        """Atoms in the primitive cell."""
        return len(self.shifts)

    def points(self, point: FloatArray) -> FloatArray:
        """Its atoms (m, 3) in conventional fractions, for one ``point`` (3,)."""
        return np.asarray(self.matrices @ point + self.shifts)


@lru_cache(maxsize=230)
def orbits(number: int) -> tuple[Orbit, ...]:
    """The Wyckoff positions of a space group in its primitive cell."""
    from pyxtal.symmetry import get_wyckoffs

    to_primitive = np.linalg.inv(primitive_vectors(number))
    found = []
    for operations in get_wyckoffs(number):
        affine = np.array([operation.affine_matrix for operation in operations])
        linear, shifts = affine[:, :3, :3], affine[:, :3, 3]
        kept = _apart(linear, shifts @ to_primitive)
        found.append(Orbit(linear[kept], shifts[kept], bool(np.abs(linear).max() > 0)))
    return tuple(found)


@lru_cache(maxsize=230)
def primitive_vectors(number: int) -> FloatArray:
    """Vectors of the primitive cell (rows) in units of the conventional ones (3, 3)."""
    return np.array(_PRIMITIVE[lattice_symbol(number)])


def conventional_multiple(number: int) -> NDArray[np.int64]:
    """Vectors of the conventional cell (rows) in units of the primitive ones (3, 3)."""
    return np.asarray(np.rint(np.linalg.inv(primitive_vectors(number))), dtype=np.int64)


@lru_cache(maxsize=230)
def lattice_symbol(number: int) -> str:
    """P, A, C, I, F or R."""
    from pyxtal.symmetry import get_symbol_and_number

    symbol: str = get_symbol_and_number(number, 3)[0]
    return symbol[0]


def _apart(linear: FloatArray, shifts: FloatArray) -> list[int]:
    """Places of the triplets that no lattice translation makes of an earlier one.

    Args:
        linear: (m, 3, 3).
        shifts: in primitive fractions (m, 3).
    """
    kept: list[int] = []
    for place in range(len(shifts)):
        same = np.abs(linear[kept] - linear[place]).max(axis=(1, 2), initial=0.0) < 1e-6
        off = shifts[kept] - shifts[place]
        if not (same & (np.abs(off - np.round(off)).max(axis=1, initial=0.0) < 1e-3)).any():
            kept.append(place)
    return kept


def occupation(
    number: int, composition: Mapping[str, int], rng: Generator
) -> list[tuple[str, Orbit]] | None:
    """Wyckoff positions that hold just this composition, drawn one after another.

    Each is drawn evenly from all that still fit; one without a free coordinate is occupied once.
    Elements take their turns in random order.

    Args:
        number: of the space group.
        composition: atoms in the primitive cell by symbol.
        rng: the only source of chance.

    Returns:
        Symbol and position of each orbit, or None where no try came out.
    """
    if not fits(number, tuple(sorted(composition.values()))):
        return None
    every = orbits(number)
    for _ in range(_TRIES):
        used: set[int] = set()
        chosen: list[tuple[str, Orbit]] = []
        for symbol in rng.permutation(sorted(composition)):
            own = _drawn(every, composition[symbol], used, rng)
            if own is None:
                break
            chosen += [(str(symbol), every[place]) for place in own]
        else:
            return chosen
    return None


def _drawn(
    every: tuple[Orbit, ...], count: int, used: set[int], rng: Generator
) -> list[int] | None:
    """Places of positions that add up to ``count``; those taken for good are put in ``used``."""
    chosen: list[int] = []
    while count > 0:
        fitting = [
            place
            for place, orbit in enumerate(every)
            if orbit.multiplicity <= count and place not in used
        ]
        if not fitting:
            return None
        place = int(fitting[rng.integers(len(fitting))])
        chosen.append(place)
        count -= every[place].multiplicity
        if not every[place].free:
            used.add(place)
    return chosen


@lru_cache(maxsize=4096)
def fits(number: int, counts: tuple[int, ...]) -> bool:
    """Whether each count by itself is a sum of multiplicities: no, if any is not.

    A quick no for most groups of high symmetry; a yes may still fail, where elements need the same
    position without freedom.
    """
    every = orbits(number)
    most = max(counts)
    reached = {0}
    for orbit in every:
        times = most // orbit.multiplicity if orbit.free else 1
        steps = [k * orbit.multiplicity for k in range(times + 1)]
        reached = {have + step for have in reached for step in steps if have + step <= most}
    return set(counts) <= reached

"""Random clusters: atoms in a ball or an ellipsoid, with the operations of a random point group.

Low minima mostly have some symmetry, and few of the random packings that have none come near them:
what holds for crystals holds for clusters (Pickard & Needs 2011,
https://doi.org/10.1088/0953-8984/23/5/053201).
"""

from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from numpy.random import Generator
from numpy.typing import NDArray

from aga.search.space import Space

FloatArray = NDArray[np.float64]

#: clusters without any operation among the random ones
PLAIN_SHARE = 0.3
#: volume of the ball over that of the atoms: half of what they take in the crystal is enough room
#: to begin with, because atoms that are too close are pushed apart
_ROOM = (0.6, 1.2)
#: how much the axes of the ellipsoid differ, as standard deviation of their logarithms
_OBLATE = 0.25
#: positions drawn until one leaves a number of atoms that others can make up
_DRAWS = 60
#: atoms this near, over the shortest distance of a proposal, are not drawn: pushed apart they
#: would leave their group
_CLOSE = 0.5
#: images nearer than this are one atom [Å]
_SAME = 1e-3
_GOLDEN = (1 + 5**0.5) / 2
_DIAGONAL = (1.0, 1.0, 1.0)
_MIRROR_Z, _MIRROR_X = np.diag([1.0, 1.0, -1.0]), np.diag([-1.0, 1.0, 1.0])
_FLIP_X = np.diag([1.0, -1.0, -1.0])


def packed(space: Space, rng: Generator) -> Atoms | None:
    """One random cluster, close atoms as they are; None where its point group does not fit."""
    group = np.eye(3)[None]
    if rng.random() >= PLAIN_SHARE:
        fitting = [one for one in groups() if _fits(one, tuple(space.composition.values()))]
        group = fitting[int(rng.integers(len(fitting)))] if fitting else group
    axes = 0.5 * space.diameter * np.cbrt(rng.uniform(*_ROOM)) * np.ones(3)
    if len(group) == 1:
        stretch = rng.normal(0.0, _OBLATE, 3)
        axes *= np.exp(stretch - stretch.mean())
    close = _CLOSE * min(space.proposal_distance.values())
    numbers: list[int] = []
    positions = np.zeros((0, 3))
    for symbol in rng.permutation(np.array(space.symbols)).tolist():
        left = space.composition[symbol]
        while left > 0:
            orbit = _orbit(group, axes, left, positions, close, rng)
            if orbit is None:
                return None
            positions = np.concatenate([positions, orbit])
            numbers += [atomic_numbers[symbol]] * len(orbit)
            left -= len(orbit)
    return Atoms(numbers=numbers, positions=positions)


def _orbit(
    group: FloatArray,
    axes: FloatArray,
    left: int,
    taken: FloatArray,
    close: float,
    rng: Generator,
) -> FloatArray | None:
    """All images of a random position; None where no draw leaves a number that can be made up."""
    sizes = _orbit_sizes(group.tobytes())
    for _ in range(_DRAWS):
        orbit = _images(group, axes * _within_ball(rng), rng)
        if not _made_up(left - len(orbit), sizes):
            continue
        others = np.concatenate([orbit[1:], taken])
        if np.linalg.norm(others - orbit[0], axis=1).min(initial=np.inf) > close:
            return orbit
    return None


def _images(group: FloatArray, point: FloatArray, rng: Generator) -> FloatArray:
    """Images of a position, or of its projection on an axis, a plane or the middle; each once."""
    # of none, one or two operations: what they leave in place
    kept = group[rng.choice(len(group), int(rng.integers(0, 3)))]
    images = group @ (_fixed(kept) @ point)
    same = np.linalg.norm(images[:, None] - images, axis=2) < _SAME
    return np.asarray(images[same.argmax(axis=1) == np.arange(len(images))])


def _within_ball(rng: Generator) -> FloatArray:
    """A position in the ball of radius 1, evenly."""
    direction = rng.normal(size=3)
    return np.asarray(direction / np.linalg.norm(direction) * np.cbrt(rng.random()))


@lru_cache(maxsize=256)
def _orbit_sizes(group: bytes) -> tuple[int, ...]:
    """How many images positions can have, those of the middle aside."""
    matrices = np.frombuffer(group).reshape(-1, 3, 3)
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(50 + 10 * len(matrices)):
        images = _images(matrices, _within_ball(rng), rng)
        if len(images) > 1 or np.linalg.norm(images[0]) > _SAME:
            found.add(len(images))
    return tuple(sorted(found))


@lru_cache(maxsize=4096)
def _made_up(number: int, sizes: tuple[int, ...]) -> bool:
    """Whether a number of atoms is a sum of orbits."""
    return number == 0 or any(_made_up(number - size, sizes) for size in sizes if size <= number)


def _fits(group: FloatArray, counts: tuple[int, ...]) -> bool:
    """Whether orbits make up the atoms of every element, one of which may be in the middle."""
    sizes = _orbit_sizes(group.tobytes())
    odd = [count for count in counts if not _made_up(count, sizes)]
    return not odd or (len(odd) == 1 and _made_up(odd[0] - 1, sizes))


def _fixed(matrices: FloatArray) -> FloatArray:
    """The projection on all that some operations leave in place (3, 3)."""
    if not len(matrices):
        return np.eye(3)
    moved = np.concatenate([matrix - np.eye(3) for matrix in matrices])
    _, sizes, rows = np.linalg.svd(moved)
    still = rows[sizes < 1e-9]
    return np.asarray(still.T @ still)


@lru_cache(maxsize=1)
def groups() -> tuple[FloatArray, ...]:
    """The point groups that are drawn: axes up to the sixth order, cubic and icosahedral ones."""
    inversion = -np.eye(3)
    three = _rotation(_DIAGONAL, 3)
    found = [[inversion], [_MIRROR_Z]]
    for n in range(2, 7):
        main = _rotation((0, 0, 1), n)
        turned = _rotation((0, 0, 1), 2 * n) @ _MIRROR_Z
        found += [[main], [main, _MIRROR_Z], [main, _MIRROR_X], [turned]]
        found += [[main, _FLIP_X], [main, _FLIP_X, _MIRROR_Z], [turned, _FLIP_X]]
    two, four = np.diag([-1.0, -1.0, 1.0]), _rotation((0, 0, 1), 4)
    found += [[two, three], [two, three, inversion], [_MIRROR_Z @ four, three]]
    found += [[four, three], [four, three, inversion]]
    five = _rotation((0, 1, _GOLDEN), 5)
    found += [[five, three], [five, three, inversion]]
    return tuple(_closed(generators) for generators in found)


def _rotation(axis: tuple[float, float, float], order: int) -> FloatArray:
    """By 360 degrees over ``order``; Rodrigues' formula."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = 2 * np.pi / order
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def _closed(generators: list[FloatArray]) -> FloatArray:
    """All products of the generators (G, 3, 3)."""
    found = [np.eye(3)]
    for one in found:  # grows on the way
        for generator in generators:
            product = generator @ one
            if all(np.abs(product - other).max() > _SAME for other in found):
                found.append(product)
    return np.array(found)

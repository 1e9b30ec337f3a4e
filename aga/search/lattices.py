"""Random cells: of a crystal system and a volume, and supercells of a given size."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: standard deviation of the logarithm of each free length: c/a from 0.3 to 3.5 in 95 of 100 cells
_LENGTHS = 0.45
#: of free angles around 90 degrees [degrees]
_ANGLES = 15.0
#: angles beyond are drawn again [degrees]
_WIDEST = 40.0


def random_cell(number: int, volume: float, rng: Generator) -> FloatArray:
    """A conventional cell of a space group's crystal system.

    Args:
        number: of the space group (trigonal groups on hexagonal axes, monoclinic ones with b
            unique).
        volume: of the cell [Å^3].
        rng: the only source of chance.

    Returns:
        Its vectors as rows [Å] (3, 3).
    """
    a, b, c = np.exp(rng.normal(0.0, _LENGTHS, 3))
    alpha = beta = gamma = 90.0
    if number <= 2:  # triclinic
        alpha, beta, gamma = (_angle(rng) for _ in range(3))
    elif number <= 15:  # monoclinic
        beta = _angle(rng)
    elif number <= 74:  # orthorhombic
        pass
    elif number <= 142:  # tetragonal
        b = a
    elif number <= 194:  # trigonal and hexagonal
        b, gamma = a, 120.0
    else:  # cubic
        b = c = a
    cell = _vectors(np.array([a, b, c]), np.radians([alpha, beta, gamma]))
    size = abs(float(np.linalg.det(cell)))
    if size < 0.1 * a * b * c:  # three angles that hardly close a cell
        return random_cell(number, volume, rng)
    return np.asarray(cell * (volume / size) ** (1 / 3))


def _angle(rng: Generator) -> float:
    while True:
        away = float(rng.normal(0.0, _ANGLES))
        if abs(away) < _WIDEST:
            return 90.0 + away


def _vectors(lengths: FloatArray, angles: FloatArray) -> FloatArray:
    """Cell vectors, the first along x and the second in the xy plane; angles in radians.

    Three angles that close no cell give a flat one.
    """
    cosine, sine = np.cos(angles), np.sin(angles)
    y = (cosine[0] - cosine[1] * cosine[2]) / sine[2]
    z = np.sqrt(max(0.0, 1 - cosine[1] ** 2 - y**2))
    rows = [[1.0, 0.0, 0.0], [cosine[2], sine[2], 0.0], [cosine[1], y, z]]
    return np.array(rows) * lengths[:, None]


def random_multiple(copies: int, rng: Generator) -> NDArray[np.int64]:
    """A matrix of determinant ``copies`` in Hermite normal form, drawn evenly from all (3, 3)."""
    shapes = [
        (one, two, copies // one // two)
        for one in range(1, copies + 1)
        if copies % one == 0
        for two in range(1, copies // one + 1)
        if copies // one % two == 0
    ]
    # as many matrices have this diagonal as there are remainders below it
    ways = np.array([two * three**2 for _, two, three in shapes], dtype=np.float64)
    one, two, three = shapes[int(rng.choice(len(shapes), p=ways / ways.sum()))]
    matrix = np.diag([one, two, three])
    matrix[1, 0] = rng.integers(two)
    matrix[2, :2] = rng.integers(three, size=2)
    return matrix

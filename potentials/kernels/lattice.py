"""Cells as compiled code sees them: heights, inverses, and axes that are not periodic."""

from typing import Any

import numpy as np

from potentials.kernels.compiling import compiled


@compiled
def determinant(cell: Any) -> Any:
    """Of a (3, 3) matrix."""
    return (
        cell[0, 0] * (cell[1, 1] * cell[2, 2] - cell[1, 2] * cell[2, 1])
        - cell[0, 1] * (cell[1, 0] * cell[2, 2] - cell[1, 2] * cell[2, 0])
        + cell[0, 2] * (cell[1, 0] * cell[2, 1] - cell[1, 1] * cell[2, 0])
    )


@compiled
def invert(matrix: Any, inverse: Any) -> None:
    """The inverse of a (3, 3) matrix; not finite where it has none."""
    scale = 1.0 / determinant(matrix)
    for a in range(3):
        b, c = (a + 1) % 3, (a + 2) % 3
        for i in range(3):
            j, k = (i + 1) % 3, (i + 2) % 3
            inverse[i, a] = scale * (matrix[b, j] * matrix[c, k] - matrix[b, k] * matrix[c, j])


@compiled
def lowest_height(inverse: Any) -> Any:
    """Smallest distance between opposite faces [Å], from the inverse of a cell."""
    steepest = 0.0
    for a in range(3):
        square = inverse[0, a] ** 2 + inverse[1, a] ** 2 + inverse[2, a] ** 2
        # written so that NaN is kept
        steepest = steepest if square < steepest else square
    return 1.0 / np.sqrt(steepest)


@compiled
def _cross(one: Any, other: Any, made: Any) -> None:
    """The vector product into ``made``."""
    made[0] = one[1] * other[2] - one[2] * other[1]
    made[1] = one[2] * other[0] - one[0] * other[2]
    made[2] = one[0] * other[1] - one[1] * other[0]


@compiled
def complete(cell: Any, periodic: Any, made: Any) -> None:
    """The cell with unit vectors at right angles to all others on axes that are not periodic."""
    for a in range(3):
        for i in range(3):
            made[a, i] = cell[a, i] if periodic[a] else 0.0
    for a in range(3):
        if not periodic[a]:
            _fill(made, a)


@compiled
def _fill(made: Any, a: int) -> None:
    """Replace one vector by a unit vector at right angles to those of the others not zero."""
    one, other, normal = made[(a + 1) % 3], made[(a + 2) % 3], made[a]
    _cross(one, other, normal)
    if _is_zero(normal):
        given = other if _is_zero(one) else one
        # the axis that is farthest from the given vector
        place = 0
        for i in range(1, 3):
            if abs(given[i]) < abs(given[place]):
                place = i
        i, j = (place + 1) % 3, (place + 2) % 3
        normal[i], normal[j] = given[j], -given[i]
        if _is_zero(normal):
            normal[place] = 1.0
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    for i in range(3):
        normal[i] /= length


@compiled
def _is_zero(vector: Any) -> Any:
    """Whether no component differs from zero."""
    return vector[0] == 0.0 and vector[1] == 0.0 and vector[2] == 0.0

"""Triplets of an atom and two of its neighbours: sums for G4, and the way back.

With c the cosine between neighbours j and k, t their squared distance, w(j) = exp(-eta r^2) fc(r)
and g(t) = exp(-eta t) fc, a function G4 is a polynomial of c under the sum over j < k of
w(j) w(k) g(t). t follows from c and both distances; nothing is kept for a triplet. The first
neighbour is one number, the second a vector of neighbours.
"""

from typing import Any

from potentials.kernels.angles import add_powers, bend, closings, weighed
from potentials.kernels.blocks import store_block, zeros
from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.elementary import closing_cutoff
from potentials.kernels.model import INVERSE
from potentials.kernels.simd import lanes, load, store, total
from potentials.kernels.symmetry import EDGE_SUMS, WEIGHTS, SymmetryRecipe

#: a tuple of as many entries: how Numba learns a number before it compiles
_SIX = (0,) * EDGE_SUMS


@inlined
def _first_vector(j: Any, group: Any, step: Any) -> Any:
    """First place of the vectors that hold neighbours after ``j`` of the group that ends there."""
    return j + 1 - (j + 1 - group[0]) % step


@inlined
def _triangle(recipe: SymmetryRecipe, found: Any, rows: Any, j: Any, k: Any) -> Any:
    """Of a neighbour and one vector of neighbours: cosines, and squared third sides [Å^2]."""
    values, base, start, _ = rows
    x, y, z = found.x[start + j], found.y[start + j], found.z[start + j]
    cosine = load(found.x, start + k) * x + load(found.y, start + k) * y
    cosine = cosine + load(found.z, start + k) * z
    distance, near = values[base + j], load(values, base + k)
    return cosine, near * (near - cosine * (2.0 * distance)) + distance * distance


@inlined
def _counted(recipe: SymmetryRecipe, j: Any, k: Any, same: Any, step: Any) -> Any:
    """One in the lanes from k on that hold a neighbour after ``j``; all where elements differ."""
    return load(recipe.mask, step - (max(j + 1 - k, 0) if same else 0))


@compiled
def sum_triplets(
    recipe: SymmetryRecipe, found: Any, rows: Any, groups: Any, made: Any, place: Any, scratch: Any
) -> None:
    """Sums over the triplets of a pair of elements, of every width and power of the cosine.

    Args:
        recipe: parameters.
        found: unit vectors to the neighbours.
        rows: what depends on one neighbour, where it begins, the first neighbour, and their number.
        groups: first neighbour and end of both elements, counted from the first neighbour; where
            the elements are the same, of the second only those after the first are taken.
        made: sums.
        place: where these begin.
        scratch: where in ``made`` there is room for as many vectors.
    """
    values, base, _, span = rows
    step, inverse = lanes(values), 1.0 / recipe.cutoff**2
    sums = zeros(values, recipe.sums)
    weights = base + WEIGHTS * span
    for j in range(groups[0][0], groups[0][1]):
        first = _first_vector(j, groups[1], step) if groups[2] else groups[1][0]
        for k in range(first, groups[1][1], step):
            cosine, square = _triangle(recipe, found, rows, j, k)
            height, _ = closing_cutoff(square * inverse)
            height = height * _counted(recipe, j, k, groups[2], step)
            factors = closings(square, recipe.narrow, 0, recipe.widths)
            factors = weighed(factors, values, span, weights + j, weights + k)
            sums = add_powers(sums, factors, height, cosine)
    store_block(made, scratch, step, sums)
    for index in range(len(recipe.sums)):
        made[place + index] = total(load(made, scratch + index * step))


@compiled
def pull_triplets(
    recipe: SymmetryRecipe, found: Any, rows: Any, groups: Any, widths: Any, pull: Any
) -> None:
    """Add the derivatives of the sum of pull x sum to what is kept for every neighbour.

    These are the vector part by x, y and z, and the sums that `along_edge` combines; those of the
    first and of the second neighbour stand in rows of their own, as a vector that is read where a
    number was written just before has to wait for it.

    Args:
        recipe: parameters.
        found: unit vectors to the neighbours.
        rows: likewise, as for `sum_triplets`.
        groups: likewise.
        widths: a tuple with an entry for each width, and the first of them.
        pull: derivatives by the sums of these widths, and where they begin.
    """
    values, base, start, span = rows
    step = lanes(values)
    ones = base + (WEIGHTS + len(recipe.widths)) * span
    others = ones + EDGE_SUMS * span
    for j in range(groups[0][0], groups[0][1]):
        x, y, z = found.x[start + j], found.y[start + j], found.z[start + j]
        distance = values[base + j]
        sums = zeros(values, _SIX)
        first = _first_vector(j, groups[1], step) if groups[2] else groups[1][0]
        for k in range(first, groups[1][1], step):
            u = load(found.x, start + k), load(found.y, start + k), load(found.z, start + k)
            counts = _counted(recipe, j, k, groups[2], step)
            across, turn, fall, level = _slopes(recipe, found, rows, (j, k), counts, widths, pull)
            far, here = across * load(values, base + k), across * distance
            sums = _added(sums, (far * u[0], far * u[1], far * u[2], turn, fall, level))
            _add_rows(values, others + k, span, (here * x, here * y, here * z, turn, fall, level))
        for index, summed in enumerate(sums):
            values[ones + index * span + j] += total(summed)


@inlined
def _slopes(
    recipe: SymmetryRecipe, found: Any, rows: Any, pair: Any, counts: Any, widths: Any, pull: Any
) -> Any:
    """Of a neighbour j and a vector of neighbours k, from P_i, the polynomials of all widths.

    Returns:
        The derivative by the product of both vectors [1/Å^2], then what `along_edge` wants: c times
        the derivative by c; the derivative by squares of lengths [1/Å^2]; sum of w w g P.
    """
    values, base, _, span = rows
    j, k = pair
    cosine, square = _triangle(recipe, found, rows, j, k)
    inverse = 1.0 / recipe.cutoff**2
    height, slope = closing_cutoff(square * inverse)
    height, slope = height * counts, slope * counts * inverse
    weights = base + (WEIGHTS + widths[1]) * span
    factors = closings(square, recipe.narrow, widths[1], widths[0])
    factors = weighed(factors, values, span, weights + j, weights + k)
    bent = bend(factors, cosine, pull[0], pull[1], recipe.narrow, widths[1], recipe.powers)
    turn, fall, steep = height * bent[1], slope * bent[0], height * bent[2]
    lengths = load(values, base + k + INVERSE * span) * values[base + j + INVERSE * span]
    across = turn * lengths - (fall + steep) * 2.0
    return across, turn * cosine, fall + steep + steep, height * bent[0]


@inlined
def _added(one: Any, two: Any) -> Any:
    return (
        one[0] + two[0],
        one[1] + two[1],
        one[2] + two[2],
        one[3] + two[3],
        one[4] + two[4],
        one[5] + two[5],
    )


@inlined
def _add_rows(values: Any, at: Any, span: Any, parts: Any) -> None:
    store(values, at, load(values, at) + parts[0])
    store(values, at + span, load(values, at + span) + parts[1])
    store(values, at + 2 * span, load(values, at + 2 * span) + parts[2])
    store(values, at + 3 * span, load(values, at + 3 * span) + parts[3])
    store(values, at + 4 * span, load(values, at + 4 * span) + parts[4])
    store(values, at + 5 * span, load(values, at + 5 * span) + parts[5])

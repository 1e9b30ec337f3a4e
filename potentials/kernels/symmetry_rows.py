"""Rows of the Jacobian of `acsf`: the way back of every component for itself, of one width."""

from typing import Any

from potentials.kernels.compiling import compiled
from potentials.kernels.gaussians import along_edge, clear_edges, gaussian_slope, groups_of
from potentials.kernels.grids import part_of
from potentials.kernels.rows import add_neighbours, close_row, open_row
from potentials.kernels.simd import lanes, load
from potentials.kernels.symmetry import SymmetryRecipe
from potentials.kernels.triplets import pull_triplets

#: a tuple with one entry: how Numba learns a number before it compiles
_ONE = (0,)


@compiled
def fill_symmetry_rows(
    recipe: SymmetryRecipe, e: Any, i: Any, rows: Any, columns: Any, room: Any
) -> None:
    """Derivatives of all components of one atom of element ``e`` (D x columns,)."""
    for d in range(recipe.first.shape[1]):
        row = part_of(rows, d * columns, columns)
        open_row(row, room)
        if recipe.terms[e, d] == 1:
            _add_radial(recipe, recipe.kin[e, d, 0], recipe.kin[e, d, 2], room, row)
        elif recipe.terms[e, d] > 1:
            _add_angular(recipe, e, d, room, row)
        close_row(row, i, room)


@compiled
def _add_radial(recipe: SymmetryRecipe, other: Any, index: Any, room: Any, row: Any) -> None:
    """Of the sum of one Gaussian over the neighbours of one element."""
    found, values = room.found, room.values
    start, begin = found.start[0, 0], found.start[0, other]
    span, real = found.start[0, recipe.elements] - start, begin + found.count[0, other]
    for at in range(begin, real, lanes(values)):
        along = gaussian_slope(recipe, index, values, at - start, span)
        pulled = (
            along * load(found.x, at),
            along * load(found.y, at),
            along * load(found.z, at),
        )
        add_neighbours(pulled, at, at - start, min(real - at, lanes(values)), room, row)


@compiled
def _add_angular(recipe: SymmetryRecipe, e: Any, d: Any, room: Any, row: Any) -> None:
    """Of one angular function."""
    found, values = room.found, room.values
    one, other, width = recipe.kin[e, d, 0], recipe.kin[e, d, 1], recipe.kin[e, d, 2]
    start = found.start[0, 0]
    span = found.start[0, recipe.elements] - start
    for term in range(len(recipe.powers)):
        room.weights[term] = recipe.factors[e, d, term]
    clear_edges(recipe, values, 0, span)
    groups = groups_of(found, 0, one, other)
    rows, pull = (values, 0, start, span), (room.weights, 0)
    pull_triplets(recipe, found, rows, groups, (_ONE, width), pull)
    # both elements once, which may be the same
    for element in range(one, other + 1, max(other - one, 1)):
        begin = found.start[0, element]
        real = begin + found.count[0, element]
        for at in range(begin, real, lanes(values)):
            unit = load(found.x, at), load(found.y, at), load(found.z, at)
            pulled = along_edge(recipe, values, at - start, span, unit)
            add_neighbours(pulled, at, at - start, min(real - at, lanes(values)), room, row)

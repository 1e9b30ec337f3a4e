"""Descriptors of structures with their derivatives by positions and strain, as training wants them.

Torch has the same in `potentials.features`, for any descriptor.
"""

from typing import Any, NamedTuple

from potentials.kernels.compiling import compiled, entry
from potentials.kernels.describing import describe
from potentials.kernels.grids import part_of
from potentials.kernels.harmonics import COUNT
from potentials.kernels.model import Recipe
from potentials.kernels.neighbours import find
from potentials.kernels.rows import (
    Space,
    add_group,
    close_row,
    open_row,
    pull_triple,
    radial_row,
    tilt_harmonics,
)
from potentials.kernels.structure import DONE, NEIGHBOURS, place_structure, structure_of


class Known(NamedTuple):
    """What is found for a batch of M structures of N atoms; n is the size of one.

    Attributes:
        batch: the structures.
        values: descriptors (N, D).
        jacobian: dG/d(position), dG/d(strain) of all structures, each (n, D, 3n + 6), or nothing.
        begin: where that of each structure begins (M,).
        width: places that each atom has for its pairs.
        distances: of pairs, those of each structure from ``width`` times its first atom on [Å].
        bonds: elements of both ends, likewise (N x width, 2).
        pairs: how many each structure has (M,).
    """

    batch: Any
    values: Any
    jacobian: Any
    begin: Any
    width: int
    distances: Any
    bonds: Any
    pairs: Any


@entry
def derive_many(recipe: Any, known: Any, start: int, stop: int, room: Any) -> Any:
    """Describe structures from ``start`` to ``stop``; the first that was not, and why."""
    for m in range(start, stop):
        structure = structure_of(known.batch, m)
        ended = place_structure(structure, recipe, room.images)
        if ended != DONE:
            return m, ended
        n_atoms, first = len(structure.species), known.batch.first[m]
        size, columns = known.values.shape[1], 3 * n_atoms + 6
        known.pairs[m] = 0
        for i in range(n_atoms):
            if not find(i, 0, (recipe.cutoff**2, recipe.reach**2), room.images, room.found):
                return m, NEIGHBOURS
            describe(recipe, room.found, 0, room.values, 0, room.moments, room.made)
            for place in range(len(room.place)):
                if room.place[place] >= 0:
                    known.values[first + i, room.place[place]] = room.made[place]
            _list_pairs(recipe, known, m, structure.species[i], room)
            if len(known.jacobian):
                begin = known.begin[m] + i * size * columns
                rows = part_of(known.jacobian, begin, size * columns)
                _fill_rows(recipe, i, rows, columns, room)
    return stop, DONE


@compiled
def _list_pairs(recipe: Recipe, known: Known, m: Any, e: Any, room: Space) -> None:
    """Append the distances of one atom's neighbours."""
    found = room.found
    place = known.batch.first[m] * known.width + known.pairs[m]
    start = found.start[0, 0]
    for other in range(recipe.elements):
        begin = found.start[0, other]
        for at in range(begin, begin + found.count[0, other]):
            known.distances[place] = room.values[at - start]
            known.bonds[place, 0], known.bonds[place, 1] = e, other
            place += 1
    known.pairs[m] = place - known.batch.first[m] * known.width


@compiled
def _fill_rows(recipe: Recipe, i: Any, rows: Any, columns: Any, room: Space) -> None:
    """Derivatives of all components of one atom (D x columns,)."""
    place = 0
    for e in range(recipe.elements):
        for index in range(recipe.shells):
            radial_row(recipe, e, index, i, room, _row(rows, room.place[place], columns))
            place += 1
    tilt_harmonics(recipe, room)
    width = len(recipe.channels)
    for one in range(recipe.elements):
        for other in range(one, recipe.elements):
            for level in range(recipe.levels):
                for channel in range(recipe.angular):
                    row = _row(rows, room.place[place + channel], columns)
                    degrees = level**2, (level + 1) ** 2
                    open_row(row, room)
                    _add_pair(recipe, one, other, degrees, channel, room, row)
                    close_row(row, i, room)
                place += width
    for block in range(len(recipe.three_start) - 1):
        pull_triple(recipe, block, room.moments, room.weights)
        degrees = recipe.three_range[block, 0], recipe.three_range[block, 1]
        for channel in range(recipe.angular):
            row = _row(rows, room.place[place + channel], columns)
            open_row(row, room)
            for e in range(recipe.elements):
                add_group(recipe, e, room.weights, degrees, channel, room, row)
            close_row(row, i, room)
        place += width


@compiled
def _row(rows: Any, index: Any, columns: Any) -> Any:
    return part_of(rows, index * columns, columns)


@compiled
def _add_pair(
    recipe: Recipe, one: Any, other: Any, degrees: Any, channel: Any, room: Space, row: Any
) -> None:
    """Derivative of the product of the moments of two elements: each times the other's moments."""
    width = len(recipe.channels)
    block = COUNT * width
    left = part_of(room.moments, one * block, block)
    if one == other:
        for lm in range(degrees[0], degrees[1]):
            room.weights[lm * width + channel] = 2.0 * left[lm * width + channel]
        add_group(recipe, one, room.weights, degrees, channel, room, row)
        return
    right = part_of(room.moments, other * block, block)
    add_group(recipe, one, right, degrees, channel, room, row)
    add_group(recipe, other, left, degrees, channel, room, row)

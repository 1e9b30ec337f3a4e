"""Descriptors of structures with their derivatives by positions and strain, as training wants them.

Torch has the same in `potentials.features`, for any descriptor.
"""

from typing import Any, NamedTuple

from potentials.kernels.atoms import describe_atom, fill_atom
from potentials.kernels.compiling import compiled, entry
from potentials.kernels.grids import part_of
from potentials.kernels.model import Recipe
from potentials.kernels.neighbours import find
from potentials.kernels.rows import Space
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
            e = structure.species[i]
            describe_atom(recipe, (e, 0), room.found, room.values, 0, room.moments, room.made)
            for place in range(len(room.place)):
                if room.place[place] >= 0:
                    known.values[first + i, room.place[place]] = room.made[place]
            _list_pairs(recipe, known, m, e, room)
            if len(known.jacobian):
                begin = known.begin[m] + i * size * columns
                rows = part_of(known.jacobian, begin, size * columns)
                fill_atom(recipe, e, i, rows, columns, room)
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

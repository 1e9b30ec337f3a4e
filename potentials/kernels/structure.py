"""One structure: energies of all members, forces and virial of the mean in one pass over atoms.

Atoms are taken in tiles of one element: neighbours, descriptors and what the way back needs stay
in the cache until the forces of the tile are done.
"""

from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.atoms import describe_atom, pull_atom
from potentials.kernels.compiling import compiled, entry
from potentials.kernels.domain import forget_means, outside_of_atom, outside_of_means
from potentials.kernels.grids import fill, part_of
from potentials.kernels.images import place_images, place_nothing
from potentials.kernels.model import TILE, Model, Recipe
from potentials.kernels.neighbours import find
from potentials.kernels.networks import differentiate, predict
from potentials.wall import CORE, HEIGHT

#: how an evaluation can end: done, too many images or neighbours for the room, or no sense in it
DONE, IMAGES, NEIGHBOURS, UNSOUND = range(4)


class Batch(NamedTuple):
    """M structures of N atoms.

    Attributes:
        first: first atom of each, and the end (M + 1,).
        positions, cells: Cartesian, rows [Å] (N, 3), (M, 3, 3).
        periodic: by axis (M, 3).
        species: element index (N,).
        order: atoms sorted by element, counted from the first of their structure (N,).
        begin: first of each element in that order, and the end (M, E + 1).
    """

    first: Any
    positions: Any
    cells: Any
    periodic: Any
    species: Any
    order: Any
    begin: Any


class Structure(NamedTuple):
    """One of them, of n atoms: the same arrays with as many axes less, or as many entries."""

    positions: Any
    cell: Any
    periodic: Any
    species: Any
    order: Any
    begin: Any


class Result(NamedTuple):
    """What is found for one structure of at most n atoms; all float64.

    Attributes:
        energy: of each member [eV] (K,).
        forces: of the mean [eV/Å] (n, 3).
        virial: dE/dstrain of the mean [eV], xx, yy, zz, yz, xz, xy (6,).
        member_forces: of each member, without the wall [eV/Å] (K, n, 3); none where n is 0.
        extrapolation: how far descriptors leave the training data (1,), or none.
        nearest: shortest squared distance by elements [Å^2] (E, E).
    """

    energy: Any
    forces: Any
    virial: Any
    member_forces: Any
    extrapolation: Any
    nearest: Any


class Room(NamedTuple):
    """Working memory of one thread.

    Attributes:
        images: of the structure at hand.
        found: neighbours of the tile.
        values: what depends on one neighbour only, for the tile.
        moments: of the tile (tile x E x harmonics x channels,).
        pulled: derivatives by the moments of one atom.
        signals: of the networks.
        pull: derivatives by a vector of neighbours (3 x lanes,).
        unused: for a virial that nobody wants (6,).
    """

    images: Any
    found: Any
    values: Any
    moments: Any
    pulled: Any
    signals: Any
    pull: Any
    unused: Any


@compiled
def structure_of(batch: Batch, m: Any) -> Any:
    """One structure of a batch."""
    first = batch.first[m]
    count = batch.first[m + 1] - first
    return Structure(
        part_of(batch.positions, first, count),
        batch.cells[m],
        batch.periodic[m],
        part_of(batch.species, first, count),
        part_of(batch.order, first, count),
        batch.begin[m],
    )


@compiled
def place_structure(structure: Structure, recipe: Recipe, room: Any) -> Any:
    """Write the images of a structure; says how it ended."""
    count = place_images(
        structure.positions,
        structure.cell,
        structure.periodic,
        structure.species,
        recipe.cutoff,
        recipe.elements,
        room,
    )
    if count > 0:
        return DONE
    return IMAGES if count < 0 else UNSOUND


@entry
def evaluate(model: Any, batch: Any, m: int, alone: int, room: Any, result: Any) -> Any:
    """Evaluate one structure, or its atoms as if they had no neighbours; says how it ended."""
    structure = structure_of(batch, m)
    if alone:
        place_nothing(room.images)
    else:
        ended = place_structure(structure, model.recipe, room.images)
        if ended != DONE:
            return ended
    for part in (result.energy, result.virial):
        fill(part, 0.0)
    fill(result.extrapolation, -1.0)
    forget_means(room.signals)
    fill(part_of(result.forces, 0, len(structure.species)), 0.0)
    fill(result.member_forces, 0.0)
    fill(result.nearest, np.inf)
    for e in range(model.recipe.elements):
        for begin in range(structure.begin[e], structure.begin[e + 1], TILE):
            atoms = part_of(structure.order, begin, min(TILE, structure.begin[e + 1] - begin))
            for slot in range(len(atoms)):
                if not _describe(model, e, atoms[slot], slot, room, result):
                    return NEIGHBOURS
            predict(model, e, room.signals)
            _collect(model, e, len(atoms), room, result)
            _forces_of_tile(model, e, atoms, room, result)
        count = structure.begin[e + 1] - structure.begin[e]
        if count and len(result.extrapolation):
            worst = outside_of_means(model, e, count, room.signals)
            result.extrapolation[0] = max(result.extrapolation[0], worst)
    return DONE


@compiled
def _collect(model: Model, e: Any, count: Any, room: Room, result: Result) -> None:
    """Energies of the members, and how far the tile's atoms leave the training data."""
    members = len(result.energy)
    for slot in range(count):
        if len(result.extrapolation):
            worst = outside_of_atom(model, e, slot, room.signals)
            result.extrapolation[0] = max(result.extrapolation[0], worst)
        for k in range(members):
            own = room.signals.energy[slot * members + k]
            result.energy[k] += own + model.constants[k, e]


@compiled
def _describe(model: Model, e: Any, i: Any, slot: Any, room: Room, result: Result) -> Any:
    """Descriptors of atom ``i`` of element ``e`` into the tile; whether there was room."""
    found, recipe = room.found, model.recipe
    if not find(i, slot, (recipe.cutoff**2, recipe.reach**2), room.images, found):
        return False
    share = len(room.moments) // TILE
    moments = part_of(room.moments, slot * share, share)
    made = part_of(room.signals.values, slot * model.columns, model.columns)
    describe_atom(recipe, (e, slot), found, room.values, _base(slot, room), moments, made)
    for other in range(recipe.elements):
        result.nearest[e, other] = min(result.nearest[e, other], found.nearest[slot, other])
        if found.nearest[slot, other] < model.wall[e, other] ** 2:
            _push(model, e, other, i, slot, room, result)
    return True


@compiled
def _base(slot: Any, room: Room) -> Any:
    """Where the rows of one atom of the tile begin."""
    return slot * (len(room.values) // TILE)


@compiled
def _push(model: Model, e: Any, other: Any, i: Any, slot: Any, room: Room, result: Result) -> None:
    """The wall between an atom and its neighbours of one element, half of it for each."""
    found, start = room.found, model.wall[e, other]
    begin = found.start[slot, other]
    rows = _base(slot, room) - found.start[slot, 0]
    for place in range(begin, begin + found.count[slot, other]):
        distance = float(room.values[rows + place])
        # written so that a distance of zero gives a number that is not finite
        if distance >= start:
            continue
        inside = 1.0 - (distance / start) ** 2
        steep = 0.5 * HEIGHT * (CORE * start / distance) ** 12
        for k in range(len(result.energy)):
            result.energy[k] += steep * inside**3
        slope = -12.0 * steep * inside**3 / distance - 6.0 * steep * inside**2 * distance / start**2
        x, y, z = found.x[place], found.y[place], found.z[place]
        along = slope * distance
        neighbour = found.atom[place]
        for axis, part in enumerate((x, y, z)):
            result.forces[i, axis] += slope * part
            result.forces[neighbour, axis] -= slope * part
        result.virial[0] += along * x * x
        result.virial[1] += along * y * y
        result.virial[2] += along * z * z
        result.virial[3] += along * y * z
        result.virial[4] += along * x * z
        result.virial[5] += along * x * y


@compiled
def _forces_of_tile(model: Model, e: Any, atoms: Any, room: Room, result: Result) -> None:
    """Forces and virial of the mean; forces of every member where they are wanted."""
    differentiate(model, e, -1, room.signals)
    for slot in range(len(atoms)):
        _back(model, e, atoms[slot], slot, room, result.forces, result.virial)
    if result.member_forces.shape[1] == 0:
        return
    unused = room.unused
    for k in range(len(result.energy)):
        differentiate(model, e, k, room.signals)
        for slot in range(len(atoms)):
            _back(model, e, atoms[slot], slot, room, result.member_forces[k], unused)


@compiled
def _back(model: Model, e: Any, i: Any, slot: Any, room: Room, forces: Any, virial: Any) -> None:
    """From derivatives by the descriptors of one atom to forces [eV/Å] and virial [eV]."""
    share = slot * (len(room.moments) // TILE)
    places = slot, _base(slot, room), share, slot * model.columns
    pull_atom(model.recipe, e, i, places, room, forces, virial)

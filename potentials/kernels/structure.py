"""One structure: energies of all members, forces and virial of the mean in one pass over atoms.

Atoms are taken in tiles of one element: neighbours, descriptors and what the way back needs stay
in the cache until the forces of the tile are done.
"""

from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.grids import fill, part_of
from potentials.kernels.harmonics import COUNT
from potentials.kernels.images import place_images, place_nothing
from potentials.kernels.model import CHANNELS, DISTANCE, TILE, Model
from potentials.kernels.moments import (
    form_invariants,
    pull_elements,
    pull_moments,
    pull_vector,
    sum_elements,
    sum_moments,
)
from potentials.kernels.neighbours import find
from potentials.kernels.networks import beyond, differentiate, predict
from potentials.kernels.radial import (
    measure,
    measure_near,
    shell_slopes,
    sum_shells,
    turn_channels,
)
from potentials.kernels.simd import lanes, load, store, total
from potentials.wall import CORE, HEIGHT

#: how an evaluation can end: done, too many images or neighbours for the room, or no sense in it
DONE, IMAGES, NEIGHBOURS, UNSOUND = range(4)


class Structure(NamedTuple):
    """One structure of n atoms.

    Attributes:
        positions: Cartesian [Å] (n, 3).
        cell: rows [Å] (3, 3).
        periodic: by axis (3,).
        species: element index (n,).
        order: atoms sorted by element (n,).
        begin: first of each element in that order, and the end (E + 1,).
    """

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
        extrapolation: how far descriptors leave the training data (1,).
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
def evaluate(model: Model, structure: Structure, room: Room, result: Result) -> Any:
    """Evaluate one structure; says how it ended."""
    count = place_images(
        structure.positions,
        structure.cell,
        structure.periodic,
        structure.species,
        model.cutoff,
        model.wall.shape[0],
        room.images,
    )
    if count <= 0:
        return IMAGES if count < 0 else UNSOUND
    return over_tiles(model, structure, room, result)


@compiled
def evaluate_alone(model: Model, structure: Structure, room: Room, result: Result) -> Any:
    """Evaluate the atoms of a structure as if they had no neighbours at all."""
    place_nothing(room.images)
    return over_tiles(model, structure, room, result)


@compiled
def over_tiles(model: Model, structure: Structure, room: Room, result: Result) -> Any:
    """Go through the atoms by element, with the images that stand ready."""
    for part in (result.energy, result.virial, result.extrapolation):
        fill(part, 0.0)
    fill(part_of(result.forces, 0, len(structure.species)), 0.0)
    fill(result.member_forces, 0.0)
    fill(result.nearest, np.inf)
    for e in range(model.wall.shape[0]):
        for begin in range(structure.begin[e], structure.begin[e + 1], TILE):
            count = min(TILE, structure.begin[e + 1] - begin)
            for slot in range(count):
                if not _describe(model, e, structure.order[begin + slot], slot, room, result):
                    return NEIGHBOURS
            predict(model, e, room.signals)
            for slot in range(count):
                worst = beyond(model, e, slot, room.signals)
                result.extrapolation[0] = max(result.extrapolation[0], worst)
                for k in range(len(result.energy)):
                    own = room.signals.energy[slot * len(result.energy) + k]
                    result.energy[k] += own + model.constants[k, e]
            _forces_of_tile(model, e, part_of(structure.order, begin, count), room, result)
    return DONE


@compiled
def _describe(model: Model, e: Any, i: Any, slot: Any, room: Room, result: Result) -> Any:
    """Descriptors of atom ``i`` of element ``e`` into the tile; whether there was room."""
    found, values, n_elements = room.found, room.values, model.wall.shape[0]
    ranges = model.cutoff**2, model.reach**2
    if not find(i, slot, ranges, room.images, found):
        return False
    width, base = len(model.channels), _base(slot, room)
    start = found.start[slot, 0]
    span = found.start[slot, n_elements] - start
    measure(model, found, start, span, values, base)
    place = slot * model.columns
    moments = slot * (len(room.moments) // TILE)
    for other in range(n_elements):
        own, near = found.start[slot, other] - start, found.near[slot, other]
        stop = found.start[slot, other + 1] - start
        radial = place + other * model.shells
        sum_shells(model, values, base, span, (own, stop), room.signals.values, radial)
        turned = base + (CHANNELS + 2 * width + COUNT) * span
        for at in range(own, own + near, lanes(values)):
            measure_near(model, found, start + at, span, values, base + at)
            turn_channels(model, span, values, base + at, turned + at * width)
        block = moments + other * COUNT * width
        sum_moments(model, values, base, span, (own, near), room.moments, block)
        result.nearest[e, other] = min(result.nearest[e, other], found.nearest[slot, other])
        if found.nearest[slot, other] < model.wall[e, other] ** 2:
            _push(model, e, other, i, slot, room, result)
    if n_elements > 1:
        sum_elements(model, room.moments, moments, n_elements)
    angular = place + n_elements * model.shells
    form_invariants(model, room.moments, moments, room.signals.values, angular)
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
        _back(model, atoms[slot], slot, room, result.forces, result.virial)
    if result.member_forces.shape[1] == 0:
        return
    unused = room.unused
    for k in range(len(result.energy)):
        differentiate(model, e, k, room.signals)
        for slot in range(len(atoms)):
            _back(model, atoms[slot], slot, room, result.member_forces[k], unused)


@compiled
def _back(model: Model, i: Any, slot: Any, room: Room, forces: Any, virial: Any) -> None:
    """From derivatives by the descriptors of one atom to forces [eV/Å] and virial [eV]."""
    n_elements, width = model.wall.shape[0], len(model.channels)
    found, values, pull = room.found, room.values, room.signals.pull
    start = found.start[slot, 0]
    span, base = found.start[slot, n_elements] - start, _base(slot, room)
    place = slot * model.columns
    moments = slot * (len(room.moments) // TILE)
    angular = place + n_elements * model.shells
    pull_moments(model, room.moments, moments, pull, angular, room.pulled)
    if n_elements > 1:
        pull_elements(model, room.pulled, n_elements)
    for other in range(n_elements):
        own, radial = other * COUNT * width, place + other * model.shells
        begin, stop = found.start[slot, other], found.start[slot, other + 1]
        real = begin + found.count[slot, other]
        for at in range(begin, stop, lanes(values)):
            unit = load(found.x, at), load(found.y, at), load(found.z, at)
            here = base + at - start
            along = shell_slopes(model, values, here, span, pull, radial)
            pulled = unit[0] * along, unit[1] * along, unit[2] * along
            if at < begin + found.near[slot, other]:
                more = pull_vector(model, values, here, span, unit, room.pulled, own)
                pulled = pulled[0] + more[0], pulled[1] + more[1], pulled[2] + more[2]
            distance = load(values, here + DISTANCE * span)
            _add_virial(unit, pulled, distance, virial)
            _add_forces(i, pulled, found.atom, at, min(real - at, lanes(values)), room.pull, forces)


@inlined
def _add_virial(unit: Any, pulled: Any, distance: Any, virial: Any) -> None:
    """The part of one vector of neighbours."""
    x, y, z = unit[0] * distance, unit[1] * distance, unit[2] * distance
    virial[0] += total(x * pulled[0])
    virial[1] += total(y * pulled[1])
    virial[2] += total(z * pulled[2])
    virial[3] += total(y * pulled[2])
    virial[4] += total(x * pulled[2])
    virial[5] += total(x * pulled[1])


@inlined
def _add_forces(
    i: Any, pulled: Any, atom: Any, at: Any, count: Any, pull: Any, forces: Any
) -> None:
    """Action on an atom and reaction on one vector of neighbours."""
    step = lanes(pull)
    store(pull, 0, pulled[0])
    store(pull, step, pulled[1])
    store(pull, 2 * step, pulled[2])
    forces[i, 0] += total(pulled[0])
    forces[i, 1] += total(pulled[1])
    forces[i, 2] += total(pulled[2])
    for lane in range(count):
        for axis in range(3):
            forces[atom[at + lane], axis] -= pull[axis * step + lane]

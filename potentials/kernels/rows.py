"""Rows of the Jacobian: derivatives of one component of one atom by all positions and strains.

A component is a sum over products of moments, so that its derivative by the vector to a neighbour
is a weight, made of the other moments, times the derivative of channel x harmonic there. Those
derivatives are taken once for each neighbour; a row is then a few products, added to the columns of
the atoms that the neighbours are images of.
"""

from typing import Any, NamedTuple

from potentials.kernels.blocks import store_block
from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.grids import fill, part_of
from potentials.kernels.harmonics import COUNT, slopes
from potentials.kernels.model import CHANNELS, DISTANCE, ENVELOPE, INVERSE, SLOPE, Recipe
from potentials.kernels.radial import shell
from potentials.kernels.simd import filled, lanes, load, store, total

#: sums over neighbours that a row needs beside its columns: the derivative, then the strains
SUMS = 9


class Space(NamedTuple):
    """Working memory of one thread.

    Attributes:
        images: of the structure at hand.
        found: neighbours of the atom at hand.
        values: what depends on one neighbour only.
        moments: of the atom.
        made: its descriptors.
        tilt: derivatives of the harmonics by the vector, x then y then z (3 x harmonics x width,).
        weights: derivatives of an invariant by the moments (harmonics x channels,).
        pulled: derivatives by one vector of neighbours (3 x lanes,).
        sums: for one row (SUMS x lanes,).
        place: where the row of every component is, by the order of the compiled code.
    """

    images: Any
    found: Any
    values: Any
    moments: Any
    made: Any
    tilt: Any
    weights: Any
    pulled: Any
    sums: Any
    place: Any


@compiled
def tilt_harmonics(recipe: Recipe, room: Space) -> None:
    """Derivatives of the harmonics by the vectors to the neighbours within reach [1/Å]."""
    found, values, tilt = room.found, room.values, room.tilt
    start = found.start[0, 0]
    span = found.start[0, recipe.elements] - start
    for e in range(recipe.elements):
        begin = found.start[0, e]
        for at in range(begin, begin + found.near[0, e], lanes(values)):
            here = at - start
            x, y, z = load(found.x, at), load(found.y, at), load(found.z, at)
            by_x, by_y, by_z = slopes(x, y, z)
            store_block(tilt, here, span, by_x)
            store_block(tilt, here + COUNT * span, span, by_y)
            store_block(tilt, here + 2 * COUNT * span, span, by_z)
            inverse = load(values, here + INVERSE * span)
            for lm in range(COUNT):
                row = here + lm * span
                gx, gy = load(tilt, row), load(tilt, row + COUNT * span)
                gz = load(tilt, row + 2 * COUNT * span)
                along = gx * x + gy * y + gz * z
                store(tilt, row, inverse * (gx - along * x))
                store(tilt, row + COUNT * span, inverse * (gy - along * y))
                store(tilt, row + 2 * COUNT * span, inverse * (gz - along * z))


@compiled
def open_row(row: Any, room: Space) -> None:
    """Zeros to add to."""
    fill(row, 0.0)
    fill(room.sums, 0.0)


@inlined
def add_neighbours(pulled: Any, at: Any, here: Any, count: Any, room: Space, row: Any) -> None:
    """Add derivatives by one vector of neighbours, ``count`` of them real."""
    found, scratch, sums = room.found, room.pulled, room.sums
    step = lanes(scratch)
    px, py, pz = pulled
    store(scratch, 0, px)
    store(scratch, step, py)
    store(scratch, 2 * step, pz)
    distance = load(room.values, here)
    x, y, z = (
        load(found.x, at) * distance,
        load(found.y, at) * distance,
        load(found.z, at) * distance,
    )
    parts = (px, py, pz, x * px, y * py, z * pz, y * pz, x * pz, x * py)
    for place in range(SUMS):
        store(sums, place * step, load(sums, place * step) + parts[place])
    for lane in range(count):
        column = 3 * found.atom[at + lane]
        row[column] += scratch[lane]
        row[column + 1] += scratch[step + lane]
        row[column + 2] += scratch[2 * step + lane]


@compiled
def close_row(row: Any, i: Any, room: Space) -> None:
    """The atom's own columns and the strains."""
    step, strain = lanes(room.sums), len(row) - 6
    for a in range(3):
        row[3 * i + a] -= total(load(room.sums, a * step))
    for place in range(6):
        row[strain + place] = total(load(room.sums, (3 + place) * step))


@compiled
def radial_row(recipe: Recipe, e: Any, index: Any, i: Any, room: Space, row: Any) -> None:
    """Of the sum over the neighbours of element ``e`` of one shell."""
    found, values = room.found, room.values
    start, begin = found.start[0, 0], found.start[0, e]
    span, real = found.start[0, recipe.elements] - start, begin + found.count[0, e]
    open_row(row, room)
    for at in range(begin, real, lanes(values)):
        here = at - start
        distance = load(values, here + DISTANCE * span)
        value, derivative = shell(distance, index, recipe.gap, recipe.overlap)
        along = derivative * load(values, here + ENVELOPE * span)
        along = along + value * load(values, here + SLOPE * span)
        x, y, z = load(found.x, at), load(found.y, at), load(found.z, at)
        pulled = along * x, along * y, along * z
        add_neighbours(pulled, at, here, min(real - at, lanes(values)), room, row)
    close_row(row, i, room)


@compiled
def add_group(
    recipe: Recipe, e: Any, weights: Any, degrees: Any, channel: Any, room: Space, row: Any
) -> None:
    """Add the neighbours of one element to the row of an invariant of one channel.

    Args:
        recipe: parameters.
        e: element of the neighbours.
        weights: derivatives of the invariant by the moments (harmonics x channels,).
        degrees: harmonics that count: the first, and the end.
        channel: which.
        room: neighbours and what depends on one only.
        row: of the Jacobian.
    """
    found, values, tilt, width = room.found, room.values, room.tilt, len(recipe.channels)
    start, begin = found.start[0, 0], found.start[0, e]
    span, near = found.start[0, recipe.elements] - start, begin + found.near[0, e]
    harmonic = (CHANNELS + 2 * width) * span
    for at in range(begin, near, lanes(values)):
        here = at - start
        along, gx = filled(values, 0.0), filled(values, 0.0)
        gy, gz = filled(values, 0.0), filled(values, 0.0)
        for lm in range(degrees[0], degrees[1]):
            weight, place = weights[lm * width + channel], here + lm * span
            along = along + weight * load(values, harmonic + place)
            gx = gx + weight * load(tilt, place)
            gy = gy + weight * load(tilt, place + COUNT * span)
            gz = gz + weight * load(tilt, place + 2 * COUNT * span)
        height = load(values, here + (CHANNELS + channel) * span)
        along = along * load(values, here + (CHANNELS + width + channel) * span)
        pulled = (
            along * load(found.x, at) + height * gx,
            along * load(found.y, at) + height * gy,
            along * load(found.z, at) + height * gz,
        )
        add_neighbours(pulled, at, here, min(near - at, lanes(values)), room, row)


@compiled
def pull_triple(recipe: Recipe, block: Any, moments: Any, made: Any) -> None:
    """Derivatives of one triple by the moments, all channels."""
    width = len(recipe.channels)
    fill(made, 0.0)
    offset = (recipe.elements if recipe.elements > 1 else 0) * COUNT * width
    for term in range(recipe.three_start[block], recipe.three_start[block + 1]):
        factor = recipe.three_factor[term]
        for channel in range(recipe.angular):
            i = recipe.three[term, 0] + channel
            j, k = recipe.three[term, 1] + channel, recipe.three[term, 2] + channel
            made[i - offset] += factor * moments[j] * moments[k]
            made[j - offset] += factor * moments[i] * moments[k]
            made[k - offset] += factor * moments[i] * moments[j]


@compiled
def fill_rows(recipe: Recipe, i: Any, rows: Any, columns: Any, room: Space) -> None:
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

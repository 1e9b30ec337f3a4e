"""Neighbours of one atom after the other, from the images, tested with all lanes."""

from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.arrays import aligned
from potentials.kernels.compiling import compiled, inlined
from potentials.kernels.images import bin_of
from potentials.kernels.simd import WIDTH, bits_below, lanes, load, lowest_bit


class Found(NamedTuple):
    """Room for the neighbours of the atoms of one tile; vectors in the type of the model.

    Each atom has ``width`` places; its neighbours are grouped by element, near ones first, and
    every group begins at a whole vector, filled up with neighbours at twice the cutoff, which count
    for nothing.

    Attributes:
        x, y, z: from the atom to its neighbour [Å] (tile x width,).
        atom: which atom the neighbour is an image of (tile x width,).
        start: first place of each element, and the end (tile, elements + 1).
        count: number of neighbours of each element (tile, elements).
        near: number of those within the reach of the angular part (tile, elements).
        nearest: shortest squared distance to each element [Å^2] (tile, elements).
        far: number of images that wait for their place, and which (width + 1,).
    """

    x: Any
    y: Any
    z: Any
    atom: Any
    start: Any
    count: Any
    near: Any
    nearest: Any
    far: Any


def found(n_slots: int, width: int, n_elements: int, dtype: Any) -> Found:
    """Empty room for a tile of so many atoms with ``width`` neighbours each."""
    places = n_slots * width
    return Found(
        x=aligned(places, dtype),
        y=aligned(places, dtype),
        z=aligned(places, dtype),
        atom=np.zeros(places, dtype=np.int64),
        start=np.zeros((n_slots, n_elements + 1), dtype=np.int64),
        count=np.zeros((n_slots, n_elements), dtype=np.int64),
        near=np.zeros((n_slots, n_elements), dtype=np.int64),
        nearest=np.zeros((n_slots, n_elements)),
        far=np.zeros(width + WIDTH, dtype=np.int64),
    )


@compiled
def find(i: Any, slot: Any, ranges: Any, room: Any, found: Any) -> Any:
    """Neighbours of atom ``i`` into place ``slot`` of the tile; whether there was room.

    An atom is no neighbour of itself, but its images are, and so is another atom at its place.

    Args:
        i: the atom.
        slot: its place in the tile.
        ranges: squares of the cutoff and of the reach of the angular part [Å^2].
        room: images.
        found: neighbours.
    """
    n_slots, n_elements = found.count.shape
    width, step = len(found.x) // n_slots, lanes(found.x)
    place, outside = slot * width, 2.0 * np.sqrt(ranges[0])
    for e in range(n_elements):
        found.start[slot, e] = place
        stop = _search(i, slot, e, ranges, room, found)
        if stop < 0:
            return False
        found.count[slot, e] = stop - place
        place += (stop - place + step - 1) // step * step
        for k in range(stop, place):
            found.x[k], found.y[k], found.z[k], found.atom[k] = outside, 0.0, 0.0, i
    found.start[slot, n_elements] = place
    return True


@compiled
def _search(i: Any, slot: Any, e: Any, ranges: Any, room: Any, found: Any) -> Any:
    """Append the neighbours of one element; the place after the last, or -1 without room."""
    bins, place = room.bins, found.start[slot, e]
    found.far[0], found.nearest[slot, e] = 0, np.inf
    a0, a1 = _around(room, i, 0)
    b0, b1 = _around(room, i, 1)
    c0, c1 = _around(room, i, 2)
    for a in range(a0, a1 + 1):
        for b in range(b0, b1 + 1):
            row = ((e * bins[0] + a) * bins[1] + b) * bins[2]
            run = room.start[row + c0], room.start[row + c1 + 1]
            place = _scan(room.home[i], run, (slot, e), place, ranges, room, found)
            if place < 0:
                return -1
    found.near[slot, e] = place - found.start[slot, e]
    for k in range(1, found.far[0] + 1):
        _append(room.home[i], found.far[k], place, room, found)
        place += 1
    return place


@compiled
def _around(room: Any, i: Any, axis: Any) -> Any:
    """First and last bin along an axis that can hold neighbours of an atom."""
    own = bin_of(room, axis, room.fraction[i, axis])
    return max(own - 1, 0), min(own + 1, room.bins[axis] - 1)


@inlined
def _append(home: Any, image: Any, place: Any, room: Any, found: Any) -> Any:
    """Write an image as a neighbour; its squared distance."""
    x = room.x[image] - room.x[home]
    y = room.y[image] - room.y[home]
    z = room.z[image] - room.z[home]
    found.x[place], found.y[place], found.z[place] = x, y, z
    found.atom[place] = room.atom[image]
    return x * x + y * y + z * z


@compiled
def _scan(home: Any, run: Any, group: Any, place: Any, ranges: Any, room: Any, found: Any) -> Any:
    """Test a run of images; the place after the last near neighbour, or -1 without room."""
    slot, e = group
    x, y, z = room.x[home], room.y[home], room.z[home]
    step, nearest, far = lanes(room.x), found.nearest[slot, e], found.far[0]
    # room for the far ones, and to fill the group up to a whole vector
    end = (slot + 1) * (len(found.x) // found.count.shape[0]) - lanes(found.x) - step
    for first in range(run[0], run[1], step):
        dx, dy, dz = load(room.x, first) - x, load(room.y, first) - y, load(room.z, first) - z
        bits = bits_below(dx * dx + dy * dy + dz * dz, ranges[0])
        if run[1] - first < step:
            bits &= (1 << (run[1] - first)) - 1
        if place + far > end:
            return -1
        while bits:
            image = first + lowest_bit(bits)
            bits &= bits - 1
            if image == home:
                continue
            square = _append(home, image, place, room, found)
            nearest = min(nearest, square)
            if square < ranges[1]:
                place += 1
            else:
                far += 1
                found.far[far] = image
    found.nearest[slot, e], found.far[0] = nearest, far
    return place

"""Periodic images around the atoms of one structure, by element.

All images that can lie within the cutoff of an atom are written out, sorted by element. Small
structures test every image; beyond `DIRECT` atoms the images are sorted into a grid of bins at
least as wide as the cutoff, and an atom tests those next to its own (linked cells).
"""

from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np

from potentials.kernels.compiling import compiled
from potentials.kernels.grids import fill, part_of
from potentials.kernels.lattice import complete, invert

#: structures up to this size test every image
DIRECT = 100
#: what rounding may do to a fraction of a cell vector
_SLACK = 1e-9
#: a cell lower than the cutoff over this number is refused: it would have too many images
_FLATTEST = 100.0


class Images(NamedTuple):
    """Room for the images of one structure.

    Attributes:
        x, y, z: Cartesian coordinates [Å] (capacity,).
        atom: which atom each is an image of (capacity,).
        start: first image of each bin of each element (elements x bins + 2,).
        fraction: atoms in units of the cell vectors (n, 3).
        inside: translations that bring the atoms into the cell (n, 3).
        home: where in this list each atom itself is (n,).
        cells: cell vectors of the images, and their inverse (2, 3, 3).
        grid: by axis: smallest and largest fraction of an image, the cutoff as a fraction, and
            bins per unit (4, 3).
        bins: number of bins along each axis (3,).
    """

    x: Any
    y: Any
    z: Any
    atom: Any
    start: Any
    fraction: Any
    inside: Any
    home: Any
    cells: Any
    grid: Any
    bins: Any


def images(n_images: int, n_atoms: int, n_elements: int) -> Images:
    """Empty room."""
    # linked cells never have more bins than images would fill
    n_bins = max(64, n_images // 8)
    return Images(
        x=np.zeros(n_images),
        y=np.zeros(n_images),
        z=np.zeros(n_images),
        atom=np.zeros(n_images, dtype=np.int64),
        start=np.zeros(n_elements * n_bins + 2, dtype=np.int64),
        fraction=np.zeros((n_atoms, 3)),
        inside=np.zeros((n_atoms, 3)),
        home=np.zeros(n_atoms, dtype=np.int64),
        cells=np.zeros((2, 3, 3)),
        grid=np.zeros((4, 3)),
        bins=np.zeros(3, dtype=np.int64),
    )


@compiled
def place_images(
    positions: Any, cell: Any, periodic: Any, species: Any, cutoff: Any, n_elements: Any, room: Any
) -> Any:
    """Write the images of a structure.

    Returns:
        Their number; minus it where there is no room for so many; 0 where no number would do.
    """
    complete(cell, periodic, room.cells[0])
    invert(room.cells[0], room.cells[1])
    if not _fractions(positions, periodic, cutoff, room):
        return 0
    count = 0
    for i in range(len(species)):
        copies = 1
        for axis in range(3):
            first, last = _translations(room, periodic, i, axis)
            copies *= last - first + 1
        count += copies
    if count + 8 > len(room.x):
        return -count
    _choose_bins(len(species), n_elements, room)
    n_bins = n_elements * room.bins[0] * room.bins[1] * room.bins[2]
    fill(part_of(room.start, 0, n_bins + 2), 0)
    _sweep(positions, periodic, species, room, 0)
    for place in range(n_bins):
        room.start[place + 2] += room.start[place + 1]
    _sweep(positions, periodic, species, room, 1)
    return count


@compiled
def place_nothing(room: Any) -> None:
    """No images at all."""
    for axis in range(3):
        room.bins[axis] = 1
    fill(room.start, 0)
    fill(room.home, 0)
    fill(room.fraction, 0.0)
    fill(room.grid, 0.0)


@compiled
def _fractions(positions: Any, periodic: Any, cutoff: Any, room: Any) -> Any:
    """Fractions of all atoms, in the cell on periodic axes; whether images are finite work."""
    inverse, grid = room.cells[1], room.grid
    for axis in range(3):
        grid[0, axis], grid[1, axis] = np.inf, -np.inf
        for i in range(len(positions)):
            share = 0.0
            for a in range(3):
                share += positions[i, a] * inverse[a, axis]
            room.inside[i, axis] = -floor(share) if periodic[axis] else 0.0
            share += room.inside[i, axis]
            room.fraction[i, axis] = share
            grid[0, axis] = min(grid[0, axis], share)
            grid[1, axis] = max(grid[1, axis], share)
        reach = 0.0
        for a in range(3):
            reach += inverse[a, axis] ** 2
        reach = cutoff * np.sqrt(reach)
        if not (reach < _FLATTEST and grid[1, axis] - grid[0, axis] < np.inf):
            return False
        grid[0, axis] -= reach + _SLACK
        grid[1, axis] += reach + _SLACK
        grid[2, axis] = reach
    return True


@compiled
def _translations(room: Any, periodic: Any, i: Any, axis: Any) -> Any:
    """First and last translation of an atom along an axis that come near the atoms."""
    if not periodic[axis]:
        return 0, 0
    share = room.fraction[i, axis]
    # compiled, ceil and floor give floating-point numbers
    first, last = ceil(room.grid[0, axis] - share), floor(room.grid[1, axis] - share)
    return int(first), int(last)


@compiled
def _choose_bins(n_atoms: Any, n_elements: Any, room: Any) -> None:
    """One bin for small structures, else bins as wide as the cutoff, as far as there is room."""
    limit = (len(room.start) - 2) // n_elements
    for axis in range(3):
        wide = room.grid[1, axis] - room.grid[0, axis]
        room.bins[axis] = max(1, int(wide / room.grid[2, axis])) if n_atoms > DIRECT else 1
    while room.bins[0] * room.bins[1] * room.bins[2] > limit:
        for axis in range(3):
            room.bins[axis] = max(1, room.bins[axis] // 2)
    for axis in range(3):
        room.grid[3, axis] = room.bins[axis] / (room.grid[1, axis] - room.grid[0, axis])


@compiled
def bin_of(room: Any, axis: Any, share: Any) -> Any:
    """Place of a fraction along an axis."""
    place = int((share - room.grid[0, axis]) * room.grid[3, axis])
    return min(max(place, 0), room.bins[axis] - 1)


@compiled
def _sweep(positions: Any, periodic: Any, species: Any, room: Any, write: Any) -> None:
    """Go through all images; count them by element and bin, or write them to their places.

    ``start`` holds counts two places on, and while writing the next free place one place on, so
    that in the end every bin begins where it says.
    """
    bins, share = room.bins, room.fraction
    n_bins = bins[0] * bins[1] * bins[2]
    for i in range(len(species)):
        a0, a1 = _translations(room, periodic, i, 0)
        b0, b1 = _translations(room, periodic, i, 1)
        c0, c1 = _translations(room, periodic, i, 2)
        if n_bins == 1 and not write:
            room.start[species[i] + 2] += (a1 - a0 + 1) * (b1 - b0 + 1) * (c1 - c0 + 1)
            continue
        for a in range(a0, a1 + 1):
            place_a = species[i] * bins[0] + bin_of(room, 0, share[i, 0] + a)
            for b in range(b0, b1 + 1):
                place_b = place_a * bins[1] + bin_of(room, 1, share[i, 1] + b)
                for c in range(c0, c1 + 1):
                    place = place_b * bins[2] + bin_of(room, 2, share[i, 2] + c)
                    if write:
                        _write(positions, room, i, room.start[place + 1], (a, b, c))
                        room.start[place + 1] += 1
                    else:
                        room.start[place + 2] += 1


@compiled
def _write(positions: Any, room: Any, i: Any, place: Any, shift: Any) -> None:
    """One image; translations count from the atom inside the cell."""
    room.atom[place] = i
    if shift[0] == 0 and shift[1] == 0 and shift[2] == 0:
        room.home[i] = place
    cell = room.cells[0]
    a = shift[0] + room.inside[i, 0]
    b = shift[1] + room.inside[i, 1]
    c = shift[2] + room.inside[i, 2]
    room.x[place] = positions[i, 0] + a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
    room.y[place] = positions[i, 1] + a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
    room.z[place] = positions[i, 2] + a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]

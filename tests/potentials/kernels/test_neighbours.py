"""Pairs found by the compiled code are those of vesin, in every kind of cell."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from potentials.batch import neighbours
from potentials.kernels.arrays import Bundle
from potentials.kernels.compiling import entry
from potentials.kernels.images import DIRECT, images, place_images
from potentials.kernels.model import TILE
from potentials.kernels.neighbours import Found, find
from potentials.kernels.structure import Structure
from tests.crystals import random_crystal

ELEMENTS = 2
WIDTH = 4096


@entry
def place(structure, cutoff, room):
    return place_images(
        structure.positions,
        structure.cell,
        structure.periodic,
        structure.species,
        cutoff,
        2,
        room,
    )


@entry
def find_one(i, slot, ranges, room, found):
    return find(i, slot, ranges, room, found)


def rooms(n_atoms, n_images=100_000, width=WIDTH):
    found = Found(
        x=np.zeros(TILE * width),
        y=np.zeros(TILE * width),
        z=np.zeros(TILE * width),
        atom=np.zeros(TILE * width, dtype=np.int64),
        start=np.zeros((TILE, ELEMENTS + 1), dtype=np.int64),
        count=np.zeros((TILE, ELEMENTS), dtype=np.int64),
        near=np.zeros((TILE, ELEMENTS), dtype=np.int64),
        nearest=np.zeros((TILE, ELEMENTS)),
        far=np.zeros(width + 64, dtype=np.int64),
    )
    return Bundle(images(n_images, n_atoms, ELEMENTS)), Bundle(found)


def as_structure(atoms, species):
    return Bundle(
        Structure(
            positions=atoms.positions.copy(),
            cell=atoms.cell.array.copy(),
            periodic=atoms.pbc.astype(np.int64),
            species=species,
            order=np.arange(len(atoms)),
            begin=np.zeros(ELEMENTS + 1, dtype=np.int64),
        )
    )


def pairs_of(atoms, species, cutoff, reach):
    """Atom, neighbour and vector of all pairs; what the lists promise is checked on the way."""
    room, found = rooms(len(atoms))
    assert place(as_structure(atoms, species), cutoff, room) > 0
    parts, made = found.parts, []
    for i in range(len(atoms)):
        slot = i % TILE
        assert find_one(i, slot, (cutoff**2, reach**2), room, found)
        for e in range(ELEMENTS):
            start, count = parts.start[slot, e], parts.count[slot, e]
            here = slice(start, start + count)
            vectors = np.stack([parts.x[here], parts.y[here], parts.z[here]], axis=1)
            lengths = np.linalg.norm(vectors, axis=1)
            near = parts.near[slot, e]
            assert (lengths[:near] < reach).all()
            assert (lengths[near:] >= reach).all()
            assert (species[parts.atom[here]] == e).all()
            assert np.isclose(parts.nearest[slot, e], (lengths**2).min(initial=np.inf))
            rest = slice(start + count, parts.start[slot, e + 1])
            assert (parts.x[rest] == 2 * cutoff).all()
            assert (rest.stop - slot * WIDTH) % 8 == 0
            made += [(i, j, *vector) for j, vector in zip(parts.atom[here], vectors, strict=True)]
    return made


def check(atoms, cutoff, reach=None):
    rng = np.random.default_rng(len(atoms))
    species = rng.integers(0, ELEMENTS, len(atoms))
    made = pairs_of(atoms, species, cutoff, 0.8 * cutoff if reach is None else reach)
    first, second, shifts = neighbours(
        atoms.positions, atoms.cell.array, [*map(bool, atoms.pbc)], cutoff
    )
    vectors = atoms.positions[second] - atoms.positions[first] + shifts @ atoms.cell.array
    expected = zip(first, second, vectors, strict=True)

    def counted(pairs):
        return Counter((int(i), int(j), *np.round(v, 5) + 0.0) for i, j, *v in pairs)

    assert counted(made) == counted([(i, j, *v) for i, j, v in expected])


@st.composite
def boxes(draw):
    """Any cell, of either hand, with atoms anywhere, periodic or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31 - 1)))
    cell = rng.uniform(-3.0, 3.0, (3, 3)) + draw(st.sampled_from([-3.0, 0.0, 4.0])) * np.eye(3)
    count = draw(st.integers(1, 6))
    atoms = Atoms(
        "Cu" * count,
        positions=rng.uniform(-20.0, 20.0, (count, 3)),
        cell=cell,
        pbc=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
    )
    volume = abs(np.linalg.det(cell))
    faces = np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    assume((volume / faces).min() > 0.5)
    return atoms


@settings(max_examples=60)
@given(atoms=boxes(), cutoff=st.floats(1.5, 6.0))
def test_any_cell(atoms, cutoff):
    check(atoms, cutoff)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)])
@pytest.mark.parametrize("cutoff", [2.5, 4.0])
def test_linked_cells(pbc, cutoff):
    rng = np.random.default_rng(0)
    atoms = random_crystal(rng, ["Cu"] * 5, skew=0.6) * (3, 3, 3)
    atoms.positions += rng.normal(0, 0.5, atoms.positions.shape)
    atoms.pbc = pbc
    assert len(atoms) > DIRECT
    check(atoms, cutoff)


def test_an_axis_that_is_not_periodic_needs_no_vector():
    rng = np.random.default_rng(1)
    for axes in ((0,), (1,), (0, 2), (0, 1, 2)):
        atoms = random_crystal(rng, ["Cu"] * 4, skew=0.8)
        for axis in axes:
            atoms.cell[axis] = 0.0
            atoms.pbc[axis] = False
        check(atoms, 4.0)


def test_coincident_atoms_are_neighbours_and_an_atom_is_not_its_own():
    atoms = Atoms("Cu2", positions=[[1, 2, 3], [1, 2, 3]], cell=[4, 4, 4], pbc=True)
    made = pairs_of(atoms, np.zeros(2, dtype=np.int64), 3.0, 2.0)
    assert sorted((i, j) for i, j, *_ in made) == [(0, 1), (1, 0)]
    check(atoms, 5.0)


def test_no_room_is_said_and_never_used():
    atoms = random_crystal(np.random.default_rng(2), ["Cu"] * 4)
    structure = as_structure(atoms, np.zeros(4, dtype=np.int64))
    room, found = rooms(4, n_images=64)
    needed = place(structure, 5.0, room)
    assert needed < -56
    assert (room.parts.x == 0).all()
    room, found = rooms(4, n_images=8 - needed, width=32)
    assert place(structure, 5.0, room) == -needed
    assert not find_one(3, 3, (25.0, 16.0), room, found)


def test_a_cell_without_volume_has_no_list():
    atoms = Atoms("Cu", cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]], pbc=True)
    assert place(as_structure(atoms, np.zeros(1, dtype=np.int64)), 5.0, rooms(1)[0]) == 0

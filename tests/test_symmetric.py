"""Random crystals from Wyckoff tables; spglib, which knows nothing of them, is the judge."""

from collections import Counter
from math import gcd

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search.lattices import random_cell, random_multiple
from aga.search.orbits import (
    conventional_multiple,
    fits,
    lattice_symbol,
    occupation,
    orbits,
    primitive_vectors,
)
from aga.search.symmetric import (
    CONVENTIONAL,
    cells_of,
    divisors,
    drawn_parts,
    drawn_supercell,
    part,
    repeated,
    supercell,
    symmetric_crystal,
)

# spglib says so of its own way to tell errors
pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")

COMPOSITIONS = ({"Si": 8}, {"Au": 4, "Cu": 4}, {"O": 8, "Ti": 4}, {"Mg": 2, "O": 6, "Si": 2})
NUMBERS = st.integers(1, 230)
SEEDS = st.integers(0, 2**32 - 1)
#: primitive cells in a conventional one
CENTRED = {"P": 1, "A": 2, "C": 2, "I": 2, "F": 4, "R": 3}


def operations(number):
    """Rotations and translations of the group's first setting in spglib's database."""
    for hall in range(1, 531):
        if spglib.get_spacegroup_type(hall).number == number:
            return spglib.get_symmetry_from_database(hall)
    raise AssertionError(number)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from(COMPOSITIONS), SEEDS)
def test_a_crystal_has_the_symmetry_composition_and_volume_that_were_asked_for(
    number, composition, seed
):
    crystal = symmetric_crystal(number, composition, 15.0, 1.0, np.random.default_rng(seed))
    if crystal is None:
        return
    assert dict(Counter(crystal.symbols)) == composition
    assert crystal.get_volume() == pytest.approx(15.0 * len(crystal))
    cell = crystal.cell.array, crystal.get_scaled_positions(), crystal.numbers
    found = spglib.get_symmetry_dataset(cell, symprec=1e-4)
    assert found is not None
    # a subgroup's order divides that of the group; lattices of higher symmetry come by chance
    assert len(found.rotations) % len(orbits(number)[0].shifts) == 0


@pytest.mark.parametrize("number", range(1, 231))
def test_orbits_are_closed_under_their_group_and_counted_once(number):
    found = operations(number)
    general = orbits(number)[0]
    # of the general position one atom per operation and primitive cell
    symbol = lattice_symbol(number)
    assert general.multiplicity * CENTRED[symbol] == len(found["rotations"])
    assert abs(np.linalg.det(primitive_vectors(number))) == pytest.approx(1 / CENTRED[symbol])
    to_primitive = np.linalg.inv(primitive_vectors(number))
    for orbit in orbits(number):
        assert general.multiplicity % orbit.multiplicity == 0
        points = orbit.points(np.array([0.137, 0.291, 0.433])) @ to_primitive
        apart = points[:, None] - points
        apart -= np.round(apart)
        shared = np.linalg.norm(apart, axis=2) < 1e-6
        assert shared.sum() == orbit.multiplicity


@pytest.mark.parametrize("number", [1, 2, 5, 14, 15, 41, 62, 63, 88, 141, 148, 167, 176, 205, 227])
def test_a_random_cell_is_unchanged_by_the_rotations_of_its_group(number):
    cell = random_cell(number, 100.0, np.random.default_rng(number))
    assert abs(np.linalg.det(cell)) == pytest.approx(100.0)
    metric = cell @ cell.T
    tables = orbits(number)[0].matrices
    for rotation in tables:
        assert rotation.T @ metric @ rotation == pytest.approx(metric)


@given(st.integers(1, 24), SEEDS)
def test_a_random_multiple_holds_as_many_cells_as_asked(copies, seed):
    matrix = random_multiple(copies, np.random.default_rng(seed))
    assert round(np.linalg.det(matrix)) == copies
    assert (np.triu(matrix, 1) == 0).all()
    assert matrix[1, 0] < matrix[1, 1]
    assert (matrix[2, :2] < matrix[2, 2]).all()


@pytest.mark.parametrize(("copies", "ways"), [(1, 1), (2, 7), (3, 13), (4, 35)])
def test_every_superlattice_is_drawn_alike(copies, ways):
    """There are 1, 7, 13, 35 of them (https://oeis.org/A001001)."""
    rng = np.random.default_rng(0)
    drawn = Counter(random_multiple(copies, rng).tobytes() for _ in range(200 * ways))
    assert len(drawn) == ways
    assert min(drawn.values()) > 120
    assert max(drawn.values()) < 300


@given(st.sampled_from(COMPOSITIONS), SEEDS)
def test_parts_have_their_share_and_repeat_to_the_whole(composition, seed):
    rng = np.random.default_rng(seed)
    parts = drawn_parts(composition, rng)
    assert parts in divisors(composition)
    assert gcd(*composition.values()) % parts == 0
    share = part(composition, parts)
    crystal = None
    while crystal is None:
        crystal = symmetric_crystal(int(rng.integers(1, 3)), share, 20.0, 0.5, rng)
    whole = repeated(crystal, parts, rng)
    assert dict(Counter(whole.symbols)) == composition
    assert whole.get_volume() == pytest.approx(parts * crystal.get_volume())
    assert whole.pbc.all()


def test_small_parts_come_up_but_less_often_than_the_whole():
    rng = np.random.default_rng(1)
    drawn = Counter(drawn_parts({"Si": 8}, rng) for _ in range(2000))
    assert list(dict(sorted(drawn.items()))) == [1, 2, 4, 8]
    assert drawn[1] > drawn[2] > drawn[4] > drawn[8] > 150


def test_a_part_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="expected a divisor of O8Ti4, got 3"):
        part({"O": 8, "Ti": 4}, 3)


def test_what_fits_no_wyckoff_positions_is_known_at_once():
    # Fm-3m in its primitive cell: 1, 1, 2, 6, ...; three atoms take both single ones and nothing
    assert fits(225, (4,))
    assert not fits(230, (3,))
    assert occupation(230, {"Si": 3}, np.random.default_rng(0)) is None


def test_a_position_without_freedom_is_occupied_once():
    rng = np.random.default_rng(2)
    for _ in range(200):
        sites = occupation(225, {"Au": 2, "Cu": 2}, rng)
        if sites is None:
            continue
        fixed = [id(orbit) for _, orbit in sites if not orbit.free]
        assert len(fixed) == len(set(fixed))


@pytest.mark.parametrize("number", range(1, 231))
def test_the_conventional_cell_is_that_of_its_crystal_system(number):
    """Its vectors at right angles where the system has them, with the lattice points it has."""
    matrix = conventional_multiple(number)
    assert cells_of(matrix) == CENTRED[lattice_symbol(number)]
    assert matrix @ primitive_vectors(number) == pytest.approx(np.eye(3))
    crystal = symmetric_crystal(number, {"Si": 192}, 20.0, 0.1, np.random.default_rng(number))
    assert crystal is not None
    angles = supercell(crystal, matrix).cell.angles()
    right = sum(abs(angles - 90.0) < 1e-6)
    assert right >= (0 if number <= 2 else 2 if number <= 15 or 143 <= number <= 194 else 3)


def test_some_supercells_are_conventional_and_some_compositions_fill_none():
    rng = np.random.default_rng(0)
    conventional = conventional_multiple(227)
    drawn = [drawn_supercell(227, {"Si": 8}, rng) for _ in range(400)]
    same = sum((matrix == conventional).all() for matrix in drawn)
    assert abs(same / len(drawn) - CONVENTIONAL) < 0.1
    odd = [drawn_supercell(227, {"Si": 7}, rng) for _ in range(200)]
    assert abs(np.mean([matrix is None for matrix in odd]) - CONVENTIONAL) < 0.1

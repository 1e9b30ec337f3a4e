"""What goes together, and how much of it."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from potentials.device import Setup, batch_size
from potentials.device.classes import FAR, FEW, SPREAD, classes, expected
from potentials.device.memory import ASSUMED, bytes_per_atom, free_bytes
from tests.crystals import rattled_crystals
from tests.potentials.device.references import CPU, course_of, deck_of


@given(st.integers(0, 10**12), st.floats(1.0, 1e7), st.integers(1, 400), st.integers(1, 5000))
def test_a_batch_fits_and_is_not_smaller_than_needed(free, each, n_atoms, most):
    size = batch_size(free, each, n_atoms, most, share=0.5)
    assert 1 <= size <= most
    assert size == 1 or size * each * n_atoms <= 0.5 * free
    assert size == most or (size + 1) * each * n_atoms > 0.5 * free


def test_free_memory():
    assert free_bytes(CPU, Setup()) == ASSUMED
    assert free_bytes(CPU, Setup(memory=5)) == 5


def test_memory_of_an_atom_grows_with_its_neighbours(deep):
    starts = rattled_crystals(3)
    course = course_of(deep)
    narrow, wide = (deck_of(starts, deep, course, width) for width in (64, 128))
    one, two = (bytes_per_atom(d.state, d.lists, course.model) for d in (narrow, wide))
    # at least the vectors, and what grows with the width must double
    assert one > 64 * 3 * 8
    assert 1.7 < two / one < 2.1


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(8, 300)), min_size=1, max_size=120))
def test_every_structure_is_in_one_class_with_similar_ones(pairs):
    sizes, widths = (np.array(column) for column in zip(*pairs, strict=True))
    found = classes(sizes, widths)
    assert sorted(np.concatenate(found).tolist()) == list(range(len(pairs)))
    for own in found:
        for values in (sizes[own], widths[own]):
            assert values.max() <= FAR * values.min()


def test_equal_structures_stay_together():
    assert len(classes(np.full(500, 8), np.full(500, 60))) == 1


def test_many_of_each_are_split_finer():
    sizes = np.repeat([4, 8], FEW)
    assert sizes.max() > SPREAD * sizes.min()
    assert [len(own) for own in classes(sizes, np.full(2 * FEW, 60))] == [FEW, FEW]


def test_neighbours_are_expected_by_density():
    tight, loose = (Atoms("Cu", cell=np.eye(3) * side, pbc=True) for side in (2.0, 4.0))
    one, two = expected([tight, loose], 6.0)
    assert one > 4 / 3 * np.pi * 6.0**3 / 8.0
    assert one - 8 == pytest.approx(8 * (two - 8), rel=0.1)
    assert (expected([Atoms("Cu2"), Atoms("Cu", cell=[np.nan, 1, 1])], 6.0) < 20).all()

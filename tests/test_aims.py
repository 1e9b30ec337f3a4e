"""How often each composition is tried."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aga.search.aims import FINEST, FLOOR, SCALE, chances

NAMES = ["Al3Ni", "AlNi", "AlNi3"]
HEIGHT = st.one_of(st.floats(-5, 50), st.just(float("inf")))


@given(
    st.dictionaries(st.sampled_from(NAMES), HEIGHT, min_size=1),
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10**6)),
)
def test_chances_sum_to_one_and_none_dies(heights, tried):
    found = chances(heights, tried)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found.keys() == heights.keys()
    assert min(found.values()) >= 0.999 * FLOOR / len(heights)


def test_what_may_break_the_hull_is_tried_most():
    found = chances({"Al3Ni": -0.02, "AlNi": 0.0, "AlNi3": 0.2}, {})
    assert found["Al3Ni"] > found["AlNi"] > found["AlNi3"]


def test_a_hole_of_the_potential_does_not_take_everything():
    found = chances({"Al3Ni": -40.0, "AlNi": 0.0}, {})
    assert found["AlNi"] > 0.25


def test_what_nobody_has_tried_is_tried():
    found = chances({"Al3Ni": float("inf"), "AlNi": 0.0, "AlNi3": 0.0}, {"AlNi": 8})
    assert found["Al3Ni"] == found["AlNi3"] > found["AlNi"]


def test_what_counts_as_near_follows_from_what_is_there():
    """Where most come within some meV of the hull, some meV more are many."""
    fine = chances({"Al3Ni": 0.0, "AlNi": 0.01, "AlNi3": 0.02}, {}, floor=0.0)
    assert fine["AlNi"] / fine["Al3Ni"] == pytest.approx(exp(-0.01 / 0.005))
    coarse = chances({"Al3Ni": 0.0, "AlNi": 1.0, "AlNi3": 2.0}, {}, floor=0.0)
    assert coarse["AlNi"] / coarse["Al3Ni"] == pytest.approx(exp(-1.0 / SCALE))
    finest = chances({"Al3Ni": 0.0, "AlNi": 0.0, "AlNi3": 0.001}, {}, floor=0.0)
    assert finest["AlNi3"] / finest["Al3Ni"] == pytest.approx(exp(-0.001 / FINEST))


def test_no_compositions_are_refused():
    with pytest.raises(ValueError, match="expected compositions"):
        chances({}, {})
    with pytest.raises(ValueError, match=r"floor of 0\.\.1"):
        chances({"AlNi": 0.0}, {}, floor=2.0)

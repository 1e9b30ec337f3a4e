"""From spread to error: one without evidence, the ratio with much of it, never ruled by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potentials.calibration import PRIOR, SMALLEST, WORST, calibration
from tests.tolerances import ROUNDING

PAIRS = st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-3, 1)), min_size=1, max_size=30)


def test_nothing_seen_changes_nothing():
    assert calibration([], []) == 1.0


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_many_labels_give_the_true_ratio(ratio):
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.01, 0.1, 4000)
    errors = rng.normal(0.0, ratio * spreads)
    assert abs(calibration(errors, spreads) / ratio - 1.0) < 0.05


@given(PAIRS)
def test_sign_order_and_unit_do_not_matter(pairs):
    errors, spreads = zip(*pairs, strict=True)
    found = calibration(errors, spreads)
    assert 0.0 < found <= WORST
    backwards = calibration([-error for error in errors[::-1]], spreads[::-1])
    scaled = calibration([3 * error for error in errors], [3 * spread for spread in spreads])
    assert abs(backwards - found) < ROUNDING
    assert abs(scaled - found) < ROUNDING


@given(PAIRS)
def test_larger_errors_never_give_a_smaller_factor(pairs):
    errors, spreads = zip(*pairs, strict=True)
    assert calibration([2 * error for error in errors], spreads) >= calibration(errors, spreads)


def test_errors_as_large_as_spreads_need_no_factor():
    assert calibration([0.1, -0.2], [0.1, 0.2]) == 1.0


def test_one_hole_counts_up_to_a_limit():
    expected = np.sqrt((PRIOR + WORST**2) / (PRIOR + 1))
    assert abs(calibration([100.0], [0.001]) - expected) < ROUNDING


def test_members_that_agree_to_rounding_are_no_division_by_zero():
    assert calibration([SMALLEST], [0.0]) == 1.0

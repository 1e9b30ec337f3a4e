"""Weights of operators."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aga.search.adaptation import updated, weights

counts = st.integers(0, 1000).flatmap(
    lambda tried: st.tuples(st.just(tried), st.integers(0, tried))
)
records = st.dictionaries(st.sampled_from("abcdef"), counts)


@given(record=records, n=st.integers(1, 6), floor=st.floats(0, 1))
def test_weights_sum_to_one_and_none_dies(record, n, floor):
    names = "abcdef"[:n]
    found = weights(record, list(names), floor)
    assert list(found) == list(names)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= min(floor, 1 / n) - 1e-12


def test_success_raises_a_weight_and_failure_lowers_it():
    found = weights({"a": (10, 8), "b": (10, 1)}, ["a", "b", "new"])
    assert found["a"] > found["new"] > found["b"]
    assert weights({}, ["a", "b"]) == {"a": 0.5, "b": 0.5}


def test_an_old_record_fades():
    record = updated({"a": (10, 8)}, {"a": (2, 0), "b": (4, 3)}, memory=0.5)
    assert record == {"a": (7, 4), "b": (4, 3)}


def test_weights_refuse_nonsense():
    with pytest.raises(ValueError, match="expected operators"):
        weights({}, [])
    with pytest.raises(ValueError, match="floor"):
        weights({}, ["a"], floor=1.5)

"""Records keep what they say while they rest, and take little room."""

import sys

import pytest

from aga.campaign.record import Packed, Record

INPUTS = {"candidate": {"id": "a", "positions": [[0.1, 1e-300, -3.0]]}, "purpose": "search"}
OUTCOME = {"ok": {"label": [1.0 / 3.0]}, "order": 3}


def test_a_record_says_the_same_while_it_rests():
    record = Record(4, "label", "key", INPUTS, "done", OUTCOME, 1)
    record.rest()
    assert (record.inputs, record.outcome, record.ok) == (INPUTS, OUTCOME, OUTCOME["ok"])
    record.wake()
    assert record.inputs is record.inputs
    record.rest()
    assert record.inputs is not record.inputs
    record.outcome = {"failure": "x"}
    assert record.outcome == {"failure": "x"}


def test_what_was_read_from_a_file_is_read_when_asked_for():
    record = Record(0, "label", "key", Packed(None, '{"a": [1]}'), "done", Packed(None, "{}"))
    assert (record.inputs, record.outcome) == ({"a": [1]}, {})
    with pytest.raises(KeyError):
        record.ok  # noqa: B018


def test_the_decision_is_the_same_before_its_outcome():
    record = Record(4, "label", "key", INPUTS, "failed", OUTCOME, 2)
    before = record.undone("queued")
    assert (before.ordinal, before.kind, before.key, before.attempts) == (4, "label", "key", 2)
    assert (before.inputs, before.outcome, before.progress) == (INPUTS, {}, "queued")
    assert record.outcome == OUTCOME


def test_names_of_labels_stay_shared():
    """As text, every record would hold all of them again."""
    names = [["a", "key of a"], ["b", "key of b"]]
    records = [Record(i, "train", "key", {"labels": [*names]}) for i in range(2)]
    for record in records:
        record.rest()
    one, two = (record.inputs["labels"] for record in records)
    assert one == two == names
    assert all(a is b for a, b in zip(one, two, strict=True))


def test_rest_takes_less_room():
    data = {"positions": [[float(i), 0.5, 1.0] for i in range(50)]}
    heavy = sum(sys.getsizeof(row) for row in data["positions"])
    packed = Packed(data)
    packed.rest()
    assert sys.getsizeof(packed._text) < heavy / 2
    assert packed.data == data

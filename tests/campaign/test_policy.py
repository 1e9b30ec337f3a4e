"""Which work is due: the policy as a pure function of the state."""

import pytest

from aga.campaign import policy
from aga.campaign.state import Decision
from tests.campaign.builders import (
    SLOTS,
    History,
    candidate,
    config,
    generation,
    label,
    promising,
    strict,
)

# the beginning


@pytest.mark.parametrize("overlap", [True, False])
def test_a_campaign_begins_with_structures_and_labels_all_of_them(overlap):
    history = History(config(overlap=overlap))
    (seed,) = history.due()
    assert seed.kind == "seed"
    assert seed.inputs == {"count": 4, "volume_per_atom": 0.0, "first": True}
    history.take()
    assert history.due() == []
    history.close(history.state.records[0], {"candidates": [candidate("a", 1).to_dict()] * 1})
    (first,) = history.due()
    assert (first.kind, first.inputs["purpose"], first.inputs["raw_spread"]) == (
        "label",
        "seed",
        None,
    )


def test_due_is_pure():
    history = History().begun()
    assert history.due() == history.due()


def test_too_few_first_labels_ask_for_another_try_and_then_give_up():
    history = History()
    for attempt in range(3):
        history.seed()
        reason = ["no convergence", "other", "other"][attempt]
        for record in history.take():
            history.fail(record, reason)
    (end,) = history.take()
    assert (end.kind, end.inputs["failed"]) == ("finish", True)
    assert end.inputs["reason"] == (
        "12 of the first 12 structures could not be labelled: no convergence"
    )
    assert history.state.failed
    assert history.due() == []


def test_one_label_of_many_is_not_enough_and_the_reason_is_that_of_a_failure():
    history = History()
    for attempt in range(3):
        history.seed()
        records = history.take()
        if attempt == 0:
            history.close(records.pop(0), {"label": label(1.0).to_dict()})
        for record in records:
            history.fail(record)
    (end,) = history.take()
    assert end.inputs["reason"] == "11 of the first 12 structures could not be labelled: it broke"


def test_after_three_tries_two_labels_have_to_do():
    settings = config(search={"initial_labels": 8}, budget={"labels": 60})
    history = History(settings)
    for attempt in range(3):
        history.seed([candidate(f"{attempt}-{i}", i) for i in range(8)])
        records = history.take()
        for number, record in enumerate(records):
            if attempt == 0 and number < 2:
                history.close(record, {"label": label(1.0 + number).to_dict()})
            else:
                history.fail(record)
    assert history.kinds() == ["train"]


def test_the_users_structures_do_not_overspend():
    settings = config(budget={"labels": 10, "confirm_reserve": 4})
    history = History(settings)
    history.seed([candidate(f"s{i}", i) for i in range(30)])
    records = history.labels(label(1.0), label(1.1), None)
    assert len(records) == 6
    assert history.kinds() == ["stop_search"]
    assert "labels are used up" in history.due()[0].inputs["reason"]


@pytest.mark.parametrize("kind", ["seed", "train", "evolve"])
def test_work_that_cannot_fail_ends_the_campaign_with_its_reason(kind):
    history = History()
    if kind != "seed":
        history.seed()
        history.labels(label(1.0))
    if kind == "evolve":
        history.train()
    (record,) = history.take()
    assert record.kind == kind
    history.fail(record, "out of memory")
    (end,) = history.take()
    assert end.kind == "finish"
    assert end.inputs == {
        "reason": f"{kind} (task {record.ordinal}) failed: out of memory",
        "failed": True,
    }
    # started again by the user, it tries again
    history.take(Decision("resume", {}))
    assert history.kinds() == [kind]
    assert history.due()[0].inputs.get("first", True)


# train and evolve


def test_the_first_training_waits_for_all_labels_without_overlap():
    history = History(strict())
    history.seed()
    records = history.take()
    for record in records[:3]:
        history.close(record, {"label": label(1.0).to_dict()})
        assert history.due() == []
    history.fail(records[3])
    assert history.kinds() == ["train"]


def test_the_first_training_does_not_wait_for_the_last_labels_with_overlap():
    history = History()
    history.seed()
    records = history.take()
    for record in records[:2]:
        history.close(record, {"label": label(1.0).to_dict()})
    assert history.due() == []
    history.close(records[2], {"label": label(1.0).to_dict()})
    (train,) = history.take()
    assert train.kind == "train"
    assert [key for _, key in train.inputs["labels"]] == [r.key for r in records[:3]]
    assert history.due() == []


def test_a_model_is_searched_on_and_its_candidates_are_labelled():
    history = History().begun(1.0, 1.1, 1.2, 1.3)
    (evolve,) = history.take()
    assert evolve.kind == "evolve"
    assert evolve.inputs["model"] == history.state.models[0].key
    assert evolve.inputs["carried"] == {"key": None, "ids": []}
    assert sum(evolve.inputs["weights"].values()) == pytest.approx(1.0)
    history.evolve(*promising(5, 6, 7, 8))
    due = history.take()
    assert [(d.kind, d.inputs["candidate"]["id"]) for d in due] == [
        ("label", "e5"),
        ("label", "e6"),
        ("label", "e7"),
    ]
    assert {d.inputs["purpose"] for d in due} == {"search"}
    assert history.due() == []


def test_spreads_are_kept_as_the_ensemble_gave_them():
    history = History()
    history.seed()
    history.labels(label(1.0))
    history.train(calibration=4.0)
    history.evolve(*promising(5, spread=0.08))
    record = history.take()[0]
    assert record.inputs["raw_spread"] == pytest.approx(0.02)


def labels_due(history, slots):
    due = policy.due(history.state, {**SLOTS, "dft": slots})
    return [decision for decision in due if decision.kind == "label"]


@pytest.mark.parametrize(("slots", "room"), [(1, 2), (2, 3), (9, 8)])
def test_label_room_with_overlap_is_one_more_than_the_slots_and_at_most_a_batch(slots, room):
    history = History(config(search={"batch": 8})).begun()
    history.evolve(*promising(*range(5, 30)))
    due = labels_due(history, slots)
    assert len(due) == room
    history.take(*due[:2])
    assert len(labels_due(history, slots)) == room - 2


def test_label_room_without_overlap_is_the_batch_whatever_the_machine():
    history = History(strict(search={"batch": None})).begun()
    history.evolve(*promising(*range(5, 30)))
    for slots in (1, 16):
        due = policy.due(history.state, {**SLOTS, "dft": slots})
        assert [decision.kind for decision in due] == ["label"] * 2


def test_what_is_being_labelled_or_has_failed_is_not_labelled_again():
    history = History(config(search={"batch": 8})).begun()
    copies = [candidate(f"c{i}", 5, 0.9 + 0.001 * i) for i in range(3)]
    history.evolve(*copies)
    only, again = history.take()
    assert again.kind == "evolve"
    assert only.inputs["candidate"]["id"] == "c0"
    history.fail(only)
    assert "label" not in history.kinds()


def test_new_labels_start_a_training_and_a_model_a_generation():
    history = History(config(search={"batch": 4})).begun()
    history.evolve(*promising(5, 6, 7, 8))
    first, second, third = history.take()
    history.close(first, {"label": label(1.5).to_dict()})
    assert history.kinds() == ["label"]
    (fourth,) = history.take()
    history.close(second, {"label": label(1.5).to_dict()})
    (train,) = history.take()  # half a batch; two labels are still computed
    assert train.kind == "train"
    assert train.inputs["warm"] == history.state.models[0].key
    assert [pair[0] for pair in train.inputs["calibration"]] == pytest.approx([0.595, 0.594])
    history.close(train, {"facts": {"calibration": 1.0}})
    (evolve,) = history.take()
    assert evolve.kind == "evolve"
    assert evolve.inputs["carried"]["ids"] == ["e5", "e6", "e7", "e8"]
    assert {third.progress, fourth.progress} == {"queued"}


def test_the_last_label_of_a_batch_is_trained_on_alone():
    history = History().begun()
    history.evolve(*promising(5))
    history.labels(label(1.5))
    assert history.kinds() == ["train"]


def test_the_same_geometry_asked_for_twice_is_no_news():
    """Else it would be trained on for ever."""
    history = History(strict())
    history.seed([candidate("a", 1), candidate("b", 2), candidate("c", 2), candidate("d", 3)])
    first = history.labels(label(1.0), label(1.1), label(1.1), label(1.2))
    assert first[1].key == first[2].key
    assert len(history.train().inputs["labels"]) == 3
    assert history.kinds() == ["evolve"]


def test_without_overlap_two_kinds_are_never_outstanding():
    history = History(strict(budget={"labels": 40}))
    number = 0
    seen = []
    while not history.state.search_over:
        taken = history.take()
        kinds = {record.kind for record in history.state.outstanding()}
        assert len(kinds) <= 1
        seen += [record.kind for record in taken]
        for record in taken:
            if record.kind == "label":
                history.close(record, {"label": label(1.0 + 0.01 * number).to_dict()})
                number += 1
            elif record.kind == "train":
                history.close(record, {"facts": {"calibration": 1.0}})
            elif record.kind == "evolve":
                own = promising(*range(number, number + 6), prefix=f"e{record.ordinal}-")
                history.close(record, generation(*own))
            elif record.kind == "seed":
                given = [candidate(f"s{i}", i) for i in range(4)]
                history.close(record, {"candidates": [one.to_dict() for one in given]})
    order = [kind for kind, before in zip(seen, ["", *seen], strict=False) if kind != before]
    assert order[:7] == ["seed", "label", "train", "evolve", "label", "train", "evolve"]
    assert order[-1] == "stop_search"


def test_nothing_left_to_label_starts_another_generation():
    history = History(strict()).begun(1.0)
    history.evolve()
    (evolve,) = history.due()
    assert evolve.kind == "evolve"
    assert evolve.inputs["carried"]["key"] == history.state.generations[0].key


def test_where_to_search_follows_the_best_labels_unless_the_user_says():
    history = History().begun(1.0, 1.1, 5.0, 5.0)
    (evolve,) = history.due()
    best = history.state.known[:2]
    mean = sum(one.atoms.get_volume() / 2 for one in best) / 2
    assert evolve.inputs["volume_per_atom"] == pytest.approx(mean)
    told = History(config(search={"volume_per_atom": 17.0})).begun()
    assert told.due()[0].inputs["volume_per_atom"] == 17.0


# feeding ahead


@pytest.mark.parametrize(("slots", "batch"), [(0, 2), (1, 2), (2, 4), (256, 512)])
def test_the_search_is_told_how_many_labels_are_asked_for_at_a_time(slots, batch):
    history = History(config(search={"batch": None})).begun()
    (evolve,) = policy.due(history.state, {**SLOTS, "dft": slots})
    assert evolve.inputs["batch"] == batch


def test_the_search_goes_on_where_labels_would_run_out():
    history = History(config(search={"batch": 8})).begun()
    history.evolve(*promising(5, 6))
    labels, again = history.take()[:2], history.state.outstanding("evolve")
    assert [record.kind for record in labels] == ["label", "label"]
    assert [record.inputs["model"] for record in again] == [history.state.models[-1].key]
    assert again[0].inputs["carried"]["ids"] == ["e5", "e6"]
    assert history.due() == []
    history.evolve(*promising(7, 8, 9))
    assert history.kinds() == ["label"]


def test_what_brought_nothing_is_not_repeated_before_there_is_news():
    history = History(config(search={"batch": 8})).begun()
    history.evolve(*promising(5))
    history.take()
    history.evolve()
    assert history.due() == []


def test_without_overlap_the_search_waits_for_its_turn():
    history = History(strict(search={"batch": 8})).begun()
    history.evolve(*promising(5))
    assert [record.kind for record in history.take()] == ["label"]
    assert history.due() == []


def test_an_ensemble_is_waited_for_unless_labels_have_come_in_since():
    history = History(config(search={"batch": 8}, retrain_after=1)).begun()
    history.evolve(*promising(5, 6, 7))
    first, second, _ = history.take()
    history.close(first, {"label": label(1.5).to_dict()})
    assert history.kinds() == ["train"]
    history.take()
    assert history.due() == []
    history.close(second, {"label": label(1.6).to_dict()})
    (evolve,) = history.due()
    assert evolve.kind == "evolve"
    assert evolve.inputs["model"] == history.state.models[0].key


def test_the_search_does_not_go_on_for_labels_that_nobody_can_pay():
    history = History(config(search={"batch": 8}, budget={"labels": 10})).begun()
    history.evolve(*promising(5, 6))
    assert [record.kind for record in history.take()] == ["label", "label"]

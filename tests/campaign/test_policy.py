"""Which work is due: the policy as a pure function of the state."""

from dataclasses import replace

import pytest

from aga.campaign import policy
from aga.campaign.state import Decision
from tests.campaign.builders import SLOTS, History, candidate, config, generation, label, patient


def strict(**changes):
    return config(overlap=False, **changes)


def promising(*numbers, prefix="e", enthalpy=0.9, spread=0.01):
    """Candidates worth a label."""
    return [
        candidate(f"{prefix}{number}", number, enthalpy + 0.001 * number, spread)
        for number in numbers
    ]


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
    (record,) = history.take()
    assert record.inputs["raw_spread"] == pytest.approx(0.02)


@pytest.mark.parametrize(("slots", "room"), [(1, 2), (2, 3), (9, 8)])
def test_label_room_with_overlap_is_one_more_than_the_slots_and_at_most_a_batch(slots, room):
    history = History(config(search={"batch": 8})).begun()
    history.evolve(*promising(*range(5, 30)))
    due = policy.due(history.state, {**SLOTS, "dft": slots})
    assert [decision.kind for decision in due] == ["label"] * room
    history.take(*due[:2])
    more = policy.due(history.state, {**SLOTS, "dft": slots})
    assert len(more) == room - 2


def test_label_room_without_overlap_is_the_batch_whatever_the_machine():
    history = History(strict(search={"batch": None})).begun()
    history.evolve(*promising(*range(5, 30)))
    for slots in (1, 16):
        due = policy.due(history.state, {**SLOTS, "dft": slots})
        assert [decision.kind for decision in due] == ["label"] * 4


def test_what_is_being_labelled_or_has_failed_is_not_labelled_again():
    history = History(config(search={"batch": 8})).begun()
    copies = [candidate(f"c{i}", 5, 0.9 + 0.001 * i) for i in range(3)]
    history.evolve(*copies)
    (only,) = history.take()
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


# the end of the search


def test_the_budget_of_labels_counts_failures_and_keeps_the_reserve():
    history = History(config(budget={"labels": 11, "confirm_reserve": 4}, search={"batch": 9}))
    history.begun()
    history.evolve(*promising(*range(5, 15)))
    assert len(history.labels(label(1.5), None)) == 3
    (stop,) = history.take()
    assert stop.kind == "stop_search"
    assert stop.inputs["reason"] == "the labels are used up (11, 4 kept back)"


def test_the_budget_of_hours_stops_the_search_and_lets_work_end():
    history = History().begun(1.0)
    history.take()
    history.state.hours_used = 1.0
    (stop,) = history.take()
    assert (stop.kind, stop.inputs["reason"]) == ("stop_search", "the time is used up (1 h)")
    history.evolve(*promising(5, 6))
    assert set(history.kinds()) <= {"polish", "relax", "finish"}


def stopped_changing(spread=0.001, near=True, **changes):
    """Four labels, five more that are no better, everything near the best labelled."""
    history = History(strict(search={"batch": 5}, budget={"labels": 40}, **changes))
    history.begun(1.0, 1.2, 1.3, 1.4)
    history.evolve(*promising(5, 6, 7, 8, 9, enthalpy=1.1))
    assert len(history.labels(label(1.15))) == 5
    history.train()
    low = [candidate("again", 0, 1.0005, spread)] if near else []
    history.evolve(*low)
    return history


def test_the_search_stops_when_the_best_has_not_changed_and_nothing_is_open():
    history = stopped_changing()
    (stop,) = history.due()
    assert stop.kind == "stop_search"
    assert "has not changed for 8 labels" in stop.inputs["reason"]


def test_an_unlabelled_candidate_near_the_best_keeps_the_search_open():
    history = stopped_changing(near=False)
    history.take()
    assert history.state.search_over
    history = stopped_changing(near=False)
    history.state.generations[-1].candidates.extend(promising(20, enthalpy=0.985))
    assert history.kinds() == ["label"]


def test_an_unsure_ensemble_near_the_best_keeps_the_search_open():
    history = stopped_changing(spread=0.05)
    assert history.kinds() == ["evolve"]


def test_patience_is_asked_for():
    history = stopped_changing(stop=patient(9))
    assert history.kinds() == ["evolve"]


def test_proposals_are_asked_for_too():
    """`stopped_changing` has relaxed six structures since the best was found."""
    history = stopped_changing(stop={"patience_labels": 5, "patience_proposals": 7})
    (evolve,) = history.due()
    assert evolve.kind == "evolve"
    assert evolve.inputs["effort"] == history.state.config.search.evolution.thorough
    history.evolve(candidate("again", 0, 1.0005, 0.001))
    assert history.kinds() == ["stop_search"]


def test_a_search_that_has_not_settled_takes_no_more_effort():
    history = History(strict()).begun(1.0, 1.1)
    assert [one.inputs["effort"] for one in history.due() if one.kind == "evolve"] == [1]


def test_a_candidate_that_is_surely_higher_keeps_nothing_open():
    """Within the window, but further above the best than its spread allows."""
    history = stopped_changing(near=False)
    history.state.generations[-1].candidates.append(candidate("sure", 20, 1.005, 0.0005))
    assert history.kinds() == ["stop_search"]
    history.state.generations[-1].candidates.append(candidate("unsure", 40, 1.005, 0.002))
    assert history.kinds() == ["label"]


def test_a_candidate_that_nobody_knows_keeps_the_search_open_and_asks_for_random_structures():
    """Its spread is above the cap, so that it gets no label, but it may be the best of all."""
    history = stopped_changing(near=False)
    unknown = candidate("unknown", 20, 1.5, 0.9)
    history.state.generations[-1].candidates.append(unknown)
    assert history.kinds() == ["evolve"]
    while history.kinds() == ["evolve"]:
        history.evolve(unknown)
    assert history.kinds() == ["seed"]
    history.state.generations[-1].candidates[:] = [candidate("hopeless", 20, 2.5, 0.9)]
    assert history.kinds() == ["stop_search"]


def test_a_better_structure_starts_patience_anew():
    history = stopped_changing()
    state = history.state
    assert (state.best_since, len(state.labelled)) == (1, 9)


def test_generations_that_bring_nothing_ask_for_more_random_structures_then_end_the_search():
    history = History(strict(stop=patient(19), budget={"labels": 40})).begun(1.0)
    for _ in range(3):
        history.evolve()
    for _ in range(2):
        assert history.kinds() == ["seed"]
        assert not history.due()[0].inputs["first"]
        history.seed()
        history.labels(None)
    (stop,) = history.due()
    assert stop.inputs["reason"] == "3 generations in a row brought nothing new to label"


def test_random_structures_after_dry_generations_are_learned_from_before_more_are_asked_for():
    history = History(strict(stop=patient(19), budget={"labels": 40})).begun(1.0)
    for _ in range(3):
        history.evolve()
    assert history.kinds() == ["seed"]
    history.seed([candidate(f"new{number}", number) for number in range(30, 34)])
    history.labels(label(1.5))
    assert history.kinds() == ["train"]
    history.train()
    assert history.kinds() == ["evolve"]


def test_random_structures_begin_the_count_of_patience_anew():
    history = stopped_changing()
    assert policy.settled(history.state)
    history.state.seeded = len(history.state.labelled)
    assert not policy.settled(history.state)
    assert history.kinds() == ["evolve"]


def test_a_search_whose_labels_surprise_has_not_settled():
    """Predicted 0.1 above the best and computed 0.15 above or below: it might have been lower."""
    history = stopped_changing()
    assert not policy.surprised(history.state)
    labelled = history.state.labelled
    for place in (-1, -2):
        labelled[place] = replace(labelled[place], predicted=labelled[place].known.enthalpy - 0.2)
    assert policy.surprised(history.state)
    assert not policy.settled(history.state)


def test_generations_that_bring_nothing_end_a_search_that_has_settled():
    history = History(strict(stop=patient(3), budget={"labels": 40})).begun(1.0, 1.1)
    unsure = [candidate("again", 0, 1.0005, 0.4)]
    for _ in range(3):
        assert history.kinds() == ["evolve"]
        history.evolve(*unsure)
    (stop,) = history.due()
    assert stop.inputs["reason"] == "3 generations in a row brought nothing new to label"


def test_a_settled_search_with_nothing_to_label_goes_on_until_it_has_tried_enough():
    """Four generations without a label, where random structures would be no news."""
    stop = {"patience_labels": 3, "patience_proposals": 24}
    history = History(strict(stop=stop, budget={"labels": 40})).begun(1.0, 1.1)
    before = history.state.proposals
    while history.state.proposals - before < 24:
        assert history.kinds() == ["evolve"]
        history.evolve(candidate("again", 0, 1.0005, 0.001))
    assert len(history.state.generations) > policy.DRY_GENERATIONS
    assert history.kinds() == ["stop_search"]


def test_a_settled_search_labels_only_what_may_be_as_low_as_the_best():
    history = History(strict(stop=patient(3), budget={"labels": 40})).begun(1.0, 1.1)
    history.evolve(*promising(5, 6, enthalpy=1.1), *promising(7, enthalpy=0.99))
    (only,) = history.due()
    assert only.inputs["candidate"]["id"] == "e7"


def test_after_the_search_nothing_new_is_searched():
    history = stopped_changing()
    history.take()
    history.state.generations[-1].candidates.extend(promising(20, enthalpy=0.985))
    assert set(history.kinds()) == {"polish"}


def test_a_finished_campaign_is_due_nothing_until_it_is_resumed():
    history = stopped_changing()
    history.take()
    history.take(Decision("finish", {"reason": "enough", "failed": False}))
    assert history.due() == []
    history.take(Decision("resume", {}))
    assert history.kinds() == ["stop_search"]


def test_nothing_labelled_at_all_is_a_failure():
    history = History(config(budget={"labels": 8, "confirm_reserve": 4}))
    history.seed()
    history.labels(None)
    (stop,) = history.take()
    assert stop.kind == "stop_search"
    (end,) = history.take()
    assert end.kind == "finish"
    assert end.inputs["failed"]
    assert end.inputs["reason"].startswith("no structure was labelled")

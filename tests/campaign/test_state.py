"""The state is folded from its records: any history replays to the same."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aga.campaign import confirmation
from aga.campaign.groups import Group, Groups
from aga.campaign.state import Decision, label_references, replay
from aga.campaign.store import Store
from aga.search.archive import Archive
from tests.campaign.builders import RELAXED, History, candidate, config, label, view
from tests.campaign.invented import Invented


def replayed(state):
    return replay(state.config, copy.deepcopy(state.records))


@pytest.mark.parametrize("note", ["stop_search", "finish", "resume"])
def test_notes_are_done_when_they_are_made(note):
    history = History().begun()
    inputs = {"stop_search": {"reason": "x"}, "finish": {"reason": "x", "failed": True}}
    history.take(Decision(note, inputs.get(note, {})))
    assert history.state.outstanding() == []
    again = replayed(history.state)
    assert again.outstanding() == []
    assert view(again) == view(history.state)


def test_outcomes_count_in_the_order_of_arrival():
    history = History()
    history.seed()
    records = history.take()
    for number in (2, 0, 3, 1):
        history.close(records[number], {"label": label(1.0 + number).to_dict()})
    assert [one.known.id for one in history.state.labelled] == ["s0-2", "s0-0", "s0-3", "s0-1"]
    assert history.state.best_since == 2
    assert view(replayed(history.state)) == view(history.state)
    # what a fit depends on has one order
    assert [name for name, _ in label_references(history.state)] == [f"s0-{i}" for i in range(4)]


def test_labels_of_one_structure_are_one_group_named_by_its_first():
    history = History()
    history.seed([candidate("b", 1), candidate("a", 1, shift=0.02), candidate("c", 4)])
    history.labels(label(1.0), label(0.9), label(0.95))
    assert [(g.id, g.best.id, len(g.members)) for g in history.state.ranking] == [
        ("b", "a", 2),
        ("c", "c", 1),
    ]


def test_a_better_member_is_no_new_structure():
    history = History()
    history.seed([candidate("a", 1), candidate("b", 4), candidate("c", 1, shift=0.02)])
    history.labels(label(1.0), label(1.2), label(0.999))
    assert history.state.best_since == 1


def test_a_large_drop_of_the_best_is_news_whatever_its_form():
    history = History()
    history.seed([candidate("a", 1), candidate("b", 4), candidate("c", 1, shift=0.02)])
    history.labels(label(1.0), label(1.2), label(-10.0))
    assert history.state.ranking[0].id == "a"
    assert history.state.best_since == 3


def test_confirmed_is_the_lowest_relaxed_member_within_the_tie():
    history = History()
    history.seed([candidate(str(i), 1, shift=0.005 * i) for i in range(4)])
    history.labels(
        label(1.0, 0.5), label(1.0015, RELAXED), label(1.001, RELAXED), label(1.1, RELAXED)
    )
    (group,) = history.state.groups
    assert history.state.confirmed(group).id == "2"
    alone = Group("x", group.members[3:])
    assert history.state.confirmed(alone).id == "3"


def test_enthalpy_and_stress_error_are_those_at_the_pressure():
    history = History(config(pressure_gpa=10.0))
    history.seed([candidate("a", 1)])
    history.labels(label(1.0, stress_gpa=-10.0))
    (known,) = history.state.known
    volume = known.atoms.get_volume()
    assert known.enthalpy == pytest.approx(1.0 + 10.0 / 160.21766 * volume / 2, abs=1e-6)
    assert known.stress_error == pytest.approx(10.0 / 160.21766, rel=1e-5)  # yy and zz


def test_a_failed_label_is_an_oracle_call():
    history = History()
    history.seed()
    history.labels(label(1.0), None)
    assert (history.state.oracle_calls, len(history.state.failures)) == (4, 3)
    assert history.state.asked == 4


def test_labels_are_kept_back_for_the_confirmation():
    history = History()
    assert (history.state.labels_left, history.state.config.budget.labels) == (16, 20)
    history.seed()
    labels = history.take()
    assert history.state.labels_left == 12  # those that wait are paid for
    history.close(labels[0], {"label": label(1.0).to_dict()})
    history.fail(labels[1])
    assert history.state.labels_left == 12


def test_seeds_are_unasked_until_their_label_is_recorded():
    history = History()
    history.seed([candidate("a", 1), candidate("b", 4)])
    assert [seed.id for seed in history.state.unasked] == ["a", "b"]
    first, _ = history.due()
    (task,) = history.take(first)
    assert [seed.id for seed in history.state.unasked] == ["b"]
    history.fail(task)  # asked for, whatever became of it
    assert [seed.id for seed in history.state.unasked] == ["b"]


def test_a_resumed_campaign_may_try_its_seeds_anew():
    history = History()
    another = Decision("seed", {"count": 4, "first": True})
    history.take(another, another)
    assert history.state.seed_tries == 2
    history.take(Decision("finish", {"reason": "x", "failed": True}), Decision("resume", {}))
    assert history.state.seed_tries == 0
    history.take(another)
    assert history.state.seed_tries == 1


def test_the_current_generation_is_the_newest_that_is_finished():
    history = History()
    assert history.state.current is None
    history.begun()
    history.evolve(candidate("a", 5, 0.9))
    # the only candidate is labelled: the search goes on while the label is computed
    label_of_a, evolve = history.take()
    assert (label_of_a.kind, evolve.kind) == ("label", "evolve")
    assert history.state.current.ids == ("a",)
    history.fail(evolve)
    assert history.state.current.ids == ("a",)


@pytest.mark.parametrize("overlap", [True, False])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_history_replays_to_the_state_it_was_made_in(tmp_path_factory, overlap, data):
    """Random campaigns: outcomes, failures, lost workers and restarts in any order."""
    folder = tmp_path_factory.mktemp("run")
    chosen = config(
        overlap=overlap,
        budget={"labels": 14, "confirm_reserve": 4},
        search={"initial_labels": 3},
    )
    store = Store(folder, chosen)
    campaign = Invented(store, data.draw(st.integers(0, 2**31)), data.draw(st.floats(0, 0.5)))
    for _ in range(60):
        over = bool(campaign.store.state().search_over)
        planned = campaign.turn()
        state = campaign.store.state()
        if over:
            assert {p.inputs.get("purpose") for p in planned if p.kind == "label"} <= {"confirm"}
            assert not {"evolve", "train", "seed"} & {p.kind for p in planned}
        elif not overlap:
            assert len({record.kind for record in state.outstanding()}) <= 1
        waiting = sum(r.inputs["points"] for r in state.outstanding("relax"))
        assert len(state.labelled) + waiting <= chosen.budget.labels
        assert state.asked <= chosen.budget.labels
        if state.finished:
            break
        if data.draw(st.integers(0, 9)) == 0:
            campaign.reopen()
            assert view(campaign.store.state()) == view(state)
    assert view(replayed(campaign.store.state())) == view(campaign.store.state())
    campaign.reopen()
    assert view(replayed(campaign.store.state())) == view(campaign.store.state())
    campaign.store.close()


def test_random_campaigns_come_to_an_end(tmp_path_factory):
    ends = set()
    for number in range(12):
        store = Store(tmp_path_factory.mktemp("run"), config(overlap=number % 2 == 0))
        campaign = Invented(store, number, failing=(number % 3) * 0.2)
        for _ in range(400):
            if campaign.store.state().finished:
                break
            campaign.turn()
        state = campaign.store.state()
        assert state.finished, [(r.kind, r.progress) for r in state.records[-9:]]
        assert not state.outstanding() or state.failed
        ends.add(state.failed)
        store.close()
    assert ends == {True, False}


def seen_in_records(state):
    """What a state keeps up to date, found anew among all of its records and labels."""
    first = {}
    for one in state.labelled:
        first.setdefault(one.key, one.known.id)
    tasks = [record for record in state.records if record.kind == "label"]
    return {
        "known": [one.known for one in state.labelled],
        "open": [record for record in state.records if record.progress == "queued"],
        "labels": tasks,
        "failures": [record for record in tasks if record.progress == "failed"],
        "asked": {record.inputs["candidate"]["id"] for record in tasks},
        "chains": {
            group.id: [r for r in state.records if r.inputs.get("chain") == group.id]
            for group in state.groups
        },
        "distinct": len(first),
        "references": sorted([identity, key] for key, identity in first.items()),
        "ranking": sorted(state.groups, key=lambda group: (group.best.height, group.id)),
        "order": max((record.outcome.get("order", 0) for record in state.records), default=0),
    }


def kept(state):
    """The same as the state says it."""
    return {
        "known": [*state.known],
        "open": state.outstanding(),
        "labels": state.of_kind("label"),
        "failures": state.failures,
        "asked": state.asked_ids,
        "chains": {group.id: confirmation.chain(state, group) for group in state.groups},
        "distinct": state.distinct_labels,
        "references": label_references(state),
        "ranking": state.ranking,
        "order": state.order,
    }


@pytest.mark.parametrize(("overlap", "seed"), [(True, 6), (True, 11), (False, 8), (False, 10)])
def test_what_is_kept_up_to_date_is_what_the_records_say(tmp_path, overlap, seed):
    campaign = Invented(Store(tmp_path, config(overlap=overlap)), seed, failing=0.2)
    for turn in range(60):
        campaign.turn()
        if turn == 15:
            campaign.reopen()
        state = campaign.store.state()
        assert kept(state) == seen_in_records(state)
        assert [state.lowest] == state.ranking[:1] if state.labelled else not state.ranking
        for record in [*state.outstanding("label"), *state.failures]:
            assert state.asked_for(record).to_dict() == record.inputs["candidate"]
            assert state.asked_for(record) is state.asked_for(record)
    assert state.failures
    campaign.store.close()


def test_generations_that_are_over_keep_their_ids_alone():
    history = History().begun()
    history.evolve(candidate("a", 5, 0.9), candidate("b", 6, 0.95))
    assert history.state.generations[-1].ids == ("a", "b")
    history.labels(label(0.9))
    history.train()
    history.evolve(candidate("c", 7, 0.9))
    before, last = history.state.generations
    assert (before.ids, before.candidates) == (("a", "b"), [])
    assert (last.ids, [one.id for one in last.candidates]) == (("c",), ["c"])
    # the record has them still
    record = history.state.records[before.ordinal]
    assert [one["id"] for one in record.ok["candidates"]] == ["a", "b"]


def test_names_of_labels_are_kept_once(tmp_path):
    """Every ensemble names all labels: as lists of their own they would fill the memory."""
    campaign = Invented(Store(tmp_path, config()), 1, failing=0.0)
    for _ in range(60):
        campaign.turn()
    campaign.reopen()
    records = campaign.store.state().of_kind("train")
    one, two = (record.inputs["labels"] for record in records[-2:])
    shared = {id(name) for name in one} & {id(name) for name in two}
    assert len(shared) == len([name for name in one if name in two]) > 3
    campaign.store.close()


def test_a_label_is_folded_in_without_looking_at_all(monkeypatch):
    """Otherwise a start would take the square of what a label takes."""
    history = History().begun()
    history.evolve(candidate("a", 5, 0.9))

    def all_of_them(_):
        raise AssertionError("somebody looks at all")

    monkeypatch.setattr(Groups, "ranking", property(all_of_them))
    monkeypatch.setattr(Groups, "__iter__", all_of_them)
    monkeypatch.setattr(Archive, "__iter__", all_of_them)
    again = replay(history.state.config, copy.deepcopy(history.state.records))
    assert len(again.labelled) == len(history.state.labelled) == 4
    assert again.answer[0].id == history.state.answer[0].id

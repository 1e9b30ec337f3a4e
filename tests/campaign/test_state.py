"""The state is folded from its records: any history replays to the same."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aga.campaign.groups import Group
from aga.campaign.state import Decision, label_references, replay
from aga.campaign.store import Store
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

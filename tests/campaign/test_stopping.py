"""When the search is over, and what is still labelled at its end."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as students_t

from aga.campaign import stopping
from aga.campaign.state import Decision, State
from aga.config import CampaignConfig
from aga.search.similarity import distance
from tests.campaign.builders import (
    History,
    candidate,
    config,
    label,
    patient,
    promising,
    strict,
)


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


def unchanged(settings):
    """A search that has begun, as if its first labels, no better than the first, were its own."""
    history = History(settings).begun(1.0, 1.1)
    history.state.seeded = 0
    return history


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


def test_the_first_labels_are_no_patience():
    """Carbon at 50 GPa ended where it had begun: best was the second of eight random crystals."""
    history = History(strict(stop=patient(3))).begun(1.0, 1.1)
    assert not stopping.settled(history.state)
    assert stopping.settled(unchanged(strict(stop=patient(3))).state)


@pytest.mark.parametrize(
    ("composition", "times"),
    [
        ({"Si": 8}, 1.0),
        ({"Cu": 8, "Au": 8}, 1.0),
        ({"Cu": 16, "Au": 16}, 4.0),
        ({"Mg": 4, "Si": 4, "O": 12}, 3.125),
    ],
)
def test_large_cells_of_many_elements_are_given_more_patience(composition, times):
    settings = {"name": "x", "composition": composition, "engine": {"kind": "emt"}}
    assert stopping.scope(State(CampaignConfig.model_validate(settings))) == times


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


def audited(history):
    """The purposes of what is asked for, and the ids."""
    return [(one.inputs["purpose"], one.inputs["candidate"]["id"]) for one in history.due()]


def test_what_may_lie_lower_is_a_rival_and_what_surely_does_not_is_none():
    history = stopped_changing(near=False, stop={"doubt": 0.05})
    generation = history.state.generations[-1]
    generation.candidates[:] = [
        candidate("sure", 20, 1.005, 0.0005),  # near the best, but many spreads above
        candidate("unsure", 40, 1.002, 0.002),
        candidate("far", 60, 1.2, 0.15),  # more than a spread above
        candidate("vague", 80, 1.2, 0.25),
    ]
    assert [one.id for one in stopping.rivals(history.state, generation)] == ["vague", "unsure"]
    assert {name for _, name in audited(history)} == {"unsure", "vague"}


@pytest.mark.parametrize(("enthalpy", "rivals"), [(0.9996, []), (0.99, ["copy"])])
def test_a_copy_of_the_best_is_a_better_answer_only_where_it_lies_clearly_lower(enthalpy, rivals):
    """The best was labelled before it was relaxed; its minimum is what confirmation finds."""
    history = stopped_changing(near=False)
    generation = history.state.generations[-1]
    generation.candidates[:] = [candidate("copy", 0, enthalpy, 0.0002, shift=0.05)]
    assert [one.id for one in stopping.unlabelled(history.state, generation, 1)] == ["copy"]
    assert [one.id for one in stopping.rivals(history.state, generation)] == rivals


@given(st.lists(st.tuples(st.floats(-0.1, 0.3), st.floats(0.0, 0.3)), max_size=5))
def test_fewer_better_structures_than_the_doubt_are_left_without_a_label(predicted):
    history = stopped_changing(near=False)
    generation = history.state.generations[-1]
    offered = [candidate(f"n{i}", 20 * (i + 1), 1 + e, s) for i, (e, s) in enumerate(predicted)]
    generation.candidates[:] = offered
    wanted = stopping.rivals(history.state, generation)
    factor = stopping.downward(history.state)
    chances = {one.id: stopping.chance(one, 1.0, factor) for one in offered}
    asked = [chances[one.id] for one in wanted]
    left = sum(chances.values()) - sum(asked)
    doubt = history.state.config.stop.doubt
    assert left <= doubt + 1e-9
    assert asked == sorted(asked, reverse=True)
    assert not asked or left + asked[-1] > doubt


@pytest.mark.parametrize("spreads", [-2.0, 0.0, 0.4, 1.0, 2.5, 6.0])
def test_the_chance_to_be_better_is_that_of_a_distribution_with_heavy_tails(spreads):
    one = candidate("one", 20, 1.0 + spreads * float(np.hypot(0.02, 0.001)), 0.02)
    scaled = students_t(df=4, scale=2**-0.5)
    assert np.isclose(students_t(df=4).std(), 2**0.5)
    assert np.isclose(stopping.chance(one, 1.0), scaled.sf(spreads))


def test_what_is_least_like_anything_labelled_is_labelled_before_the_end():
    """All are surely higher, one is beyond the window and one is not trusted."""
    history = stopped_changing(near=False)
    offered = [candidate(f"new{n}", 20 * n, 1.1 + 0.01 * n, 0.001) for n in range(1, 6)]
    offered += [candidate("high", 150, 1.9, 0.001), candidate("vague", 170, 1.9, 0.6)]
    history.state.generations[-1].candidates.extend(offered)
    asked = audited(history)
    assert len(asked) == stopping.AUDITS
    assert {purpose for purpose, _ in asked} == {"audit"}
    farthest = max(offered, key=lambda one: min(known_distance(history, one)))
    assert asked[0] == ("audit", farthest.id)
    assert "vague" in {name for _, name in asked}
    history.labels(label(2.0))
    history.train()
    history.evolve(*offered)
    assert history.kinds() == ["stop_search"]


def known_distance(history, one):
    return [distance(one.fingerprint, known.fingerprint) for known in history.state.known]


def test_a_better_structure_calls_for_another_audit():
    history = stopped_changing(near=False)
    new = [candidate(f"new{n}", 20 * n, 1.1 + 0.01 * n, 0.001) for n in range(1, 5)]
    history.state.generations[-1].candidates.extend(new)
    history.labels(*(label(energy) for energy in (1.2, 1.2, 1.2, 0.5)))
    assert not stopping.settled(history.state)
    more = [candidate(f"more{n}", 10 + 4 * n, 1.1, 0.001) for n in range(8)]
    history.train()
    history.evolve(*more)
    assert len(stopping.audit(history.state)) == stopping.AUDITS


def test_audits_that_the_engine_cannot_compute_are_not_replaced_for_ever():
    history = stopped_changing(near=False)
    for turn in range(2):
        new = [candidate(f"t{turn}n{n}", 40 * n + turn, 1.15, 0.001) for n in range(1, 7)]
        history.state.generations[-1].candidates[:] = new
        assert len(stopping.audit(history.state)) == (stopping.AUDITS if turn == 0 else 0)
        history.labels(None)


def test_no_audit_before_enough_was_proposed():
    history = stopped_changing(near=False, stop={"patience_labels": 5, "patience_proposals": 99})
    new = [candidate(f"new{n}", 20 * n, 1.1, 0.001) for n in range(1, 5)]
    history.state.generations[-1].candidates.extend(new)
    assert history.kinds() == ["evolve"]


def test_a_candidate_that_nobody_knows_is_labelled_in_the_end():
    """Its spread is above the cap, so that it gets no label before, and it hardly is the best."""
    history = stopped_changing(near=False)
    unknown = candidate("unknown", 20, 1.5, 0.9)
    history.state.generations[-1].candidates.append(unknown)
    assert audited(history) == [("audit", "unknown")]
    history.labels(label(1.6))
    history.train()
    history.evolve(candidate("known", 20, 1.6, 0.01))
    assert history.kinds() == ["stop_search"]


def test_where_nothing_is_trusted_what_is_most_surely_low_is_labelled():
    """And not random structures, nor is the search at its end, while labels are left."""
    history = History(strict(stop=patient(19), budget={"labels": 40})).begun(1.0)
    for turn in range(6):
        vague = [candidate(f"t{turn}v{n}", 6 + 9 * turn + 3 * n, 1.5, 1.5 + n) for n in range(3)]
        history.evolve(*vague)
        assert audited(history) == [("search", f"t{turn}v0"), ("search", f"t{turn}v1")]
        history.labels(label(2.0))
        history.train()


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
    assert stopping.settled(history.state)
    history.state.seeded = len(history.state.labelled)
    assert not stopping.settled(history.state)
    assert history.kinds() == ["evolve"]


def misjudged(history, error, places=(-1, -2)):
    """The same, but the potential had placed some labels too high by ``error`` [eV/atom]."""
    labelled = history.state.labelled
    for place in places:
        label_of = labelled[place]
        labelled[place] = replace(label_of, predicted=label_of.known.enthalpy + error)
    return history


def test_a_search_whose_labels_surprise_has_not_settled():
    """Predicted 0.35 above the best and computed 0.15 above: it might have been lower."""
    history = stopped_changing()
    assert not stopping.surprised(history.state)
    assert stopping.surprised(misjudged(history, 0.2).state)
    assert not stopping.settled(history.state)
    # half as wrong, or wrong the other way, tells of nothing below the best
    assert not stopping.surprised(misjudged(history, 0.1).state)
    assert not stopping.surprised(misjudged(history, -0.2).state)


def test_what_is_placed_below_the_best_is_labelled_before_the_end_trusted_or_not():
    """However little the ensemble knows of it: half of what it places there is lower."""
    history = unchanged(strict(stop=patient(3), budget={"labels": 40}))
    above = [candidate("near", 7, 1.1, 0.6), candidate("far", 8, 9.0, 0.6)]
    history.evolve(candidate("low", 6, 0.9, 2.0), candidate("lower", 5, 0.2, 0.6), *above)
    assert stopping.settled(history.state)
    assert [one.inputs["candidate"]["id"] for one in history.due()] == ["lower", "low"]


def test_what_is_not_trusted_is_counted_once_among_the_trusted():
    """Novelty offers it as well."""
    history = unchanged(strict(stop=patient(3), budget={"labels": 40}))
    history.evolve(candidate("low", 6, 0.9, 2.0), candidate("lower", 5, 0.2, 0.6), *promising(7))
    chosen = stopping.rivals(history.state, history.state.current)
    assert sorted(one.id for one in chosen) == sorted({one.id for one in chosen})
    assert {"low", "lower"} <= {one.id for one in chosen}


def test_only_errors_downward_say_how_much_lower_a_candidate_may_lie():
    history = stopped_changing()
    everywhere = range(-1, -6, -1)
    sure = stopping.downward(misjudged(history, -0.2, everywhere).state)
    assert sure == pytest.approx((4 / (5 + 4)) ** 0.5)
    spread = history.state.labelled[-1].spread
    even = misjudged(history, spread / 2**0.5, everywhere)
    assert stopping.downward(even.state) == pytest.approx(1.0, rel=0.01)
    assert 2.0 < stopping.downward(misjudged(history, 99.0, everywhere).state) < 4.0


def test_generations_that_bring_nothing_end_a_search_that_has_settled():
    history = unchanged(strict(stop=patient(3), budget={"labels": 40}))
    unsure = [candidate("again", 0, 1.0005, 0.4)]
    for _ in range(3):
        assert history.kinds() == ["evolve"]
        history.evolve(*unsure)
    (stop,) = history.due()
    assert stop.inputs["reason"] == "3 generations in a row brought nothing new to label"


def test_a_settled_search_with_nothing_to_label_goes_on_until_it_has_tried_enough():
    """Four generations without a label, where random structures would be no news."""
    stop = {"patience_labels": 3, "patience_proposals": 24}
    history = unchanged(strict(stop=stop, budget={"labels": 40}))
    before = history.state.proposals
    while history.state.proposals - before < 24:
        assert history.kinds() == ["evolve"]
        history.evolve(candidate("again", 0, 1.0005, 0.001))
    assert len(history.state.generations) > stopping.DRY_GENERATIONS
    assert history.kinds() == ["stop_search"]


def test_a_settled_search_labels_only_what_may_be_as_low_as_the_best():
    history = unchanged(strict(stop=patient(3), budget={"labels": 40}))
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

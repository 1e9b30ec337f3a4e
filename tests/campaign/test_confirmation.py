"""How the best structures are confirmed by the engine, step by step."""

import pytest

from aga.campaign import confirmation
from aga.campaign.state import Decision
from tests.campaign.builders import RELAXED, History, candidate, config, label

PRESSED = 5.0  # [GPa]
UNCONFIRMED = "could not be confirmed by the engine (largest force "


def stopped(*labels, **changes):
    """Four labels, and the search is over."""
    history = History(config(**changes))
    history.seed()
    history.labels(*(labels or (label(1.0), label(1.1), label(1.2), label(1.3))))
    history.take(Decision("stop_search", {"reason": "enough"}))
    return history


def polish(history, shift, *, structure=0):
    """One round up to the label that is due."""
    (record,) = history.take()
    assert record.kind == "polish"
    end = candidate(f"p{record.ordinal}", structure, 0.99, 0.0, shift=shift)
    history.close(record, {"candidate": end.to_dict()})
    (asked,) = history.take()
    assert asked.kind == "label"
    assert asked.inputs["purpose"] == "confirm"
    assert asked.inputs["candidate"]["id"] == end.id
    return record, asked


def answer(history, record, *args, **kwargs):
    history.close(record, {"label": label(*args, **kwargs).to_dict()})


def finish(history):
    (end,) = history.take()
    assert end.kind == "finish"
    return end.inputs


def test_a_structure_is_polished_and_labelled_until_the_engine_finds_it_relaxed():
    history = stopped()
    first, asked = polish(history, 0.02)
    assert first.inputs["round"] == 0
    assert first.inputs["target"][0] == "s0-0"
    assert len(first.inputs["labels"]) == 4
    answer(history, asked, 0.99, 0.4)
    second, asked = polish(history, 0.03)
    assert second.inputs["round"] == 1
    assert second.inputs["target"][0] == f"p{first.ordinal}"
    assert len(second.inputs["labels"]) == 5
    answer(history, asked, 0.985, RELAXED)
    assert finish(history) == {"reason": "enough", "failed": False}
    assert history.state.confirmed(history.state.ranking[0]).id == f"p{second.ordinal}"


def test_a_confirmation_needs_no_model_and_does_not_judge_the_ensemble():
    history = stopped()
    assert not history.state.models
    _, asked = polish(history, 0.02)
    assert asked.inputs["raw_spread"] is None


def test_a_structure_that_is_relaxed_already_costs_nothing():
    history = stopped(label(1.0, RELAXED), label(1.1))
    assert finish(history)["reason"] == "enough"


def test_stress_counts_and_is_measured_from_the_pressure():
    assert stopped(label(1.0, RELAXED, PRESSED), label(1.1)).kinds() == ["polish"]
    squeezed = stopped(label(1.0, RELAXED), label(1.1), pressure_gpa=PRESSED)
    assert squeezed.kinds() == ["polish"]


def test_a_relaxed_geometry_above_the_best_does_not_confirm_it():
    history = stopped()
    _, asked = polish(history, 0.02)
    answer(history, asked, 1.003, RELAXED)
    assert history.kinds() == ["polish"]
    _, asked = polish(history, 0.03)
    answer(history, asked, 1.001, RELAXED)
    assert history.kinds() == ["finish"]


def test_a_symmetry_that_costs_energy_is_not_restored_again():
    history = stopped()
    first, asked = polish(history, 0.02)
    assert first.inputs["symmetrise"]
    answer(history, asked, 1.02, 0.4)
    second, asked = polish(history, 0.03)
    assert not second.inputs["symmetrise"]
    answer(history, asked, 0.98, 0.3)
    third, _ = polish(history, 0.04)
    assert third.inputs["symmetrise"]


def test_after_the_rounds_the_engine_relaxes_and_then_it_is_given_up():
    history = stopped(confirm={"surrogate_steps": 2}, budget={"labels": 40})
    for fmax in (0.5, 0.4):
        _, asked = polish(history, fmax / 10)
        answer(history, asked, 0.99, fmax)
    (relax,) = history.take()
    assert relax.kind == "relax"
    assert relax.inputs["points"] == confirmation.ENGINE_POINTS
    assert history.due() == []
    history.fail(relax)
    assert finish(history) == {
        "reason": "enough; the best structure could not be confirmed by the engine (largest force "
        "0.400 eV/Å of 0.05 allowed, stress off by 0 GPa of 1)",
        "failed": False,
    }


def test_no_rounds_leave_it_to_the_engine():
    assert stopped(confirm={"surrogate_steps": 0}).kinds() == ["relax"]


def test_rounds_that_come_no_closer_are_stopped_early():
    history = stopped(confirm={"surrogate_steps": 9}, budget={"labels": 40})
    for fmax in (0.3, 0.4, 0.5):
        _, asked = polish(history, fmax / 10)
        answer(history, asked, 0.99, fmax)
    assert history.kinds() == ["relax"]


@pytest.mark.parametrize("step", ["polish", "label"])
def test_a_round_that_fails_is_not_repeated(step):
    history = stopped()
    if step == "polish":
        (record,) = history.take()
    else:
        _, record = polish(history, 0.02)
    history.fail(record)
    assert history.kinds() == ["relax"]


def test_the_points_of_a_relaxation_are_labels_and_cost_budget():
    history = stopped(confirm={"surrogate_steps": 0})
    (relax,) = history.take()
    points = [
        {
            "candidate": candidate(f"r-{i}", 0, shift=0.01 * i).to_dict(),
            "label": label(0.99, 0.5 / 4**i).to_dict(),
            "key": f"key{i}",
        }
        for i in range(3)
    ]
    known = {**points[0], "key": history.state.labelled[0].key}
    history.close(relax, {"points": [known, *points], "converged": True})
    state = history.state
    assert state.asked == 4 + 3
    assert [one.purpose for one in state.labelled[4:]] == ["confirm"] * 3
    assert [one.ordinal for one in state.labelled[4:]] == [relax.ordinal] * 3
    assert state.confirmed(state.ranking[0]).id == "r-2"
    assert finish(history)["reason"] == "enough"


def test_a_relaxation_takes_no_more_than_the_budget_has_left():
    history = stopped(confirm={"surrogate_steps": 0}, budget={"labels": 9})
    (relax,) = history.take()
    assert relax.inputs["points"] == 5
    assert history.state.asked == 9


def test_without_labels_left_the_campaign_ends_unconfirmed():
    history = stopped(budget={"labels": 8, "confirm_reserve": 1})
    for fmax in (0.4, 0.3, 0.2):
        _, asked = polish(history, fmax / 10)
        answer(history, asked, 0.99, fmax)
    _, asked = polish(history, 0.03)
    answer(history, asked, 0.99, 0.1)
    assert UNCONFIRMED in finish(history)["reason"]


def test_several_structures_near_the_best_are_confirmed_at_once_and_no_others():
    near = [label(1.0), label(1.004), label(1.005), label(1.3)]
    history = stopped(*near, confirm={"structures": 2})
    two = history.take()
    assert [(record.kind, record.inputs["chain"]) for record in two] == [
        ("polish", "s0-0"),
        ("polish", "s0-1"),
    ]
    assert len(stopped(*near, confirm={"structures": 9}).due()) == 3
    assert len(stopped(*near, confirm={"structures": 9, "window_ev_per_atom": 0.0}).due()) == 1
    assert history.due() == []


def test_the_engine_relaxes_others_only_once_the_best_is_confirmed():
    near = [label(1.0), label(1.004), label(1.2), label(1.3)]
    history = stopped(*near, confirm={"surrogate_steps": 0, "structures": 2})
    (first,) = history.take()
    assert (first.kind, first.inputs["chain"]) == ("relax", "s0-0")
    end = candidate("r-0", 0, shift=0.01).to_dict()
    point = {"candidate": end, "label": label(0.998, RELAXED).to_dict(), "key": "k"}
    history.close(first, {"points": [point], "converged": True})
    (second,) = history.take()
    assert (second.kind, second.inputs["chain"]) == ("relax", "s0-1")

    history = stopped(*near, confirm={"surrogate_steps": 0, "structures": 2})
    (first,) = history.take()
    history.fail(first)
    assert UNCONFIRMED in finish(history)["reason"]


def test_the_last_label_goes_to_the_best():
    near = [label(1.0), label(1.004), label(1.2), label(1.3)]
    history = stopped(*near, budget={"labels": 5, "confirm_reserve": 1})
    for structure, record in enumerate(history.take()):
        end = candidate(f"p{record.ordinal}", structure, 0.99, shift=0.03)
        history.close(record, {"candidate": end.to_dict()})
    (asked,) = history.take()
    assert (asked.kind, asked.inputs["chain"]) == ("label", "s0-0")
    answer(history, asked, 0.99, 0.3)
    assert history.state.asked == 5
    assert UNCONFIRMED in finish(history)["reason"]


def test_a_structure_that_turns_out_lower_is_confirmed_in_its_turn():
    history = stopped()
    _, asked = polish(history, 0.0, structure=7)
    answer(history, asked, 0.9, 0.4)
    (record,) = history.take()
    assert record.inputs["chain"] == f"p{asked.ordinal - 1}"


def test_without_overlap_all_structures_step_together():
    near = [label(1.0), label(1.004)]
    history = stopped(*near, overlap=False)
    first, second = history.take()
    end = candidate("p", 0, 0.99, shift=0.03)
    history.close(first, {"candidate": end.to_dict()})
    assert history.due() == []
    other = candidate("q", 1, 1.003, shift=0.03)
    history.close(second, {"candidate": other.to_dict()})
    assert history.kinds() == ["label", "label"]


def test_what_was_given_up_is_tried_again_when_the_user_resumes():
    history = stopped(confirm={"surrogate_steps": 0})
    (relax,) = history.take()
    history.fail(relax)
    finish(history)
    history.take(Decision("resume", {}), Decision("stop_search", {"reason": "enough"}))
    assert history.kinds() == ["relax"]

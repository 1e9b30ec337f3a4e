"""Several compositions in one campaign: end members, the hull, what is tried, what is confirmed."""

import copy

import numpy as np
import pytest
from ase import Atoms

from aga.campaign import confirmation, policy, stopping, tasks
from aga.campaign.state import Decision, replay
from aga.campaign.store import Store
from aga.search.candidate import Candidate
from potentials.structures import Label
from tests.campaign.builders import RELAXED, History, patient, several, view
from tests.campaign.invented import Invented


def alloy(text, number=0):
    """A crystal by its symbols on fcc; another number is another form."""
    symbols = Atoms(text).get_chemical_symbols()
    stretch = 1.0 + 0.14 * number
    cell = np.diag([2.6 * len(symbols), 2.6 * stretch, 2.6 / stretch])
    fractions = [[i / len(symbols), i % 2 / 2, i % 2 / 2] for i in range(len(symbols))]
    return Atoms(symbols, scaled_positions=fractions, cell=cell, pbc=True)


def candidate(name, text, enthalpy=None, number=0, spread=0.01):
    known = None if enthalpy is None else spread
    return Candidate(name, alloy(text, number), "strain", (), enthalpy, known, 0.0)


def label(atoms, enthalpy, fmax=1.0):
    n = len(atoms)
    forces = np.zeros((n, 3))
    forces[0, 0] = fmax
    return Label(n * enthalpy, forces, np.zeros(6), "emt", 0.1)


def labelled(history, **enthalpies):
    """Give the labels that are due the enthalpy [eV/atom] of their formula."""
    records = [record for record in history.take() if record.kind == "label"]
    for record in records:
        one = Candidate.from_dict(record.inputs["candidate"])
        history.close(record, {"label": label(one.atoms, enthalpies[one.formula]).to_dict()})
    return records


SEEDS = ("Cu", "Au", "CuAu", "Cu3Au")


def begun(settings=None, **enthalpies):
    """Labels of four compositions and a model."""
    history = History(settings or several())
    history.seed([candidate(f"s{i}", text) for i, text in enumerate(SEEDS)])
    energies = {"Cu": -1.0, "Au": -2.0, "AuCu": -1.6, "AuCu3": -1.2, **enthalpies}
    labelled(history, **energies)
    history.train()
    return history


# the beginning


def test_the_end_members_are_labelled_first():
    (seed,) = History(several()).due()
    assert seed.inputs == {"count": 4, "volume_scale": 1.0, "first": True, "ends": ["Au", "Cu"]}
    known = [{"formula": "Au2", "enthalpy_ev_per_atom": -2.0}]
    (seed,) = History(several(compositions={"references": known})).due()
    assert seed.inputs["ends"] == ["Cu"]


def test_nothing_is_trained_before_every_end_member_has_a_label():
    history = History(several())
    history.seed([candidate("a", "Cu"), candidate("b", "CuAu"), candidate("c", "Au")])
    copper, alloyed, gold = history.take()
    for record in (copper, alloyed):
        history.close(record, {"label": label(alloy("Cu"), -1.0).to_dict()})
    assert history.due() == []
    history.fail(gold)
    (again,) = history.due()
    assert again == Decision(
        "seed", {"count": 0, "volume_scale": again.inputs["volume_scale"], "first": False,
                 "ends": ["Au"]}
    )  # fmt: skip
    history.seed([candidate("d", "Au", number=1)])
    labelled(history, Au=-2.0)
    assert history.kinds() == ["train"]


def test_an_end_member_that_cannot_be_labelled_ends_the_campaign_with_advice():
    history = History(several())
    for attempt in range(3):
        history.seed([candidate(f"{attempt}{i}", t, number=i) for i, t in enumerate(SEEDS)])
        for record in history.take():
            one = Candidate.from_dict(record.inputs["candidate"])
            if one.formula == "Au":
                history.fail(record, "no pseudopotential")
            else:
                history.close(record, {"label": label(one.atoms, -1.0).to_dict()})
    (end,) = history.take()
    assert (end.kind, end.inputs["failed"]) == ("finish", True)
    reason = end.inputs["reason"]
    assert "needs a label of Au" in reason
    assert "no pseudopotential" in reason
    assert "compositions.references" in reason


# the hull


def heights(state):
    return {one.formula: pytest.approx(one.height, abs=1e-9) for one in state.known}


def test_structures_are_ranked_by_their_height_above_the_hull():
    state = begun().state
    assert heights(state) == {"Cu": 0.0, "Au": 0.0, "AuCu": 0.0, "AuCu3": 0.1}
    assert [group.best.formula for group in state.ranking][-1] == "AuCu3"
    assert {group.best.formula for group in state.answer} == {"Cu", "Au", "AuCu"}


def test_references_are_part_of_the_hull():
    known = [{"formula": "AuCu2", "enthalpy_ev_per_atom": -3.0}]
    state = begun(several(compositions={"references": known})).state
    assert {group.best.formula for group in state.answer} == {"Cu", "Au"}
    assert state.hull.ground({"Au": 2, "Cu": 4}) == pytest.approx(-3.0)


def test_candidates_stand_on_the_newest_hull():
    history = begun()
    history.evolve(candidate("e0", "CuAu3", -1.85), candidate("e1", "CuAu", -1.5, number=3))
    before = [one.height for one in history.state.generations[-1].candidates]
    assert before == pytest.approx([-0.05, 0.1])
    labelled(history, AuCu=-1.7, Au3Cu=-1.85)
    after = [one.height for one in history.state.generations[-1].candidates]
    assert after == pytest.approx([0.0, 0.2])
    assert [one.fitness.values[0] for one in history.state.generations[-1].candidates] == after


def test_only_a_change_of_the_hull_is_news():
    history = begun()
    assert history.state.best_since == 3
    history.evolve(candidate("e0", "Cu3Au", -1.3, number=3))
    labelled(history, AuCu3=-1.25)
    assert history.state.best_since == 3
    history.train()
    history.evolve(candidate("e1", "CuAu3", -1.85))
    labelled(history, Au3Cu=-1.81)
    assert history.state.best_since == 6
    # a structure of the hull that comes out a little lower is the same answer, much lower is not
    for enthalpy, since in ((-1.62, 6), (-1.9, 8)):
        one = Candidate(f"e{since}", alloy("CuAu"), "strain", (), enthalpy, 0.01)
        one.atoms.positions[0, 0] += 0.01 * since - 0.05
        history.take(Decision("label", {"candidate": one.to_dict(), "purpose": "search",
                                        "raw_spread": None}))  # fmt: skip
        (record,) = history.state.outstanding("label")
        history.close(record, {"label": label(one.atoms, enthalpy).to_dict()})
        assert history.state.best_since == since


def test_any_history_replays():
    history = begun()
    history.evolve(candidate("e0", "CuAu3", -1.85), candidate("e1", "CuAu", -1.5, number=3))
    labelled(history, AuCu=-1.7, Au3Cu=-1.85)
    again = replay(history.state.config, copy.deepcopy(history.state.records))
    assert view(again) == view(history.state)
    assert [one.height for one in again.known] == [one.height for one in history.state.known]


# what is tried


def test_compositions_near_the_hull_are_tried_more():
    history = begun()
    (evolve,) = history.due()
    shares = evolve.inputs["chances"]
    assert list(shares) == ["AuCu", "Au2Cu", "AuCu2", "Au2Cu2", "Au3Cu", "AuCu3"]
    assert sum(shares.values()) == pytest.approx(1.0)
    # nothing is known of Au2Cu; AuCu3 lies 0.1 eV above the hull
    assert shares["Au2Cu"] > shares["AuCu3"]
    history.evolve(candidate("e0", "AuCu3", -1.5, number=2))
    assert policy.aims(history.state)["AuCu3"] > shares["AuCu3"]


def test_a_composition_that_fell_out_of_the_generation_draws_little():
    history = begun()
    before = policy.aims(history.state)
    history.evolve(candidate("low", "Cu2Au", -1.45), candidate("high", "CuAu", -1.3, number=2))
    after = policy.aims(history.state)
    # nobody knows of either at first, then one has come near and the other stayed behind
    assert before["AuCu2"] == before["Au2Cu"]
    assert after["AuCu2"] > 3 * after["Au2Cu"]


def test_a_candidate_that_nobody_trusts_draws_nothing():
    history = begun()
    before = policy.aims(history.state)
    history.evolve(candidate("hole", "AuCu3", -50.0, spread=9.0))
    assert policy.aims(history.state) == pytest.approx(before)


@pytest.mark.parametrize(("lowest", "effort"), [(-1.2, 1), (-1.495, 4)])
def test_a_search_is_thorough_when_nothing_changes_near_the_hull(lowest, effort):
    known = [{"formula": "Cu", "enthalpy_ev_per_atom": -1.0},
             {"formula": "Au", "enthalpy_ev_per_atom": -2.0}]  # fmt: skip
    settings = several(compositions={"references": known}, stop={"patience_labels": 2})
    history = History(settings)
    history.seed([candidate(f"s{i}", "CuAu", number=i) for i in range(4)])
    labelled(history, AuCu=lowest)
    history.train()
    history.state.seeded = 0  # as if the search had asked for them
    (evolve,) = history.due()
    # four labels that have not changed the hull; far above it they say nothing
    assert evolve.inputs["effort"] == effort


def test_the_volume_follows_the_labels_near_the_hull():
    state = begun().state
    scale = policy.volume_scale(state)
    found = [
        one.atoms.get_volume() / len(one.atoms) / tasks.space_of(state.config, 0.0, one.counts)
        .volume_per_atom for one in state.known
    ]  # fmt: skip
    assert scale == pytest.approx(np.mean(found))
    (evolve,) = History(several()).due()
    assert evolve.inputs["volume_scale"] == 1.0


# the end


def test_the_whole_hull_is_confirmed():
    settings = several(confirm={"structures": 1, "window_ev_per_atom": 0.0})
    history = begun(settings)
    for number, group in enumerate(history.state.answer):  # on the hull but for rounding
        group.best.stand_on(group.best.enthalpy - 1e-15 * number)
    names = {group.best.formula for group in confirmation.targets(history.state)}
    assert names == {"Cu", "Au", "AuCu"}
    history.take(Decision("stop_search", {"reason": "enough"}))
    steps = history.due()
    assert {step.kind for step in steps} == {"polish"}
    assert len(steps) == 3


def test_what_lies_near_the_hull_is_confirmed_after_it():
    settings = several(confirm={"structures": 5, "window_ev_per_atom": 0.2})
    names = [group.best.formula for group in confirmation.targets(begun(settings).state)]
    assert set(names[:3]) == {"Cu", "Au", "AuCu"}
    assert names[3:] == ["AuCu3"]


def test_what_could_not_be_confirmed_is_counted():
    history = begun(several(budget={"labels": 12, "confirm_reserve": 0}))
    history.state.config.budget.__dict__["labels"] = history.state.asked  # all spent
    history.take(Decision("stop_search", {"reason": "enough"}))
    (end,) = history.due()
    assert end.inputs["reason"] == (
        "enough; 3 of 3 structures on the hull could not be confirmed by the engine (Cu: largest "
        "force 1.000 eV/Å of 0.05 allowed, stress off by 0 GPa of 1)"
    )


def test_a_hull_that_has_not_changed_stops_the_search():
    settings = several(overlap=False, stop=patient(2), search={"batch": 2})
    history = begun(settings)
    high = [candidate(f"h{i}", "CuAu", -1.5, number=3 + i) for i in range(2)]
    history.evolve(*high)
    labelled(history, AuCu=-1.5)
    history.train()
    history.evolve(*[candidate("again", "CuAu", -1.6, spread=0.001)])
    (stop,) = history.due()
    assert stop.kind == "stop_search"
    assert stop.inputs["reason"].startswith("the hull of 3 structures has not changed for 3 labels")


def test_of_many_compositions_more_proposals_are_asked_for():
    for atoms, asked in ((8, 25), (12, 25 * 66 / 30)):
        settings = several(
            compositions={"atoms": [2, atoms]}, stop={"patience_proposals": 25}, overlap=False
        )
        assert len(settings.cells) == (66 if atoms == 12 else 28)
        state = begun(settings).state
        for tried in (asked - 1, asked):
            state.proposals = state.proposals_before_best + tried
            assert stopping.searched(state) is (tried == asked)


class Mixed(Invented):
    """Structures of any composition of the range."""

    def _candidate(self, name, *, predicted=True):
        text = str(self._rng.choice(["Cu", "Au", "CuAu", "Cu3Au", "CuAu3", "Cu2Au"]))
        energy = -1.0 + float(self._rng.normal(0, 0.05))
        number = int(self._rng.integers(3))
        return candidate(name, text, energy if predicted else None, number)

    def _invent(self, one):
        fmax = float(self._rng.choice([RELAXED, 0.2, 1.0]))
        return label(one.atoms, -1.0 + float(self._rng.normal(0, 0.05)), fmax)

    def _seed(self, record):
        found = super()._seed(record)
        for name in record.inputs.get("ends", ()):
            one = candidate(f"end{record.ordinal}-{name}", name)
            found["candidates"].append(one.to_dict())
        return found


@pytest.mark.parametrize("seed", range(6))
def test_random_campaigns_come_to_an_end_and_replay(tmp_path, seed):
    settings = several(overlap=seed % 2 == 0, budget={"labels": 24, "confirm_reserve": 6})
    store = Store(tmp_path, settings)
    campaign = Mixed(store, seed, failing=(seed % 3) * 0.15)
    for _ in range(300):
        if campaign.store.state().finished:
            break
        campaign.turn()
    state = campaign.store.state()
    assert state.finished, [(r.kind, r.progress) for r in state.records[-9:]]
    campaign.reopen()
    assert view(campaign.store.state()) == view(state)
    campaign.store.close()

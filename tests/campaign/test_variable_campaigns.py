"""Campaigns of several compositions: what the workers do, and whole searches."""

import signal

import pytest
from ase.build import bulk
from ase.io import write

from aga.campaign import tasks
from aga.campaign.run import FINISHED, start
from aga.campaign.state import Decision
from aga.config import resolved
from aga.search.candidate import Candidate
from calculators.publish import publish_json
from calculators.task import Task
from potentials.structures import atoms_from_dict
from tests.campaign.builders import several, stored, view, without_times


class Bench:
    """Does tasks one by one, as a worker would."""

    def __init__(self, folder, settings):
        self.folder, self.config = folder, settings
        publish_json(folder / tasks.CONFIG, resolved(settings))

    def do(self, ordinal, kind, **inputs):
        task = Task(ordinal, kind, tasks.task_key(self.config, ordinal, Decision(kind, inputs)),
                    inputs)  # fmt: skip
        outcome = tasks.run(str(self.folder), task)
        return outcome, tasks.published(self.folder, kind, task.key), task.key


@pytest.fixture
def small_pool(monkeypatch):
    monkeypatch.setattr(tasks, "POOL", 8)


SEED = {"count": 3, "volume_scale": 1.0, "first": True, "ends": ["Au", "Cu"]}


def seeded(found):
    made = [Candidate.from_dict(one) for one in found["ok"]["candidates"]]
    return [(one.origin, one.cell) for one in made]


@pytest.mark.usefixtures("small_pool")
def test_seeds_are_prototypes_of_the_ends_and_crystals_of_all_compositions(tmp_path):
    bench = Bench(tmp_path, several())
    found = bench.do(0, "seed", **SEED)[1]
    ends = [("end_member", cell) for cell in ("Au", "Au", "Au2", "Au2", "Cu", "Cu", "Cu2", "Cu2")]
    made = seeded(found)
    assert made[:8] == ends
    assert [origin for origin, _ in made[8:]] == ["symmetric_random"] * 3
    pool = {Candidate("", atoms_from_dict(one), "").cell for one in found["ok"]["pool"]}
    assert len(pool) == 6  # each composition once before any twice
    again = bench.do(1, "seed", **{**SEED, "first": False, "ends": ["Au"], "count": 0})[1]
    assert seeded(again) == [("end_member", "Au")] * 2


@pytest.mark.usefixtures("small_pool")
def test_the_user_may_begin_with_any_structure_of_the_elements(tmp_path):
    file = tmp_path / "mine.extxyz"
    write(file, [bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))])
    bench = Bench(tmp_path, several(search={"structures": [str(file)]}))
    assert seeded(bench.do(0, "seed", **SEED)[1])[0] == ("user", "Cu8")
    write(file, bulk("Ag", "fcc", a=4.09))
    outcome = bench.do(1, "seed", **SEED)[0]
    assert "Ag is none of the elements Au, Cu" in outcome["failure"]["reason"]


@pytest.mark.usefixtures("small_pool", "quick_labels")
def test_evolution_proposes_for_every_composition_and_measures_from_the_hull(tmp_path):
    bench = Bench(tmp_path, several(search={"evolution": {"candidates": 24}}))
    pool = bench.do(0, "seed", **SEED)
    references = []
    for number, data in enumerate(pool[1]["ok"]["candidates"]):
        outcome, _, key = bench.do(
            number + 1, "label", candidate=data, purpose="seed", raw_spread=None
        )
        assert "ok" in outcome
        references.append([data["id"], key])
    inputs = {"labels": references, "warm": None, "pool": pool[2], "calibration": []}
    model = bench.do(50, "train", **inputs)[2]
    shares = dict.fromkeys(["AuCu", "Au2Cu", "AuCu2", "Au2Cu2", "Au3Cu"], 0.2)
    found = bench.do(
        51,
        "evolve",
        model=model,
        effort=1,
        labels=references,
        weights={"strain": 0.5, "permute": 0.5},
        volume_scale=1.0,
        chances={**shares, "AuCu3": 0.0},
        carried={"key": None, "ids": []},
    )[1]["ok"]
    made = [Candidate.from_dict(one) for one in found["candidates"]]
    fresh = {one.cell for one in made if one.origin == "symmetric_random"}
    assert len(fresh) >= 3
    assert "AuCu3" not in fresh
    # elements are relaxed again, but nothing is proposed for them
    assert {one.cell for one in made if len(one.counts) == 1} <= {"Au", "Au2", "Cu", "Cu2"}
    assert {one.origin for one in made if len(one.counts) == 1} <= {"relabel"}


# whole campaigns

ALLOYS = {
    "seed": 2,
    "overlap": False,
    "search": {"initial_labels": 6, "batch": 4, "evolution": {"candidates": 40}},
    "budget": {"labels": 80, "confirm_reserve": 12},
    "stop": {"patience_labels": 20, "patience_proposals": 0, "window_ev_per_atom": 0.001},
    "confirm": {"window_ev_per_atom": 0.0},
}


def ended(run_dir):
    return stored(run_dir)


@pytest.mark.usefixtures("quick_labels", "small_pool")
def test_a_small_campaign_comes_to_its_end(tmp_path):
    known = [{"formula": "Au", "enthalpy_ev_per_atom": -0.00014}]
    asked = {"elements": [], "atoms": None, "formulas": ["CuAu", "Cu3Au"], "references": known}
    settings = several(
        compositions=asked,
        search={"initial_labels": 4, "evolution": {"candidates": 10}},
        budget={"labels": 20, "confirm_reserve": 6},
    )
    assert start(settings, tmp_path) == FINISHED
    state = ended(tmp_path)
    assert {one.cell for one in state.known} <= {"AuCu", "AuCu3", "Cu", "Cu2"}
    assert "Cu" in {group.best.formula for group in state.answer}
    chains = {record.inputs["chain"] for record in state.of_kind("polish")}
    assert chains <= {group.id for group in state.groups}
    assert state.asked <= 20
    # no label lies below the hull of the labels
    assert min(one.height for one in state.known) > -1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("quick_labels")
def test_the_ordered_alloys_are_found_and_confirmed(tmp_path):
    """By EMT relaxed from the prototypes: L1_2 Cu3Au at -0.0155, L1_0 CuAu at -0.0114 eV/atom.

    D0_22 and B19 lie a little lower; copper is hcp, at -0.0080. CuAu3 has no stable form.
    """
    assert start(several(**ALLOYS), tmp_path) == FINISHED
    state = ended(tmp_path)
    stable = {group.best.formula: group for group in state.answer}
    assert set(stable) == {"Au", "AuCu", "AuCu3", "Cu"}
    assert stable["AuCu3"].best.enthalpy < -0.0150
    assert stable["AuCu"].best.enthalpy < -0.0110
    assert stable["Cu"].best.enthalpy < -0.0070
    assert all(state.confirmed(group) for group in state.answer)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_labels")
def test_interrupted_anywhere_it_takes_the_same_way(tmp_path, runs):
    """Kill -9 and SIGTERM, and the same command again: the same tasks and results."""
    settings = several(**{**ALLOYS, "budget": {"labels": 24, "confirm_reserve": 4}})
    assert start(settings, tmp_path / "whole") == FINISHED
    for number, labels in ((signal.SIGKILL, 10), (signal.SIGTERM, 18)):
        runs.stop_when(settings, lambda labels=labels: runs.published() >= labels, number)
    runs.start(settings)
    assert runs.wait() == FINISHED, runs.said()
    found = [without_times(view(ended(folder))) for folder in (runs.run_dir, tmp_path / "whole")]
    assert found[0] == found[1]

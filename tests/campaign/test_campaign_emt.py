"""Whole campaigns: what is found, that it is found again, whatever happens on the way."""

import json
import signal
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import BFGS

from aga.campaign import tasks
from aga.campaign.run import FAILED, FINISHED, start
from aga.campaign.store import Store
from aga.search import seeds
from aga.search.space import tidied
from calculators.clusters.serial import SerialCrew
from tests.campaign.builders import config, crystal, stored, view, without_times
from tests.campaign.moody import CRASH, HANG, NAN, RAISE, mood_of

L10 = {
    "composition": {"Cu": 2, "Au": 2},
    "seed": 1,
    "overlap": False,
    "budget": {"labels": 20, "confirm_reserve": 5},
    "search": {"initial_labels": 5},
}


def history(run_dir):
    store = Store(run_dir, readonly=True)
    found = without_times(view(store.state()))
    store.close()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A campaign in one go."""
    folder = tmp_path_factory.mktemp("whole")
    assert start(config(**L10), folder) == FINISHED
    return folder


def test_the_known_structure_is_found_and_confirmed(whole):
    ordered = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[2.8, 2.8, 3.6], pbc=True)
    ordered.calc = EMT()
    BFGS(FrechetCellFilter(ordered), logfile=None).run(fmax=0.005, steps=100)
    state = stored(whole)
    best = state.ranking[0]
    assert best.best.enthalpy <= ordered.get_potential_energy() / 2 + 0.005
    confirmed = state.confirmed(best)
    # a result never rests on the potential alone
    confirmed.atoms.calc = EMT()
    assert np.linalg.norm(confirmed.atoms.get_forces(), axis=1).max() <= 0.05
    assert confirmed.atoms.get_potential_energy() / 4 == pytest.approx(confirmed.enthalpy)


def test_every_label_is_recorded_once_and_logged(whole):
    state = stored(whole)
    keys = Counter(one.key for one in state.labelled)
    assert set(keys.values()) == {1}
    published = {path.parent.name for path in whole.glob("labels/*/*/result.json")}
    assert published >= set(keys)
    assert len(state.labelled) <= 20
    log = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    tasks = [line["task"] for line in log if "task" in line]
    assert sorted(tasks) == [record.ordinal for record in state.records]


@pytest.mark.slow
def test_interrupted_anywhere_it_takes_the_same_way(whole, runs):
    """SIGTERM, kill -9 and Ctrl-C, and the same command again: the same tasks and results."""
    stops = ((signal.SIGTERM, 2), (signal.SIGKILL, 6), (signal.SIGINT, 9))
    for number, labels in stops:
        runs.stop_when(config(**L10), lambda labels=labels: runs.published() >= labels, number)
    runs.start(config(**L10))
    assert runs.wait() == FINISHED, runs.said()
    assert "going on with" in runs.said()
    assert history(runs.run_dir) == history(whole)


class Juggler(SerialCrew):
    """Hands out the tasks of a wide pool in any order, as many workers would."""

    rng = np.random.default_rng(0)

    def slots(self, pool):
        return 3

    def finished(self, timeout):
        self._queue.rotate(int(self.rng.integers(4)))
        return super().finished(timeout)


@pytest.mark.usefixtures("quick_labels")
def test_without_overlap_the_order_of_arrival_changes_nothing(tmp_path, monkeypatch):
    settings = config(**{**L10, "budget": {"labels": 16, "confirm_reserve": 5}})
    found = []
    for number in range(2):
        Juggler.rng = np.random.default_rng(number)
        monkeypatch.setattr(
            "calculators.clusters.serial.Serial.open", lambda self, work, needs=None: Juggler(work)
        )
        assert start(settings, tmp_path / str(number)) == FINISHED
        found.append(history(tmp_path / str(number)))
    arrived = [
        [r.outcome["meta"]["finished"] for r in stored(tmp_path / str(n)).of_kind("label")]
        for n in range(2)
    ]
    assert arrived[0] != sorted(arrived[0]), "nothing has been juggled"
    assert found[0] == found[1]


@pytest.mark.usefixtures("quick_labels")
@pytest.mark.parametrize("composition", [{"Al": 2}, {"Cu": 1, "Au": 2}])
def test_with_overlap_it_comes_to_an_end_in_any_order(tmp_path, monkeypatch, composition):
    Juggler.rng = np.random.default_rng(5)
    monkeypatch.setattr(
        "calculators.clusters.serial.Serial.open", lambda self, work, needs=None: Juggler(work)
    )
    settings = config(
        composition=composition, overlap=True, pressure_gpa=5.0, budget={"labels": 14}
    )
    assert start(settings, tmp_path) == FINISHED
    state = stored(tmp_path)
    assert state.outstanding() == []
    assert state.oracle_calls <= 14
    kinds = [record.kind for record in state.records]
    assert kinds[-1] == "finish"
    assert {"seed", "label", "train", "evolve", "stop_search"} <= set(kinds)


@pytest.mark.usefixtures("quick_labels")
def test_a_campaign_from_the_users_structures(tmp_path):
    file = tmp_path / "mine.extxyz"
    write(file, [crystal(0), crystal(2), crystal(0)])
    settings = config(
        search={"structures": [str(file)], "initial_labels": 2}, budget={"labels": 8}, overlap=False
    )
    assert start(settings, tmp_path / "run") == FINISHED
    origins = [one.origin for one in stored(tmp_path / "run").labelled[:4]]
    assert origins == ["user", "user", "symmetric_random", "symmetric_random"]


def test_a_users_structure_of_another_composition_ends_it_with_the_reason(tmp_path):
    file = tmp_path / "other.extxyz"
    write(file, [crystal(0), Atoms("Cu2", crystal(0).positions, cell=crystal(0).cell, pbc=True)])
    settings = config(search={"structures": [str(file)]})
    assert start(settings, tmp_path / "run") == FAILED
    reason = stored(tmp_path / "run").finished
    assert str(file) in reason
    assert "composition {'Cu': 2} is not {'Au': 1, 'Cu': 1}" in reason
    # corrected, the same run goes on
    write(file, [crystal(0)])
    no_time = config(search={"structures": [str(file)]}, budget={"hours": 1e-9})
    assert start(no_time, tmp_path / "run") == FAILED
    state = stored(tmp_path / "run")
    assert state.finished == "no structure was labelled (the time is used up (1e-09 h))"
    assert [seed.origin for seed in state.seeds] == ["user", *["symmetric_random"] * 4]


@pytest.mark.parametrize(("name", "reason"), [("NotFinite", "not finite"), ("Killed", "SIGKILL")])
def test_an_engine_that_always_fails_ends_the_campaign_with_its_reason(tmp_path, name, reason):
    engine = {"kind": "ase", "path": f"tests.fake_calculators.{name}", "memory_gb": 0.0}
    settings = config(engine=engine, search={"initial_labels": 2})
    assert start(settings, tmp_path) == FAILED
    state = stored(tmp_path)
    assert (len(state.labelled), len(state.failures)) == (0, 6)
    assert state.finished.startswith("6 of the first 6 structures could not be labelled: ")
    assert reason in state.finished


def in_mood(lowest, highest, rng):
    """A crystal that meets this mood, whatever the generator of random crystals does."""
    while True:
        atoms = crystal(0)
        atoms.positions += rng.normal(scale=0.1, size=(2, 3))
        if lowest <= mood_of(tidied(atoms).positions) < highest:
            return atoms


def test_engines_that_fail_now_and_then_do_not_end_it(tmp_path):
    """A hang, a crash, a NaN, an exception: recorded with their reasons, never repeated."""
    rng = np.random.default_rng(1)
    moods = [(0.0, HANG), (HANG, CRASH), (CRASH, NAN), (NAN, RAISE), (RAISE, 1.0), (RAISE, 1.0)]
    write(tmp_path / "moods.extxyz", [in_mood(*mood, rng) for mood in moods])
    engine = {"kind": "ase", "path": "tests.campaign.moody.Moody", "deadline_s": 6.0}
    search = {"initial_labels": 8, "structures": [str(tmp_path / "moods.extxyz")]}
    settings = config(engine=engine, budget={"labels": 24}, search=search)
    assert start(settings, tmp_path / "run") == FINISHED
    state = stored(tmp_path / "run")
    reasons = " ".join(record.outcome["failure"]["reason"] for record in state.failures)
    for part in ("deadline", "SIGSEGV", "not finite", "did not converge"):
        assert part in reasons
    assert state.models
    assert state.generations
    for record in state.failures:
        found = tasks.published(tmp_path / "run", "label", record.key)
        assert found["failure"] == record.outcome["failure"]


def test_atoms_on_top_of_each_other_never_reach_the_engine(tmp_path, monkeypatch):
    original = seeds.many

    def many(*args):
        crystals = original(*args)
        crystals[0].positions[:] = 0.0
        return crystals

    monkeypatch.setattr("aga.search.seeds.many", many)
    settings = config(search={"initial_labels": 3}, budget={"labels": 4, "confirm_reserve": 1})
    assert start(settings, tmp_path) == FINISHED
    state = stored(tmp_path)
    (failure,) = state.failures
    assert "below the gate" in failure.outcome["failure"]["reason"]
    assert not (tmp_path / "labels" / failure.key[:2] / failure.key).exists()
    assert len(state.labelled) >= 2

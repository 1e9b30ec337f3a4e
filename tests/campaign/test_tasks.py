"""What runs on the workers: its results stand in the run folder and are found again."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.units import GPa

from aga.campaign import tasks
from aga.campaign.state import Decision
from aga.config import CampaignConfig, resolved
from aga.search.candidate import Candidate
from aga.search.volumes import mixture_volume
from calculators.publish import publish_json, read_json
from calculators.results import label_key, result_folder
from calculators.task import Task
from potentials.structures import atoms_from_dict, rounded
from tests.campaign.builders import candidate, config, crystal

pytestmark = pytest.mark.usefixtures("quick_labels")


@pytest.fixture(autouse=True)
def small_pool(monkeypatch):
    monkeypatch.setattr(tasks, "POOL", 8)


class Bench:
    """Does tasks one by one, as a worker would."""

    def __init__(self, folder, **changes):
        self.folder = folder
        self.config = config(**changes)
        self.made = 0
        publish_json(folder / tasks.CONFIG, resolved(self.config))

    def task(self, kind, **inputs):
        key = tasks.task_key(self.config, self.made, Decision(kind, inputs))
        self.made += 1
        return Task(self.made - 1, kind, key, inputs)

    def do(self, task):
        """The outcome, and what was published."""
        outcome = tasks.run(str(self.folder), task)
        return outcome, tasks.published(self.folder, task.kind, task.key)

    def seed(self, count=4, *, first=True):
        return self.task("seed", count=count, volume_per_atom=0.0, first=first)

    def label(self, one):
        return self.task("label", candidate=one.to_dict(), purpose="seed", raw_spread=None)

    def labels(self, n):
        """References to ``n`` labels."""
        found = []
        for number in range(n):
            one = candidate(f"c{number}", number - 1, shift=0.05 * number)
            task = self.label(one)
            assert "ok" in self.do(task)[0]
            found.append([one.id, task.key])
        return found

    def train(self, references, warm=None):
        inputs = {"labels": references, "warm": warm, "pool": "none", "calibration": [[0.1, 0.02]]}
        return self.task("train", **inputs)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_result_is_published_and_the_outcome_names_it(bench):
    task = bench.seed()
    assert tasks.published(bench.folder, "seed", task.key) is None
    outcome, found = bench.do(task)
    assert outcome == {"ok": {"key": task.key}}
    made = [Candidate.from_dict(data) for data in found["ok"]["candidates"]]
    assert [one.id for one in made] == [f"s00000-{i:03d}" for i in range(4)]
    space = tasks.space_of(bench.config)
    assert {space.feasible(one.atoms) for one in made} == {""}
    assert len(found["ok"]["pool"]) == tasks.POOL


def test_a_published_result_is_not_computed_again(bench, monkeypatch):
    task = bench.seed()
    before = bench.do(task)
    monkeypatch.setitem(tasks._WORK, "seed", lambda *_: 1 / 0)
    assert bench.do(task) == before


def test_seeds_follow_from_seed_and_ordinal(bench, tmp_path):
    first = bench.do(bench.seed())[1]
    second = bench.do(bench.seed(first=False))[1]
    again = Bench(tmp_path / "again")
    assert again.do(again.seed())[1] == first
    assert second["ok"]["candidates"] != first["ok"]["candidates"]
    assert len(second["ok"]["pool"]) == 4
    other = Bench(tmp_path / "other", seed=5)
    assert other.do(other.seed())[1]["ok"]["pool"] != first["ok"]["pool"]


def test_keys_tell_tasks_apart():
    settings = config()
    inputs = {"count": 1, "volume_per_atom": 0.0, "first": True}
    keys = {
        tasks.task_key(settings, 0, Decision("seed", inputs)),
        tasks.task_key(settings, 1, Decision("seed", inputs)),
        tasks.task_key(settings, 0, Decision("seed", {**inputs, "count": 2})),
        tasks.task_key(settings, 0, Decision("evolve", inputs)),
        tasks.task_key(config(seed=1), 0, Decision("seed", inputs)),
    }
    assert len(keys) == 5


def test_the_key_of_a_label_is_that_of_its_structure(bench):
    one, two = bench.label(candidate("a", 1)), bench.label(candidate("b", 1, 0.5))
    assert one.key == two.key == label_key(crystal(1), bench.config.engine)


def test_a_label_lies_in_the_store(bench):
    task = bench.label(candidate("a", 0))
    outcome, found = bench.do(task)
    assert outcome == {"ok": {"key": task.key}}
    stored = read_json(result_folder(tasks.labels(bench.folder), task.key) / "result.json")
    assert found["ok"]["label"] == stored["label"]
    assert rounded(atoms_from_dict(stored["atoms"])) == rounded(crystal(0))


def test_train_evolve_and_polish_find_each_other(bench):
    references = bench.labels(5)
    train = bench.train(references)
    outcome, found = bench.do(train)
    assert outcome == {"ok": {"key": train.key}}
    assert found["ok"]["facts"]["labels"] == 5
    assert found["ok"]["facts"]["calibration"] > 1.0  # the error was five spreads
    warm = bench.do(bench.train(references, warm=train.key))[1]
    assert warm["ok"]["facts"]["labels"] == 5

    inputs = {
        "model": train.key,
        "effort": 1,
        "labels": references,
        "weights": {"strain": 0.5, "rattle": 0.5},
        "volume_per_atom": 0.0,
    }
    nothing = {"key": None, "ids": []}
    first = bench.do(bench.task("evolve", carried=nothing, **inputs))[1]["ok"]
    assert first["candidates"]
    assert {one["id"][:6] for one in first["candidates"]} == {"e00007"}
    predicted = [one["enthalpy"] for one in first["candidates"]]
    assert all(np.isfinite(predicted))
    key = tasks.task_key(bench.config, 7, Decision("evolve", {"carried": nothing, **inputs}))
    carried = {"key": key, "ids": [one["id"] for one in first["candidates"]]}
    second = bench.task("evolve", carried=carried, **inputs)
    assert [one.id for one in tasks._carried(bench.folder, second)] == carried["ids"]

    polish = bench.task(
        "polish", chain="c1", round=0, target=references[1], labels=references, symmetrise=True
    )
    end = Candidate.from_dict(bench.do(polish)[1]["ok"]["candidate"])
    assert (end.origin, end.parents) == ("polish", ("c1",))
    assert end.enthalpy is not None


def test_a_polished_geometry_is_found_by_key_not_by_id(bench):
    """The same geometry may have been labelled under two names."""
    references = bench.labels(4)
    target = ["another name", references[0][1]]
    polish = bench.task(
        "polish", chain="x", round=0, target=target, labels=references, symmetrise=False
    )
    assert bench.do(polish)[0] == {"ok": {"key": polish.key}}


def test_the_engines_own_relaxation_brings_every_point(tmp_path):
    bench = Bench(tmp_path)
    ((name, key),) = bench.labels(1)
    relax = bench.task("relax", chain=name, target=[name, key], purpose="confirm", points=20)
    outcome, found = bench.do(relax)
    assert outcome == {"ok": {"key": relax.key}}
    points = found["ok"]["points"]
    assert found["ok"]["converged"]
    assert 1 <= len(points) <= 20
    assert key not in {point["key"] for point in points}
    for point in points:
        assert tasks.published(tmp_path, "label", point["key"])["ok"]["label"] == point["label"]
    assert abs(np.array(points[-1]["label"]["stress"])).max() < GPa


def test_a_relaxation_keeps_to_the_points_it_was_given(tmp_path):
    bench = Bench(tmp_path, confirm={"stress_gpa": 1e-6})
    ((name, key),) = bench.labels(1)
    relax = bench.task("relax", chain=name, target=[name, key], purpose="confirm", points=3)
    found = bench.do(relax)[1]["ok"]
    assert (len(found["points"]), found["converged"]) == (3, False)


def test_a_label_that_is_gone_is_named(bench):
    with pytest.raises(FileNotFoundError, match="label nokey of c0 is gone"):
        bench.do(bench.train([["c0", "nokey"], ["c1", "nokey"]]))


def test_a_run_folder_without_its_settings_is_named(bench):
    (bench.folder / tasks.CONFIG).unlink()
    with pytest.raises(FileNotFoundError, match=r"campaign\.json is gone"):
        bench.do(bench.seed())


# the space


def test_the_volume_is_the_users_then_the_labels_then_the_elements():
    assert tasks.space_of(config()).volume_per_atom == mixture_volume({"Cu": 1, "Au": 1})
    assert tasks.space_of(config(), 17.0).volume_per_atom == 17.0
    told = config(search={"volume_per_atom": 19.0})
    assert tasks.space_of(told, 17.0).volume_per_atom == 19.0


def oxide(composition, **search):
    # built anew: `config` merges compositions
    return CampaignConfig.model_validate(
        {"name": "oxide", "composition": composition, "engine": {"kind": "emt"}, "search": search}
    )


def test_dense_oxides_are_looked_for_beside_what_labels_say_unless_the_user_knows():
    (dense,) = tasks.space_of(oxide({"Al": 4, "O": 6}), 12.7).volumes
    assert dense == pytest.approx(9.3, abs=0.1)
    assert tasks.space_of(oxide({"Al": 4, "O": 6}, volume_per_atom=12.0), 12.7).volumes == ()
    # caesium pushes the anions apart; copper and gold have none
    assert tasks.space_of(oxide({"Cs": 1, "Cl": 1})).volumes == ()
    assert tasks.space_of(config()).volumes == ()


def test_the_space_follows_the_configuration():
    space = tasks.space_of(
        config(pressure_gpa=10.0, search={"spacegroups": (100, 120), "min_distance_factor": 0.7})
    )
    assert space.pressure == pytest.approx(10.0 * GPa)
    assert space.spacegroups == tuple(range(100, 121))
    assert space.min_distance["Au", "Cu"] == pytest.approx(0.7 * (1.36 + 1.32))


# the user's structures


def with_structures(folder, *structures):
    file = folder / "mine.extxyz"
    write(file, structures)
    return Bench(folder, search={"structures": [str(file)]})


def test_the_users_structures_come_first_and_each_once(tmp_path):
    shifted = crystal(1)
    shifted.positions += 0.1
    bench = with_structures(tmp_path, crystal(0), shifted, crystal(0))
    found = bench.do(bench.seed(2))[1]["ok"]["candidates"]
    assert [one["origin"] for one in found] == ["user", "user", *["symmetric_random"] * 2]
    assert atoms_from_dict(found[0]["atoms"]).get_volume() == pytest.approx(crystal(0).get_volume())
    later = bench.do(bench.seed(2, first=False))[1]["ok"]["candidates"]
    assert {one["origin"] for one in later} == {"symmetric_random"}


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("Cu2", crystal(0).positions, cell=crystal(0).cell, pbc=True), "composition"),
        (Atoms("CuAu", crystal(0).positions, cell=crystal(0).cell), "not periodic"),
        (Atoms("CuAu", [[0, 0, 0], [0, 0, 0.3]], cell=crystal(0).cell, pbc=True), "0.30 Å apart"),
    ],
)
def test_a_users_structure_that_cannot_be_searched_from_is_refused(tmp_path, atoms, reason):
    bench = with_structures(tmp_path, crystal(0), atoms)
    outcome, found = bench.do(bench.seed())
    assert found is None
    assert outcome["failure"]["kind"] == "permanent"
    assert "mine.extxyz: cannot be searched from: " in outcome["failure"]["reason"]
    assert reason in outcome["failure"]["reason"]

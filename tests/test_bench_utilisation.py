"""How busy workers are: the bench's rows, and what a turn of the driver costs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from aga.campaign import policy
from aga.campaign.state import Decision
from aga.campaign.store import Store
from aga.campaign.tasks import task_key
from aga.search import seeds
from aga.search.space import Space
from calculators.task import Task
from tests.campaign.builders import SLOTS

BENCH = Path(__file__).parents[1] / "scripts" / "bench"


@pytest.fixture(scope="module")
def bases():
    space = Space({"Cu": 4, "Au": 4}, spacegroups=(1, 2))
    return seeds.many(space, 3, np.random.default_rng(0))


@pytest.fixture
def bench(script, bases, monkeypatch):
    monkeypatch.setattr(script("simulated"), "_bases", lambda: bases)
    return script("utilisation")


@pytest.fixture
def measure(bench, script, tmp_path):
    def measured(slots, seconds, *, label=1.0, **settings):
        folder = tmp_path / f"{slots}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        durations = script("simulated").Durations(label)
        return bench.measure(folder, slots, seconds, durations, **settings)

    return measured


class TestVirtual:
    """In a time of its own the policy alone decides: no machine is too slow for these numbers."""

    @pytest.mark.parametrize(("slots", "seconds"), [(1, 30.0), (3, 12.0), (40, 4.0)])
    def test_slots_are_busy_with_overlap(self, measure, slots, seconds):
        row = measure(slots, seconds, overlap=True, dask=False)
        assert 0.95 <= row["busy_fraction"] <= 1.0
        # labels of one second each
        assert row["labels_per_hour"] == pytest.approx(3600 * slots, rel=0.2)
        assert row["train_share"] > 0

    def test_without_overlap_they_wait(self, measure):
        row = measure(4, 16.0, overlap=False, dask=False)
        assert 0.3 < row["busy_fraction"] < 0.8

    def test_the_script_prints_a_row_for_every_size_and_both_ways(self, bench, monkeypatch, capsys):
        asked = []

        def alone(slots, seconds, durations, **inputs):
            asked.append((slots, seconds, durations.label, inputs["overlap"], inputs["dask"]))
            return {"workers": slots, "overlap": inputs["overlap"]}

        monkeypatch.setattr(bench, "alone", alone)
        bench.main(["--workers", "1,8", "--label", "5", "--seconds", "9", "--virtual", "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [(row["workers"], row["overlap"]) for row in rows] == [
            (1, True),
            (8, True),
            (1, False),
            (8, False),
        ]
        assert asked[0] == (1, 9.0, 5.0, True, False)


@pytest.mark.dask
def test_a_row_of_a_real_scheduler(measure):
    row = measure(3, 3.0, label=0.5, overlap=True)
    assert 0.0 < row["busy_fraction"] <= 1.0
    assert row["labels_per_hour"] > 0
    assert row["driver_share"] >= row["loop_share"] > 0.0
    assert 50 < row["driver_mb"] < 4000


def test_durations_are_log_normal(script):
    simulated = script("simulated")
    durations = simulated.Durations(10.0, spread=0.5)
    tasks = [Task(n, "label", str(n)) for n in range(200)]
    found = np.array([durations.of(task, None) for task in tasks])
    assert found.mean() == pytest.approx(10.0, rel=0.03)
    assert np.log(found).std() == pytest.approx(0.5, rel=0.05)


# what a turn costs, in calls of functions: no clock, no other program changes them


def calls(work):
    count = 0

    def note(_frame, event, _arg):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture
def campaign(script, bases, tmp_path):
    bookkeeping = script("bookkeeping")
    opened = []

    def made(labels):
        folder = tmp_path / str(labels)
        folder.mkdir()
        bookkeeping.write(folder, "labelled", labels + bookkeeping.PROPOSALS, bases)
        opened.append(Store(folder))
        policy.due(opened[-1].state(), SLOTS)  # the first question of all makes the index
        return opened[-1]

    yield made
    for store in opened:
        store.close()


def test_a_turn_costs_no_more_than_in_proportion_to_what_is_known(campaign):
    small, large = (campaign(labels).state() for labels in (60, 240))
    few, many = (calls(lambda s=state: policy.due(s, SLOTS)) for state in (small, large))
    assert many <= 4 * few
    assert many - few <= 10 * 180


def test_a_turn_without_anything_to_decide_costs_the_same_whatever_is_known(campaign):
    found = []
    for labels in (60, 240):
        store = campaign(labels)
        state = store.state()
        store.plan(policy.due(state, SLOTS), lambda n, d, s=state: task_key(s.config, n, d))
        assert policy.due(state, SLOTS) == []
        found.append(calls(lambda s=state: policy.due(s, SLOTS)))
    assert found[0] == found[1]


def test_a_label_costs_no_more_to_record_than_in_proportion_to_what_is_known(
    campaign, script, bases
):
    bookkeeping = script("bookkeeping")
    one = bookkeeping.Crystals(bases).candidate("new", 10_000_000)
    outcome = {"ok": {"label": bookkeeping.label(one, 0).to_dict()}, "meta": {}}
    inputs = {"candidate": one.to_dict(), "purpose": "search", "raw_spread": 0.02}
    found = []
    for labels in (60, 240):
        store = campaign(labels)
        for place in range(2):  # the first makes the index
            (record,) = store.plan([Decision("label", inputs)], lambda n, _: f"{n}")
            count = calls(lambda s=store, r=record: s.record(r.ordinal, outcome))
            if place:
                found.append(count)
    assert found[1] <= 4 * found[0]

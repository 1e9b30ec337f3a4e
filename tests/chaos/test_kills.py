"""Everything that can die is killed at random moments; nothing is lost, nothing computed twice."""

import contextlib
import json
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from aga.campaign.run import FINISHED
from tests.campaign.builders import config, stored
from tests.campaign.processes import until

KILLS = ["driver"] * 4 + ["worker"] * 13 + ["child"] * 5


def settings(labels):
    return config(
        engine={
            "kind": "ase",
            "path": "tests.campaign.moody.Slow",
            "arguments": {"seconds": 0.3},
            "memory_gb": 0.0,
        },
        cluster={"kind": "local", "dft_workers": 2},
        search={"initial_labels": 6, "batch": 6},
        budget={"labels": labels, "confirm_reserve": 3},
        stop={"patience_labels": 1000, "patience_proposals": 0},
        confirm={"structures": 1},
    )


def victims(runs, kind):
    """Pids of the driver, of Dask's workers, or of label processes and their watchers."""
    if kind == "driver":
        return [runs.process.pid]
    marks = {"worker": ("spawn_main",), "child": ("calculators.single_point", "watcher.py")}[kind]
    return [
        pid
        for pid, words in runs.alive().items()
        if any(mark in word for word in words for mark in marks)
    ]


@pytest.mark.dask
@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_compute_nothing_twice(runs):
    rng = np.random.default_rng(7)
    labels, kills = 24, Counter()
    runs.start(settings(labels))
    for kind in rng.permutation(KILLS):
        time.sleep(rng.uniform(0.1, 1.0))
        found = until(lambda kind=kind: ended(runs) or victims(runs, kind), kind)
        if ended(runs):
            labels += 8 * (runs.wait() == FINISHED)
            go_on(runs, labels)
            found = until(lambda kind=kind: victims(runs, kind), kind)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(rng.choice(found)), signal.SIGKILL)
            kills[str(kind)] += 1
        if kind == "driver":
            assert runs.wait() == -signal.SIGKILL
            runs.start(settings(labels))
    while runs.wait() != FINISHED:
        go_on(runs, labels)
    runs.nobody_left()
    assert sum(kills.values()) >= 20
    check(runs.run_dir, labels)


def ended(runs):
    return runs.process.poll() is not None


def go_on(runs, labels):
    """Start again what came to its end, or what lost a worker before all of them were up."""
    assert runs.wait() == FINISHED or "LocalNanny failed to start" in runs.said(), runs.said()
    runs.start(settings(labels))


def check(run_dir, budget):
    state = stored(run_dir)
    assert state.outstanding() == []
    assert state.asked <= budget
    assert {r.kind for r in state.records if r.progress == "failed"} <= {"label"}
    in_database = Counter(one.key for one in state.labelled)
    assert set(in_database.values()) == {1}, "a label is recorded twice"

    results = [json.loads(path.read_text()) for path in run_dir.glob("labels/*/*/result.json")]
    points = [result for result in results if result["kind"] == "label"]
    good = {result["key"] for result in points if result["status"] == "ok"}
    assert good == set(in_database), "a published label is not recorded, or the other way round"
    bad = {result["key"] for result in points if result["status"] != "ok"}
    assert bad == {record.key for record in state.failures}

    for result in points:
        folder = run_dir / "labels" / result["key"][:2] / result["key"]
        lines = (folder / "starts").read_text().splitlines()
        starts = [json.loads(line)["time"] for line in lines]
        assert len(starts) >= len(result["attempts"])
        assert max(starts) < result["finished"], "computed after its result was published"

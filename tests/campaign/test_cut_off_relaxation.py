"""A relaxation by the engine that is cut off goes on from its last single point."""

import json
import os
import signal
from collections import Counter

import psutil
import pytest

from aga.campaign.progress import sentence
from aga.campaign.run import FINISHED
from aga.campaign.state import Decision
from tests.campaign.builders import History, candidate, config, label, stored
from tests.campaign.processes import until

STEPS = 3  # single points before the kill


def settings(seconds, **changes):
    """Four labels, then the engine relaxes the best."""
    return config(
        engine={
            "kind": "ase",
            "path": "tests.campaign.moody.Slow",
            "arguments": {"seconds": seconds},
            "memory_gb": 0.0,
        },
        budget={"labels": 20, "confirm_reserve": 16},
        confirm={"surrogate_steps": 0, "structures": 1},
        overlap=False,
        **changes,
    )


def computed(run_dir):
    """Single points of relaxations that are there."""
    return sum(len(path.read_text().split()) for path in run_dir.glob("labels/*/*/steps"))


def starts(run_dir, key):
    return len((run_dir / "labels" / key[:2] / key / "starts").read_text().splitlines())


def labelled(run_dir):
    return stored(run_dir)


def check(run_dir, said, cut_off):
    """Each single point was computed once, but those that were cut off, and is recorded once."""
    state = labelled(run_dir)
    (relaxation,) = state.of_kind("relax")
    points = [one for one in state.labelled if one.ordinal == relaxation.ordinal]
    assert len(points) > STEPS + 1
    assert set(Counter(one.key for one in state.labelled).values()) == {1}
    begun = sum(starts(run_dir, one.key) for one in points)
    assert len(points) <= begun <= len(points) + cut_off, "a finished one was computed again"
    assert relaxation.ok["found"] >= STEPS
    assert f"{relaxation.ok['found']} of them from an attempt that was cut off" in said
    log = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    (told,) = [line for line in log if line.get("kind") == "relax"]
    assert (told["points"], told["found"]) == (len(points), relaxation.ok["found"])
    assert state.confirmed(state.ranking[0]) is not None


def test_a_driver_killed_in_the_middle(runs, tmp_path):
    slow = settings(0.3)
    runs.stop_when(slow, lambda: computed(runs.run_dir) >= STEPS, signal.SIGKILL)
    runs.start(slow)
    assert runs.wait() == FINISHED, runs.said()
    check(runs.run_dir, runs.said(), cut_off=1)


@pytest.mark.dask
@pytest.mark.slow
def test_workers_killed_in_the_middle(runs, tmp_path):
    slow = settings(0.3, cluster={"kind": "local", "dft_workers": 1})
    runs.start(slow)
    for kills in (1, 2):
        until(lambda kills=kills: computed(runs.run_dir) >= STEPS * kills, "single points")
        (worker,) = until(lambda: busy(runs), "the worker")
        os.kill(worker, signal.SIGKILL)
    assert runs.wait() == FINISHED, runs.said()
    check(runs.run_dir, runs.said(), cut_off=2)


def busy(runs):
    """The worker that relaxes: the parent of the watcher of the engine's process."""
    watchers = [pid for pid, words in runs.alive().items() if any("watcher.py" in w for w in words)]
    return [psutil.Process(pid).ppid() for pid in watchers]


@pytest.mark.parametrize("failure", [None, {"kind": "permanent", "reason": "no SCF", "log": ""}])
def test_the_reader_is_told_what_was_saved(failure):
    history = History(config(confirm={"surrogate_steps": 0}))
    history.seed()
    history.labels(label(1.0), label(1.1), label(1.2), label(1.3))
    history.take(Decision("stop_search", {"reason": "enough"}))
    (relax,) = history.take()
    point = {
        "candidate": candidate("r-0", 0, shift=0.01).to_dict(),
        "label": label(0.99, 0.001).to_dict(),
        "key": "key0",
    }
    done = {"points": [point], "converged": failure is None, "found": 0, "failure": failure}
    history.close(relax, done)
    head = "relaxed by the engine: 1 single points"
    if failure:
        head = "not relaxed yet by the engine: 1 single points; then it failed: no SCF"
    assert f"{head}; label r-0" in sentence(relax, history.state)
    assert history.state.asked == 4 + 1

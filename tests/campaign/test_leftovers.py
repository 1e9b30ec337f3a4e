"""What killed processes were in the middle of writing."""

import subprocess
import sys

import pytest

from aga.campaign.leftovers import sweep
from aga.campaign.run import FINISHED, start
from potentials.ensemble import Ensemble
from tests.campaign.builders import config
from tests.campaign.processes import ROOT


def test_what_was_left_half_written_is_removed_and_nothing_else(tmp_path):
    run_dir = tmp_path
    names = [
        ".campaign.json.0123456789abcdef",
        "proposals/.k.json.0123456789abcdef",
        "labels/ab/abcd/.result.json.0123456789abcdef",
        "models/.abcd.4711/weights.pt",
    ]
    for name in names:
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text("half")
    kept = ["labels/.keep", "models/mine.4711", ".nfs000000000123"]
    for name in kept:
        (run_dir / name).write_text("somebody else's")
    (run_dir / "models" / ".latest").symlink_to("mine.4711")  # for an instant, by the driver
    sweep(run_dir)
    assert not any((run_dir / name).exists() for name in (*names, "models/.abcd.4711"))
    assert all((run_dir / name).exists() for name in kept)
    assert (run_dir / "models" / ".latest").is_symlink()


WRITES = """
import os, signal, sys
from pathlib import Path
from calculators import publish
publish.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
publish.publish_json(Path(sys.argv[1]), {})
"""


def test_the_names_are_those_that_are_written(tmp_path):
    """By a process that is killed on the way."""
    for place in ("campaign.json", "proposals/k.json", "labels/ab/abcd/result.json"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", WRITES, tmp_path / place], cwd=ROOT, check=False
        )
        assert done.returncode < 0
    half = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(half) == 3
    sweep(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_ensemble_that_was_not_saved_in_full_is_removed(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    few = config(budget={"labels": 6, "confirm_reserve": 1}, overlap=False)
    assert start(few, run_dir) == FINISHED
    made = Ensemble.load(run_dir / "models" / "latest")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("potentials.ensemble._flush", interrupt)
    with pytest.raises(KeyboardInterrupt):
        made.save(run_dir / "models" / "another")
    assert list((run_dir / "models").glob(".another.*"))
    assert start(few, run_dir) == FINISHED
    assert not list((run_dir / "models").glob(".another.*"))

"""A full disk, wherever it is met: a clear end, nothing lost, nothing recorded that is not so."""

import errno
import os
import subprocess
import sys

import pytest
from ase.build import bulk

from aga.campaign import store, tasks
from aga.campaign.log import Log
from aga.campaign.run import FINISHED, start
from aga.campaign.store import Store
from aga.config import ConfigError, to_yaml
from calculators import disk, publish
from calculators.engines import build
from calculators.labelling import single_point
from tests.campaign.builders import config, stored
from tests.campaign.processes import HANG_S, ROOT

SMALL = {"budget": {"labels": 6, "confirm_reserve": 1}, "overlap": False}
FULL = OSError(errno.ENOSPC, "No space left on device", "somewhere")


def full(run_dir):
    """Starts a campaign that is to meet a full disk."""
    with pytest.raises(ConfigError) as caught:
        start(config(**SMALL), run_dir)
    for part in (str(run_dir), "the disk is full", "make room", "same command"):
        assert part in str(caught.value)


def check_it_goes_on(run_dir):
    """Nothing was recorded as a failure, and the campaign comes to its end."""
    if (run_dir / store.NAME).exists() and Store.configuration(run_dir) is not None:
        assert {one.progress for one in stored(run_dir).records} <= {"queued", "done"}
        assert {one.attempts for one in stored(run_dir).outstanding()} <= {0}
    assert start(config(**SMALL), run_dir) == FINISHED
    assert stored(run_dir).failures == []
    assert list(run_dir.rglob(".*.json.*")) == []


@pytest.mark.usefixtures("quick_labels")
@pytest.mark.parametrize("kind", ["seed", "label", "train", "evolve"])
def test_in_a_task(tmp_path, monkeypatch, kind):
    work = tasks._WORK[kind]

    def fail(folder, settings, task):
        if kind == "label" and not list(folder.glob("labels/*/*/result.json")):
            return work(folder, settings, task)  # the first fits
        raise FULL

    monkeypatch.setitem(tasks._WORK, kind, fail)
    full(tmp_path)
    monkeypatch.setitem(tasks._WORK, kind, work)
    check_it_goes_on(tmp_path)


@pytest.mark.usefixtures("quick_labels")
def test_while_results_are_published(tmp_path, monkeypatch):
    sync, calls = os.fsync, []

    def fail(file):
        calls.append(file)
        if len(calls) > 12:
            raise FULL
        sync(file)

    monkeypatch.setattr(publish.os, "fsync", fail)
    full(tmp_path)
    monkeypatch.undo()
    check_it_goes_on(tmp_path)


@pytest.mark.parametrize("pages", [5, 9])
def test_in_the_database(tmp_path, monkeypatch, pages, quick_labels):
    """SQLite's own limit gives the error that a full disk does."""
    connected = store._connected

    def small(path, *, readonly):
        database = connected(path, readonly=readonly)
        if not readonly:
            database.execute(f"pragma max_page_count = {pages}")
        return database

    monkeypatch.setattr(store, "_connected", small)
    full(tmp_path)
    monkeypatch.setattr(store, "_connected", connected)
    check_it_goes_on(tmp_path)


@pytest.mark.usefixtures("quick_labels")
def test_in_the_log(tmp_path, monkeypatch):
    def fail(*_):
        raise FULL

    write = Log.write
    monkeypatch.setattr(Log, "write", fail)
    full(tmp_path)
    monkeypatch.setattr(Log, "write", write)
    check_it_goes_on(tmp_path)


@pytest.mark.usefixtures("quick_labels")
def test_what_a_library_makes_of_it(tmp_path, monkeypatch):
    """Torch says RuntimeError; that there is no room is seen by looking."""
    work = tasks._WORK["train"]
    monkeypatch.setitem(tasks._WORK, "train", lambda *_: (_ for _ in ()).throw(RuntimeError("x")))
    monkeypatch.setattr(disk, "no_room", lambda folder: True)
    full(tmp_path)
    monkeypatch.setattr(disk, "no_room", lambda folder: False)
    monkeypatch.setitem(tasks._WORK, "train", work)
    check_it_goes_on(tmp_path)


@pytest.mark.parametrize("wrapped", [False, True])
def test_in_the_child_it_is_no_failure_of_the_structure(tmp_path, monkeypatch, wrapped):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))
    monkeypatch.syspath_prepend(ROOT / "tests")
    path, arguments = "fake_calculators.DiskFull", {"wrapped": wrapped}
    engine = build({"kind": "ase", "path": path, "arguments": arguments, "memory_gb": 0.0})
    with pytest.raises(OSError, match="No space left") as caught:
        single_point(bulk("Cu"), engine, tmp_path)
    assert disk.is_full(caught.value)
    assert list(tmp_path.rglob("result.json")) == []


def test_other_errors_are_something_else():
    assert not disk.is_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk.is_full(RuntimeError("No space left on device"))
    assert disk.is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="tmpfs")
def test_for_real(small_disk, tmp_path):
    """Child processes, database, ensembles: whatever meets it first."""
    settings = config(
        budget={"labels": 8, "confirm_reserve": 1},
        overlap=False,
        stop={"patience_labels": 1000, "patience_proposals": 0},
    )
    (tmp_path / "campaign.yaml").write_text(to_yaml(settings))
    (small_disk / "other").write_bytes(b"x" * 1_600_000)
    run_dir = small_disk / "run"

    def run():
        command = [sys.executable, "-m", "aga", "run", str(tmp_path / "campaign.yaml")]
        return subprocess.run(
            [*command, "--run-dir", str(run_dir)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )

    done = run()
    assert done.returncode == 2, done.stderr
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    before = stored(run_dir)
    assert before.failures == []
    (small_disk / "other").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = run()
    assert done.returncode == FINISHED, done.stderr
    after = stored(run_dir)
    assert after.failures == []
    assert len(after.labelled) > len(before.labelled)

"""A run folder that cannot be written, and one that several want to run."""

import errno
import subprocess
from pathlib import Path

import pytest

from aga.campaign.run import FINISHED, start
from aga.campaign.store import Store
from aga.campaign.trouble import trouble
from aga.config import ConfigError
from aga.report.export import export
from aga.report.status import status_json
from tests.campaign.builders import config, stored
from tests.campaign.processes import ROOT, Runs

FEW = config(budget={"labels": 6, "confirm_reserve": 1}, overlap=False)


@pytest.mark.usefixtures("quick_labels")
def test_a_read_only_folder_can_be_looked_at_and_says_why_nothing_runs(own_disk, tmp_path):
    run_dir = own_disk.folder / "run"
    assert start(FEW, run_dir) == FINISHED
    sound = status_json(run_dir)
    with own_disk.readonly():
        with pytest.raises(ConfigError) as caught:
            start(FEW, run_dir)
        for part in (str(run_dir), "cannot be written", "Read-only file system", "--run-dir"):
            assert part in str(caught.value)
        assert status_json(run_dir) == sound
        export(run_dir, "extxyz", tmp_path / "labels.extxyz")
        with pytest.raises(ConfigError, match="cannot be written"):
            start(FEW, own_disk.folder / "another")
    assert start(FEW, run_dir) == FINISHED
    assert (tmp_path / "labels.extxyz").stat().st_size > 0


@pytest.mark.usefixtures("quick_labels")
def test_one_that_was_killed_can_be_looked_at_too(own_disk, tmp_path):
    """The database's log is still there."""
    run_dir = own_disk.folder / "run"
    assert start(FEW, run_dir) == FINISHED
    sound = status_json(run_dir)
    store = Store(run_dir, FEW)
    files = [run_dir / f"campaign.db-{name}" for name in ("wal", "shm")]
    kept = [file.read_bytes() for file in files]
    assert all(kept)
    store.close()
    for file, data in zip(files, kept, strict=True):
        file.write_bytes(data)
    with own_disk.readonly():
        assert status_json(run_dir)["best"] == sound["best"]


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "run/campaign.lock"), True),
        (OSError(errno.EROFS, "Read-only file system", "run"), True),
        (PermissionError(errno.EACCES, "Permission denied", "/elsewhere"), False),
        (OSError(errno.EIO, "Input/output error", "run/campaign.lock"), False),
    ],
)
def test_what_is_meant_is_the_run_folder(error, meant):
    assert ("cannot be written" in trouble(error, Path("run"))) is meant


@pytest.mark.chaos
def test_of_several_drivers_that_start_at_once_one_runs(tmp_path):
    runs = Runs(tmp_path)
    runs.start(FEW)
    others = [
        subprocess.Popen(
            runs.process.args,
            cwd=ROOT,
            env=runs.environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        for _ in range(3)
    ]
    said = [other.communicate()[1] for other in others]
    statuses = sorted([runs.wait(), *(other.returncode for other in others)])
    # who comes late finds it finished
    assert statuses.count(FINISHED) >= 1
    assert set(statuses) <= {FINISHED, 2}
    refused = [text for text, other in zip(said, others, strict=True) if other.returncode == 2]
    assert all("this campaign is being run by" in text for text in refused)
    assert not any("Traceback" in text for text in (*said, runs.said()))
    state = stored(runs.run_dir)
    assert state.finished
    assert len({one.key for one in state.labelled}) == len(state.labelled) == runs.published()
    runs.nobody_left()

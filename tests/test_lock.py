"""One driver per run folder."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aga.campaign.lock import LOCK_NAME, RunLock, RunLocked, holder, left_behind

HOLD = """
import sys, time
from pathlib import Path
from aga.campaign.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock on tmp_path."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path, other):
    with pytest.raises(RunLocked) as caught, RunLock(tmp_path):
        pass
    assert caught.value.holder["pid"] == other.pid
    assert caught.value.holder["host"] == socket.gethostname()
    for part in (str(other.pid), socket.gethostname(), str(tmp_path), "aga stop"):
        assert part in str(caught.value)
    assert holder(tmp_path)["pid"] == other.pid


def test_a_killed_holder_leaves_no_lock(tmp_path, other):
    other.kill()
    other.wait()
    assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == other.pid
    assert holder(tmp_path) is None
    assert left_behind(tmp_path)["pid"] == other.pid
    with RunLock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()
        assert left_behind(tmp_path) is None
    assert left_behind(tmp_path) is None, "an end is told from a kill"


def test_the_same_process_is_refused_too(tmp_path):
    with RunLock(tmp_path):
        with pytest.raises(RunLocked, match=str(os.getpid())), RunLock(tmp_path):
            pass
        # the refused one must not have taken anything away
        assert holder(tmp_path)["pid"] == os.getpid()


def test_released_on_every_way_out(tmp_path):
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        raise ZeroDivisionError
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        pass
    assert holder(tmp_path) is None
    assert (tmp_path / LOCK_NAME).read_text() == ""


def test_a_long_entry_is_overwritten(tmp_path):
    (tmp_path / LOCK_NAME).write_text("x" * 1000)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()


def test_a_holder_that_has_not_written_yet(tmp_path, other):
    (tmp_path / LOCK_NAME).write_text("")
    with pytest.raises(RunLocked, match="another process"), RunLock(tmp_path):
        pass


def test_a_file_system_without_locks_is_explained(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match="no file locks") as caught, RunLock(tmp_path):
        pass
    assert "local disk" in str(caught.value)


def test_nobody_holds_a_new_folder(tmp_path):
    assert holder(tmp_path) is None
    assert left_behind(tmp_path) is None


def test_it_is_light():
    code = "import sys, aga.campaign.lock; print({'numpy', 'ase', 'dask'} & set(sys.modules))"
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "set()"

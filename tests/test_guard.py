"""A guarded program ends by itself, at its deadline, on request, or with its worker."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from calculators.guard import Limits, run
from calculators.publish import publish_json, read_json

ROOT = Path(__file__).parent.parent
PATIENCE = 30.0  # [s] far above what is needed: these machines may be busy


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            pytest.fail("waited in vain")
        time.sleep(0.02)


def guarded(code, tmp_path, **limits):
    argv = [sys.executable, "-c", textwrap.dedent(code)]
    settings = Limits(**{"deadline": PATIENCE, **limits})
    return run(argv, settings, cwd=tmp_path, log=tmp_path / "log.txt", env=os.environ)


# writes its pid and that of a grandchild, then both sleep; SIGTERM is ignored
FAMILY = """
    import os, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open("pids.tmp", "w").write(f"{os.getpid()} {child.pid}")
    os.rename("pids.tmp", "pids")
    time.sleep(600)
"""


def family(tmp_path):
    return [int(pid) for pid in (tmp_path / "pids").read_text().split()]


def test_status_and_log_of_a_program(tmp_path):
    done = guarded("import sys; print('out'); print('err', file=sys.stderr); exit(7)", tmp_path)
    assert (done.ended_by, done.status) == ("program", 7)
    assert set((tmp_path / "log.txt").read_text().split()) == {"out", "err"}


def test_status_of_a_killed_program(tmp_path):
    done = guarded("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert (done.ended_by, done.status) == ("program", 128 + signal.SIGKILL)


def test_missing_program_is_no_success(tmp_path):
    done = run(
        ["/no/such/program"],
        Limits(deadline=PATIENCE),
        cwd=tmp_path,
        log=tmp_path / "log.txt",
        env=os.environ,
    )
    assert done.ended_by == "program"
    assert done.status != 0
    assert "No such file" in (tmp_path / "log.txt").read_text()


def test_program_runs_in_its_folder_with_its_environment(tmp_path):
    argv = [sys.executable, "-c", "import os; print(os.getcwd(), os.environ.get('MARK'))"]
    settings = {"cwd": tmp_path, "log": tmp_path / "log.txt"}
    run(argv, Limits(deadline=PATIENCE), env={"MARK": "yes"}, **settings)
    assert (tmp_path / "log.txt").read_text().split() == [str(tmp_path), "yes"]


def test_deadline_ends_the_whole_group(tmp_path):
    done = guarded(FAMILY, tmp_path, deadline=2.0)
    assert done.ended_by == "deadline"
    assert done.seconds >= 2.0
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_CHILD_SUBREAPER is Linux's")
@pytest.mark.parametrize("ending", ["", "    sys.exit(0)\n"])
def test_what_leaves_the_group_is_ended_too(tmp_path, ending):
    code = FAMILY.replace('sleep(600)"])', 'sleep(600)"], start_new_session=True)')
    if ending:
        code = code.replace("    time.sleep(600)\n", ending)
    guarded(code, tmp_path, deadline=2.0)
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


def test_stop_on_request(tmp_path):
    done = guarded(FAMILY, tmp_path, should_stop=(tmp_path / "pids").exists)
    assert done.ended_by == "stop"
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


def test_what_a_program_leaves_behind_is_ended(tmp_path):
    done = guarded(FAMILY.replace("    time.sleep(600)\n", ""), tmp_path)
    assert (done.ended_by, done.status) == ("program", 0)
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


def test_exception_while_waiting_ends_the_program(tmp_path):
    def interrupted():
        if (tmp_path / "pids").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        guarded(FAMILY, tmp_path, should_stop=interrupted)
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


def test_memory_limit(tmp_path):
    done = guarded("x = bytearray(10**9)", tmp_path, memory_gb=0.5)
    assert (done.ended_by, done.status) == ("program", 1)
    assert "MemoryError" in (tmp_path / "log.txt").read_text()


WORKER = """
    import os, sys
    from pathlib import Path
    from calculators.guard import Limits, run
    here = Path({folder!r})
    run([sys.executable, "-c", {code!r}], Limits(deadline=600), cwd=here, log=here / "log.txt",
        env=os.environ)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_program_dies_with_its_worker(tmp_path, number):
    code = WORKER.format(folder=str(tmp_path), code=textwrap.dedent(FAMILY))
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT)
    try:
        wait_for((tmp_path / "pids").exists)
        assert all(alive(pid) for pid in family(tmp_path))
    finally:
        worker.send_signal(number)
        worker.wait()
    wait_for(lambda: not any(alive(pid) for pid in family(tmp_path)))


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_program_dies_with_its_watcher(tmp_path):
    def kill_watcher():
        if (tmp_path / "pids").exists():
            psutil.Process(family(tmp_path)[0]).parent().kill()
            wait_for(lambda: not alive(family(tmp_path)[0]))
        return False

    code = """
        import os, time
        open("pids.tmp", "w").write(str(os.getpid()))
        os.rename("pids.tmp", "pids")
        time.sleep(600)
    """
    done = guarded(code, tmp_path, should_stop=kill_watcher)
    assert (done.ended_by, done.status) == ("program", 128 + signal.SIGKILL)


PUBLISHER = """
    import itertools
    from pathlib import Path
    from calculators.publish import publish_json
    for n in itertools.count():
        publish_json(Path({path!r}), [n] * 50_000)
"""


def test_published_file_is_complete_after_kill(tmp_path):
    path = tmp_path / "a" / "b" / "result.json"
    code = textwrap.dedent(PUBLISHER.format(path=str(path)))
    for delay in (0.0, 0.013, 0.029, 0.041):
        publisher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
        wait_for(path.exists)
        time.sleep(delay)
        publisher.kill()
        publisher.wait()
        data = read_json(path)
        assert len(data) == 50_000
        assert len(set(data)) == 1
        path.unlink()


def test_refused_data_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish_json(tmp_path / "x.json", {"energy": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_failed_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    publish_json(path, 1)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        publish_json(path, 2)
    assert read_json(path) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_floats_survive_to_the_last_bit(tmp_path):
    values = [0.1 + 0.2, 1e-320, -0.0, 1 / 3, 1.7976931348623157e308]
    publish_json(tmp_path / "x.json", values)
    assert [value.hex() for value in read_json(tmp_path / "x.json")] == [
        value.hex() for value in values
    ]


def test_a_foreign_file_is_named(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([1, 2])[:-1])
    with pytest.raises(ValueError, match=r"x\.json: damaged, not JSON"):
        read_json(tmp_path / "x.json")

"""Pools: order without workers; dying workers and drivers with them."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest

from calculators.clusters import Cluster, ClusterError
from calculators.clusters import build as build_cluster
from calculators.clusters.local import Local
from calculators.clusters.serial import Serial, SerialCrew
from calculators.pools import Pools
from calculators.task import Task
from tests.campaign.processes import ROOT
from tests.chaos.crowd import Crowd
from tests.pool_work import work

HANG_S = 60.0  # [s] the limit of every wait here; nothing is measured


def until(condition, what):
    end = time.monotonic() + HANG_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return value


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def collect(pools, n):
    done = []
    end = time.monotonic() + HANG_S
    while len(done) < n:
        assert time.monotonic() < end, f"only {len(done)} of {n} outcomes arrived"
        done += pools.completed(1.0)
    return done


def pids(pools):
    return {row["name"]: row["pid"] for row in pools.workers()}


def full_house(pools, size):
    """The workers' pids once all of them have reported one."""
    return until(lambda: len(p := pids(pools)) == size and all(p.values()) and p, "all workers")


# without workers


class Steady(Cluster):
    """So many slots, of which one is free whenever somebody asks."""

    kind: str = "steady"
    size: int

    def open(self, work, needs=None):
        return SteadyCrew(work, self.size)


class SteadyCrew(SerialCrew):
    def __init__(self, work, size):
        super().__init__(work)
        self.size = size

    def slots(self, pool):
        return self.size if pool == "dft" else 1


@pytest.mark.parametrize(("slots", "ahead", "together"), [(1, 1, 1), (15, 1, 1), (64, 8, 4)])
def test_of_many_slots_some_tasks_wait_and_some_outcomes_are_handed_out_together(
    slots, ahead, together
):
    with Pools(Steady(size=slots), work) as pools:
        assert pools.free("dft") == slots + ahead
        for ordinal in range(slots + ahead):
            pools.submit(Task(ordinal, "label", "k"))
        assert pools.free("dft") == 0
        assert [task.ordinal for task, _ in pools.completed(HANG_S)] == [*range(together)]
        # an outcome of a pool with few slots is not kept
        pools.submit(Task(1000, "train", "k"))
        pools.submit(Task(1001, "train", "k"))
        while any(n < 1000 for n in pools.in_flight()):
            assert pools.completed(HANG_S)
        assert [task.ordinal for task, _ in pools.completed(HANG_S)] == [1000]


def test_outcomes_that_do_not_fill_up_are_handed_out_in_time():
    with Pools(Steady(size=64), work) as pools:
        for ordinal in range(3):
            pools.submit(Task(ordinal, "label", "k"))
        assert [task.ordinal for task, _ in pools.completed(HANG_S)] == [0, 1, 2]
        assert pools.completed(0.0) == []


def test_serial_runs_in_the_order_of_submission():
    with Pools(Serial(), work) as pools:
        for ordinal, kind in [(5, "train"), (2, "label"), (9, "evolve"), (1, "relax")]:
            pools.submit(Task(ordinal, kind, "k"))
        order = []
        while pools.in_flight():
            order += [task.ordinal for task, _ in pools.completed(0.0)]
        assert order == [5, 2, 9, 1]


def test_an_interrupted_serial_task_stays_in_flight():
    def interrupted(task):
        raise KeyboardInterrupt

    with Pools(Serial(), interrupted) as pools:
        pools.submit(Task(3, "label", "k"))
        with pytest.raises(KeyboardInterrupt):
            pools.completed(1.0)
        assert pools.in_flight() == {3}


# with workers


@pytest.fixture
def local():
    cluster = Local(dft_workers=2, allowed_failures=1)
    with Pools(cluster, work) as pools:
        yield pools


@pytest.mark.dask
def test_a_killed_worker_is_replaced_and_its_task_runs_again(local, tmp_path):
    before = full_house(local, 4)
    local.submit(Task(0, "label", "k", {"do": "hold", "folder": str(tmp_path)}))
    (mark,) = until(lambda: list(tmp_path.glob("run-0-*")), "the task to start")
    victim = int(mark.name.split("-")[2])
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(list(tmp_path.glob("run-0-*"))) == 2, "the second run")
    (tmp_path / "go").touch()
    ((task, outcome),) = collect(local, 1)
    assert task.ordinal == 0
    assert outcome["ok"]["pid"] != victim
    after = until(
        lambda: len(p := pids(local)) == 4 and victim not in p.values() and p, "4 workers"
    )
    assert set(after) == set(before)


@pytest.mark.dask
def test_a_worker_is_busy_while_its_task_runs(local, tmp_path):
    def busy():
        return [row["pool"] for row in local.workers() if row["state"] == "busy"]

    full_house(local, 4)
    assert busy() == []
    local.submit(Task(0, "label", "k", {"do": "hold", "folder": str(tmp_path)}))
    until(lambda: busy() == ["dft"], "one worker to be busy")
    (tmp_path / "go").touch()
    collect(local, 1)
    until(lambda: busy() == [], "all workers to be idle")


@pytest.mark.dask
def test_a_task_that_kills_its_workers_is_a_transient_failure(local):
    local.submit(Task(0, "label", "bad", {"do": "die"}))
    local.submit(Task(1, "evolve", "good"))
    outcomes = {task.ordinal: outcome for task, outcome in collect(local, 2)}
    assert "ok" in outcomes[1]
    assert outcomes[0]["failure"]["kind"] == "transient"
    assert "died (2 times)" in outcomes[0]["failure"]["reason"]
    assert outcomes[0]["meta"]["started"] <= outcomes[0]["meta"]["finished"]
    local.submit(Task(2, "label", "good"))
    assert "ok" in collect(local, 1)[0][1]


@pytest.mark.dask
def test_an_outcome_lost_with_its_worker_is_computed_again(local):
    before = full_house(local, 4)
    local.submit(Task(0, "train", "k"))
    until(local._crew._arrived.qsize, "the task to finish")
    # the outcome is in the worker's memory only
    os.kill(before["train-0"], signal.SIGKILL)
    until(lambda: before["train-0"] not in pids(local).values(), "the worker to be missed")
    ((_, outcome),) = collect(local, 1)
    assert outcome["ok"]["pid"] != before["train-0"]


@pytest.mark.dask
def test_what_dask_says_in_a_worker_is_not_for_the_user(capfd):
    with Pools(Local(dft_workers=1), work) as pools:
        pools.submit(Task(0, "label", "k", {"do": "log"}))
        ((_, outcome),) = collect(pools, 1)
    assert "ok" in outcome
    assert "heartbeat" not in capfd.readouterr().err


@pytest.mark.dask
def test_a_lost_scheduler_is_told_in_a_sentence():
    """Dask's client would log a traceback, if it is closed while it tries to connect again."""
    from distributed.client import logger as client  # with the level that Dask gives it

    before = client.level
    crowd = Crowd({**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        crowd.see_to_it()
        with Pools(build_cluster(crowd.settings), work) as pools:
            pools.submit(Task(0, "label", "k"))
            collect(pools, 1)
            assert not client.isEnabledFor(logging.ERROR)
            pools.submit(Task(1, "label", "k", {"do": "sleep", "seconds": 30}))
            crowd.scheduler.kill()
            with pytest.raises(ClusterError, match="connection to Dask's scheduler is lost"):
                collect(pools, 1)
    finally:
        crowd.send_home()
    assert client.level == before


@pytest.mark.dask
def test_a_lost_nanny_is_replaced(local):
    import dask

    before = full_house(local, 4)
    cluster = local._crew._client.cluster
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}):
        cluster.sync(cluster.workers["train-0"].close)
        until(lambda: "train-0" not in cluster.workers, "the cluster to miss it")
    local.submit(Task(0, "train", "k"))
    ((_, outcome),) = collect(local, 1)
    assert outcome["meta"]["worker"] == "train-0"
    assert outcome["ok"]["pid"] != before["train-0"]


@pytest.mark.dask
def test_a_waiting_task_takes_the_first_free_slot(local, tmp_path):
    # sent to a worker at once, it might stand behind the task that never ends
    for ordinal in range(0, 12, 3):
        folder = tmp_path / str(ordinal)
        folder.mkdir()
        local.submit(Task(ordinal, "label", "long", {"do": "hold", "folder": str(folder)}))
        local.submit(Task(ordinal + 1, "label", "short"))
        local.submit(Task(ordinal + 2, "label", "waits"))
        assert {task.ordinal for task, _ in collect(local, 2)} == {ordinal + 1, ordinal + 2}
        (folder / "go").touch()
        collect(local, 1)


@pytest.mark.dask
def test_threads_are_limited_before_libraries_load(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    with Pools(Local(dft_workers=1, threads_per_task=3), work) as pools:
        pools.submit(Task(0, "label", "k", {"do": "environ"}))
        ((_, outcome),) = collect(pools, 1)
    assert outcome["ok"]["omp"] == "3"


@pytest.mark.dask
def test_chaos_every_task_is_reported_once():
    """Workers die all the time; nothing is lost, nothing is reported twice."""
    todo = [Task(i, "label", f"k{i}", {"do": "sleep", "seconds": 0.2}) for i in range(24)]
    done = []
    kills = 0
    with Pools(Local(dft_workers=2), work) as pools:
        end = time.monotonic() + HANG_S
        while len(done) < 24:
            assert time.monotonic() < end, f"only {len(done)} of 24 done"
            while todo and pools.free("dft"):
                pools.submit(todo.pop(0))
            done += pools.completed(0.5)
            if len(done) >= 5 * (kills + 1) and kills < 4:
                victims = [r["pid"] for r in pools.workers() if r["pool"] == "dft" and r["pid"]]
                if victims:
                    os.kill(victims[kills % len(victims)], signal.SIGKILL)
                    kills += 1
        assert pools.in_flight() == frozenset()
    assert sorted(task.ordinal for task, _ in done) == list(range(24))
    assert all("ok" in outcome for _, outcome in done)
    assert kills >= 3


# opening a cluster


@pytest.mark.dask
def test_a_worker_killed_while_it_starts_does_not_stop_the_opening(tmp_path, monkeypatch, caplog):
    from calculators.clusters import _dask_local

    mark = tmp_path / "killed"
    # the first worker that comes by; exclusive creation: only one of them
    suicide = (
        "import os, signal\n"
        "try:\n"
        f"    os.close(os.open({str(mark)!r}, os.O_CREAT | os.O_EXCL))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "except FileExistsError:\n"
        "    pass\n"
    )
    made = _dask_local._workers

    def workers(local):
        found = made(local)
        for worker in found.values():
            worker["options"]["preload"] = [suicide, *worker["options"]["preload"]]
        return found

    monkeypatch.setattr(_dask_local, "_workers", workers)
    with Pools(Local(dft_workers=1), work) as pools:
        assert mark.exists()
        pools.submit(Task(0, "label", "k"))
        assert "ok" in collect(pools, 1)[0][1]
    assert [record.levelname for record in ours(caplog)] == ["WARNING"]
    assert "opening 1 of 3" in ours(caplog)[0].getMessage()


def ours(caplog):
    return [record for record in caplog.records if record.name.startswith("calculators")]


def test_a_cluster_that_never_opens_is_an_error_that_says_so(monkeypatch, caplog):
    from calculators.clusters import _dask_local

    tries = []

    def fails(local):
        tries.append(local)
        raise RuntimeError("LocalNanny failed to start.")

    monkeypatch.setattr(_dask_local, "_cluster", fails)
    with pytest.raises(ClusterError, match=r"expected 4 workers.*3 times.*LocalNanny.*serial"):
        Local(dft_workers=2).open(work)
    assert len(tries) == 3
    assert len(ours(caplog)) == 3


def test_a_client_that_has_lost_its_scheduler_knows_no_workers_and_says_so():
    """Killed, it leaves an empty answer behind for a moment."""
    from calculators.clusters import _dask_crew

    class Lost:
        def scheduler_info(self, n_workers):
            return {}

    with pytest.raises(ClusterError, match="connection to Dask's scheduler is lost"):
        _dask_crew.rows(Lost())


def test_nobody_is_overlooked_while_the_client_asks_for_summaries():
    """Dask's client keeps one answer for all who ask the scheduler."""
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        Pools(Local(dft_workers=1), work) as pools,
    ):
        assert {len(pools.workers()) for _ in range(1000)} == {3}


DRIVER = """
import sys, time
from calculators.clusters.local import Local
from calculators.pools import Pools
from calculators.task import Task
from tests.campaign.processes import ROOT
from tests.chaos.crowd import Crowd
from tests.pool_work import work

if __name__ == "__main__":
    with Pools(Local(dft_workers=1), work) as pools:
        pools.submit(Task(0, "label", "k", {"do": sys.argv[1], "folder": sys.argv[2]}))
        while not all(row["pid"] for row in pools.workers()):
            time.sleep(0.05)
        print(*(row["pid"] for row in pools.workers()), flush=True)
        try:
            pools.completed(1000.0)
        except KeyboardInterrupt:
            pass
    print("closed")
"""


@pytest.fixture
def driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    started = []

    def start(do):
        process = subprocess.Popen(
            [sys.executable, str(script), do, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        workers = [int(word) for word in process.stdout.readline().split()]
        assert len(workers) == 3
        return process, workers

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.dask
def test_workers_end_with_a_killed_driver(driver, tmp_path):
    process, workers = driver("hold")
    until(lambda: list(tmp_path.glob("run-0-*")), "the task to start")
    assert not any(gone(pid) for pid in workers)
    process.kill()
    until(lambda: all(gone(pid) for pid in workers), "the workers to end")


@pytest.mark.dask
def test_ctrl_c_ends_quietly(driver, tmp_path):
    process, workers = driver("program")
    until((tmp_path / "ready").exists, "the program to start")
    # what a terminal does: everything in the foreground group gets the signal
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=HANG_S)
    assert out == "closed\n"
    assert err == ""
    assert process.returncode == 0
    assert all(gone(pid) for pid in workers)
    assert not (tmp_path / "interrupted").exists(), "programs of tasks must not see Ctrl-C"

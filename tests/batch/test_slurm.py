"""Jobs of a real Slurm: what is lost is replaced, and nothing is left behind."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from calculators.clusters import ClusterError, Needs, build
from calculators.clusters._queue import Queue
from calculators.pools import Pools
from calculators.task import Task
from tests.batch.slurm_site import until
from tests.campaign.processes import ROOT, listening
from tests.pool_work import work
from tests.test_pools import collect, gone

pytestmark = [pytest.mark.slurm, pytest.mark.dask]

POOL = {"job_memory_gb": 1.0, "walltime_min": 30, "queue": "cpu"}
IN_QUEUE = ("PD", "CF", "R", "S")


def settings(**changes):
    """One job per pool, quick reactions."""
    data = {
        "kind": "slurm",
        "interface": "lo",
        "poll_s": 1,
        "search": POOL,
        "dft": POOL,
        "train": {**POOL, "queue": "gpu", "gpus": 1},
        **{key: value for key, value in changes.items() if not isinstance(value, dict)},
    }
    for pool in ("search", "dft", "train"):
        data[pool] = {**data[pool], **changes.get(pool, {})}
    return build(data)


@pytest.fixture
def pools(slurm, tmp_path, monkeypatch):
    """Opens pools on Slurm."""
    monkeypatch.setattr("calculators.clusters._dask_crew.SUPERVISE_S", 0.5)
    monkeypatch.setattr("calculators.clusters._staff.MISSED_S", 0.5)
    opened = []

    def make(seconds=60.0, **changes):
        made = Pools(settings(**changes), work, Needs(tmp_path / "run", {"dft": seconds}))
        opened.append(made)
        return made

    yield make
    for made in opened:
        made.close()


def running(site):
    return site.jobs("R")


def ended(site, number, state):
    """A job ends like this; on a busy machine it is COMPLETING for a while."""
    until(lambda: site.job(number)["JobState"] == state, f"{state} of {number}")


def started(folder, ordinal, times=1):
    """Pids of the runs of a task that holds."""
    marks = sorted(folder.glob(f"run-{ordinal}-*"))
    return len(marks) >= times and [int(mark.name.split("-")[2]) for mark in marks]


def hold(pools, folder, ordinal=0, kind="label"):
    pools.submit(Task(ordinal, kind, f"k{ordinal}", {"do": "hold", "folder": str(folder)}))


def ticking(pools, condition, what):
    """Wait for something while the driver looks after its workers."""

    def look():
        assert pools.completed(0.1) == []
        return condition()

    return until(look, what)


def test_jobs_come_with_work_and_go_without(pools, slurm):
    made = pools(idle_min=0.0, train={"prologue": ["export WORD=prologue"]})
    assert slurm.jobs(*IN_QUEUE) == {}
    for name, value in (("CUDA_VISIBLE_DEVICES", "0"), ("WORD", "prologue")):
        made.submit(Task(0, "train", "a", {"do": "variable", "name": name}))
        assert collect(made, 1)[0][1]["ok"]["value"] == value
    [(number, name)] = slurm.jobs(*IN_QUEUE).items()
    assert slurm.job(number)["Partition"] == "gpu"
    # it leaves while the driver waits for another pool
    made.submit(Task(2, "label", "c", {"do": "sleep", "seconds": 4.0}))
    collect(made, 1)
    until(lambda: name not in slurm.jobs(*IN_QUEUE).values(), "the idle job to end")
    ended(slurm, number, "COMPLETED")
    # and comes back
    made.submit(Task(3, "train", "d"))
    ((_, outcome),) = collect(made, 1)
    assert outcome["meta"]["worker"] != name


def test_a_pool_grows_to_its_jobs_and_no_further(pools, slurm, tmp_path):
    made = pools(dft={"max_jobs": 2, "workers_per_job": 2, "cores": 2})
    inputs = {"do": "hold", "folder": str(tmp_path)}
    todo = [Task(i, "label", f"k{i}", inputs) for i in range(12)]
    done, most = [], 0
    while len(done) < 12:
        while todo and made.free("dft"):
            made.submit(todo.pop())
        done += made.completed(0.5)
        most = max(most, len(slurm.jobs(*IN_QUEUE)))
        if len({mark.name.split("-")[2] for mark in tmp_path.glob("run-*")}) == 4:
            (tmp_path / "go").touch()  # not before every worker has a task
    assert most == 2
    assert made.slots("dft") == 4
    assert all("ok" in outcome for _, outcome in done)
    assert len({outcome["meta"]["worker"] for _, outcome in done}) == 4


def test_cancelled_jobs_are_replaced(pools, slurm, tmp_path):
    made = pools()
    hold(made, tmp_path)
    (victim,) = ticking(made, lambda: started(tmp_path, 0), "the task to start")
    slurm.run("scancel", *running(slurm))
    ticking(made, lambda: started(tmp_path, 0, 2), "the second run")
    (tmp_path / "go").touch()
    ((_, outcome),) = collect(made, 1)
    assert outcome["ok"]["pid"] != victim


def test_a_job_cancelled_before_it_started_is_replaced(pools, slurm, monkeypatch):
    monkeypatch.setattr("calculators.clusters._ranks.SETTLE_S", 1.0)
    made = pools(dft={"directives": ["--begin=now+1hour"]})
    made.submit(Task(0, "label", "k"))
    ticking(made, lambda: slurm.jobs("PD"), "a job that waits")
    [first] = slurm.jobs("PD")
    slurm.run("scancel", first)
    ticking(made, lambda: slurm.jobs("PD"), "another one")
    [second] = slurm.jobs("PD")
    assert second != first
    assert made.slots("dft") == 1, "a job that waits is counted on"
    slurm.run("scontrol", "update", f"JobId={second}", "StartTime=now")
    collect(made, 1)


def test_workers_leave_before_the_walltime_and_lose_nothing(pools, slurm, monkeypatch, tmp_path):
    # a job of one minute whose workers take tasks for five seconds
    monkeypatch.setattr("calculators.clusters._batch.LEAVE_S", 5.0)
    monkeypatch.setattr("calculators.clusters._batch.USEFUL_S", 5.0)
    made = pools(seconds=50.0, dft={"walltime_min": 1})
    done, ordinal = [], 0
    while len({outcome["meta"]["worker"] for _, outcome in done}) < 2:
        while made.free("dft"):
            folder = {"do": "mark", "folder": str(tmp_path), "seconds": 1.0}
            made.submit(Task(ordinal, "label", f"k{ordinal}", folder))
            ordinal += 1
        done += made.completed(1.0)
    done += collect(made, len(made.in_flight()))
    assert all("ok" in outcome for _, outcome in done)
    assert len(list(tmp_path.glob("run-*"))) == ordinal, "no task ran twice"


@pytest.mark.slow
def test_a_job_that_is_cut_off_by_the_walltime_is_replaced(pools, slurm, tmp_path):
    made = pools()
    hold(made, tmp_path)
    ticking(made, lambda: started(tmp_path, 0), "the task to start")
    [number] = running(slurm)
    slurm.run("scontrol", "update", f"JobId={number}", "EndTime=now+2")
    ticking(made, lambda: started(tmp_path, 0, 2), "the second run")  # Slurm looks every 30 s
    ended(slurm, number, "TIMEOUT")
    (tmp_path / "go").touch()
    collect(made, 1)


@pytest.mark.slow
def test_a_lost_node_is_survived(pools, slurm, tmp_path):
    made = pools()
    hold(made, tmp_path)
    ticking(made, lambda: started(tmp_path, 0), "the task to start")
    [number] = running(slurm)
    node = slurm.job(number)["NodeList"]
    slurm.lose_node(node)
    try:
        # Slurm notices after 10 s or more; the other node takes the next job
        ticking(made, lambda: started(tmp_path, 0, 2), "the second run")
        ended(slurm, number, "NODE_FAIL")
        (tmp_path / "go").touch()
        collect(made, 1)
    finally:
        slurm.start_node(node)
        until(lambda: slurm.node_states()[node] in ("idle", "mixed"), "the node to be back")


def test_a_job_over_its_memory_is_a_transient_failure_of_its_task(pools, caplog):
    made = pools(
        allowed_failures=0, poll_s=1, dft={"job_memory_gb": 0.4, "memory_gb": 4.0, "max_jobs": 1}
    )
    made.submit(Task(0, "label", "bad", {"do": "eat", "bytes": 2 * 10**9}))
    ((_, outcome),) = collect(made, 1)
    assert outcome["failure"]["kind"] == "transient"
    assert "died (1 times)" in outcome["failure"]["reason"]
    assert "died while running" in caplog.text
    made.submit(Task(1, "label", "good"))
    assert "ok" in collect(made, 1)[0][1], "another job goes on"


def test_a_partition_that_is_closed_for_a_while(pools, slurm, monkeypatch, caplog):
    monkeypatch.setattr("calculators.clusters._ranks.HOLD_S", 1.0)
    made = pools()
    made.submit(Task(0, "label", "k0"))
    collect(made, 1)
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=DRAIN")
    try:
        slurm.run("scancel", *running(slurm))
        # a job that is completing does not run, and its worker may still take a task
        until(lambda: not running(slurm) and not made.workers(), "the job and its worker to end")
        made.submit(Task(1, "label", "k1"))
        ticking(made, lambda: "not available" in caplog.text, "a job to be refused")
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    ((_, outcome),) = collect(made, 1)
    assert "ok" in outcome


def test_a_queue_that_is_not_there_ends_the_campaign_with_slurms_words(pools):
    made = pools(dft={"queue": "nowhere"})
    made.submit(Task(0, "label", "k"))
    with pytest.raises(ClusterError, match=r"pool dft.*3 tries.*sbatch.*invalid partition"):
        collect(made, 1)


def test_a_job_that_fails_at_once_ends_the_campaign_with_its_last_words(pools, monkeypatch):
    monkeypatch.setattr("calculators.clusters._ranks.SETTLE_S", 1.0)
    made = pools(dft={"prologue": ["module load nonsense", "exit 3"]})
    made.submit(Task(0, "label", "k"))
    with pytest.raises(ClusterError, match=r"pool dft.*module: command not found.*\.log"):
        collect(made, 1)


def test_a_dead_scheduler_is_no_failure_of_tasks(pools, slurm, tmp_path):
    made = pools()
    hold(made, tmp_path)
    ticking(made, lambda: started(tmp_path, 0), "the task to start")
    scheduler = next(
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and "calculators.clusters._scheduler" in child.cmdline()
    )
    scheduler.kill()
    with pytest.raises(ClusterError, match="connection to Dask's scheduler is lost"):
        collect(made, 1)
    assert made.in_flight() == {0}


DRIVER = """
import sys
from pathlib import Path
from calculators.clusters import Needs
from calculators.pools import Pools
from calculators.task import Task
from aga.campaign.interrupts import polite
from tests.batch.test_slurm import settings
from tests.pool_work import work

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with polite():
        try:
            with Pools(settings(search={"directives": ["--begin=now+1hour"]}), work,
                       Needs(folder / "run", {"dft": 60.0})) as pools:
                pools.submit(Task(0, "label", "k", {"do": "hold", "folder": str(folder)}))
                pools.submit(Task(1, "seed", "waits"))
                pools.completed(1000.0)
        except KeyboardInterrupt:
            print("closed")
"""


@pytest.fixture
def driver(slurm, tmp_path):
    """A driver in a process of its own, with one job that runs and one that waits."""
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    with listening():
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    until(lambda: started(tmp_path, 0) and slurm.jobs("PD"), "both jobs")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_driver_that_is_asked_to_end_leaves_no_job(driver, slurm, tmp_path, number):
    (worker,) = started(tmp_path, 0)
    # what a terminal does with Ctrl-C: the whole foreground group gets it
    os.killpg(driver.pid, number)
    out, err = driver.communicate(timeout=60)
    assert out == "closed\n", err
    assert slurm.jobs(*IN_QUEUE) == {}
    until(lambda: gone(worker), "the worker to end")


def test_the_next_start_ends_what_a_killed_driver_has_left(driver, pools, slurm, tmp_path, caplog):
    driver.kill()
    driver.wait()
    left = sorted(slurm.jobs(*IN_QUEUE).values())
    assert len(left) == 2
    made = pools()  # the same folder
    assert f"ended 2 jobs that a killed driver had left: {', '.join(left)}" in caplog.text
    assert slurm.jobs(*IN_QUEUE) == {}
    made.submit(Task(0, "seed", "k"))
    collect(made, 1)
    assert set(slurm.jobs(*IN_QUEUE).values()).isdisjoint(left), "no name is used twice"


@pytest.mark.slow
def test_jobs_of_a_killed_driver_end_by_themselves_once_they_run(driver, slurm, tmp_path):
    driver.kill()
    driver.wait()
    until(lambda: not running(slurm), "the worker to miss its scheduler")  # up to 30 s of Dask's
    assert len(slurm.jobs("PD")) == 1
    slurm.run("scancel", *slurm.jobs("PD"))


def test_jobs_of_others_are_left_alone(slurm, pools):
    command = ["sbatch", "-o", "/dev/null", "-J", "aga-000000-d1", "--wrap", "sleep 100"]
    other = slurm.run(*command).split()[-1]
    try:
        pools()
        queue = Queue(settings(), "aga-000000-")
        assert list(queue.mine()) == [other]
        assert list(slurm.jobs(*IN_QUEUE)) == [other]
    finally:
        slurm.run("scancel", other)
    until(lambda: not queue.mine(), "it to end")

"""A whole campaign on a real Slurm, killed on the way; PBS commands in front of the same Slurm."""

import shutil
import signal
from contextlib import contextmanager

import pytest

from aga.campaign.run import FINISHED
from calculators.clusters import ClusterError, Needs, build
from calculators.pools import Pools
from calculators.task import Task
from tests.batch.slurm_site import WAIT_S, until
from tests.batch.test_slurm import IN_QUEUE, POOL, settings
from tests.campaign.builders import config, stored
from tests.chaos.test_kills import check
from tests.pool_work import work
from tests.test_pools import collect

pytestmark = [pytest.mark.slurm, pytest.mark.dask]


def written(runs):
    """When each label was written [ns]."""
    found = runs.run_dir.glob("labels/*/*/result.json")
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_campaign_is_killed_and_goes_on_and_computes_no_finished_label_twice(slurm, runs):
    small = config(
        cluster=settings(dft={"max_jobs": 2}, interface="lo").model_dump(mode="json"),
        search={"initial_labels": 4, "batch": 4},
        budget={"labels": 10, "confirm_reserve": 2},
    )
    runs.stop_when(small, lambda: runs.published() >= 2, signal.SIGKILL)
    # the workers of the first start have ended: what runs now is of the second
    runs.stop_when(small, lambda: slurm.jobs("R"), signal.SIGTERM)
    assert slurm.jobs(*IN_QUEUE) == {}
    finished = written(runs)
    runs.start(small)
    # the first training may have to compile
    assert runs.process.wait(400) == FINISHED, runs.said()
    runs.nobody_left()
    assert written(runs).items() >= finished.items()
    labels = stored(runs.run_dir).labelled
    assert len(labels) >= 4
    workers = {one.name for one in (runs.run_dir / "jobs").glob("*.sh")}
    assert any("-t" in name for name in workers), "training had a job of its own"


class Trouble:
    """What happens to the jobs of a campaign, while labels are held in the middle.

    Args:
        site: Slurm.
        runs: the campaign.
        folder: of the engine's gate.
    """

    def __init__(self, site, runs, folder):
        self._site, self._runs, self._hold = site, runs, folder / "hold"

    @contextmanager
    def in_the_middle(self):
        """The job of a label that has begun; when the block ends, labels go on and some arrive."""
        self._hold.touch()
        held = {*self._hold.parent.glob("held-*")}
        self._until(lambda: {*self._hold.parent.glob("held-*")} - held, "a label in the middle")
        before = self._runs.published()
        try:
            yield self._labelling()[0]
        finally:
            self._hold.unlink()
        self._until(lambda: self._runs.published() >= before + 2, "labels")

    def ended(self, number, state):
        """A job ends like this, and another takes its place."""
        self._until(lambda: self._site.job(number)["JobState"] == state, f"{state} of {number}")
        self._until(lambda: {*self._labelling()} - {number}, "another job")

    def refused(self):
        """The driver hears that no job can be submitted."""
        self._until(lambda: "not available" in self._runs.said(), "a refusal")

    def _labelling(self):
        return [number for number, name in self._site.jobs("R").items() if "-d" in name]

    def _until(self, condition, what):
        def look():
            assert self._runs.process.poll() is None, self._runs.said()
            return condition()

        until(look, what, 3 * WAIT_S)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_campaign_loses_a_node_all_jobs_its_time_and_its_partition(slurm, runs, tmp_path):
    small = config(
        cluster=settings(dft={"max_jobs": 2}).model_dump(mode="json"),
        engine={
            "kind": "ase",
            "path": "tests.campaign.moody.Gated",
            "arguments": {"folder": str(tmp_path)},
            "memory_gb": 0.0,
        },
        search={"initial_labels": 6, "batch": 6},
        stop={"patience_labels": 1000, "patience_proposals": 0},
        budget={"labels": 20, "confirm_reserve": 3},
    )
    trouble = Trouble(slurm, runs, tmp_path)
    runs.start(small)
    with trouble.in_the_middle() as job:
        node = slurm.job(job)["NodeList"]
        slurm.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        trouble.ended(job, "NODE_FAIL")
        slurm.bring_back(node)
    with trouble.in_the_middle() as job:
        slurm.run("scancel", *slurm.jobs(*IN_QUEUE))
        trouble.ended(job, "CANCELLED")
    with trouble.in_the_middle() as job:
        slurm.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")
        trouble.ended(job, "TIMEOUT")  # Slurm looks every 30 s
    with trouble.in_the_middle() as job:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=DRAIN")
        try:
            slurm.run("scancel", *slurm.jobs(*IN_QUEUE))
            trouble.refused()
        finally:
            slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    assert runs.process.wait(400) == FINISHED, runs.said()
    assert slurm.jobs(*IN_QUEUE) == {}
    runs.nobody_left()
    check(runs.run_dir, 20)


@pytest.mark.skipif(shutil.which("qsub") is None, reason="slurm-wlm-torque is not installed")
def test_pbs_commands_in_front_of_slurm(slurm, tmp_path, monkeypatch):
    """Debian's slurm-wlm-torque: what Torque's qsub, qstat and qdel understand and say."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    pool = {**POOL, "resources": "nodes=1:ppn=1,mem=500mb"}
    nowhere = {**pool, "queue": "nowhere"}
    cluster = build(
        {
            "kind": "pbs",
            "interface": "lo",
            "poll_s": 1,
            "search": pool,
            "dft": pool,
            "train": nowhere,
        }
    )
    with Pools(cluster, work, Needs(tmp_path / "run", {"dft": 60.0})) as pools:
        pools.submit(Task(0, "label", "k"))
        ((_, outcome),) = collect(pools, 1)
        assert outcome["meta"]["worker"] in slurm.jobs("R").values()
        # one that is lost is seen in qstat, and replaced
        slurm.run("scancel", *slurm.jobs("R"))
        until(lambda: not pools.workers(), "the end of its worker, which takes tasks until then")
        pools.submit(Task(1, "label", "k"))
        ((_, again),) = collect(pools, 1)
        assert again["meta"]["worker"] != outcome["meta"]["worker"]
        until(lambda: slurm.jobs("R"), "the other job")
        pools.submit(Task(2, "train", "k"))
        with pytest.raises(ClusterError, match=r"(?s)qsub .*invalid partition specified: nowhere"):
            collect(pools, 1)
    assert slurm.jobs(*IN_QUEUE) == {}
    for one in (outcome, again):
        log = tmp_path / "run/jobs" / f"{one['meta']['worker']}.log"
        assert "Start worker at" in log.read_text()
    assert list(here.iterdir()) == [], "output of jobs has landed in the current folder"

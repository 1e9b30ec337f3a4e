"""A whole campaign on a real Slurm, killed on the way; PBS commands in front of the same Slurm."""

import os
import shutil
import signal

import pytest

from aga.campaign.run import FINISHED
from aga.campaign.store import Store
from calculators.clusters import Needs, build
from calculators.pools import Pools
from calculators.task import Task
from tests.batch.slurm_site import until
from tests.batch.test_slurm import IN_QUEUE, POOL, settings
from tests.campaign.builders import config
from tests.campaign.processes import Runs
from tests.pool_work import work
from tests.test_pools import collect

pytestmark = [pytest.mark.slurm, pytest.mark.dask]


def written(runs):
    """When each label was written [ns]."""
    found = runs.run_dir.glob("labels/*/*/result.json")
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_campaign_is_killed_and_goes_on_and_computes_no_finished_label_twice(slurm, tmp_path):
    runs = Runs(tmp_path)
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
    try:
        # the first training may have to compile
        assert runs.process.wait(400) == FINISHED, runs.said()
    finally:
        if runs.process.poll() is None:
            os.kill(runs.process.pid, signal.SIGTERM)
    runs.nobody_left()
    assert written(runs).items() >= finished.items()
    store = Store(runs.run_dir, readonly=True)
    labels = store.state().labelled
    store.close()
    assert len(labels) >= 4
    workers = {one.name for one in (runs.run_dir / "jobs").glob("*.sh")}
    assert any("-t" in name for name in workers), "training had a job of its own"


@pytest.mark.skipif(shutil.which("qsub") is None, reason="slurm-wlm-torque is not installed")
def test_pbs_commands_in_front_of_slurm(slurm, tmp_path):
    """Debian's slurm-wlm-torque: what Torque's qsub, qstat and qdel understand and say."""
    pool = {**POOL, "resources": "nodes=1:ppn=1,mem=500mb"}
    cluster = build(
        {"kind": "pbs", "interface": "lo", "poll_s": 1, "search": pool, "dft": pool, "train": pool}
    )
    with Pools(cluster, work, Needs(tmp_path / "run", {"dft": 60.0})) as pools:
        pools.submit(Task(0, "label", "k"))
        ((_, outcome),) = collect(pools, 1)
        assert outcome["meta"]["worker"] in slurm.jobs("R").values()
        # one that is lost is seen in qstat, and replaced
        slurm.run("scancel", *slurm.jobs("R"))
        pools.submit(Task(1, "label", "k"))
        ((_, again),) = collect(pools, 1)
        assert again["meta"]["worker"] != outcome["meta"]["worker"]
        until(lambda: slurm.jobs("R"), "the other job")
    assert slurm.jobs(*IN_QUEUE) == {}

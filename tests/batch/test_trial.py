"""`aga check --submit`: do workers come up in every pool, and find what a campaign needs?"""

import os
import sys
import sysconfig

import pytest

from aga import cli
from aga.campaign.trial import look
from aga.config import resolved
from calculators.task import Task
from tests.batch.fake_batch import install, jobs
from tests.campaign.builders import config
from tests.campaign.processes import ROOT

pytestmark = pytest.mark.dask

CAMPAIGN = """\
name: tried
composition: {{Cu: 2}}
engine: {engine}
cluster:
  kind: {kind}
  interface: lo
  poll_s: 1
  python: {python}
  search: {search}
  dft: {dft}
  train: {train}
"""


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs the command on a cluster; its exit code and what it says."""
    monkeypatch.setattr("calculators.clusters._dask_crew.SUPERVISE_S", 0.5)
    monkeypatch.setattr("calculators.clusters._ranks.SETTLE_S", 1.0)

    def run(kind="slurm", engine="{kind: emt}", python=sys.executable, **pools):
        shown = dict.fromkeys(("search", "dft", "train"), "{}") | pools
        path = tmp_path / "campaign.yaml"
        path.write_text(CAMPAIGN.format(kind=kind, engine=engine, python=python, **shown))
        with pytest.raises(SystemExit) as ended:
            cli.main(["check", str(path), "--submit", "--run-dir", str(tmp_path / "run")])
        return ended.value.code or 0, capsys.readouterr().err

    return run


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """The folder of stand-ins for Slurm's commands; no job may be left in the end."""
    folder = tmp_path / "bin"
    folder.mkdir()
    install("slurm", folder)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield folder
    assert jobs(folder) == {}


def test_every_pool_says_what_its_worker_found(check, queue):
    code, said = check()
    assert code == 0, said
    for pool in ("search", "dft", "train"):
        assert f"  workers  {pool}: {os.uname().nodename}, Python 3." in said
    assert "torch" in said
    assert said.endswith("  ok: start it with `aga run`\n")


def test_a_queue_that_refuses(check, queue):
    code, said = check(dft="{queue: no_such_queue}")
    assert code == 2
    assert "no worker of the pool dft came up in 3 tries, at last: sbatch " in said
    assert "unknown queue: no_such_queue" in said
    assert "Traceback" not in said
    assert "ok: start it" not in said


def test_a_job_that_never_starts(check, queue, monkeypatch, tmp_path):
    monkeypatch.setattr("aga.campaign.trial.WAIT_S", 2.0)
    waiting = "{directives: [--hold]}"
    code, said = check(search=waiting, dft=waiting, train=waiting)
    assert code == 2
    assert "no answer from a worker of: search, dft, train, after " in said
    assert "still waits in the queue" in said
    assert str(tmp_path / "run/jobs") in said


def test_a_python_without_the_project(check, queue, tmp_path):
    bare = tmp_path / "python"
    packages = sysconfig.get_path("purelib")  # but not what is installed by links to it
    bare.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    # nor is it in the folder that `python -m` looks into
    away = f"{{prologue: [cd {tmp_path}]}}"
    code, said = check(python=bare, search=away, dft=away, train=away)
    assert code == 2
    assert "ended before its worker came up" in said
    assert "No module named 'calculators'" in said


def test_an_engine_that_only_the_driver_finds(check, queue, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own_engine.py").write_text("class Own: ...\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    code, said = check(engine="{kind: ase, path: own_engine.Own}")
    assert code == 2
    assert "pool dft: The engine 'ase' cannot find the module 'own_engine'" in said
    assert "pool search:" not in said


def test_a_run_folder_that_the_nodes_do_not_see(tmp_path):
    data = resolved(config())
    for folder, wrong in ((tmp_path / "away", 1), (tmp_path, 0)):
        found = look(data, str(folder), Task(0, "seed", "k"))["ok"]["wrong"]
        assert len(found) == wrong
        assert all(f"the run folder {folder} is not there" in line for line in found)


@pytest.mark.slurm
def test_on_a_real_slurm(check, slurm):
    code, said = check(
        search="{queue: cpu, job_memory_gb: 1}",
        dft="{queue: cpu, job_memory_gb: 1}",
        train="{queue: gpu, gpus: 1, job_memory_gb: 1}",
    )
    assert code == 0, said
    for pool in ("search", "dft", "train"):
        assert f"  workers  {pool}: {os.uname().nodename}, Python 3." in said
    assert slurm.jobs("PD", "CF", "R", "S") == {}

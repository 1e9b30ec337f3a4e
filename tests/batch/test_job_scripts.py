"""What is told to each batch system, and what is understood of its answers."""

import re
from pathlib import Path

import pytest

from aga.config import load
from calculators.clusters import Needs, build
from calculators.clusters._batch import Batch
from tests.batch.fake_batch import COMMANDS
from tests.campaign.processes import ROOT

NEEDS = Needs(Path("/home/me/runs/si"), {"dft": 600.0})
DFT = {
    "queue": "long",
    "account": "mine",
    "walltime_min": 90,
    "cores": 8,
    "job_memory_gb": 16,
    "gpus": 1,
    "prologue": ["module load 'gcc 12'"],
}
WANTED = {
    "slurm": [
        "#SBATCH -p long",
        "#SBATCH -A mine",
        "#SBATCH -t 01:30:00",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=16000M",
        "#SBATCH --gres=gpu:1",
        "#SBATCH -N 1",
        "#SBATCH --no-requeue",
        "#SBATCH -x",
    ],
    "pbs": [
        "#PBS -q long",
        "#PBS -A mine",
        "#PBS -l walltime=01:30:00",
        "#PBS -l select=1:ncpus=8:mem=16000mb:ngpus=1",
        "#PBS -r n",
        "#PBS -x",
    ],
    "sge": [
        "#$ -q long",
        "#$ -P mine",
        "#$ -l h_rt=01:30:00",
        "#$ -l mem_free=16000M,gpu=1",
        "#$ -pe smp 8",
        "#$ -r n",
        "#$ -x",
    ],
    "lsf": [
        "#BSUB -q long",
        '#BSUB -P "mine"',
        "#BSUB -W 01:30",
        "#BSUB -n 8",
        '#BSUB -R "span[hosts=1]"',
        "#BSUB -M 16000",
        '#BSUB -gpu "num=1"',
        "#BSUB -rn",
        "#BSUB -x",
    ],
    "htcondor": [
        "RequestCpus = 8",
        "RequestMemory = 16000",
        "request_gpus = 1",
        "accounting_group = mine",
        "x = 1",
    ],
}


def script_of(kind, **changes):
    more = ["x = 1"] if kind == "htcondor" else ["-x"]
    top = {"memory_unit": "mb"} if kind == "lsf" else {}
    cluster = build({"kind": kind, "dft": {**DFT, "directives": more, **changes}, **top})
    return cluster.scripts(NEEDS)["dft"]


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_setting_is_in_the_words_of_the_system(kind):
    script = script_of(kind)
    lines = script.splitlines()
    assert [line for line in WANTED[kind] if line not in lines] == []
    name = Batch.prefix(NEEDS) + "d1"
    assert len(name) <= 15, "PBS takes no more"
    assert f"--name {name} " in script
    assert "--resources dft=1" in script
    # 90 minutes but ten for the longest label and half a one to leave
    assert "AGA_DRAIN_AFTER_S=4770" in script
    assert "OMP_NUM_THREADS=8" in script
    assert re.search(r"module load '{1,2}gcc 12'{1,2}", script)
    assert not Path("/home/me/runs/si/jobs").exists(), "nothing is made"


def test_pbs_and_sge_take_the_words_of_the_site():
    assert "#PBS -l nodes=1:ppn=8,mem=2gb" in script_of("pbs", resources="nodes=1:ppn=8,mem=2gb")
    assert "#$ -l h_vmem=2G" in script_of("sge", resources="h_vmem=2G")
    assert "#$ -pe mpi 8" in script_of("sge", parallel_environment="mpi")


def test_the_output_of_pbs_is_told_to_qsub_itself():
    # in front of Slurm qsub does not read that in the script, and real ones read both
    told = build({"kind": "pbs"}).submit_options(Path("/runs/si/jobs/aga-d1.sh"))
    assert told == ("-j", "oe", "-o", "/runs/si/jobs/aga-d1.log")
    assert build({"kind": "slurm"}).submit_options(Path("x.sh")) == ()


def test_several_workers_share_a_job():
    script = script_of("slurm", workers_per_job=4, memory_gb=2)
    assert "--nthreads 1" in script
    assert "--nworkers 4" in script
    assert "--memory-limit 1.86GiB" in script
    assert "OMP_NUM_THREADS=2" in script


def test_what_the_user_has_set_for_other_programs_is_not_used():
    import dask

    with dask.config.set({"jobqueue.slurm.queue": "theirs", "jobqueue.slurm.account": "theirs"}):
        assert "theirs" not in script_of("slurm", queue=None, account=None)


def test_ctrl_c_is_as_before():
    import signal

    before = signal.getsignal(signal.SIGINT)
    script_of("slurm")
    assert signal.getsignal(signal.SIGINT) is before


QSTAT = """Job Id: 12.server
    Job_Name = aga-000000-d1
    job_state = R
    Resource_List.ncpus = 4

Job Id: 13.server
    Job_Name = aga-000000-d2
    job_state = C

Job Id: 14[].server
    Job_Name = else
    job_state = Q
"""
LISTS = {
    "slurm": ("12 aga-000000-d1\n9 a b\n", {"12": "aga-000000-d1", "9": "a b"}),
    "pbs": (QSTAT, {"12.server": "aga-000000-d1", "14[].server": "else"}),
    "sge": (
        "<job_info><job_list state='running'><JB_job_number>12</JB_job_number>"
        "<JB_name>aga-000000-d1</JB_name><state>r</state></job_list>"
        "<job_list state='pending'><JB_job_number>13</JB_job_number>"
        "<JB_name>aga-000000-d2</JB_name><state>Eqw</state></job_list></job_info>",
        {"12": "aga-000000-d1"},
    ),
    "lsf": ("12 aga-000000-d1\n", {"12": "aga-000000-d1"}),
    "htcondor": (
        "12 aga-000000-d1 2\n13 aga-000000-d2 5\n14 undefined 1\n",
        {"12": "aga-000000-d1", "14": "undefined"},
    ),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_listings_are_understood(kind):
    text, jobs = LISTS[kind]
    assert build({"kind": kind}).listed(text) == jobs
    assert build({"kind": kind}).listed("") == {}


@pytest.mark.parametrize(
    ("dft", "message"),
    [
        ({"walltime_min": 14}, r"dft.walltime_min: expected at least 15, got 14.* take 10 minutes"),
        ({"drain_min": 5}, r"dft.drain_min: expected at least 10, .*deadline_s, got 5"),
    ],
)
def test_a_label_that_could_not_end_is_refused(dft, message):
    (found,) = build({"kind": "slurm", "dft": dft}).too_short({"dft": 600.0})
    assert re.search(message, found)
    assert build({"kind": "slurm", "dft": {"walltime_min": 15}}).too_short({"dft": 600.0}) == []


def test_a_campaign_file_is_refused_with_the_line(tmp_path):
    from aga.yaml_source import ConfigError

    (tmp_path / "c.yaml").write_text("kind: slurm\ndft: {walltime_min: 30}\n")
    campaign = tmp_path / "a.yaml"
    campaign.write_text(
        "name: a\ncomposition: {Cu: 2}\nengine:\n  kind: emt\n  deadline_s: 60\n"
        "  retries: [{deadline_s: 7200}]\ncluster: c.yaml\n"
    )
    with pytest.raises(ConfigError, match=r"cluster: dft.walltime_min: expected at least 125"):
        load(campaign)


def test_a_program_that_is_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = build({"kind": "slurm", "python": "/no/python"}).problems()
    assert [line.partition(":")[2] for line in found[:3]] == [
        f" the command {name} is not here: expected a machine that jobs can be submitted from"
        for name in ("sbatch", "scancel", "squeue")
    ]
    assert "no such file: /no/python" in found[-1]


@pytest.mark.parametrize("path", sorted((ROOT / "configs/clusters").glob("*.yaml")), ids=str)
def test_every_example_goes_with_a_campaign(path):
    config = load(ROOT / "configs/campaigns/copper_gold.yaml", path)
    assert config.cluster.kind in (path.stem, "local")


def test_the_example_of_slurm_shows_every_key():
    text = (ROOT / "configs/clusters/slurm.yaml").read_text()
    shown = set(re.findall(r"^\s*(?:# )?(\w+):", text, flags=re.MULTILINE))
    fields = type(build({"kind": "slurm"})).model_fields
    assert {*fields, *fields["dft"].annotation.model_fields} - shown == set()

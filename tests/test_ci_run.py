"""`.ci/run`: Slurm's tests where Slurm can be had, and every failure counts."""

import shutil
import subprocess

import pytest

from tests.campaign.processes import ROOT

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(BASH is None, reason="bash is not installed")

SLURM = "munged slurmctld slurmd sbatch squeue scancel scontrol sinfo"
INSTALLS = f"""here=$(dirname "$0")
case "$*" in
  *install*) for name in {SLURM}; do : > "$here/$name"; chmod +x "$here/$name"; done;;
esac
"""


@pytest.fixture
def ci(tmp_path):
    """Runs the script with stand-ins for its programs; exit status, what it said, what was made."""
    for program in ("dirname", "chmod"):
        (tmp_path / program).symlink_to(shutil.which(program))

    def put(name, text):
        (tmp_path / name).write_text(f"#!{BASH}\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def run(user=0, apt=None, failing="nothing"):
        put("id", f"echo {user}")
        put("make", f'echo "${{@: -1}}" >> {tmp_path}/made; [ "${{@: -1}}" != {failing} ]')
        if apt is not None:
            put("apt-get", apt)
        done = subprocess.run(
            [BASH, ROOT / ".ci/run"],
            env={"PATH": str(tmp_path), "AGA_REFERENCE_DATA": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr, (tmp_path / "made").read_text().split()

    return run


@pytest.mark.parametrize("apt", [None, "exit 100", "echo lots; echo of words >&2; exit 100"])
def test_where_there_can_be_no_slurm_one_line_says_so(ci, apt):
    status, said, made = ci(apt=apt)
    assert status == 0
    assert made == ["lint", "test"]
    (line,) = said.splitlines()
    assert line.startswith("Skipped: tests on Slurm.")


def test_only_root_installs_anything(ci, tmp_path):
    _, said, made = ci(user=1000, apt=INSTALLS)
    assert made == ["lint", "test"]
    assert "need root" in said
    assert not (tmp_path / "slurmd").exists()


def test_slurm_is_installed_quietly_and_its_tests_run_before_all_others(ci, tmp_path):
    status, said, made = ci(apt="echo a lot\n" + INSTALLS)
    assert (status, said) == (0, "")
    assert made == ["lint", "test-slurm", "test"]
    assert (tmp_path / "slurmd").exists()


def test_what_is_there_is_not_installed_again(ci, tmp_path):
    ci(apt=INSTALLS)
    (tmp_path / "made").unlink()
    assert ci(apt="exit 100")[2] == ["lint", "test-slurm", "test"]


def test_qsub_in_front_of_slurm_is_left_out_where_it_is_not_packaged(ci):
    without = 'case "$*" in *torque*) exit 100;; esac\n' + INSTALLS
    assert ci(apt=without)[2] == ["lint", "test-slurm", "test"]


@pytest.mark.parametrize("failing", ["lint", "test-slurm", "test"])
def test_every_failure_counts_and_stops_nothing(ci, failing):
    status, _, made = ci(apt=INSTALLS, failing=failing)
    assert status != 0
    assert made == ["lint", "test-slurm", "test"]

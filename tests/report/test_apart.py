"""The report of a campaign that has ended, by a process of its own."""

import os
import signal
import subprocess
import sys

import pytest

from aga.report import apart
from tests.campaign.processes import ROOT, listening

CALL = """
import sys
from pathlib import Path
from aga.report import apart
apart.ENDS_S, apart.COMMAND = 0.5, (sys.executable, "-c", {!r})
apart.finish(Path({!r}))
print("the end")
"""
CHILD = "import os, signal, sys, time; {}; print(os.getpid(), flush=True); time.sleep(100)"


def python(code):
    return (sys.executable, "-c", code)


def test_table_structures_and_report(run_dir, capfd):
    apart.finish(run_dir)
    out = capfd.readouterr().out
    assert "Fm-3m (225)" in out
    assert f"report: {run_dir / 'report' / 'index.html'}" in out
    assert (run_dir / "report" / "index.html").is_file()
    assert (run_dir / "best" / "01_Fm-3m_Cu4.cif").is_file()


@pytest.mark.parametrize("code", ["import os; os.kill(os.getpid(), 11)", "1 / 0"])
def test_whatever_it_dies_of_is_told_in_a_line(tmp_path, monkeypatch, capfd, code):
    monkeypatch.setattr(apart, "COMMAND", python(code))
    apart.finish(tmp_path)
    assert f"try `aga report {tmp_path}`" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("hears", "said"),
    [
        ("0", "report: stopped; `aga report"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)", "report: stopped; `aga report"),
        # has told it by itself
        ("signal.signal(signal.SIGINT, lambda *_: sys.exit(0))", ""),
    ],
)
def test_ctrl_c_stops_the_report_and_nothing_else(tmp_path, hears, said):
    with listening():
        process = subprocess.Popen(
            python(CALL.format(CHILD.format(hears), str(tmp_path))),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.endswith("the end\n")
    assert said in out
    assert (said != "") == ("stopped" in out)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)

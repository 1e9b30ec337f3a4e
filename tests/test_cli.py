"""The command line: exit codes, what goes to which stream, and no traceback for the user."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from types import ModuleType

import pytest

from aga import __version__, cli
from aga.campaign import requests
from aga.campaign.lock import RunLock

GOOD = "name: trial\ncomposition: {Cu: 2}\nengine: {kind: emt}\n"


def aga(*arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return ended.value.code or 0


@pytest.fixture
def campaign(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text(GOOD, encoding="utf-8")
    return path


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "campaign.db").touch()
    return folder


@pytest.fixture
def room(monkeypatch):
    """Put a module with these functions where a command imports it from."""

    def make(name, **functions):
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)

    return make


def test_check_a_good_file(campaign, capsys):
    assert aga("check", campaign) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "Cu2, 2 atoms" in err
    assert "EMT" in err


def test_check_several_compositions(campaign, capsys):
    several = "compositions: {elements: [Cu, Au], atoms: [2, 3]}"
    campaign.write_text(GOOD.replace("composition: {Cu: 2}", several), encoding="utf-8")
    assert aga("check", campaign) == 0
    said = capsys.readouterr().err
    assert "Au-Cu, 3 compositions of 2 to 3 atoms" in said
    assert "labelled first: Au, Cu" in said


def test_check_a_bad_file(campaign, capsys):
    campaign.write_text(GOOD + "buget: 1\nseeed: 3\n", encoding="utf-8")
    assert aga("check", campaign) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"{campaign}:4: buget: unknown key (did you mean 'budget'?)",
        f"{campaign}:5: seeed: unknown key (did you mean 'seed'?)",
    ]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_missing_engine(command, campaign, capsys, monkeypatch):
    campaign.write_text(GOOD.replace("emt", "gpaw"), encoding="utf-8")
    monkeypatch.setattr("calculators.engines.gpaw.find_spec", lambda name: None)
    assert aga(command, campaign) == 2
    err = capsys.readouterr().err
    assert f"{campaign}: engine: " in err
    assert "pip install 'aga-search[gpaw]'" in err
    assert "engine: {kind: chgnet}" in err


def test_run_hands_over_configuration_and_folder(campaign, tmp_path, room):
    started, finished = [], []
    room("aga.campaign.run", start=lambda config, folder: started.append((config, folder)) or 7)
    room("aga.report.finish", finish=finished.append)
    assert aga("run", campaign, "--run-dir", tmp_path / "here") == 7
    assert aga("run", campaign) == 7
    assert [config.name for config, _ in started] == ["trial", "trial"]
    assert [str(folder) for _, folder in started] == [str(tmp_path / "here"), "runs/trial"]
    assert finished == [folder for _, folder in started]


def test_run_refuses_before_anything_is_made(campaign, tmp_path):
    campaign.write_text("name: x", encoding="utf-8")
    assert aga("run", campaign, "--run-dir", tmp_path / "here") == 2
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize(
    "arguments", [("status",), ("report",), ("stop",), ("export", "--format", "cif", "out")]
)
def test_a_folder_that_is_no_run(arguments, tmp_path, capsys):
    command, *options = arguments
    assert aga(command, tmp_path, *options) == 2
    err = capsys.readouterr().err
    assert "no campaign.db" in err
    assert "Traceback" not in err


def test_status_as_json(run_folder, room, capsys):
    room(
        "aga.report.status",
        status_json=lambda folder: {"folder": str(folder)},
        print_status=lambda folder: pytest.fail("not asked for"),
    )
    assert aga("status", run_folder, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(run_folder)}


def test_report_and_export(run_folder, room, capsys):
    written = []
    room("aga.report.html", write_report=lambda folder: folder / "report/index.html")
    room("aga.report.export", export=lambda *arguments: written.append(arguments))
    assert aga("report", run_folder) == 0
    assert capsys.readouterr().out == f"{run_folder}/report/index.html\n"
    assert aga("export", run_folder, "--format", "traj", "a.traj") == 0
    assert [(folder, form, str(out)) for folder, form, out in written] == [
        (run_folder, "traj", "a.traj")
    ]
    assert aga("export", run_folder, "--format", "xls", "a.xls") == 2


def test_stop_where_nobody_runs(run_folder, capsys):
    assert aga("stop", run_folder) == 0
    assert "nobody runs" in capsys.readouterr().err


def test_stop_now_signals_the_holder(run_folder):
    code = (
        "import sys, time; from pathlib import Path; from aga.campaign.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, run_folder], stdout=subprocess.PIPE, text=True
    ) as driver:
        try:
            assert driver.stdout.readline() == "held\n"
            assert aga("stop", run_folder, "--now") == 0
            assert driver.wait(30) == -signal.SIGTERM
        finally:
            driver.kill()


def test_stop_asks_and_signals_nobody(run_folder, capsys, monkeypatch):
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("asked only"))
    with RunLock(run_folder):
        assert aga("stop", run_folder) == 0
        assert requests.asked(run_folder)
        said = capsys.readouterr().err
        for part in (f"process {os.getpid()}", "finishes what runs", "--now"):
            assert part in said
        assert aga("stop", run_folder) == 0
        assert "was asked already" in capsys.readouterr().err


def test_stop_where_the_driver_was_killed(run_folder, capsys):
    (run_folder / "campaign.lock").write_text('{"pid": 7, "host": "h", "started": "then"}')
    assert aga("stop", run_folder) == 0
    said = capsys.readouterr().err
    assert "nothing to stop (process 7 on h, started then, is gone without an end: killed?)" in said
    assert not requests.asked(run_folder)


def test_stop_that_cannot_be_asked(run_folder, capsys, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(requests, "ask", refuse)
    with RunLock(run_folder):
        assert aga("stop", run_folder) == 2
    assert "cannot be written (No space left on device); use --now" in capsys.readouterr().err


def test_stop_of_somebody_elses_process(run_folder, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    with RunLock(run_folder):
        assert aga("stop", run_folder, "--now") == 2
    assert "belongs to somebody else" in capsys.readouterr().err


def test_stop_on_another_host(run_folder, capsys, monkeypatch):
    with RunLock(run_folder):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a process of this host"))
        assert aga("stop", run_folder, "--now") == 2
    assert "call `aga stop --now` there" in capsys.readouterr().err


def test_schema_is_json(capsys):
    assert aga("schema") == 0
    assert json.loads(capsys.readouterr().out)["properties"]["composition"]["description"]


def test_version(capsys):
    assert aga("--version") == 0
    assert capsys.readouterr().out == f"{__version__}\n"

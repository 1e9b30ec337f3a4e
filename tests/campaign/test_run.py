"""Starting, stopping and going on with a campaign."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from aga.campaign import loop, requests, run, tasks
from aga.campaign.run import FAILED, FINISHED, STOPPED, start
from aga.campaign.store import Store
from aga.config import ConfigError
from aga.report.status import status_json
from calculators.outcome import Failure
from calculators.publish import publish_json
from calculators.results import result_folder
from tests.campaign.builders import config, view, without_times
from tests.campaign.processes import HANG_S, ROOT, until

SMALL = {"budget": {"labels": 9, "confirm_reserve": 2}, "overlap": False}


def history(run_dir):
    store = Store(run_dir, readonly=True)
    found = view(store.state())
    store.close()
    return found


# what cannot be started

HOLD = """
import sys, time
from pathlib import Path
from aga.campaign.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


def test_a_second_run_on_the_same_folder_is_refused(runs):
    runs.run_dir.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(runs.run_dir)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        runs.start(config())
        assert runs.wait() == 2
        for part in (str(holder.pid), socket.gethostname(), str(runs.run_dir), "aga stop"):
            assert part in runs.said()
        assert "Traceback" not in runs.said()
        assert [path.name for path in runs.run_dir.iterdir()] == ["campaign.lock"]
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("composition", {"composition": {"Cu": 2}}),
        ("pressure_gpa", {"pressure_gpa": 3.0}),
        ("seed", {"seed": 9}),
    ],
)
def test_another_question_is_refused_and_the_run_stays_as_it_was(tmp_path, key, changes):
    Store(tmp_path, config()).close()
    with pytest.raises(ConfigError, match=key):
        start(config(**changes), tmp_path)
    assert Store.configuration(tmp_path) == config()
    assert not (tmp_path / tasks.CONFIG).exists()


# going on


@pytest.mark.usefixtures("quick_labels")
def test_a_finished_campaign_goes_on_with_a_larger_budget_only(tmp_path, capsys):
    assert start(config(**SMALL), tmp_path) == FINISHED
    first = history(tmp_path)
    assert first["end"][0] == "the labels are used up (9, 2 kept back)"
    assert start(config(**SMALL), tmp_path) == FINISHED
    assert history(tmp_path) == first
    more = {"budget": {"labels": 12, "confirm_reserve": 2}, "overlap": False}
    assert start(config(**more), tmp_path) == FINISHED
    second = history(tmp_path)
    assert second["records"][: len(first["records"])] == first["records"]
    assert second["records"][len(first["records"])][1] == "resume"
    assert len(first["labelled"]) < len(second["labelled"]) <= 12
    assert "going on with" in capsys.readouterr().err
    said = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in said].count("finish") == 2


@pytest.mark.usefixtures("quick_labels")
def test_a_failed_campaign_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.setitem(tasks._WORK, "train", lambda *_: 1 / 0)
    assert start(config(**SMALL), tmp_path) == FAILED
    assert "ZeroDivisionError" in history(tmp_path)["end"][1]
    monkeypatch.undo()
    monkeypatch.setitem(tasks._WORK, "train", tasks._train)
    assert start(config(**SMALL), tmp_path) == FINISHED


@pytest.mark.usefixtures("quick_labels")
def test_search_settings_may_change_between_starts_of_one_process(tmp_path, monkeypatch):
    """The settings of the last start are not remembered by accident."""
    assert start(config(**SMALL), tmp_path) == FINISHED
    seen = []
    evolve = tasks._WORK["evolve"]

    def spy(folder, settings, task):
        seen.append(settings.search.evolution.candidates)
        return evolve(folder, settings, task)

    monkeypatch.setitem(tasks._WORK, "evolve", spy)
    changed = {"budget": {"labels": 12, "confirm_reserve": 2}, "overlap": False}
    assert start(config(**changed, search={"evolution": {"candidates": 7}}), tmp_path) == FINISHED
    assert set(seen) == {7}


@pytest.mark.usefixtures("quick_labels")
def test_results_published_before_a_crash_are_adopted_and_not_computed_again(tmp_path, monkeypatch):
    """As if the driver was killed between the publication and its record."""
    assert start(config(**SMALL), tmp_path) == FINISHED
    whole = history(tmp_path)
    store = Store(tmp_path)
    last = max(r.ordinal for r in store.state().of_kind("train"))
    store._database.execute("delete from task where ordinal > ?", (last,))
    store._database.execute(
        "update task set progress = 'queued', outcome = '{}', attempts = 0 "
        "where ordinal >= ? or kind = 'evolve'",
        (last - 1,),
    )
    store._database.execute("delete from seal")
    store.close()
    (tmp_path / "models" / "latest").unlink()

    store = Store(tmp_path)
    waiting = [record.ordinal for record in store.state().outstanding()]
    assert len(waiting) >= 2
    adopted = loop.adopt(store)
    assert [record.ordinal for record in adopted] == waiting
    assert store.state().outstanding() == []
    assert (tmp_path / "models" / "latest").resolve().name == store.state().models[-1].key
    store.close()

    # what follows finds its results too: nothing is left to be computed
    for kind in ("label", "train", "evolve", "polish", "relax"):
        monkeypatch.setitem(tasks._WORK, kind, lambda *_: 1 / 0)
    assert start(config(**SMALL), tmp_path) == FINISHED
    assert without_times(history(tmp_path)["labelled"]) == without_times(whole["labelled"])


def test_what_nobody_published_is_left_to_the_workers(tmp_path, seed):
    store = Store(tmp_path, config())
    store.plan([seed], lambda ordinal, decision: "unknown")
    assert loop.adopt(store) == []
    assert len(store.state().outstanding()) == 1
    store.close()


def test_a_policy_without_an_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.policy, "due", lambda state, slots: [])
    with pytest.raises(loop.StuckError, match="nothing is left to do"):
        start(config(), tmp_path)


def test_a_task_that_loses_its_workers_thrice_has_failed(tmp_path, monkeypatch):
    lost = {"failure": {"kind": "transient", "reason": "lost", "log": ""}}
    monkeypatch.setattr(tasks, "run", lambda run_dir, task: lost)
    assert start(config(), tmp_path) == FAILED
    found = history(tmp_path)
    assert found["end"][1] == "seed (task 0) failed: lost"
    assert found["records"][0][-1] == 3


# what stays on the disk


@pytest.mark.usefixtures("quick_labels")
def test_only_the_newest_failed_labels_keep_their_files(tmp_path, monkeypatch):
    work, failed = tasks._WORK["label"], []

    def label(folder, settings, task):
        if len(failed) == 3:
            return work(folder, settings, task)
        failed.append(result_folder(folder / "labels", task.key))
        (failed[-1] / "attempt-0").mkdir(parents=True)
        (failed[-1] / "attempt-0" / "wave").write_text("large")
        failure = Failure("permanent", "did not converge")
        publish_json(
            failed[-1] / "result.json", {"status": "failure", "failure": failure.to_dict()}
        )
        return failure

    monkeypatch.setitem(tasks._WORK, "label", label)
    settings = config(**SMALL, disk={"failed_labels": 2})
    assert start(settings, tmp_path) == FINISHED
    assert [(folder / "attempt-0" / "wave").exists() for folder in failed] == [False, True, True]
    # and what the settings say later holds for what is there
    assert start(config(**SMALL, disk={"failed_labels": 1}), tmp_path) == FINISHED
    assert [(folder / "attempt-0" / "wave").exists() for folder in failed] == [False, False, True]


# stopping


@pytest.mark.dask
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_at_any_moment_of_a_start_nothing_is_left(runs, number):
    settings = config(cluster={"kind": "local", "dft_workers": 1}, budget={"labels": 8})
    # no workers yet, some of them, and at work
    moments = (
        (runs.run_dir / "campaign.db").is_file,
        lambda: len(runs.alive()) >= 3,
        lambda: runs.published() >= 1,
    )
    for moment in moments:
        runs.stop_when(settings, moment, number)


@pytest.mark.usefixtures("quick_labels")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_python_throws_away_is_heard_all_the_same(
    tmp_path, monkeypatch, capsys, number
):
    """What is raised in ``__del__`` is ignored: it once made a campaign deaf."""
    work, begun = tasks._WORK["label"], []

    class Late:
        def __del__(self):
            signal.raise_signal(number)

    def label(*arguments):
        begun.append(Late())
        begun[-1] = None
        return work(*arguments)

    monkeypatch.setitem(tasks._WORK, "label", label)
    assert start(config(**SMALL), tmp_path) == STOPPED
    said = capsys.readouterr().err
    assert "start the same command again" in said
    assert "ignored" not in said
    assert len(begun) == 1
    monkeypatch.setitem(tasks._WORK, "label", work)
    assert start(config(**SMALL), tmp_path) == FINISHED


def test_an_interrupted_import_is_ctrl_c(tmp_path, monkeypatch, capsys):
    """Compiled modules raise an error of their own from it; any other error is still one."""

    def wrapped(*_):
        raise ImportError("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(run, "_locked", wrapped)
    assert start(config(), tmp_path) == STOPPED
    assert "start the same command again" in capsys.readouterr().err

    def broken(*_):
        try:
            raise KeyboardInterrupt
        finally:
            raise ImportError("while it was cleaning up")

    monkeypatch.setattr(run, "_locked", broken)
    with pytest.raises(ImportError, match="cleaning up"):
        start(config(), tmp_path)


def test_stopped_as_asked_what_runs_is_recorded_and_nothing_new_is_started(
    tmp_path, monkeypatch, capsys
):
    begun = []
    work = tasks._WORK["label"]

    def label(folder, settings, task):
        begun.append(task.ordinal)
        requests.ask(folder)  # somebody does, while the first of them runs
        return work(folder, settings, task)

    monkeypatch.setitem(tasks._WORK, "label", label)
    assert start(config(), tmp_path) == STOPPED
    said = capsys.readouterr().err
    assert "asked to stop: nothing new is started" in said
    assert "start the same command again" in said
    found = history(tmp_path)
    assert len(begun) == len(found["labelled"]) == 1
    waiting = [record for record in found["records"] if record[4] == "queued"]
    assert len(waiting) == 3
    assert {record[-1] for record in waiting} == {0}, "what was not started counts as an attempt"
    assert not requests.asked(tmp_path)
    monkeypatch.setitem(tasks._WORK, "label", work)
    assert start(config(**SMALL), tmp_path) == FINISHED


def test_a_request_for_a_driver_that_died_is_forgotten(tmp_path):
    requests.ask(tmp_path)
    assert start(config(**SMALL), tmp_path) == FINISHED


SLOW = {
    "engine": {
        "kind": "ase",
        "path": "tests.campaign.moody.Slow",
        "arguments": {"seconds": 2.0},
        "memory_gb": 0.0,
    },
}


def test_a_killed_driver_is_told_from_one_that_was_stopped(runs):
    runs.start(config())
    until(lambda: runs.published() >= 1 or runs.process.poll() is not None, "a label")
    assert status_json(runs.run_dir)["running"]["pid"] == runs.process.pid
    runs.process.kill()
    runs.wait()
    told = status_json(runs.run_dir)
    assert (told["running"], told["killed"]["pid"]) == (None, runs.process.pid)
    stop = [sys.executable, "-m", "aga", "stop", str(runs.run_dir)]
    done = subprocess.run(stop, cwd=ROOT, check=True, timeout=HANG_S, capture_output=True)
    assert b"killed?" in done.stderr
    assert not requests.asked(runs.run_dir)
    runs.nobody_left()


@pytest.mark.dask
def test_aga_stop_lets_labels_in_flight_end(runs):
    """From another process; two labels run and one waits for a worker."""
    runs.start(config(**SLOW, cluster={"kind": "local", "dft_workers": 2}))
    until(lambda: started(runs) >= 2 or runs.process.poll() is not None, "two labels")
    stop = [sys.executable, "-m", "aga", "stop", str(runs.run_dir)]
    done = subprocess.run(stop, cwd=ROOT, check=True, timeout=HANG_S, capture_output=True)
    assert b"finishes what runs" in done.stderr
    assert runs.wait() == 130, runs.said()
    runs.nobody_left()
    found = history(runs.run_dir)
    assert len(found["labelled"]) == runs.published() == started(runs)
    assert not [record for record in found["records"] if record[4] == "failed"]


def started(runs):
    """Labels whose calculation has begun."""
    return len(list(runs.run_dir.glob("labels/*/*/starts")))


def test_aga_stop_now_ends_a_run_in_the_background(runs):
    """Where a shell has had SIGINT ignored."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runs.start(config())
    finally:
        signal.signal(signal.SIGINT, ignored)
    until(lambda: runs.published() >= 1 or runs.process.poll() is not None, "a label")
    stop = [sys.executable, "-m", "aga", "stop", "--now", str(runs.run_dir)]
    subprocess.run(stop, cwd=ROOT, check=True, timeout=HANG_S, capture_output=True)
    assert runs.wait() == 130, runs.said()
    runs.nobody_left()

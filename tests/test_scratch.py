"""What calculations leave: of successes the logs, of failures the newest."""

import os

import pytest
from ase.build import bulk

from calculators.engines import build
from calculators.labelling import single_point
from calculators.outcome import Failure
from calculators.publish import publish_json
from calculators.results import label_key, result_folder
from calculators.scratch import Failures, tidy


def result(store, number, status="failure", attempts=1):
    """A result with scratch and logs, older ones with lower numbers."""
    folder = store / f"{number:02d}" / f"{number:02d}key"
    for attempt in range(attempts):
        made = folder / f"attempt-{attempt}"
        (made / "pwscf.save").mkdir(parents=True)
        (made / "pwscf.save" / "wave").write_text("large")
        for name in ("log.txt", "gpaw.log", "job.json", "density.gpw"):
            (made / name).write_text("x")
    (folder / "starts").write_text("{}\n")
    if status:
        publish_json(folder / "result.json", {"status": status})
        os.utime(folder / "result.json", (1000 + number, 1000 + number))
    return folder


def whole(folder):
    return (folder / "attempt-0" / "pwscf.save" / "wave").exists()


def test_logs_results_and_starts_stay(tmp_path):
    folder = result(tmp_path, 1, attempts=2)
    tidy(folder)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "attempt-0/gpaw.log",
        "attempt-0/log.txt",
        "attempt-1/gpaw.log",
        "attempt-1/log.txt",
        "result.json",
        "starts",
    ]


def test_what_a_link_points_at_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data").write_text("x")
    folder = result(tmp_path / "store", 1)
    (folder / "attempt-0" / "link").symlink_to(tmp_path / "mine")
    tidy(folder)
    assert (tmp_path / "mine" / "data").exists()
    assert not (folder / "attempt-0" / "link").exists()


@pytest.mark.parametrize("keep", [0, 2, 9])
def test_the_newest_failures_stay_whole(tmp_path, keep):
    folders = [result(tmp_path, number) for number in range(5)]
    Failures(tmp_path, keep)
    assert [whole(folder) for folder in folders] == [number >= 5 - keep for number in range(5)]


def test_each_new_one_displaces_the_oldest(tmp_path):
    old = [result(tmp_path, number) for number in range(2)]
    kept = Failures(tmp_path, 2)
    new = result(tmp_path, 7)
    kept.add(new)
    kept.add(new)  # the same again is no further one
    assert [whole(folder) for folder in (*old, new)] == [False, True, True]


def test_what_has_no_files_takes_no_place(tmp_path):
    """Stopped by the gates before anything was computed."""
    folders = [result(tmp_path, number) for number in range(2)]
    kept = Failures(tmp_path, 2)
    kept.add(tmp_path / "no" / "folder")
    assert all(map(whole, folders))


def test_successes_lose_theirs_and_what_is_unfinished_is_left(tmp_path):
    """A worker was killed, and a later attempt has succeeded or is still to come."""
    done, unfinished = result(tmp_path, 1, "ok", attempts=2), result(tmp_path, 2, "")
    Failures(tmp_path, 0)
    assert not whole(done)
    assert whole(unfinished)


def test_a_success_after_failed_attempts_leaves_logs_only(tmp_path, monkeypatch):
    here = os.path.dirname(__file__)  # noqa: PTH120
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.syspath_prepend(here)
    arguments = {"marker": str(tmp_path / "marker")}
    path = "fake_calculators.DiesOnce"
    engine = build({"kind": "ase", "path": path, "arguments": arguments, "memory_gb": 0.0})
    atoms = bulk("Cu")
    assert not isinstance(single_point(atoms, engine, tmp_path / "labels"), Failure)
    folder = result_folder(tmp_path / "labels", label_key(atoms, engine))
    names = {str(p.relative_to(folder)) for p in folder.glob("attempt-*/*")}
    assert names == {"attempt-0/log.txt", "attempt-1/log.txt"}

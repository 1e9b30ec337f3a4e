"""`aga status`: its JSON is an interface, and it may be asked at any moment."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from aga.campaign import requests
from aga.campaign.lock import LOCK_NAME, RunLock
from aga.campaign.run import start
from aga.report.status import print_status, status_json
from aga.yaml_source import ConfigError
from tests.report.conftest import config


def test_schema(run_dir):
    data = json.loads(json.dumps(status_json(run_dir), allow_nan=False))
    assert data["finished"] is True
    assert data["reason"] == "the best has not changed"
    assert data["running"] is None
    assert data["labels"] == {"done": 5, "failed": 1, "pending": 0}
    assert data["oracle_calls"] == 6
    assert data["surrogate"] is True
    for row in data["best"]:
        assert set(row) == {
            "formula",
            "spacegroup",
            "enthalpy_per_atom",
            "confirmed",
            "above_per_atom",
        }
    best = data["best"][0]
    assert (best["formula"], best["spacegroup"]) == ("Cu4", "Fm-3m (225)")
    assert best["confirmed"] is True
    assert not any(row["confirmed"] for row in data["best"][1:])


def test_of_a_campaign_that_runs(campaign):
    run_dir = campaign.store.run_dir
    campaign.plan("label", candidate={"id": "x", **_structure(campaign)}, purpose="search")
    with RunLock(run_dir):
        data = status_json(run_dir)
    assert data["finished"] is False
    assert data["running"]["pid"] == os.getpid()
    assert data["labels"] == {"done": 5, "failed": 1, "pending": 1}


def _structure(campaign):
    record = campaign.store.state().of_kind("label")[0]
    return {k: v for k, v in record.inputs["candidate"].items() if k != "id"}


def test_of_a_copy(run_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run_dir, copy)
    assert status_json(copy) == {**status_json(run_dir), "hours_used": pytest.approx(0, abs=1e-2)}


def test_before_the_first_label(empty_dir):
    data = status_json(empty_dir)
    assert (data["finished"], data["best"], data["oracle_calls"]) == (False, [], 0)
    out = io.StringIO()
    print_status(empty_dir, out)
    assert "no structure has been labelled yet" in out.getvalue()


def test_for_people(run_dir):
    out = io.StringIO()
    print_status(run_dir, out)
    text = out.getvalue()
    assert "\x1b" not in text
    assert "finished: the best has not changed" in text
    assert "5 done, 1 failed, 0 pending of 30" in text
    first = next(line for line in text.splitlines() if "Fm-3m (225)" in line)
    assert "yes" in first
    assert "by EMT (surrogate)" in text
    assert "confirmed by DFT" not in text


def test_a_file_that_holds_no_campaign(tmp_path):
    (tmp_path / "campaign.db").touch()
    with pytest.raises(ConfigError, match=r"campaign\.db: cannot be read") as caught:
        status_json(tmp_path)
    assert "Nothing has been changed" in str(caught.value)


def spoil_all(path):
    path.write_text("no database")


def spoil_a_page(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(4096, size, 4096):
            file.seek(place)
            file.write(os.urandom(64))


def spoil_the_end(path):
    os.truncate(path, path.stat().st_size // 2)


def spoil_a_record(path):
    database = sqlite3.connect(path)
    database.execute("update task set outcome = 'not JSON' where ordinal = 0")
    database.commit()
    database.close()


@pytest.mark.parametrize("spoil", [spoil_all, spoil_a_page, spoil_the_end, spoil_a_record])
def test_a_damaged_database(run_dir, spoil):
    """For status, and for who starts the campaign again."""
    spoil(run_dir / "campaign.db")
    for look in (status_json, lambda folder: start(config(), folder)):
        with pytest.raises(ConfigError, match="the database is damaged") as caught:
            look(run_dir)
        for part in (str(run_dir / "labels"), "Put back a copy", "aga run"):
            assert part in str(caught.value)


def killed(run_dir):
    """As a driver that was killed leaves the folder."""
    (run_dir / LOCK_NAME).write_text('{"pid": 7, "host": "far", "started": "2026-01-02 03:04:05"}')


def said(run_dir, **clock):
    out = io.StringIO()
    print_status(run_dir, out, **clock)
    return out.getvalue()


def test_of_a_killed_driver(campaign):
    run_dir = campaign.store.run_dir
    killed(run_dir)
    text = said(run_dir)
    assert "not running: process 7 on far, started 2026-01-02 03:04:05, is gone" in text
    assert "killed?" in text
    data = status_json(run_dir)
    assert (data["running"], data["killed"]["pid"]) == (None, 7)


def test_of_a_driver_that_ended_by_itself(campaign):
    with RunLock(campaign.store.run_dir):
        pass
    assert "stopped; the same `aga run` goes on" in said(campaign.store.run_dir)
    assert status_json(campaign.store.run_dir)["killed"] is None


def test_of_a_finished_campaign_whose_driver_was_killed_afterwards(run_dir):
    killed(run_dir)
    assert "finished: the best has not changed" in said(run_dir)


def test_of_a_campaign_that_was_asked_to_stop(campaign):
    run_dir = campaign.store.run_dir
    with RunLock(run_dir):
        assert status_json(run_dir)["stopping"] is False
        requests.ask(run_dir)
        assert status_json(run_dir)["stopping"] is True
        assert "to stop when what runs is finished" in said(run_dir)
    assert status_json(run_dir)["stopping"] is False


def test_how_old_the_last_news_are(campaign):
    latest = status_json(campaign.store.run_dir)["last_record"]
    text = said(campaign.store.run_dir, clock=lambda: latest + 7200.0)
    assert "last news: 2.0 h ago" in text


def test_nothing_slow_is_imported(run_dir):
    code = (
        "import sys; from pathlib import Path; from aga.report.status import status_json\n"
        "status_json(Path(sys.argv[1]))\n"
        "print([name for name in ('torch', 'pymatgen', 'matplotlib', 'distributed')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, run_dir], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"

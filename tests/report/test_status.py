"""`aga status`: its JSON is an interface, and it may be asked at any moment."""

import io
import json
import os
import shutil
import subprocess
import sys

import pytest

from aga.campaign.lock import RunLock
from aga.report.status import print_status, status_json
from aga.yaml_source import ConfigError


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


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "campaign.db").write_text("no database")
    with pytest.raises(ConfigError, match=r"campaign\.db: cannot be read") as caught:
        status_json(tmp_path)
    assert "Nothing has been changed" in str(caught.value)


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

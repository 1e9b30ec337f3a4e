"""The wall clock jumps by hours or years, forwards or back: it is shown, nothing depends on it.

Time that is measured (deadlines, the budget of hours) is of the monotonic clock.
"""

import time

import numpy as np
import pytest

from aga.campaign.hourly import PERIOD, Tally, due
from aga.campaign.run import FINISHED, start
from aga.campaign.store import Store
from aga.report.html import write_report
from aga.report.status import print_status, status_json
from tests.campaign.builders import config, view, without_times

SETTINGS = config(budget={"labels": 9, "confirm_reserve": 2}, overlap=False)
YEAR = 365 * 86400.0


def history(run_dir):
    store = Store(run_dir, readonly=True)
    found = without_times(view(store.state()))
    store.close()
    return found


@pytest.mark.usefixtures("quick_labels")
def test_a_campaign_is_the_same_under_a_clock_that_jumps(tmp_path, monkeypatch, capsys):
    assert start(SETTINGS, tmp_path / "steady") == FINISHED
    rng, real = np.random.default_rng(4), time.time
    monkeypatch.setattr(time, "time", lambda: real() + rng.uniform(-YEAR, YEAR))
    began = time.monotonic()
    assert start(SETTINGS, tmp_path / "jumping") == FINISHED
    took = time.monotonic() - began
    assert history(tmp_path / "jumping") == history(tmp_path / "steady")
    told = status_json(tmp_path / "jumping")
    assert 0.0 < 3600.0 * told["hours_used"] <= took
    print_status(tmp_path / "jumping")
    assert "finished" in capsys.readouterr().out
    assert write_report(tmp_path / "jumping").is_file()


def test_the_hourly_line_survives_a_clock_that_is_set_back():
    assert due(Tally(moment=1e9), 1e9 - YEAR)
    assert not due(Tally(moment=1e9 - YEAR), 1e9 - YEAR + PERIOD / 2)

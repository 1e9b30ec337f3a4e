"""A line per hour: what it counts, and when it is due."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aga.campaign import hourly
from aga.campaign.hourly import PERIOD, Tally
from aga.campaign.progress import Progress
from aga.config_disk import DiskConfig
from tests.campaign.builders import History, label, several, strict

NOBODY = None  # without a terminal nobody asks the pools


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now=1_700_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@given(st.floats(0, 1e10), st.floats(-1e5, 1e5))
def test_due_after_an_hour_or_where_the_clock_was_set_back(moment, passed):
    late = moment + passed
    elapsed = late - moment
    assert hourly.due(Tally(moment), late) == (elapsed >= PERIOD or elapsed < 0)


def test_nothing_yet():
    state = History(strict()).state
    then, now = hourly.tally(state, 0.0), hourly.tally(state, PERIOD)
    assert hourly.line(then, now, state) == (
        "last 1.0 h: 0 labels, 0 failed, 0 generations, 0 ensembles; no label yet; "
        "0 of 20 labels, 0.0 of 1 h"
    )


def test_what_an_hour_has_brought():
    history = History(strict())
    history.seed()
    then = hourly.tally(history.state, 0.0)
    history.labels(label(1.0), label(0.9), None, label(1.2))
    history.train()
    now = hourly.tally(history.state, 5400.0)
    assert hourly.line(then, now, history.state).startswith(
        "last 1.5 h: 3 labels, 1 failed, 0 generations, 1 ensemble; "
        "best 0.9000 eV/atom, unchanged for 1 label; 4 of 20 labels"
    )


def test_a_lower_best_is_told_by_how_much():
    history = History(strict()).begun(1.0, 1.1, 1.2, 1.3)
    state = history.state
    then = Tally(0.0, labels=2, best=1.0125)
    line = hourly.line(then, hourly.tally(state, PERIOD), state)
    assert "2 labels" in line
    assert "best 1.0000 eV/atom, 12.5 meV/atom lower" in line


def test_of_several_compositions_the_hull_is_told():
    state = History(several()).state
    line = hourly.line(Tally(0.0), Tally(PERIOD, labels=9, best=-1.0, stable=3), state)
    assert "3 structures on the hull, unchanged for 9 labels" in line


def test_a_line_an_hour_in_the_log_and_for_the_reader(tmp_path):
    history = History(strict()).begun()
    clock, out = Clock(), io.StringIO()
    with Progress(tmp_path, out, clock=clock) as progress:
        for minutes in (0, 30, 29, 2, 50, 9, 1, 300, 59):
            clock.now += 60 * minutes
            progress(history.state, NOBODY, [])
    # at 61, 121 and 421 minutes
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["hour"] * 3
    assert [line["line"][:11] for line in lines] == ["last 1.0 h:", "last 1.0 h:", "last 5.0 h:"]
    assert lines[0]["time"] == 1_700_000_000.0 + 61 * 60
    assert [line["line"] in out.getvalue() for line in lines] == [True] * 3


def test_the_log_has_the_size_of_the_settings(tmp_path):
    history = History(strict()).begun()
    with Progress(tmp_path, io.StringIO(), DiskConfig(log_mb=1e-4, logs=1)) as progress:
        for _ in range(3):
            progress(history.state, NOBODY, [history.state.records[0]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "log.jsonl.1"]
    assert pytest.approx(1e-4) == DiskConfig(log_mb=1e-4).log_mb

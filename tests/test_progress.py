"""What a running campaign tells: the log, plain lines, and the live table of a terminal."""

import fcntl
import io
import json
import os
import pty
import struct
import termios

import pytest
from rich.console import Console

from aga.campaign import live
from aga.campaign.live import Clocks, Live, View, duration, view
from aga.campaign.progress import Progress
from aga.config import CampaignConfig
from tests.report.conftest import Campaign, bcc, config, filled

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


class FakePools:
    """Workers and tasks in flight as they are told."""

    def __init__(self, flying=(), workers=("search", "dft", "dft", "train")):
        self.flying = frozenset(flying)
        self.names = workers

    def slots(self, pool):
        return {"search": 1, "dft": 2, "train": 1}[pool]

    def in_flight(self):
        return self.flying

    def workers(self):
        return [
            {"name": f"{pool}-{i}", "pool": pool, "state": "idle", "pid": 1, "memory": 0}
            for i, pool in enumerate(self.names)
        ]


@pytest.fixture
def campaign(tmp_path):
    made = filled(Campaign(tmp_path / "run", config(cluster={"kind": "local"})))
    yield made
    made.close_store()


def waiting(campaign, count):
    """Label tasks without an outcome; their ordinals."""
    inputs = campaign.store.state().of_kind("label")[0].inputs
    return [
        campaign.plan(
            "label", **{**inputs, "candidate": {**inputs["candidate"], "id": f"w{i}"}}
        ).ordinal
        for i in range(count)
    ]


def drawn(shown, width=100):
    """The table as text."""
    out = io.StringIO()
    screen = Live(io.StringIO())
    screen.show(shown)
    screen.say("12:00:00 the last event")
    Console(file=out, width=width, color_system=None).print(screen)
    return out.getvalue()


def shown_of(campaign, pools, clocks=None):
    state = campaign.store.state()
    return view(state, pools, clocks or Clocks(), lambda group: f"SG-{group.best.id}")


def test_plain_lines_where_there_is_no_terminal(campaign, tmp_path):
    out = io.StringIO()
    state = campaign.store.state()
    with Progress(tmp_path / "run", out) as progress:
        progress(state, FakePools(), state.records)
        progress(state, FakePools(), [])
    text = out.getvalue()
    assert "\x1b" not in text
    assert text.count("best so far: Fm-3m (225)") == 1
    assert "label 3 failed: SCF not converged" in text
    assert "label p0 (confirm, polish)" in text
    for line in text.splitlines():
        assert line[2] == line[5] == ":"


def test_the_log_is_json_lines(campaign, tmp_path):
    state = campaign.store.state()
    with Progress(tmp_path / "run", io.StringIO()) as progress:
        progress(state, FakePools(), state.records)
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["task"] for event in events] == [record.ordinal for record in state.records]
    [failed] = [event for event in events if event["event"] == "failed"]
    assert failed["reason"].startswith("SCF not converged")
    assert failed["log"].endswith("log.txt")


class Terminal:
    """A pseudo-terminal; `stream` is what a program would have as standard error."""

    def __init__(self):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        os.set_blocking(self.master, False)

    def text(self):
        found = b""
        try:
            while part := os.read(self.master, 65536):
                found += part
        except BlockingIOError:
            pass
        return found.decode()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    made = Terminal()
    yield made
    made.stream.close()
    os.close(made.master)


def interrupted(campaign, stream):
    state = campaign.store.state()
    with Progress(campaign.store.run_dir, stream) as progress:
        progress(state, FakePools(), state.records)
        raise KeyboardInterrupt


def test_a_terminal_is_left_as_it_was(campaign, tmp_path, terminal):
    with pytest.raises(KeyboardInterrupt):
        interrupted(campaign, terminal.stream)
    text = terminal.text()
    assert text.count(HIDE) == text.count(SHOW) == 1
    left = text[text.index(SHOW) :]
    assert "copper" not in left
    assert left.rstrip().endswith("\x1b[2K")  # the last line of the table is wiped
    assert "\x1b" not in (tmp_path / "run" / "log.jsonl").read_text()


def test_a_terminal_that_cannot_move_its_cursor(campaign, tmp_path, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with Progress(tmp_path / "run", terminal.stream) as progress:
        progress.say("hello")
    text = terminal.text()
    assert "\x1b" not in text
    assert text.endswith("hello\r\n")


def test_the_table(campaign):
    ordinals = waiting(campaign, 3)
    text = drawn(shown_of(campaign, FakePools(ordinals)))
    assert "copper: Cu4, EMT (a toy potential, not DFT)" in text
    assert "5 done, 1 failed, 3 pending of 30" in text
    assert "2, of 4 labels: 20 meV/atom, 0.20 eV/Å (RMSE)" in text
    best = next(line for line in text.splitlines() if "SG-p0" in line)
    assert "yes" in best
    assert text.index("SG-p0") < text.index("SG-s0")
    dft = next(line for line in text.splitlines() if line.startswith("dft"))
    assert "2 of 2 busy" in dft
    assert "label w0 (0 s), label w1 (0 s), 1 waiting" in dft
    assert "the last event" in text
    assert all(len(line) <= 60 for line in drawn(View(title="x" * 200), 60).splitlines())


def test_lost_workers_are_told(campaign):
    text = drawn(shown_of(campaign, FakePools(workers=("search", "train", "dft"))))
    assert "0 of 1 busy, 1 missing" in text


def test_one_process_for_everything(tmp_path):
    campaign = Campaign(tmp_path / "run")
    campaign.label("s0", bcc())
    ordinals = waiting(campaign, 2)
    text = drawn(shown_of(campaign, FakePools(ordinals, workers=[""])))
    serial = next(line for line in text.splitlines() if line.startswith("serial"))
    assert "1 of 1 busy" in serial
    assert "label w0 (0 s), 1 waiting" in serial
    campaign.close_store()


def test_clocks_start_when_a_slot_is_free(campaign, monkeypatch):
    first, second, third = waiting(campaign, 3)
    clocks = Clocks()
    monkeypatch.setattr(live.time, "monotonic", lambda: 100.0)
    dft = shown_of(campaign, FakePools([first, second, third]), clocks).work[1]
    assert dft.running == [("label w0", 100.0), ("label w1", 100.0)]
    monkeypatch.setattr(live.time, "monotonic", lambda: 160.0)
    dft = shown_of(campaign, FakePools([second, third]), clocks).work[1]
    assert dft.running == [("label w1", 100.0), ("label w2", 160.0)]


def test_before_anything_is_known(tmp_path):
    assert "starting the workers" in drawn(View())
    campaign = Campaign(tmp_path / "run")
    campaign.plan("seed", count=2, volume_per_atom=0.0)
    text = drawn(shown_of(campaign, FakePools()))
    assert "labelling the first structures" in text
    assert "none yet" in text
    campaign.close_store()


def test_the_time_left_goes_on_between_turns(campaign, monkeypatch):
    budget = CampaignConfig.model_validate(
        {**campaign.store.config.model_dump(), "budget": {"labels": 30, "hours": 1.0}}
    )
    campaign.store.state().config = budget
    shown = shown_of(campaign, FakePools())
    monkeypatch.setattr(live.time, "monotonic", lambda: shown.taken + 1800.0)
    assert "30.0 min left" in drawn(shown)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (99.9, "1.7 min"), (5939, "99.0 min"), (7200, "2.0 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text

"""Faults of processes: parts of a campaign that die, are told to end, or are there twice."""

import contextlib
import os
import signal

from numpy.random import Generator

from aga.campaign.lock import holder
from tests.campaign.processes import until
from tests.chaos.crowd import STAFF
from tests.chaos.theatre import Theatre

#: [s] farthest jump of the clock: a machine without a battery wakes up in another year
FAR = 400 * 86400.0


def kill_part(part: str):
    """SIGKILL to one process of a part: the campaign goes on by itself."""

    def strike(theatre: Theatre, rng: Generator) -> None:
        pid = int(rng.choice(theatre.wait_for(part)))
        if pid:
            _signal(pid, signal.SIGKILL)

    return strike


def kill_nanny(theatre: Theatre, rng: Generator) -> None:
    """A worker loses the process that watches it, and ends with it; somebody starts a new pair."""
    kill_part("nanny")(theatre, rng)
    until(lambda: len(theatre.victims("nanny")) < sum(STAFF.values()), "the end of a nanny")
    theatre.crowd.see_to_it()


def kill_scheduler(theatre: Theatre, rng: Generator) -> None:
    """The campaign ends with a message, and goes on when there is a scheduler again."""
    wait_until_it_runs(theatre)
    theatre.idle(rng.uniform(0.0, 2.0))
    _signal(theatre.crowd.scheduler.pid, signal.SIGKILL)
    bury(theatre, 2)
    if not theatre.finished():
        assert "start the same command again to go on" in theatre.runs.said(), theatre.runs.said()


def freeze_engine(theatre: Theatre, rng: Generator) -> None:
    """An engine that does nothing any more: its deadline ends it."""
    pid = int(rng.choice(theatre.wait_for("engine")))
    if pid:
        _signal(pid, signal.SIGSTOP)


def end_driver(number: signal.Signals):
    """A signal to the driver at a random moment, often in the middle of its start."""

    def strike(theatre: Theatre, rng: Generator) -> None:
        wait_until_it_runs(theatre)
        theatre.idle(rng.uniform(0.0, 2.0) ** 2)
        if not theatre.ended:
            _signal(theatre.runs.process.pid, number)
        bury(theatre, -signal.SIGKILL if number == signal.SIGKILL else 130)

    return strike


def second_driver(theatre: Theatre, _: Generator) -> None:
    """Another `aga run` on the folder is refused and told by whom it is run."""
    wait_until_it_runs(theatre)
    pid = theatre.runs.process.pid
    done = theatre.second_driver()
    if not theatre.ended:
        assert done.returncode == 2, done.stderr
        assert f"being run by process {pid}" in done.stderr
        assert "Traceback" not in done.stderr


def clock_jump(theatre: Theatre, rng: Generator) -> None:
    """The wall clock of all processes jumps, by seconds or by a year, forwards or back."""
    theatre.set_clock(float(rng.choice([-1, 1]) * 10 ** rng.uniform(0.0, 7.0)) % FAR)


def full_disk(theatre: Theatre, rng: Generator) -> None:
    """No room any more: the campaign ends with a message, and goes on when there is some."""
    wait_until_it_runs(theatre)
    theatre.idle(rng.uniform(0.0, 4.0))
    theatre.disk.fill()
    try:
        bury(theatre, 2)
        assert "the disk is full" in theatre.runs.said()
    finally:
        theatre.disk.free()


def wait_until_it_runs(theatre: Theatre) -> None:
    """The driver has the run folder, or has ended."""
    pid = theatre.runs.process.pid
    until(
        lambda: theatre.ended or (holder(theatre.run_dir) or {}).get("pid") == pid,
        "the driver to have the run folder",
    )


def bury(theatre: Theatre, *expected: int) -> None:
    """The driver ends as it should, or had finished before; nobody is left, no traceback."""
    status = theatre.runs.wait()
    said = theatre.runs.said()
    assert status in (*expected, 0), f"status {status}, expected {expected}:\n{said}"
    assert "Traceback" not in said, said
    theatre.nobody_left()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, number)

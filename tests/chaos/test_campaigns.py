"""Campaigns with a fast engine under hundreds of faults; `pytest -m chaos -s` prints the table."""

import os
import time
from collections import Counter

import numpy as np
import pytest

from tests.chaos.disk import disk
from tests.chaos.injector import attack
from tests.chaos.invariants import Account, check
from tests.chaos.theatre import Theatre

#: faults of a campaign in one process; most that damage a file end the driver before, too
SERIAL = {
    "driver SIGKILL": 10,
    "driver SIGTERM": 5,
    "driver SIGINT": 10,
    "second driver": 6,
    "engine SIGKILL": 14,
    "watcher SIGKILL": 8,
    "clock jump": 14,
    "full disk": 6,
    "read-only folder": 4,
    "truncated result": 8,
    "bit flip in a result": 8,
    "truncated proposal": 4,
    "unloadable ensemble": 6,
    "truncated database": 4,
    "zeros in the database": 4,
    "bit flip in the database": 6,
}
#: of one on workers of this machine, whose nannies and scheduler live in the driver
LOCAL = {
    "worker SIGKILL": 30,
    "engine SIGKILL": 12,
    "watcher SIGKILL": 6,
    "engine SIGSTOP": 2,
    "clock jump": 10,
    "driver SIGKILL": 3,
    "driver SIGTERM": 2,
    "driver SIGINT": 2,
    "full disk": 2,
}
#: of one on a scheduler and workers that somebody else runs
ADDRESS = {
    "nanny SIGKILL": 8,
    "scheduler SIGKILL": 6,
    "worker SIGKILL": 6,
    "engine SIGKILL": 4,
    "driver SIGKILL": 3,
    "driver SIGTERM": 2,
    "driver SIGINT": 2,
}
#: of one that every run of the tests has
FEW = {"engine SIGKILL": 2, "clock jump": 2, "driver SIGKILL": 1, "truncated result": 1}


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("cluster", "counts"),
    [
        pytest.param({"kind": "serial"}, SERIAL, id="serial"),
        pytest.param(
            {"kind": "local", "dft_workers": 2}, LOCAL, id="local", marks=pytest.mark.dask
        ),
        pytest.param({"kind": "address"}, ADDRESS, id="address", marks=pytest.mark.dask),
    ],
)
def test_a_campaign_on_this_machine(tmp_path, cluster, counts):
    with disk(tmp_path / "disk", 256) as own:
        if own is None:
            print("no root: no disk of its own, so none that is full or read-only")
        play(Theatre(tmp_path, cluster, own), counts, seed=1)


@pytest.mark.slow
def test_a_few_faults(tmp_path):
    """The same in a minute or two, with every run of the tests."""
    play(Theatre(tmp_path, {"kind": "serial"}, seconds=0.1, budget=32), FEW, seed=2)


def play(theatre, counts, seed):
    """Attack a campaign, let it come to its end, check and print.

    AGA_CHAOS_SHARE=0.2 injects a fifth of the faults, at least one of each kind.
    """
    began = time.monotonic()
    share = float(os.environ.get("AGA_CHAOS_SHARE", "1"))
    counts = {kind: max(1, round(share * count)) for kind, count in counts.items()}
    try:
        survived = attack(theatre, counts, np.random.default_rng(seed))
        theatre.come_to_an_end()
        account = check(theatre)
        theatre.close_down()
    finally:
        theatre.kill_all()
    print(told(survived, account, theatre.starts, time.monotonic() - began))


def told(survived: Counter[str], account: Account, starts: Counter[str], seconds: float) -> str:
    """The table."""
    engine = {mood: n for mood, n in account.moods.items() if mood != "good"}
    rows = [*survived.items(), *((f"engine: {mood}", n) for mood, n in sorted(engine.items()))]
    lines = [f"  {kind:30s} {count:4d} of {count:<4d} survived" for kind, count in rows]
    return "\n".join(
        [
            "",
            *lines,
            f"  {'all':30s} {sum(survived.values()) + sum(engine.values()):4d}",
            f"{account.labels} labels and {account.failed} failures, each once; {account.begun} "
            f"computations begun, {account.ended} to their end; {sum(starts.values())} starts; "
            f"{seconds:.0f} s",
            f"starts: {dict(starts)}",
        ]
    )

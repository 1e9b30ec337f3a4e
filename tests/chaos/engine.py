"""EMT with moods: what goes wrong follows from the structure; every computation is on a journal.

The journal lies outside of the run folder, and nothing the program does can tidy it.
"""

import json
import os
import signal
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.calculator import all_changes

from potentials.structures import bare, content_key, rounded
from tests.campaign.moody import Slow

#: environment variable: the journal
JOURNAL = "AGA_TEST_JOURNAL"
#: share of the structures with each mood; the rest are good
SHARES = {
    "hang": 0.02,
    "segfault": 0.05,
    "leak": 0.04,
    "babble": 0.04,
    "nan": 0.05,
    "unconverged": 0.05,
    "shape": 0.05,
    "chatter": 0.06,
}
#: moods whose numbers are right
GOOD = ("good", "chatter")
#: what the reason of a failure must say
REASONS = {
    "hang": "deadline",
    "segfault": "SIGSEGV",
    "leak": "memory",
    "babble": "status 3",
    "nan": "finite",
    "unconverged": "did not converge",
    "shape": "forces",
}
JUNK = bytes(range(256)) * 400  # no text in any encoding


def geometry(atoms: Any) -> str:
    """The structure as the journal names it."""
    return content_key(rounded(bare(atoms)))


def mood_of(name: str) -> str:
    """What happens to a structure of this name."""
    number, reached = zlib.crc32(name.encode()) / 2**32, 0.0
    for mood, share in SHARES.items():
        reached += share
        if number < reached:
            return mood
    return "good"


def journal(path: Path) -> list[dict[str, Any]]:
    """All entries: event (begin, end), geometry, mood, moment [s since 1970]."""
    return [json.loads(line) for line in path.read_text().splitlines()]


class Chaotic(Slow):
    """Takes its time [s], then does what its mood says."""

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        name = geometry(atoms)
        mood = mood_of(name)
        _note("begin", name, mood)
        super().calculate(atoms, properties, system_changes)
        getattr(self, f"_{mood}", lambda: None)()
        _note("end", name, mood)

    def _hang(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)

    def _segfault(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def _leak(self) -> None:
        kept = []
        while True:  # address space only: the machine of the test stays as it is
            kept.append(np.empty(10_000_000))

    def _chatter(self) -> None:
        sys.stdout.buffer.write(JUNK)
        sys.stdout.flush()

    def _babble(self) -> None:
        self._chatter()
        os._exit(3)

    def _nan(self) -> None:
        self.results["energy"] = float("nan")

    def _unconverged(self) -> None:
        raise RuntimeError("the SCF did not converge")

    def _shape(self) -> None:
        self.results["forces"] = self.results["forces"][:-1]


def _note(event: str, name: str, mood: str) -> None:
    """One line in one write; by the kernel's clock, which no test sets."""
    now = time.clock_gettime(time.CLOCK_REALTIME)
    line = {"event": event, "geometry": name, "mood": mood, "moment": now}
    file = os.open(os.environ[JOURNAL], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, json.dumps(line).encode() + b"\n")
    os.close(file)

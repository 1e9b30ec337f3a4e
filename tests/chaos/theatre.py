"""A campaign that is to be attacked: its processes, its files, its clock, and what it was told."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aga.campaign.run import FINISHED
from aga.config import CampaignConfig
from tests.campaign.builders import config, stored
from tests.campaign.processes import Runs, listening, until
from tests.chaos.clock.sitecustomize import ZERO
from tests.chaos.crowd import Crowd
from tests.chaos.disk import Disk
from tests.chaos.engine import JOURNAL

CLOCK = Path(__file__).with_name("clock")
#: how processes of each part are known by their command line; an engine's also is in its watcher's
PARTS = {
    "worker": ("spawn_main",),
    "watcher": ("watcher.py",),
    "engine": ("calculators.single_point",),
    "nanny": ("distributed.cli.dask_worker",),
    "scheduler": ("distributed.cli.dask_scheduler",),
}
#: command lines of those that somebody else runs, of their workers, and of Python's helper of these
SOMEBODY_ELSES = ("distributed.cli", "spawn_main", "resource_tracker")
#: single points that the last start may take to confirm its result
RESERVE = 12
#: longest wait for another result [s]
PATIENCE_S = 20.0
#: no campaign needs so many: it goes on until it is told to come to an end
MANY = 2000


def part_of(words: list[str]) -> str | None:
    """The part that a process plays, by its command line."""
    marks = ((part, mark) for part, marks in PARTS.items() for mark in marks)
    return next((part for part, mark in marks if any(mark in word for word in words)), None)


class Theatre:
    """Starts a campaign, goes on with it after every death, and knows its parts.

    Args:
        folder: of everything but the run folder.
        cluster: settings of its cluster; of the kind `address`: somebody runs it, see `Crowd`.
        disk: the run folder's own, or None.
        seconds: of a single point [s].
        budget: single points; as a rule more than there is time for.
    """

    def __init__(
        self,
        folder: Path,
        cluster: dict[str, Any],
        disk: Disk | None = None,
        seconds: float = 0.3,
        budget: int = MANY,
    ) -> None:
        self.folder, self.disk = folder, disk
        self.journal, self.clock = folder / "journal", folder / "clock"
        self.journal.touch()
        self.clock.touch()
        self.set_clock(0.0)
        environment = {JOURNAL: str(self.journal), "AGA_TEST_CLOCK": str(self.clock)}
        environment["PYTHONPATH"] = str(CLOCK)
        self.runs = Runs(folder, (disk.folder if disk else folder) / "run", environment)
        self._cluster, self._seconds = cluster, seconds
        self.crowd: Crowd | None = None
        if cluster["kind"] == "address":
            self.crowd = Crowd(self.runs.environment())
            self._cluster = self.crowd.settings
        self.budget = budget
        self.starts: Counter[str] = Counter()
        self.tally: Counter[str] = Counter()
        self.first_seen: dict[str, float] = {}

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.runs.run_dir

    def settings(self) -> CampaignConfig:
        """Of the next start."""
        return config(
            composition={"Cu": 2, "Au": 2},
            engine={
                "kind": "ase",
                "path": "tests.chaos.engine.Chaotic",
                "arguments": {"seconds": self._seconds},
                "memory_gb": 4.0,
                "deadline_s": 15.0,
            },
            cluster=self._cluster,
            search={"initial_labels": 8, "batch": 6},
            budget={"labels": self.budget, "hours": 1000.0, "confirm_reserve": RESERVE},
            stop={"patience_labels": MANY, "patience_proposals": 0},
            confirm={"structures": 1},
            disk={"failed_labels": 5, "log_mb": 0.02, "logs": 2},
        )

    def start(self, why: str) -> None:
        """Start, or go on."""
        if self.crowd:
            self.crowd.see_to_it()
        with listening():
            self.runs.start(self.settings())
        self.starts[why] += 1
        self.note(f"  start: {why}")

    def note(self, line: str) -> None:
        """Add a line to the story, which is read where a fault was not survived."""
        with (self.folder / "story").open("a") as story:
            story.write(f"{time.monotonic():.1f} {line}\n")

    @property
    def ended(self) -> bool:
        """Whether the driver is gone."""
        return self.runs.process is None or self.runs.process.poll() is not None

    def at_work(self) -> bool:
        """Whether the last start has taken up what was there, or computes already."""
        return "going on with" in self.runs.said() or bool(self.victims("engine"))

    def victims(self, part: str) -> list[int]:
        """Pids of a part."""
        if part == "driver":
            return [] if self.ended else [self.runs.process.pid]
        return [pid for pid, words in self.runs.alive().items() if part_of(words) == part]

    def wait_for(self, part: str) -> list[int]:
        """Pids of a part as soon as there are some; none where the driver has ended."""
        return until(lambda: self.victims(part) or (self.ended and [0]), part)

    def result(self, key: str) -> Path:
        """Where the result of a single point lies."""
        return self.run_dir / "labels" / key[:2] / key / "result.json"

    def results(self) -> list[Path]:
        """Published single points, in a fixed order; notes when each was seen published."""
        found = sorted(self.run_dir.glob("labels/*/*/result.json"))
        for path in found:
            self.first_seen.setdefault(path.parent.name, path.stat().st_mtime)
        return found

    def set_clock(self, offset: float) -> None:
        """Let the wall clock of all processes be off [s]."""
        os.utime(self.clock, (ZERO + offset, ZERO + offset))

    def nobody_left(self) -> None:
        """Every process has ended, but for those that somebody else runs."""
        if self.crowd is None:
            self.runs.nobody_left()
        else:
            until(lambda: not self._ours(), f"the end of {self._ours()}")

    def _ours(self) -> list[list[str]]:
        """Command lines of processes that the campaign has started on somebody else's cluster."""
        return [
            words
            for words in self.runs.alive().values()
            if not any(mark in word for word in words for mark in SOMEBODY_ELSES)
        ]

    def close_down(self) -> None:
        """Somebody else's processes end too, and nobody at all is left."""
        if self.crowd:
            self.crowd.send_home()
        self.runs.nobody_left()

    def copy_database(self) -> Path:
        """Put a copy of the database aside; nobody may be running."""
        aside = self.folder / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for path in self.run_dir.glob("campaign.db*"):
            shutil.copy2(path, aside)
        return aside

    def close(self) -> None:
        """End the driver as a user does, so that it can be started with another budget."""
        if not self.ended:
            self.runs.process.terminate()
            assert self.runs.wait() in (130, FINISHED), self.runs.said()
        self.nobody_left()

    def kill_all(self) -> None:
        """After a failure: leave nobody behind."""
        for pid in self.runs.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.runs.process is not None:
            self.runs.process.wait()

    def come_to_an_end(self) -> int:
        """Let the campaign confirm what it has: it has a budget, or is given what it has used."""
        if self.budget < MANY:
            if self.ended and not self.finished():
                self.start("the end")
            return self.runs.process.wait(10 * 60)
        self.close()
        asked = stored(self.run_dir).asked
        self.budget = asked + RESERVE
        self.start("the end")
        return self.runs.process.wait(10 * 60)

    def finished(self) -> bool:
        """Whether the last start came to an end by itself."""
        return self.ended and self.runs.process.returncode == FINISHED

    def idle(self, seconds: float) -> None:
        """Let it work [s]."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.ended:
            time.sleep(0.02)

    def advance(self) -> None:
        """Let it finish another result; it may be busy with something else."""
        before, end = self.runs.published(), time.monotonic() + PATIENCE_S
        while self.runs.published() == before and time.monotonic() < end and not self.ended:
            time.sleep(0.05)

    def second_driver(self) -> subprocess.CompletedProcess[str]:
        """Another `aga run` on the same folder."""
        return self.runs.beside("run")

"""One run of one method: what it may know, and how a child process is told of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.judge import Judge, Reference
from search.oracle import Ledger
from search.system import System

JOB = "job.json"


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One run.

    Attributes:
        system: what is searched; its references are none of the method's business.
        ledger: counts the oracle's calls, and knows when the run is over.
        seed: of all random numbers.
        folder: for files.
        volume_per_atom: guess from the elements, the same for all methods [Å^3].
        whole: whether this program runs to its own end instead of to the first hit.
        settings: of this program's campaign that are not its defaults, by dotted key.
    """

    system: System
    ledger: Ledger
    seed: int
    folder: Path
    volume_per_atom: float
    whole: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def write(self) -> None:
        """Leave the run in its folder for a child process."""
        job = {
            "system": self.system.to_dict(),
            "references": [one.to_dict() for one in self.ledger.judge.references],
            "budget": self.ledger.budget,
            "seed": self.seed,
            "volume_per_atom": self.volume_per_atom,
        }
        (self.folder / JOB).write_text(json.dumps(job))

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run of a folder."""
        job: dict[str, Any] = json.loads((folder / JOB).read_text())
        given = job["system"]
        system = System(**{**given, "references": tuple(given["references"])})
        judge = Judge([Reference.from_dict(one) for one in job["references"]])
        ledger = Ledger(folder, judge, job["budget"])
        return cls(system, ledger, job["seed"], folder, job["volume_per_atom"])

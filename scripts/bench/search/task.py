"""One run of one method: what it may know, and how a child process is told of it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.judge import Reference
from search.oracle import Ledger
from search.references import judge_of
from search.system import System, named

JOB = "job.json"


@dataclass(frozen=True, eq=False, slots=True)
class Run:
    """One run.

    Attributes:
        system: what is searched; its references are none of the method's business.
        ledger: counts the oracle's calls, and knows when the run is over.
        seed: of all random numbers.
        folder: for files.
        volumes: guess from the elements by name of the composition, the same for all methods
            [Å^3/atom].
        whole: whether this program runs to its own end instead of to the first hit.
        settings: of this program's campaign that are not its defaults, by dotted key.
    """

    system: System
    ledger: Ledger
    seed: int
    folder: Path
    volumes: dict[str, float]
    whole: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    def volume(self, composition: dict[str, int]) -> float:
        """The guess for a composition that is searched [Å^3/atom]."""
        return self.volumes[named(composition)]

    def write(self) -> None:
        """Leave the run in its folder for a child process."""
        job = {
            "system": self.system.to_dict(),
            "references": [one.to_dict() for one in self.ledger.judge.references],
            "budget": self.ledger.budget,
            "seed": self.seed,
            "volumes": self.volumes,
        }
        (self.folder / JOB).write_text(json.dumps(job))

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """The run of a folder."""
        job: dict[str, Any] = json.loads((folder / JOB).read_text())
        given = job["system"]
        system = System(**{**given, "references": tuple(given["references"])})
        judge = judge_of(system, [Reference.from_dict(one) for one in job["references"]])
        ledger = Ledger(folder, judge, job["budget"])
        return cls(system, ledger, job["seed"], folder, job["volumes"])

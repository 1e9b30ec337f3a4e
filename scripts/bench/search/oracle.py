"""The oracle, and the one place where its calls are counted."""

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from search.hulls import HullJudge
from search.judge import Judge, atoms_of, plain
from search.noise import Noise
from search.system import System

#: what calculators raise for structures that they cannot do
FAILURES = (ArithmeticError, ValueError, RuntimeError, IndexError, np.linalg.LinAlgError)
#: what a call may be the first to find
HITS = ("found", "strict", "energy")
#: bytes of one call in the file of calls
WIDTH = 12
#: largest volume that is calculated [Å^3/atom]: beyond are only gases, and neighbour lists explode
SPARSE = 500.0
#: smallest volume that is calculated [Å^3/atom]
DENSE = 1.0


class OracleError(RuntimeError):
    """The oracle has no answer for a structure."""


def build(oracle: Mapping[str, Any]) -> Any:
    """The ASE calculator that ``path`` and ``arguments`` name, loaded once a process."""
    return _built(oracle["path"], json.dumps(oracle["arguments"], sort_keys=True))


@lru_cache(maxsize=2)
def _built(path: str, arguments: str) -> Any:
    module, _, name = path.rpartition(".")
    with contextlib.redirect_stdout(sys.stderr):  # models say that they are there
        return getattr(importlib.import_module(module), name)(**json.loads(arguments))


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has spent and found.

    Attributes:
        calls: calls of the oracle.
        seconds: time in it [s].
        failed: calls that gave no answer.
        relaxations: relaxations with the oracle that were started.
        found: call of the first structure that is the ground state or lower, or None.
        strict: call of the first that has its form too, or None.
        energy: call of the first that is near in energy, or None.
        best: lowest enthalpy of a sane structure [eV/atom], or None; of a hull how far it lies
            above that of the references.
        structure: the last structure that was better, or None.
    """

    calls: int = 0
    seconds: float = 0.0
    failed: int = 0
    relaxations: int = 0
    found: int | None = None
    strict: int | None = None
    energy: int | None = None
    best: float | None = None
    structure: Atoms | None = None


class Ledger:
    """The calls of one run, in files that all its processes share.

    A peer starts workers of its own: they count here too, one at a time. A line of fixed width per
    call, so that the number of calls is the size of the file; what a call found is a line of JSON
    beside it.

    Args:
        folder: of the run.
        judge: looks at every answer.
        budget: calls after which the run is over; 0: never.
        first: whether the run is over with the first hit.
    """

    def __init__(
        self, folder: Path, judge: Judge | HullJudge, budget: int, *, first: bool = True
    ) -> None:
        self.judge, self.budget, self.first = judge.fresh(), budget, first
        self._calls, self._notes = folder / "calls", folder / "notes.jsonl"
        self._relaxations = folder / "relaxations"
        for note in self._noted():  # by a process before this one
            self.judge.news(atoms_of(note["atoms"]), note["enthalpy"])
        spent = self.spent()
        self._best = spent.best
        self._hits = {name for name in HITS if getattr(spent, name) is not None}

    @property
    def calls(self) -> int:
        """Calls of the oracle until now."""
        return self._calls.stat().st_size // WIDTH if self._calls.exists() else 0

    @property
    def over(self) -> bool:
        """Whether the run is to end: the ground state was met, or the budget is spent."""
        return (self.first and "found" in self._hits) or 0 < self.budget <= self.calls

    def relaxation(self) -> None:
        """Count the start of a relaxation."""
        with self._relaxations.open("a") as file:
            file.write("+")

    def failure(self, seconds: float) -> None:
        """Count a call that gave no answer."""
        self._append(seconds, "-")

    def answer(self, atoms: Atoms, enthalpy: float, seconds: float) -> None:
        """Count a call, and note what it found.

        Args:
            atoms: the structure that was asked about.
            enthalpy: (E + pV)/n [eV/atom].
            seconds: time that the oracle took [s].
        """
        self._append(seconds, "+")
        news = self.judge.news(atoms, enthalpy, self._best)
        verdict = self.judge.verdict(atoms, enthalpy)
        new = {name for name in HITS if getattr(verdict, name)} - self._hits
        if news is not None or new:
            note = {"call": self.calls, "enthalpy": enthalpy, "atoms": plain(atoms)}
            with self._notes.open("a") as file:
                file.write(json.dumps({**note, "hits": sorted(new), "best": news}) + "\n")
        if news is not None:
            self._best = news
        self._hits |= new

    @property
    def best(self) -> list[Atoms]:
        """The lowest structure, or those on the hull of the run."""
        if isinstance(self.judge, HullJudge):
            return self.judge.answer
        structure = self.spent().structure
        return [] if structure is None else [structure]

    def spent(self) -> Spent:
        """What stands in the files."""
        if not self._calls.exists():
            return Spent()
        lines = self._calls.read_text().splitlines()
        hits: dict[str, int] = {}
        best, structure = None, None
        for note in self._noted():
            for name in note["hits"]:
                hits.setdefault(name, note["call"])
            if note["best"] is not None and (best is None or note["best"] <= best):
                best, structure = note["best"], atoms_of(note["atoms"])
        return Spent(
            len(lines),
            sum(float(line[1:]) for line in lines),
            sum(line[0] == "-" for line in lines),
            self._relaxations.stat().st_size if self._relaxations.exists() else 0,
            **hits,
            best=best,
            structure=structure,
        )

    def _noted(self) -> list[dict[str, Any]]:
        notes = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [json.loads(note) for note in notes]

    def _append(self, seconds: float, sign: str) -> None:
        line = f"{sign}{min(seconds, 99999.0):.4f}".ljust(WIDTH - 1)[: WIDTH - 1] + "\n"
        with self._calls.open("a") as file:
            file.write(line)


class Counting(Calculator):
    """An ASE calculator that counts: one call gives energy, forces and stress of one geometry.

    Args:
        calculator: the oracle itself.
        ledger: where calls are counted.
        pressure: external pressure [eV/Å^3]; the judge looks at the enthalpy.
        noise: errors of what is answered; the judge sees the oracle without.

    Raises:
        OracleError: from every method that asks for a structure without an answer; it counts.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(
        self, calculator: Any, ledger: Ledger, pressure: float = 0.0, noise: Noise | None = None
    ) -> None:
        super().__init__()
        self.ledger = ledger
        self._calculator, self._pressure = calculator, pressure
        self._noise = noise or Noise()

    @classmethod
    def of(cls, system: System, ledger: Ledger) -> "Counting":
        """The oracle of a system."""
        return cls(build(system.oracle), ledger, system.pressure, Noise(**system.noise))

    def calculate(
        self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes
    ) -> None:
        """One call of the oracle."""
        super().calculate(atoms, properties, system_changes)
        started = time.perf_counter()
        try:
            energy, forces, stress = self._ask(atoms)
        except FAILURES as error:
            self.ledger.failure(time.perf_counter() - started)
            self.reset()
            raise OracleError(f"{type(error).__name__}: {error}") from error
        seconds = time.perf_counter() - started
        volume = atoms.get_volume() if atoms.pbc.any() else 0.0
        enthalpy = (energy + self._pressure * volume) / len(atoms)
        self.ledger.answer(atoms, enthalpy, seconds)
        energy, forces, stress = self._noise(atoms, energy, forces, stress)
        self.results = {
            "energy": energy, "free_energy": energy, "forces": forces, "stress": stress
        }  # fmt: skip

    def _ask(self, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
        crystal = bool(atoms.pbc.any())
        volume = abs(float(np.linalg.det(atoms.cell.array))) / len(atoms)
        if crystal and not DENSE <= volume <= SPARSE:
            raise OracleError(f"a cell of {volume:.3g} Å^3 per atom")
        copy = Atoms(
            numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc
        )
        copy.calc = self._calculator
        energy = float(copy.get_potential_energy())
        forces = np.array(copy.get_forces(), dtype=float)
        stress = np.array(copy.get_stress() if crystal else np.zeros(6), dtype=float)
        if not (np.isfinite(energy) and np.isfinite(forces).all() and np.isfinite(stress).all()):
            raise OracleError("an answer that is not finite")
        return energy, forces, stress

"""What every peer gives back: structures ready to be evaluated again and again."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
from ase import Atoms

#: shift of every coordinate between two calls, standard deviation [Å]
SHIFT = 0.01
#: different positions that a measurement goes through
VERSIONS = 8


@dataclass(frozen=True, slots=True)
class Variant:
    """One set of rows of a code.

    Attributes:
        code: name in the table.
        members: number of networks K evaluated at once.
        what: settings that a reader needs for a fair comparison.
        options: what the peer's file needs to tell its variants apart.
    """

    code: str
    members: int
    what: str
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """Energy [eV], forces [eV/Å] (N, 3) and stress [eV/Å^3] (3, 3), tension positive, of one."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray


@dataclass(frozen=True, slots=True)
class Spent:
    """What a measurement took: seconds of processor and wall per piece of work, and remarks."""

    cpu: float
    wall: float
    calls: int
    notes: dict[str, Any]


class Prepared(ABC):
    """Structures that one code has made its preparations for (files, arrays, graphs)."""

    def __init__(self, structures: Sequence[Atoms]) -> None:
        self.structures = list(structures)

    @abstractmethod
    def evaluate(self) -> Any:
        """Energies, forces and stresses of `structures` as they are now, in the code's form."""

    @abstractmethod
    def results(self) -> list[Found]:
        """The same in one form for all codes; not timed."""

    def time(self, seconds: float) -> Spent:
        """Mean time per atom of calls with moved atoms, for at least ``seconds`` and 3 calls."""
        base = [atoms.positions.copy() for atoms in self.structures]
        rng = np.random.default_rng(0)
        moved = [[p + rng.normal(0.0, SHIFT, p.shape) for p in base] for _ in range(VERSIONS)]
        n_atoms = sum(map(len, base))
        calls, cpu, wall = 0, time.process_time(), time.perf_counter()
        for version in cycle(moved):
            for atoms, positions in zip(self.structures, version, strict=True):
                atoms.positions = positions
            self.evaluate()
            calls += 1
            if calls >= 3 and time.process_time() - cpu >= seconds:
                break
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        for atoms, positions in zip(self.structures, base, strict=True):
            atoms.positions = positions
        return Spent(cpu / calls / n_atoms, wall / calls / n_atoms, calls, {})

"""What a relaxation may not leave, and what it returns: plain data without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase import Atoms

Stopped = Literal["converged", "steps", "gate"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Bounds of a sane structure; one that leaves them is stopped and rejected.

    Of what is not periodic in three directions volume and cell say nothing.

    Attributes:
        min_distance: shortest allowed distance [Å] by sorted pair of symbols, e.g. ("Au", "Cu");
            a pair that is not named is not checked.
        volume_per_atom: smallest and largest allowed volume [Å^3/atom].
        min_height: smallest distance between opposite cell faces [Å].
        max_length: longest allowed cell vector [Å]; of a cluster, largest extent along x, y or z.
        bonds: longest distances that hold a cluster together [Å] by sorted pair of symbols; a
            cluster that has fallen apart at the end is rejected. Empty: not checked.
    """

    min_distance: Mapping[tuple[str, str], float]
    volume_per_atom: tuple[float, float]
    min_height: float = 1.2
    max_length: float = 40.0
    bonds: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """The end of one relaxation on an ensemble.

    Attributes:
        atoms: final geometry, without calculator.
        stopped: why it ended.
        reason: the gate that was left, else "".
        steps: optimiser steps made.
        enthalpy: (E + pV)/n on the mean of the members [eV/atom].
        spread: calibrated standard deviation of the members' energies [eV/atom].
        fmax: largest force at the end [eV/Å].
        volume: cell volume [Å^3]; 0 where it is not periodic in three directions.
    """

    atoms: Atoms
    stopped: Stopped
    reason: str
    steps: int
    enthalpy: float
    spread: float
    fmax: float
    volume: float


def connected(atoms: Atoms, bonds: Mapping[tuple[str, str], float]) -> bool:
    """Whether bonds join all atoms of a cluster; a pair that is not named has none.

    Args:
        atoms: positions only: periodic images are not looked at.
        bonds: longest distances [Å] by sorted pair of symbols.
    """
    symbols = atoms.get_chemical_symbols()
    longest = np.array([[bonds.get((min(a, b), max(a, b)), 0.0) for b in symbols] for a in symbols])
    apart = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=2)
    joined = apart <= longest
    reached = np.arange(len(atoms)) == 0
    while True:
        wider = reached | joined[reached].any(axis=0)
        if (wider == reached).all():
            return bool(reached.all())
        reached = wider

"""What a relaxation may not leave, and what it returns: plain data without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ase import Atoms

Stopped = Literal["converged", "steps", "gate"]


@dataclass(frozen=True, slots=True)
class Gates:
    """Bounds of a sane crystal; a structure that leaves them is stopped and rejected.

    Attributes:
        min_distance: shortest allowed distance [Å] by sorted pair of symbols, e.g. ("Au", "Cu");
            a pair that is not named is not checked.
        volume_per_atom: smallest and largest allowed volume [Å^3/atom].
        min_height: smallest distance between opposite cell faces [Å].
        max_length: longest allowed cell vector [Å].
    """

    min_distance: Mapping[tuple[str, str], float]
    volume_per_atom: tuple[float, float]
    min_height: float = 1.2
    max_length: float = 40.0


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
        volume: cell volume [Å^3].
    """

    atoms: Atoms
    stopped: Stopped
    reason: str
    steps: int
    enthalpy: float
    spread: float
    fmax: float
    volume: float

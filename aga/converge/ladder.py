"""Which setting is computed next, and when nothing changes any more: pure functions.

What is computed is compared with the most accurate that is there: the exact answer is not known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import kptdensity2monkhorstpack

from calculators.outcome import Failure
from potentials.structures import Label

#: from one setting to the next
FACTOR = 1.2
#: settings above the chosen one that agree with it, at least: two may agree by accident
WITNESSES = 2
#: settings in a row that may fail: the next one may be better
FAILURES = 2

Finer = Callable[[float, float], bool]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest difference from the most accurate that was computed.

    Attributes:
        energy: of the energy [meV/atom].
        force: of the force on any atom, as a vector [eV/Å].
        stress: of any component of the stress [GPa].
    """

    energy: float = 5.0
    force: float = 0.02
    stress: float = 0.5


@dataclass(frozen=True, slots=True)
class Errors:
    """Differences from the most accurate; units as in `Tolerance`.

    Attributes:
        energy: of the energy.
        force: largest of the forces.
        stress: largest of the stress; None where there is no stress.
    """

    energy: float
    force: float
    stress: float | None

    def within(self, tolerance: Tolerance) -> bool:
        """Whether none is too large."""
        small = self.energy <= tolerance.energy and self.force <= tolerance.force
        return small and (self.stress is None or self.stress <= tolerance.stress)


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """One setting and what the engine said with it.

    Attributes:
        value: of the setting.
        answer: a label, or why there is none.
    """

    value: float
    answer: Label | Failure


@dataclass(frozen=True, slots=True)
class Next:
    """Compute this setting."""

    value: float


@dataclass(frozen=True, slots=True)
class Converged:
    """From this setting on nothing changes any more."""

    value: float


@dataclass(frozen=True, slots=True)
class Ended:
    """There is no answer."""

    reason: str


def always(_low: float, _high: float) -> bool:
    """Of settings that are more accurate as soon as they are larger."""
    return True


def proceed(
    points: Sequence[Point],
    rungs: Sequence[float],
    tolerance: Tolerance,
    finer: Finer = always,
) -> Next | Converged | Ended:
    """What to do after these points.

    Args:
        points: what was computed, in the order of the rungs.
        rungs: all settings that may be tried, rising.
        tolerance: when it is good enough.
        finer: whether the second setting says something about the first.
    """
    if reason := _failing(points):
        return Ended(reason)
    found = settled(points, tolerance, finer)
    if found is not None:
        return Converged(found)
    if len(points) == len(rungs):
        return Ended(f"not converged up to {rungs[-1]:g}, the last of {len(rungs)} settings")
    return Next(rungs[len(points)])


def settled(points: Sequence[Point], tolerance: Tolerance, finer: Finer = always) -> float | None:
    """The lowest setting from which on all are within the tolerance of the most accurate one.

    At least `WITNESSES` lie above it, so that one accident does not decide. None: not yet.
    """
    computed = [
        (one.value, error)
        for one, error in zip(points, errors(points), strict=True)
        if error is not None
    ]
    if not computed:
        return None
    last = computed[-1][0]
    found = None
    for place in reversed(range(len(computed) - 1)):
        value, error = computed[place]
        if not error.within(tolerance):
            break
        if place < len(computed) - WITNESSES and finer(value, last):
            found = value
    return found


def errors(points: Sequence[Point]) -> list[Errors | None]:
    """The differences of each point from the last that did not fail; None for what failed."""
    labels = [one.answer for one in points if isinstance(one.answer, Label)]
    return [
        difference(one.answer, labels[-1]) if isinstance(one.answer, Label) else None
        for one in points
    ]


def difference(label: Label, reference: Label) -> Errors:
    """How far two labels of one structure are apart."""
    energy = 1e3 * abs(label.energy - reference.energy) / len(label.forces)
    force = float(np.linalg.norm(label.forces - reference.forces, axis=1).max())
    stress = None
    if label.stress is not None and reference.stress is not None:
        stress = float(np.abs(label.stress - reference.stress).max()) / units.GPa
    return Errors(energy, force, stress)


def _failing(points: Sequence[Point]) -> str:
    """Why it makes no sense to go on, or an empty string."""
    failures = [one.answer for one in points[-FAILURES:] if isinstance(one.answer, Failure)]
    if not points or not isinstance(points[-1].answer, Failure):
        return ""
    if points[-1].answer.kind == "transient":  # time, memory: the next needs more of it
        return points[-1].answer.reason
    if len(failures) == FAILURES:
        return f"{FAILURES} settings in a row failed, the last because: {failures[-1].reason}"
    return ""


def cutoffs(start: float, count: int) -> tuple[float, ...]:
    """``count`` rising settings from ``start`` on, each `FACTOR` times the last, two digits."""
    return (start, *(_two_digits(start * FACTOR**step) for step in range(1, count)))


def densities(atoms: Atoms, start: float, count: int) -> tuple[float, ...]:
    """``count`` rising densities of k-points [Å], no two of which have the same grid.

    A density says how many k-points there are at least: the same grid twice would look like
    convergence. Of what is not periodic there is one.
    """
    rungs = [start]
    while len(rungs) < count and atoms.pbc.any():
        rungs.append(_next_density(atoms, rungs[-1]))
    return tuple(rungs)


def _next_density(atoms: Atoms, last: float) -> float:
    """The lowest density, in two digits, that is `FACTOR` times the last and has another grid."""
    least = FACTOR * last
    step = 10.0 ** (floor(log10(least)) - 1)
    steps = ceil(round(least / step, 6))
    while grid(atoms, steps * step) == grid(atoms, last):
        steps += 1
    return float(f"{steps * step:.6g}")


def grid(atoms: Atoms, density: float) -> tuple[int, ...]:
    """K-points along each axis at a density [Å]."""
    return tuple(int(count) for count in kptdensity2monkhorstpack(atoms, density, even=False))


def finer_grid(atoms: Atoms) -> Finer:
    """Whether a density has more k-points along every axis on which there are any."""
    periodic = [axis for axis in range(3) if atoms.pbc[axis]]

    def finer(low: float, high: float) -> bool:
        few, many = grid(atoms, low), grid(atoms, high)
        return all(many[axis] > few[axis] for axis in periodic)

    return finer


def _two_digits(value: float) -> float:
    """Rounded to two digits, as people write cutoffs."""
    return float(f"{value:.1e}")

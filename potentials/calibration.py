"""From the spread of the members to the error to expect.

Ensembles are over-confident; every label that was predicted before it was computed tells by how
much (Imbalzano et al., J. Chem. Phys. 154, 074102 (2021), doi:10.1063/5.0036522). Where labels that
members have not seen are at hand in numbers, two numbers are fitted to them instead of one: the
error to expect is sqrt(factor^2 spread^2 + floor^2). What all members lack alike makes an error
without a spread, and the spread of a few members is itself uncertain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from potentials.structures import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

#: spreads as they come: an array or a tensor
Spread = TypeVar("Spread", FloatArray, "Tensor")

#: the uncalibrated spread counts like this many observations, so that a few labels do not rule
PRIOR = 4.0
#: one prediction counts at most like an error of this many spreads: holes are met by the gates
WORST = 10.0
#: and, of many predictions, like an error of this many calibrated ones
FAR = 2.5
#: spreads of energies below this are rounding [eV/atom]
SMALLEST = 1e-5
#: spreads of forces below this come of rounded positions, where symmetry forbids a force [eV/Å]
FORBIDDEN = 1e-5
#: degrees of freedom of the errors' distribution (Student's) for many members: violent structures
#: are few and far off, and must not rule
MOST_TAILS = 5.0
#: floors that are tried, in units of the median spread times the factor
FLOORS = (0.0, *(2.0 ** (0.25 * step) for step in range(-16, 25)))
#: steps of the fit of one factor; each comes closer by more than a third
STEPS = 40
#: labels that two members or more must not have seen, for an error of means
LEAST = 10


def calibration(errors: Sequence[float], spreads: Sequence[float]) -> float:
    """Factor by which raw spreads are multiplied to be the size of the errors.

    Args:
        errors: computed minus predicted energies [eV/atom].
        spreads: the uncalibrated standard deviations predicted with them [eV/atom].

    Returns:
        sqrt of the mean squared ratio, in which no label counts for more than `FAR` of the result
        itself: the violent errors of a first generation are not those to expect later. Drawn to 1
        where observations are few.
    """
    if not len(errors):
        return 1.0
    ratio = np.abs(np.asarray(errors)) / np.maximum(np.asarray(spreads), SMALLEST)
    squares = np.minimum(ratio, WORST) ** 2
    mean = 1.0
    for _ in range(STEPS):
        counted = np.minimum(squares, FAR**2 * mean).sum()
        mean = float((PRIOR + counted) / (PRIOR + len(squares)))
    return float(mean**0.5)


@dataclass(frozen=True, slots=True)
class Calibration:
    """From the members' raw spread to the error to expect, of energies and of forces.

    Attributes:
        energy, forces: factors.
        energy_floor: expected where all members agree [eV/atom].
        force_floor: the same [eV/Å].
    """

    energy: float = 1.0
    forces: float = 1.0
    energy_floor: float = 0.0
    force_floor: float = 0.0

    def of_energies(self, spread: Spread) -> Spread:
        """Errors to expect [eV/atom] from raw spreads, in arrays or tensors of any shape."""
        found: Spread = (self.energy**2 * spread**2 + self.energy_floor**2) ** 0.5
        return found

    def of_forces(self, spread: Spread) -> Spread:
        """Errors to expect [eV/Å]; none where symmetry forbids a force, so that none is spread."""
        # the power keeps the precision of the spread: a mask alone has none in torch
        floor = self.force_floor**2 * spread**0 * (spread > FORBIDDEN)
        found: Spread = (self.forces**2 * spread**2 + floor) ** 0.5
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Unseen:
    """How far members are off one label (K members, N atoms), and which have not seen it.

    Attributes:
        energy: predicted minus computed [eV/atom] (K,).
        forces: the same [eV/Å] (K, 3N).
        blind: members that have not seen the label (K,).
    """

    energy: "Tensor"
    forces: "Tensor"
    blind: "Tensor"


@dataclass(frozen=True, eq=False, slots=True)
class _Errors:
    """Sizes of errors of a mean of ``count`` members and spreads beside them."""

    count: int
    energy: tuple[float, float]
    forces: tuple[FloatArray, FloatArray]


def cross_calibration(found: Iterable[Unseen]) -> Calibration:
    """Calibration by labels that members have not seen.

    A mean of fewer members is worse than that of all, by a share of their variance that is known.
    Where hardly a label is unseen by two members, single ones are compared with the spread of all.

    Args:
        found: one entry a label; those that all members have seen say nothing.
    """
    rows, members = [], 0
    for own in found:
        members = len(own.energy)
        if members > 1 and bool(own.blind.any()):
            rows.append(_errors(own))
    several = [row for row in rows if row.count > 1]
    used = several if len(several) >= LEAST or len(several) == len(rows) else rows
    if not used:
        return Calibration()
    more = float(np.mean([1.0 / row.count for row in used])) - 1.0 / members
    # the spread itself has been taken over all members where only one was blind
    counts = [row.count if row.count > 1 else members for row in used]
    tails = tails_of(float(np.mean(counts))), tails_of(members)

    def fitted(pairs: Sequence[tuple[FloatArray, FloatArray]], dimensions: int) -> list[float]:
        errors, spreads = (np.concatenate(part) for part in zip(*pairs, strict=True))
        scale, floor = likeliest(errors, spreads, dimensions, tails[0])
        wide = tails[1] / (tails[1] - 2.0)
        square = max(wide * scale**2 - more, min(wide * scale**2, 1.0 / members))
        return [square**0.5, wide**0.5 * floor]

    energy = fitted([(np.array([e]), np.array([s])) for e, s in (row.energy for row in used)], 1)
    free = [(e[s > FORBIDDEN], s[s > FORBIDDEN]) for e, s in (row.forces for row in used)]
    forces = fitted(free, 3) if any(len(errors) for errors, _ in free) else [1.0, 0.0]
    return Calibration(energy[0], forces[0], energy[1], forces[1])


def _errors(own: Unseen) -> _Errors:
    blind, count = own.blind, int(own.blind.sum())
    judged = blind if count > 1 else blind.new_ones(len(blind))
    vectors = own.forces.reshape(len(blind), -1, 3)
    off = vectors[blind].mean(dim=0).norm(dim=1)
    apart = vectors[judged].var(dim=0).sum(dim=1).sqrt()
    energy = abs(float(own.energy[blind].mean())), float(own.energy[judged].std())
    return _Errors(count, energy, (off.numpy(), apart.numpy()))


def tails_of(members: float) -> float:
    """Degrees of freedom: a spread of fewer members is less certain."""
    return min(members + 1.0, MOST_TAILS)


def likeliest(
    errors: FloatArray, spreads: FloatArray, dimensions: int, tails: float
) -> tuple[float, float]:
    """Factor and floor of greatest likelihood if errors follow Student's distribution.

    Its scale is sqrt(factor^2 spread^2 + floor^2). For each ratio of both the factor is found by
    expectation maximisation (Lange et al., J. Am. Stat. Assoc. 84, 881 (1989),
    doi:10.1080/01621459.1989.10478852).

    Args:
        errors: absolute, or lengths of vectors (n,).
        spreads: beside them, in the same unit (n,).
        dimensions: components of an error.
        tails: degrees of freedom.

    Returns:
        Both for the scale; a standard deviation is sqrt(tails / (tails - 2)) times as large.
    """
    spreads = np.maximum(spreads, SMALLEST)
    squares = np.maximum(errors, SMALLEST) ** 2
    typical = float(np.median(spreads))
    best = (-np.inf, 1.0, 0.0)
    for ratio in FLOORS:
        variance = spreads**2 + (ratio * typical) ** 2
        relative, factor = squares / variance, 1.0
        for _ in range(STEPS):
            counts = (tails + dimensions) / (tails + dimensions * relative / factor)
            factor = float(np.mean(counts * relative))
        far = np.log1p(dimensions * relative / (factor * tails))
        spread_out = dimensions * np.log(factor * variance) + (tails + dimensions) * far
        likelihood = -0.5 * float(np.sum(spread_out))
        if likelihood > best[0]:
            best = (likelihood, factor**0.5, factor**0.5 * ratio * typical)
    return best[1], best[2]

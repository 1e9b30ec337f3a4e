"""Which labelled structures a fit may see: the others are rejected by name and counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from potentials.structures import FloatArray, Frame, content_key, heights, rounded

#: labels with a larger force are rejected where nothing else is said [eV/Å]
LARGEST_FORCE = 100.0
#: nothing is denser [Å^3/atom], no cell flatter and nothing wider [Å]: neighbours cannot be counted
DENSEST, FLATTEST, WIDEST = 0.1, 0.01, 1e5
#: no label is larger [eV, Å]: squares of such numbers are none
LARGEST = 1e12
#: cells of the search for close atoms are this wide: with the limit itself there were too many [Å]
SEARCH = 2.0
#: re-weighted least squares: rounds, and the deviation that still counts fully [eV/atom]
ROUNDS, SOFT = 30, 0.05


@dataclass(frozen=True, slots=True)
class Rejection:
    """A structure that was left out.

    Attributes:
        number: which one of the file or list, counted from 1.
        id: its id, or "" where it could not be read so far.
        reason: why, in words that are the same for all of a kind.
        detail: the number that was met, e.g. "512 eV/Å".
    """

    number: int
    id: str
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"frame {self.number}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a label may be at most; None switches a test off.

    Attributes:
        force: largest force on an atom [eV/Å].
        energy: largest distance of an energy from what its composition suggests [eV/atom].
        distance: shortest distance between two atoms [Å].
        duplicates: whether the same structure may come again with the same energy.
        possible: whether numbers and cells must be such that one can calculate with them.
    """

    force: float | None = LARGEST_FORCE
    energy: float | None = 50.0
    distance: float | None = 0.3
    duplicates: bool = False
    possible: bool = True


#: for a set that errors are measured on
POSSIBLE = Limits(None, None, None, duplicates=True)
#: nothing is tested: what is only written elsewhere
NO_LIMITS = Limits(None, None, None, duplicates=True, possible=False)


def accepted(
    found: Sequence[Frame | Rejection], limits: Limits | None = None
) -> tuple[list[Frame], list[Rejection]]:
    """Part sane labels from absurd ones.

    Args:
        found: the frames of a file in its order; what was rejected on reading stays so.
        limits: what is absurd; none: `Limits` as they are by default.

    Returns:
        the frames that may be fitted, and the others in the order of the file.
    """
    limits = limits or Limits()
    frames = [one for one in found if isinstance(one, Frame)]
    off = _deviations(frames) if limits.energy is not None else np.zeros(len(frames))
    kept: list[Frame] = []
    rejected: list[Rejection] = []
    seen: dict[str, int] = {}
    deviations = iter(off)
    for number, one in enumerate(found, 1):
        if isinstance(one, Rejection):
            rejected.append(one)
            continue
        reason, detail = _absurd(one, float(next(deviations)), limits)
        if not reason and not limits.duplicates:
            first = seen.setdefault(label_key(one), number)
            if first != number:
                reason, detail = "the same as one before", f"frame {first}"
        if reason:
            rejected.append(Rejection(number, one.id, reason, detail))
        else:
            kept.append(one)
    return kept, rejected


def label_key(frame: Frame) -> str:
    """A hash of structure and energy, rounded: equal for copies of one label."""
    return content_key(rounded(frame.atoms), round(frame.label.energy, 6))


def summary(rejected: Sequence[Rejection], total: int) -> list[str]:
    """Lines that say how many of how many were left out, and why."""
    if not rejected:
        return []
    lines = [f"left out {len(rejected)} of {total} structures:"]
    for reason, count in Counter(one.reason for one in rejected).most_common():
        first = next(one for one in rejected if one.reason == reason)
        detail = f": {first.detail}" if first.detail else ""
        lines.append(f"  {count:6d}  {reason} (first: frame {first.number}{detail})")
    return lines


def _absurd(frame: Frame, deviation: float, limits: Limits) -> tuple[str, str]:
    """Reason and detail, both empty where all is well."""
    if limits.possible and (found := _impossible(frame)) != ("", ""):
        return found
    fmax = frame.label.fmax
    if limits.force is not None and fmax > limits.force:
        return f"largest force above {limits.force:g} eV/Å", f"{fmax:.4g} eV/Å"
    if limits.energy is not None and abs(deviation) > limits.energy:
        reason = f"energy more than {limits.energy:g} eV/atom off its composition"
        return reason, f"{deviation:+.4g} eV/atom"
    if limits.distance is not None:
        closest = _closest_below(frame, limits.distance)
        if closest is not None:
            return f"two atoms closer than {limits.distance:g} Å", f"{closest:.4g} Å"
    return "", ""


def _impossible(frame: Frame) -> tuple[str, str]:
    """Reason and detail where one cannot calculate with the numbers, both empty where one can."""
    atoms, label = frame.atoms, frame.label
    for name, values in (
        ("energy", np.array([label.energy])),
        ("force", label.forces),
        ("stress", np.zeros(1) if label.stress is None else label.stress),
    ):
        if (largest := float(np.abs(values).max(initial=0.0))) > LARGEST:
            return f"{name} above {LARGEST:g}", f"{largest:.4g}"
    wide = max(float(np.abs(part).max(initial=0.0)) for part in (atoms.positions, atoms.cell.array))
    if wide > WIDEST:
        return f"a coordinate beyond {WIDEST:g} Å", f"{wide:.4g} Å"
    if not atoms.pbc.all():
        return "", ""
    room = atoms.get_volume() / len(atoms)
    if room < DENSEST:
        return f"less than {DENSEST:g} Å^3 per atom", f"{room:.4g} Å^3"
    flat = float(heights(atoms).min())
    if flat < FLATTEST:
        return f"a cell flatter than {FLATTEST:g} Å", f"{flat:.4g} Å"
    return "", ""


def _closest_below(frame: Frame, limit: float) -> float | None:
    """The shortest distance [Å] if it is below ``limit``, else None."""
    from vesin import NeighborList

    atoms = frame.atoms
    distances = NeighborList(cutoff=max(SEARCH, limit), full_list=False).compute(
        points=atoms.positions,
        box=atoms.cell.array,
        periodic=[*map(bool, atoms.pbc)],
        quantities="d",
    )[0]
    shortest = float(min(distances, default=limit))
    return shortest if shortest < limit else None


def _deviations(frames: Sequence[Frame]) -> FloatArray:
    """Energies beyond a sum over elements [eV/atom] (F,).

    The sum is fitted in least absolute deviations (re-weighted least squares), so that a few
    absurd energies do not move it.
    """
    if not frames:
        return np.zeros(0)
    size = np.array([len(frame.atoms) for frame in frames], dtype=np.float64)
    energy = np.array([frame.label.energy for frame in frames]).clip(-LARGEST, LARGEST) / size
    elements = sorted({int(number) for frame in frames for number in frame.atoms.numbers})
    share = np.array(
        [[np.count_nonzero(frame.atoms.numbers == z) for z in elements] for frame in frames]
    )
    share = share / size[:, None]
    weight = np.ones(len(frames))
    # a start near the solution: least squares would begin far off where one energy is absurd
    residual = energy - np.median(energy)
    for _ in range(ROUNDS):
        root = np.sqrt(weight)
        solution = np.linalg.lstsq(share * root[:, None], energy * root, rcond=None)[0]
        residual = energy - share @ solution
        weight = 1.0 / np.maximum(np.abs(residual), SOFT)
    return np.asarray(residual, dtype=np.float64)

"""How far an ensemble is from labels, and whether its spread says so."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units
from ase.stress import full_3x3_to_voigt_6_stress

from potentials.structures import FloatArray, Frame

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble

#: spreads of forces below this come of rounded positions, where symmetry forbids a force [eV/Å]
FORBIDDEN = 1e-5
#: structures and atoms evaluated together
STRUCTURES, ATOMS = 64, 2000


@dataclass(frozen=True, eq=False, slots=True)
class Compared:
    """Numbers of one kind: what the labels say and what the ensemble predicts.

    Attributes:
        computed: from the labels (n,) or, for vectors, (n, c).
        predicted: by the mean of the members, of the same shape.
        spread: predicted standard deviation of each row (n,), or None where there is none.
        rounding: spreads up to this say nothing.
    """

    computed: FloatArray
    predicted: FloatArray
    spread: FloatArray | None = None
    rounding: float = 0.0

    @property
    def rmse(self) -> float:
        """Root mean square error over all components."""
        return float(np.sqrt(np.mean((self.predicted - self.computed) ** 2)))

    @property
    def mae(self) -> float:
        """Mean absolute error over all components."""
        return float(np.mean(np.abs(self.predicted - self.computed)))

    @property
    def largest(self) -> float:
        """Largest error of a component."""
        return float(np.abs(self.predicted - self.computed).max())

    @property
    def deviation(self) -> FloatArray:
        """Size of each row's error: absolute, of vectors their length (n,)."""
        rows = (self.predicted - self.computed).reshape(len(self.computed), -1)
        return np.asarray(np.linalg.norm(rows, axis=1), dtype=np.float64)

    def free(self) -> tuple[FloatArray, FloatArray] | None:
        """Spread and error (m,) of the rows whose spread is more than rounding; None without.

        The force on an atom at a centre of symmetry is zero for every member, whatever it learned.
        """
        if self.spread is None:
            return None
        own = self.spread > self.rounding
        return (self.spread[own], self.deviation[own]) if own.any() else None

    def rank_correlation(self) -> float | None:
        """Spearman's rank correlation of spread and error; None where either does not vary."""
        from scipy.stats import spearmanr

        free = self.free()
        if free is None or len(free[0]) < 3 or any(np.ptp(values) == 0.0 for values in free):
            return None
        return float(spearmanr(*free).statistic)

    def coverage(self, spreads: float) -> float | None:
        """Share of the errors that are within so many spreads; None without spreads."""
        free = self.free()
        return None if free is None else float(np.mean(free[1] <= spreads * free[0]))


@dataclass(frozen=True, eq=False, slots=True)
class Evaluation:
    """An ensemble against a set of labels.

    Attributes:
        energy: [eV/atom] (F,).
        forces: [eV/Å] (atoms, 3).
        stress: [eV/Å^3] (F', 6) of the structures that have one, or None.
        extrapolating: number of structures beyond the range of the training data.
        n_structures: F.
        seconds: wall time of the evaluation [s].
    """

    energy: Compared
    forces: Compared
    stress: Compared | None
    extrapolating: int
    n_structures: int
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether every prediction is a number, so that errors have a meaning."""
        kinds = (self.energy, self.forces, *([] if self.stress is None else [self.stress]))
        return all(bool(np.isfinite(kind.predicted).all()) for kind in kinds)

    def summary(self) -> dict[str, Any]:
        """What `aga evaluate --json` prints."""
        return {
            "energy_rmse_mev_per_atom": 1e3 * self.energy.rmse,
            "force_rmse_ev_per_a": self.forces.rmse,
            "stress_rmse_gpa": None if self.stress is None else self.stress.rmse / units.GPa,
            "n_structures": self.n_structures,
            "seconds": self.seconds,
        }


def evaluate(ensemble: "Ensemble", frames: Sequence[Frame], *, spread: bool) -> Evaluation:
    """Energies, forces and stresses of all frames beside their labels.

    Args:
        ensemble: the model.
        frames: at least one.
        spread: also the spread of the forces, which takes a derivative per member.

    Raises:
        UnknownElementError: the ensemble was not trained on an element.
    """
    began = time.perf_counter()
    several = len(ensemble.constants) > 1  # one member has no spread
    predictions = []
    for part in _parts(frames):
        found = ensemble.predict([frame.atoms for frame in part], members=spread and several)
        predictions.append((part, found))
    seconds = time.perf_counter() - began

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(found, name).numpy() for _, found in predictions])

    size = np.array([len(frame.atoms) for frame in frames])
    energy = Compared(
        np.array([frame.label.energy for frame in frames]) / size,
        joined("energy") / size,
        joined("energy_std") if several else None,
    )
    forces = Compared(
        np.concatenate([frame.label.forces for frame in frames]),
        joined("forces"),
        joined("forces_std") if spread and several else None,
        FORBIDDEN,
    )
    beyond = int(np.count_nonzero(joined("extrapolation") > 0.0))
    stress = _stress(frames, joined("stress"))
    return Evaluation(energy, forces, stress, beyond, len(frames), seconds)


def _parts(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    """Batches of so few structures and atoms that memory is no question."""
    part: list[Frame] = []
    atoms = 0
    for frame in frames:
        if part and (len(part) == STRUCTURES or atoms + len(frame.atoms) > ATOMS):
            yield part
            part, atoms = [], 0
        part.append(frame)
        atoms += len(frame.atoms)
    if part:
        yield part


def _stress(frames: Sequence[Frame], predicted: FloatArray) -> Compared | None:
    labels = [(i, f.label.stress) for i, f in enumerate(frames) if f.label.stress is not None]
    if not labels:
        return None
    own = predicted[[index for index, _ in labels]]
    return Compared(
        np.array([stress for _, stress in labels]),
        np.array([full_3x3_to_voigt_6_stress(one) for one in own]),
    )

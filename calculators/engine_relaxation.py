"""Relaxation by the engine, in the child process: every single point is a label in the store."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress

from calculators.engines import Engine
from calculators.gates import LabelGates
from calculators.outcome import Failure
from calculators.results import (
    document,
    label_key,
    publish_result,
    record_start,
    record_step,
    result_folder,
    sound_label,
)
from calculators.single_point import RefusedError, calculate
from potentials.structures import FloatArray, Label, atoms_to_dict, bare

#: so many single points must be lower or nearer to relaxed than as many before them
_ROUND = 6
#: enthalpies that fall by less on average have stopped falling [eV/atom]
_FALL = 2e-4


class Recorded:
    """What ASE asks of a calculator, answered from the store first; what is computed is published.

    Args:
        calculator: of the engine.
        engine: whose key the labels carry.
        store: root folder of the label store.
        gates: for every structure.
        attempted: the engine's settings in this attempt.
        folder: of the relaxation; gets a line for every single point that was computed.

    Attributes:
        labels: labels of all structures asked for, by content key, in order.
        found: keys of those that were in the store already.
    """

    def __init__(
        self,
        calculator: Any,
        engine: Engine,
        store: Path,
        gates: LabelGates,
        attempted: Engine,
        folder: Path,
    ) -> None:
        self.labels: dict[str, Label] = {}
        self.found: set[str] = set()
        self._calculator = calculator
        self._engine = engine
        self._store = store
        self._gates = gates
        self._attempted = attempted
        self._folder = folder

    def get_potential_energy(self, atoms: Atoms, *, force_consistent: bool = False) -> float:
        """Energy of the label [eV]."""
        return self.label(atoms).energy

    def get_forces(self, atoms: Atoms) -> FloatArray:
        """Forces of the label [eV/Å] (N, 3)."""
        return self.label(atoms).forces.copy()

    def get_stress(self, atoms: Atoms) -> FloatArray:
        """Stress of the label [eV/Å^3], Voigt-6 (6,)."""
        stress = self.label(atoms).stress
        if stress is None:
            raise RefusedError(f"{self._engine.description()} gives no stress")
        return stress.copy()

    def label(self, atoms: Atoms) -> Label:
        """The label of ``atoms``: from memory, from the store, or from the engine."""
        structure = bare(atoms)
        if reason := self._gates.before(structure):  # NaN has no content key
            raise RefusedError(f"the relaxation left the gates: {reason}")
        key = label_key(structure, self._engine)
        if key not in self.labels:
            known = sound_label(self._store, key, self._engine)
            if isinstance(known, Failure):
                raise RefusedError(known.reason)
            if known is None:
                self._say_where()
                known = self._compute(structure, key)
                record_step(self._folder, key)
            else:
                self.found.add(key)
            self.labels[key] = known
        return self.labels[key]

    def _say_where(self) -> None:
        """In the log: where an attempt begins that does not begin at the start."""
        if self.labels and len(self.found) == len(self.labels):
            number = len(self.found) + 1
            line = f"goes on with single point {number}: all before it are in the store"
            print(line, flush=True)  # noqa: T201 - the log of a child process

    def _compute(self, atoms: Atoms, key: str) -> Label:
        """One single point under its own deadline; published before it is used."""
        folder = result_folder(self._store, key)
        record_start(folder)
        started = time.time()
        # the default action of SIGALRM ends the process even where compiled code hangs
        signal.setitimer(signal.ITIMER_REAL, self._attempted.deadline_s)
        try:
            label = calculate(atoms, self._calculator, self._engine, self._gates)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        overrides = {
            name: value
            for name, value in self._attempted.model_dump(mode="json").items()
            if name != "retries" and value != self._engine.model_dump(mode="json")[name]
        }
        attempt = {"overrides": overrides, "seconds": label.seconds, "failure": None}
        about = document("label", atoms, self._engine, started, [attempt])
        publish_result(folder, about, label=label.to_dict())
        return label


def relax(
    atoms: Atoms,
    calculator: Recorded,
    directory: Path,
    *,
    fmax: float,
    stress_gpa: float,
    max_steps: int,
    pressure: float,
) -> dict[str, Any]:
    """Relax cell and positions; plain data for `calculators.labelling.EngineRelaxed`.

    Args:
        atoms: starting structure; not changed. Of a cluster the positions alone are relaxed.
        calculator: the engine behind the store.
        directory: folder for the optimizer's log.
        fmax: every force below it [eV/Å].
        stress_gpa: every component of stress + pressure below it [GPa].
        max_steps: steps of the optimizer; fewer where it gets no further, see `stuck`.
        pressure: target pressure [eV/Å^3].
    """
    work = bare(atoms)
    work.calc = calculator
    crystal = bool(work.pbc.any())
    moving = FrechetCellFilter(work, scalar_pressure=pressure) if crystal else work
    optimizer = BFGS(moving, logfile=str(directory / "relax.log"))
    converged = False
    enthalpies, distances = [], []
    # our own criterion decides; the optimizer's is one it never meets
    for _ in optimizer.irun(fmax=1e-12, steps=max_steps):
        label = calculator.label(work)
        stress = _stress_error(label, pressure) / (stress_gpa * units.GPa) if crystal else 0.0
        distances.append(max(label.fmax / fmax, stress))
        enthalpies.append((label.energy + pressure * work.cell.volume) / len(work))
        converged = distances[-1] < 1.0
        if converged or stuck(enthalpies, distances):
            break
    keys = list(calculator.labels)
    return {
        "keys": keys,
        # of the way; who asks for a relaxation may have labelled its start
        "found": len(calculator.found.difference(keys[:1])),
        "atoms": atoms_to_dict(work),
        "label": calculator.label(work).to_dict(),
        "converged": converged,
    }


def stuck(enthalpies: Sequence[float], distances: Sequence[float]) -> bool:
    """Whether the last single points have come no lower and no nearer to relaxed.

    Forces of an engine that is not converged scatter, and no geometry meets a threshold below that.

    Args:
        enthalpies: of every single point in order [eV/atom].
        distances: how far each is from relaxed, in units of the thresholds.
    """
    if len(enthalpies) < 2 * _ROUND:
        return False
    before, last = enthalpies[-2 * _ROUND : -_ROUND], enthalpies[-_ROUND:]
    falls = sum(before) - sum(last) > _ROUND * _FALL
    return not falls and min(distances[-_ROUND:]) >= min(distances[:-_ROUND])


def _stress_error(label: Label, pressure: float) -> float:
    """Largest component of stress + pressure [eV/Å^3]; without a stress infinite."""
    if label.stress is None:
        return np.inf
    excess = voigt_6_to_full_3x3_stress(label.stress) + pressure * np.eye(3)
    return float(np.abs(excess).max())

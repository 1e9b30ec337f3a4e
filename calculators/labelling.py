"""From a structure to a label one can trust: child process, deadline, gates, retries, cache.

A label is computed in the child and published by the worker right after the child's exit: whatever
dies before that leaves no result, whatever dies after it leaves a complete one. A published result,
label or failure, is never computed again.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from calculators.attempt import Ended, climb
from calculators.engines import Engine
from calculators.gates import LabelGates
from calculators.guard import never
from calculators.outcome import Failure
from calculators.publish import make_folder
from calculators.results import (
    document,
    label_key,
    outcome_of,
    point_key,
    publish_result,
    read_label,
    result_folder,
    result_path,
    standing_result,
    steps,
)
from potentials.structures import Label, atoms_from_dict, atoms_to_dict, bare, content_key, rounded

__all__ = [
    "EngineRelaxed",
    "LabelGates",
    "RelaxTarget",
    "engine_relax",
    "label_key",
    "single_point",
]

_NO_GATES = LabelGates()


@dataclass(frozen=True, slots=True)
class RelaxTarget:
    """When a relaxation by the engine is done.

    Attributes:
        fmax: every force below it [eV/Å].
        stress_gpa: every component of stress + pressure below it [GPa].
        max_steps: steps of the optimizer; one more single point than steps.
        pressure: target pressure [eV/Å^3].
    """

    fmax: float = 0.02
    stress_gpa: float = 0.1
    max_steps: int = 60
    pressure: float = 0.0


@dataclass(frozen=True, eq=False, slots=True)
class EngineRelaxed:
    """A relaxation by the engine alone.

    Attributes:
        keys: content keys of its single points in order, all of them in the store; the oracle calls
            it cost.
        atoms: final structure, bare.
        label: single point of ``atoms``.
        converged: whether the target was reached within the steps.
        found: how many of them, besides the start, were in the store when the attempt that ended it
            came to them: what an attempt before it that was killed has saved.
        failure: why the engine gave no further single point, where that ended it; None otherwise.
    """

    keys: tuple[str, ...]
    atoms: Atoms
    label: Label
    converged: bool
    found: int = 0
    failure: Failure | None = None


def single_point(
    atoms: Atoms,
    engine: Engine,
    store: Path,
    gates: LabelGates = _NO_GATES,
    should_stop: Callable[[], bool] = never,
    *,
    every_stress: bool = False,
) -> Label | Failure:
    """Label one structure, or say why that cannot be.

    Not published, because they say nothing lasting about the structure: a structure stopped by
    the gates beforehand, an engine that is not installed, a stop on request.

    Args:
        atoms: the structure; not changed, constraints are ignored.
        engine: settings of the method.
        store: root folder of the label store.
        gates: what may be calculated and what may be believed.
        should_stop: asked a few times a second; True ends the calculation.
        every_stress: also a stress that the engine does not vouch for (see
            `Engine.stress_converged`); such labels have keys of their own, so that nothing is
            trained on them.
    """
    atoms = bare(atoms)
    if reason := gates.before(atoms):
        return Failure("permanent", reason)
    key = point_key(atoms, engine, every_stress=every_stress)
    known = read_label(store, key)
    if known is not None:
        return known
    job = {"mode": "label", "every_stress": every_stress}
    ended, publish = _calculate(job, atoms, engine, result_folder(store, key), gates, should_stop)
    if ended.data is None:
        return _failed(ended, publish)
    return outcome_of(publish(label=ended.data["label"]))


def engine_relax(
    atoms: Atoms,
    engine: Engine,
    store: Path,
    target: RelaxTarget,
    gates: LabelGates = _NO_GATES,
    should_stop: Callable[[], bool] = never,
) -> EngineRelaxed | Failure:
    """Relax cell and positions with the engine: BFGS on ASE's FrechetCellFilter.

    Of a cluster the positions alone.

    Every single point on the way is a label of its own in the store, published by the child as soon
    as it is there. A relaxation that was killed goes through the known ones at no cost and goes on.

    Args:
        atoms: starting structure, periodic in three axes or in none; not changed.
        engine: settings of the method; of a crystal's elements its stress must be converged.
        store: root folder of the label store.
        target: thresholds, steps and pressure.
        gates: for every structure on the way.
        should_stop: asked a few times a second; True ends the calculation.
    """
    atoms = bare(atoms)
    if reason := gates.before(atoms):
        return Failure("permanent", reason)
    if atoms.pbc.any() and not (atoms.pbc.all() and engine.stress_converged(atoms)):
        return Failure(
            "permanent",
            f"{engine.description()} has no converged stress for {atoms.get_chemical_formula()}, "
            "so it cannot relax the cell; raise the cutoff or relax on the ensemble",
        )
    key = content_key("relaxation", rounded(atoms), engine.key(), asdict(target))
    known = standing_result(result_path(store, key))
    if known is not None:
        return _relaxed(known)
    job = {"mode": "relax", "store": str(store.absolute()), "target": asdict(target)}
    points = target.max_steps + 1
    ended, publish = _calculate(
        job, atoms, engine, result_folder(store, key), gates, should_stop, points
    )
    if ended.data is None:
        # what the machine is to blame for ends this task, but another one may go on from the steps
        lasting = ended.failure is not None and ended.failure.kind == "permanent"
        before = _broken_off(store, result_folder(store, key), ended)
        if lasting and before is not None:
            return _relaxed(publish(relaxation=before))
        return _failed(ended, publish, lasting=lasting)
    return _relaxed(publish(relaxation=ended.data["relaxation"]))


def _broken_off(store: Path, folder: Path, ended: Ended) -> dict[str, Any] | None:
    """What was computed of a relaxation that has failed: labels like others. None without any."""
    keys = list(dict.fromkeys(steps(folder)))
    last = standing_result(result_path(store, keys[-1])) if keys else None
    if last is None or ended.failure is None or ended.again in ("environment", "stopped"):
        return None
    return {
        "keys": keys,
        "found": 0,
        "atoms": last["atoms"],
        "label": last["label"],
        "converged": False,
        "failure": ended.failure.to_dict(),
    }


def _calculate(
    job: dict[str, Any],
    atoms: Atoms,
    engine: Engine,
    folder: Path,
    gates: LabelGates,
    should_stop: Callable[[], bool],
    points: int = 1,
) -> tuple[Ended, Callable[..., dict[str, Any]]]:
    """Run the attempts; return the last one and how to publish its outcome."""
    kind = "label" if job["mode"] == "label" else "relaxation"
    started = time.time()
    attempts: list[dict[str, Any]] = []

    def publish(**outcome: Any) -> dict[str, Any]:
        about = document(kind, atoms, engine, started, attempts)
        return publish_result(folder, about, **outcome)

    problems = engine.problems(set(atoms.symbols))
    if problems:
        failure = Failure("permanent", " ".join(problems))
        return Ended(None, failure, "environment"), publish
    make_folder(folder)
    full = {**job, "atoms": atoms_to_dict(atoms), "gates": gates.to_dict()}
    progress = partial(_computed, folder)
    ended, record = climb(engine, folder, full, points, should_stop, progress)
    attempts.extend(record)
    return ended, publish


def _computed(folder: Path) -> int:
    """Single points of a relaxation so far."""
    return len(steps(folder))


def _failed(
    ended: Ended, publish: Callable[..., dict[str, Any]], *, lasting: bool = True
) -> Failure:
    """Publish a failure that says something ``lasting`` about the structure, and return it."""
    if ended.failure is None:
        raise ValueError("an attempt without an answer must have a failure")
    if lasting and ended.again not in ("environment", "stopped"):
        publish(failure=ended.failure.to_dict())
    return ended.failure


def _relaxed(result: dict[str, Any]) -> EngineRelaxed | Failure:
    """The outcome of a published relaxation."""
    if result["status"] != "ok":
        return Failure.from_dict(result["failure"])
    data, failure = result["relaxation"], result["relaxation"].get("failure")
    return EngineRelaxed(
        keys=tuple(data["keys"]),
        atoms=atoms_from_dict(data["atoms"]),
        label=Label.from_dict(data["label"]),
        converged=bool(data["converged"]),
        found=int(data.get("found", 0)),
        failure=None if failure is None else Failure.from_dict(failure),
    )

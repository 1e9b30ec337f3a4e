"""What runs on the workers: seed, evolve, label, train, polish, relax.

Every task reads its inputs by reference from the run folder and publishes its result there under
its own key before it returns: whatever dies, a published result is found again and never computed
twice.
"""

import json
import logging
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from aga.campaign import requests, seeding
from aga.campaign.spaces import hull_of, space_of, spaces_of, stand
from aga.campaign.state import Decision, known_of
from aga.config import CampaignConfig, from_resolved
from aga.search.candidate import Candidate, Known
from aga.search.compositions import counts_of
from aga.search.space import covalent_distances
from calculators import disk
from calculators.labelling import LabelGates, RelaxTarget, engine_relax, label_key, single_point
from calculators.outcome import Failure
from calculators.publish import publish_json, put_aside, read_json
from calculators.results import read_label, read_result
from calculators.task import Outcome, Task
from potentials.saved import ABOUT, check_weights, read_about
from potentials.seal import DamagedError, sealed
from potentials.structures import (
    Frame,
    Label,
    atoms_from_dict,
    atoms_to_dict,
    content_key,
    volume_of,
)

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble

CONFIG = "campaign.json"
#: random crystals that the descriptors are scaled by, labelled or not
POOL = 60
#: sharp weights for the last steps to a minimum [eV/atom] (they see only what lies near)
SHARP_SCALE, SHARP_FLOOR = 0.02, 1e-3
#: steps towards a minimum where the corrected ensemble has none
FIRST_STEPS = 10
#: tolerance of restoring a symmetry before the last label [Å]
SYMPREC = 0.1
#: in outcomes that are none: a stop was asked for before the task began; the disk is full
UNSTARTED, DISK_FULL = "unstarted", "disk_full"


_log = logging.getLogger(__name__)


def task_key(config: CampaignConfig, ordinal: int, decision: Decision) -> str:
    """The content key of a decision: of the structure for labels, of all inputs for the rest."""
    if decision.kind == "label":
        atoms = atoms_from_dict(decision.inputs["candidate"]["atoms"])
        return label_key(atoms, config.engine)
    return content_key(decision.kind, config.seed, ordinal, decision.inputs)


def run(run_dir: str, task: Task) -> Outcome:
    """Do a task, publish its result, and say that it is there, or why it is not."""
    folder = Path(run_dir)
    if task.kind in ("evolve", "train", "polish"):
        import torch

        # workers share a machine: one core each, and results that do not depend on how many
        torch.set_num_threads(1)
    if taken_up(folder, task.kind, task.key) is not None:
        return {"ok": {"key": task.key}}
    if requests.asked(folder):
        return {**_not_done("a stop was asked for"), UNSTARTED: True}
    try:
        failure = _WORK[task.kind](folder, settings(folder), task)
    except Exception as error:
        # libraries hide the error of the system in one of their own
        if disk.is_full(error) or disk.no_room(folder):
            return {**_not_done(f"{type(error).__name__}: {error}"), DISK_FULL: True}
        raise
    return {"ok": {"key": task.key}} if failure is None else {"failure": failure.to_dict()}


def _not_done(reason: str) -> Outcome:
    return {"failure": Failure("transient", reason).to_dict()}


def published(folder: Path, kind: str, key: str) -> Outcome | None:
    """The published result of a task, or None."""
    if kind == "label":
        found = read_label(labels(folder), key)
        if isinstance(found, Failure):
            return {"failure": found.to_dict()}
        return None if found is None else {"ok": {"label": found.to_dict()}}
    if kind == "train":
        if not (models(folder) / key / ABOUT).exists():
            return None
        about = read_about(models(folder) / key)
        check_weights(models(folder) / key, about)
        return {"ok": {"facts": {**about["facts"], "calibration": about["calibration"]}}}
    data = read_json(proposal_path(folder, key))
    return None if data is None else {"ok": data}


def taken_up(folder: Path, kind: str, key: str) -> Outcome | None:
    """As `published`; what is damaged is put aside, to be computed again."""
    try:
        return published(folder, kind, key)
    except DamagedError as error:
        put_aside(models(folder) / key if kind == "train" else proposal_path(folder, key))
        _log.warning("%s; it is put aside and computed again", error)
        return None


def labels(folder: Path) -> Path:
    """Where a run keeps its labels."""
    return folder / "labels"


def models(folder: Path) -> Path:
    """Where a run keeps its ensembles."""
    return folder / "models"


def proposal_path(folder: Path, key: str) -> Path:
    """Where a run keeps what a task has proposed."""
    return folder / "proposals" / f"{key}.json"


def _propose(folder: Path, task: Task, data: dict[str, Any]) -> None:
    publish_json(proposal_path(folder, task.key), sealed(data))


def settings(folder: Path) -> CampaignConfig:
    """The settings of this start."""
    path = folder / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path} is gone; start the campaign again")
    return _config_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _config_of(path: Path, _written: int) -> CampaignConfig:
    data: dict[str, Any] = json.loads(path.read_text())
    return from_resolved(data)


def _rng(config: CampaignConfig, task: Task) -> np.random.Generator:
    return np.random.default_rng([config.seed, task.ordinal])


def _seed(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """User structures and random crystals; the first of them are to be labelled."""
    rng = _rng(config, task)
    first = task.inputs["first"]
    given = seeding.given(config, task.inputs) if first else []
    if isinstance(given, Failure):
        return given
    count = task.inputs["count"]
    crystals = seeding.crystals(config, task.inputs, max(count, POOL) if first else count, rng)
    ends = seeding.end_members(config, task.inputs, rng)
    chosen = [("user", atoms) for atoms in given]
    chosen += [("end_member", atoms) for atoms in ends]
    chosen += [("symmetric_random", atoms) for atoms in crystals[:count]]
    candidates = [
        Candidate(f"s{task.ordinal:05d}-{i:03d}", atoms, origin)
        for i, (origin, atoms) in enumerate(chosen)
    ]
    _propose(
        folder,
        task,
        {
            "candidates": [candidate.to_dict() for candidate in candidates],
            "pool": [atoms_to_dict(atoms) for atoms in crystals],
        },
    )
    return None


def _evolve(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """One run of the genetic algorithm on the newest ensemble."""
    from aga.search import operators
    from aga.search.evolution import evolve
    from potentials.ensemble import Ensemble
    from potentials.relax import relax

    known = [one for one, _ in _labelled(folder, task, config.pressure)]
    carried = _carried(folder, task)
    hull = hull_of(config, known)
    stand([*known, *carried], hull)
    spaces = spaces_of(config, task.inputs, hull)
    chosen = config.search.operators
    if chosen is None:
        chosen = operators.defaults()
    relaxer = partial(
        relax,
        ensemble=Ensemble.load(models(folder) / task.inputs["model"]),
        pressure=config.pressure,
        fmax=config.relaxation.fmax_ev_per_a,
        max_steps=config.relaxation.max_steps,
        gates=spaces.gates(),
    )
    found = evolve(
        known,
        carried,
        spaces,
        config.search.evolution.times(
            task.inputs["effort"], len(config.cells), task.inputs.get("batch", 0)
        ),
        chosen,
        task.inputs["weights"],
        relaxer,
        _rng(config, task),
        prefix=f"e{task.ordinal:05d}",
    )
    _propose(
        folder,
        task,
        {
            "candidates": [candidate.to_dict() for candidate in found.candidates],
            "record": found.record,
            "statistics": found.statistics,
            "rejected": found.rejected,
        },
    )
    return None


def _labelled(folder: Path, task: Task, pressure: float) -> list[tuple[Known, Frame]]:
    """The labels that a task refers to, in its order."""
    found = []
    for identity, key in task.inputs["labels"]:
        data = read_result(labels(folder), key)
        if data is None:
            raise FileNotFoundError(f"label {key} of {identity} is gone from {labels(folder)}")
        atoms, label = atoms_from_dict(data["atoms"]), Label.from_dict(data["label"])
        known = known_of(Candidate(identity, atoms, ""), label, pressure)
        found.append((known, Frame(identity, atoms, label)))
    return found


def _carried(folder: Path, task: Task) -> list[Candidate]:
    """Candidates of the generation before that nobody labelled."""
    key, ids = task.inputs["carried"]["key"], set(task.inputs["carried"]["ids"])
    if key is None:
        return []
    data = read_json(proposal_path(folder, key)) or {"candidates": []}
    return [Candidate.from_dict(one) for one in data["candidates"] if one["id"] in ids]


def _train(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """A new ensemble on all labels, warm from the last."""
    from potentials.calibration import calibration
    from potentials.ensemble import Ensemble
    from potentials.training import fit

    pressure = config.pressure
    frames = [frame for _, frame in _labelled(folder, task, pressure)]
    warm = task.inputs["warm"]
    pool = read_json(proposal_path(folder, task.inputs["pool"])) or {"pool": []}
    errors = [pair[0] for pair in task.inputs["calibration"]]
    spreads = [pair[1] for pair in task.inputs["calibration"]]
    ensemble = fit(
        config.potential,
        frames,
        _rng(config, task),
        unlabelled=[atoms_from_dict(data) for data in pool["pool"]],
        warm=None if warm is None else Ensemble.load(models(folder) / warm),
        pressure=pressure,
        calibration=calibration(errors, spreads),
    )
    ensemble.save(models(folder) / task.key)
    return None


def _label(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """One single point by the engine."""
    atoms = atoms_from_dict(task.inputs["candidate"]["atoms"])
    found = single_point(atoms, config.engine, labels(folder), _gates(config))
    return found if isinstance(found, Failure) else None


def _gates(config: CampaignConfig) -> LabelGates:
    factor = config.search.min_distance_factor
    return LabelGates(min_distance=covalent_distances(tuple(config.elements), factor))


def _polish(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """The next geometry to label on the way to a structure's minimum.

    The ensemble is fitted sharply to what lies near, and corrected by constant forces and stress
    so that it agrees with the last label: what is left to it is the curvature.
    """
    from aga.search.symmetry import symmetrise
    from potentials.training import fit

    pressure = config.pressure
    pairs = _labelled(folder, task, pressure)
    frames = [frame for _, frame in pairs]
    keys = [key for _, key in task.inputs["labels"]]
    target = frames[keys.index(task.inputs["target"][1])]
    ensemble = fit(_sharp(config), frames, _rng(config, task), pressure=pressure)
    atoms = _to_minimum(ensemble, target, config)
    if atoms is None:
        return Failure("permanent", "the ensemble finds no minimum near the labelled structure")
    if task.inputs["symmetrise"]:
        atoms = symmetrise(atoms, SYMPREC) or atoms
    found = ensemble.predict([atoms])
    candidate = Candidate(
        f"p{task.ordinal:05d}-000",
        atoms,
        "polish",
        (target.id,),
        (float(found.energy[0]) + pressure * volume_of(atoms)) / len(atoms),
        float(found.energy_std[0]),
    )
    _propose(folder, task, {"candidate": candidate.to_dict()})
    return None


def _sharp(config: CampaignConfig) -> Any:
    """Settings of a fit that must be right near the lowest label only.

    Of several compositions the label in question need not be the lowest: all keep their weights.
    """
    from potentials.spec import LabelWeights

    spec = config.potential
    off = spec.network.model_copy(update={"enabled": False})
    if config.compositions is not None:
        return spec.model_copy(update={"network": off, "bootstrap": "none"})
    narrow = LabelWeights(
        energy_scale_ev_per_atom=SHARP_SCALE,
        floor=SHARP_FLOOR,
        force_scale_ev_per_a=spec.labels.force_scale_ev_per_a,
    )
    return spec.model_copy(update={"labels": narrow, "network": off, "bootstrap": "none"})


def _to_minimum(ensemble: "Ensemble", target: Frame, config: CampaignConfig) -> Atoms | None:
    """The minimum near a label on the corrected ensemble, or None."""
    from ase.stress import voigt_6_to_full_3x3_stress

    from potentials.relax import Offset, relax

    label, found = target.label, ensemble.predict([target.atoms])
    missing = np.zeros((3, 3))
    if label.stress is not None:
        missing = voigt_6_to_full_3x3_stress(label.stress) - found.stress[0].numpy()
    volume = volume_of(target.atoms) / len(target.atoms)
    space = space_of(config, volume, counts_of(target.atoms))
    corrected = partial(
        relax,
        [target.atoms],
        ensemble,
        pressure=space.pressure,
        fmax=0.2 * config.confirm.fmax_ev_per_a,
        gates=space.gates(),
        offsets=[Offset(label.forces - found.forces.numpy(), missing)],
    )
    # where the whole way leaves the gates, its first steps are still right: the label says so
    for steps in (2 * config.relaxation.max_steps, FIRST_STEPS):
        end = corrected(max_steps=steps)[0]
        if end.stopped != "gate":
            return end.atoms
    return None


def _relax(folder: Path, config: CampaignConfig, task: Task) -> Failure | None:
    """The engine relaxes by itself; every single point on the way is a label of the campaign."""
    identity, key = task.inputs["target"]
    start = read_result(labels(folder), key)
    if start is None:
        raise FileNotFoundError(f"label {key} of {identity} is gone from {labels(folder)}")
    confirm = config.confirm
    target = RelaxTarget(
        fmax=0.8 * confirm.fmax_ev_per_a,
        stress_gpa=0.8 * confirm.stress_gpa,
        max_steps=task.inputs["points"],  # the start is labelled already
        pressure=config.pressure,
    )
    atoms = atoms_from_dict(start["atoms"])
    found = engine_relax(atoms, config.engine, labels(folder), target, _gates(config))
    if isinstance(found, Failure):
        return found
    points = [_point(folder, task, i, k) for i, k in enumerate(found.keys) if k != key]
    failure = None if found.failure is None else found.failure.to_dict()
    done = {"points": points, "converged": found.converged, "found": found.found}
    _propose(folder, task, {**done, "failure": failure})
    return None


def _point(folder: Path, task: Task, index: int, key: str) -> dict[str, Any]:
    """One single point of a relaxation as a labelled candidate."""
    data = read_result(labels(folder), key)
    if data is None:
        raise FileNotFoundError(f"label {key} is gone from {labels(folder)}")
    identity = f"r{task.ordinal:05d}-{index:03d}"
    parents = (task.inputs["target"][0],)
    candidate = Candidate(identity, atoms_from_dict(data["atoms"]), "engine_relaxation", parents)
    return {"candidate": candidate.to_dict(), "label": data["label"], "key": key}


Do = Callable[[Path, CampaignConfig, Task], Failure | None]
_WORK: dict[str, Do] = {
    "seed": _seed,
    "evolve": _evolve,
    "label": _label,
    "train": _train,
    "polish": _polish,
    "relax": _relax,
}

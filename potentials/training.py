"""fit(spec, frames, rng): descriptors, linear term in closed form, networks on what it leaves."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.closed_form import Closed, calibrated, closed_form, joined, no_linear
from potentials.dataset import DataError, DataSet, check, data_set, elements_of, labelled
from potentials.domain import FOLDS, Domain, domain_of
from potentials.embedding_training import learn
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.network_training import Problem, Training, fold_of, train_networks
from potentials.progress import NO_HOOKS, Hooks, Progress
from potentials.rarity import rarity
from potentials.replay import short_keys, unseen
from potentials.residual import Residual
from potentials.selection import Blend, Choice
from potentials.spec import EnsembleSpec, NetworkSpec
from potentials.structures import FloatArray, Frame
from potentials.wall import no_wall, wall_of

__all__ = ["DataError", "fit", "training_errors"]

#: learning rate of a retraining, as a share of that of a training
AGAIN = 0.1


def fit(
    spec: EnsembleSpec,
    frames: Sequence[Frame],
    rng: np.random.Generator,
    *,
    unlabelled: Sequence[Atoms] = (),
    warm: Ensemble | None = None,
    pressure: float = 0.0,
    calibration: float | None = None,
    hooks: Hooks = NO_HOOKS,
) -> Ensemble:
    """Fit an ensemble to labelled structures.

    Args:
        spec: the settings.
        frames: at least two, all of one engine.
        rng: source of bootstrap weights and initial networks.
        unlabelled: further structures to scale the descriptors by.
        warm: an earlier ensemble; its scaling is kept and its networks are trained on. One of
            another descriptor or of other elements is no help and left aside.
        pressure: labels are weighted by E + pV [eV/Å^3].
        calibration: factor from spread to error; by cross-validation where not given and labels
            are not too few for that.
        hooks: who is told how far the fit is, and the file from which an interrupted training of
            networks goes on.

    Raises:
        DataError: too few frames, mixed engines, or an id that occurs twice.
    """
    began = time.perf_counter()
    check(frames)
    warm = warm if warm is not None and spec.descriptor.accepts(warm.spec.descriptor) else None
    elements = elements_of(frames, unlabelled, warm)
    warm = warm if warm is not None and warm.elements == elements else None
    seen = [frame.atoms for frame in frames]
    descriptor = spec.descriptor.suited(seen) if warm is None else warm.spec.descriptor
    spec = spec.model_copy(update={"descriptor": descriptor})
    given = labelled(frames, elements, spec.labels, pressure)
    learned = learn(spec, given, rng, warm, hooks)
    hooks.tell(Progress("descriptors", 0, len(frames)))
    # the scaling that networks were trained on goes with fixed descriptors only
    earlier = None if warm is None or learned else warm.scaling
    data = data_set(given, spec.descriptor.bound(learned), unlabelled, earlier)
    hooks.tell(Progress("linear term", 0, 1))
    closed = closed_form(spec, data, rng)
    networks = _networks(spec, data, closed, rng, None if learned else warm, hooks)
    found = joined(spec, data, closed, networks)
    factors = calibrated(spec, data, closed, found, calibration)
    bounds, domain = _domain(data)
    ensemble = Ensemble(
        spec=spec,
        elements=elements,
        scaling=found.term.scaling,
        reference=given.reference,
        linear=found.term.coefficients,
        constants=found.term.constants,
        networks=found.networks,
        wall=wall_of(data.features, elements) if spec.wall else no_wall(len(elements)),
        bounds=bounds,
        calibration=factors.energy,
        force_calibration=factors.forces,
        energy_floor=factors.energy_floor,
        force_floor=factors.force_floor,
        domain=domain,
        engine=given.frames[0].label.engine,
        facts={},
        learned=learned,
        trained_on=() if found.networks is None else short_keys(data.ids),
    )
    choice = found.blend.best
    facts = {
        "labels": len(frames),
        "products": choice.components > 0,
        "components": found.blend.components,
        "choices": len(found.blend.choices),
        "ridge": choice.ridge,
        "energy_weight": choice.loss.energy,
        "networks": found.networks is not None,
        "jacobians": "kept" if data.features.kept else "on the fly",
        "pressure_ev_per_a3": pressure,
        **training_errors(ensemble, given.frames),
        "seconds": time.perf_counter() - began,
    }
    return replace(ensemble, facts=facts)


def _networks(
    spec: EnsembleSpec,
    data: DataSet,
    closed: Closed,
    rng: np.random.Generator,
    warm: Ensemble | None,
    hooks: Hooks,
) -> Networks | None:
    """Networks on what the linear term leaves, or None where no member gains by them."""
    settings = spec.network
    if not settings.enabled or len(data.ids) < settings.min_labels:
        return None
    seen, linear = closed.seen, no_linear(spec, data)
    if spec.linear.enabled:
        plain = Blend((Choice(0, spec.linear.ridge, closed.choice.loss),))
        linear = closed.solved([closed.problem], seen, plain)
    residual = Residual(
        data.features,
        data.targets,
        linear.coefficients,
        linear.constants,
        linear.scaling,
        _rarity(data) if settings.gdf else None,
    )
    device = _device(settings)
    dtype = getattr(torch, settings.precision)
    earlier = _earlier(spec, warm)
    new = _new(settings, data, () if earlier is None else earlier.trained_on)
    block = closed.problem.block
    problem = Problem(
        residual.parts(settings.batch, dtype, device, new),
        train=(seen[:, block] * data.weights).to(device),
        check=torch.where(closed.kept_out[:, block], data.weights, 0.0).to(device),
        loss=closed.choice.loss,
        new=None if new is None else new.to(device),
    )
    start = _start(spec, data, residual, rng, earlier).to(device, dtype)
    used = _beginning(settings) if earlier is None else _again(settings)
    trained = train_networks(Training(used, problem, start, rng), hooks)
    if not trained.gained:
        return None
    return residual.whitening.folded(trained.networks.to("cpu", torch.float64))


def _beginning(settings: NetworkSpec) -> NetworkSpec:
    """Nothing is new to networks that begin: focal weights are for a retraining."""
    return settings.model_copy(update={"focal_gamma": 0.0})


def _again(settings: NetworkSpec) -> NetworkSpec:
    """At the full rate the first steps of a retraining would undo what networks have learned."""
    return settings.model_copy(update={"learning_rate": AGAIN * settings.learning_rate})


def _new(settings: NetworkSpec, data: DataSet, known: Sequence[str]) -> Tensor | None:
    """Labels that are to be replayed, if any (F,): those that are not known."""
    wanted = settings.replay > 0.0 and settings.batch is not None
    return unseen(data.ids, known) if wanted else None


def _earlier(spec: EnsembleSpec, warm: Ensemble | None) -> Ensemble | None:
    """An earlier ensemble, if it has networks of the same shape."""
    usable = warm is not None and warm.networks is not None and _same_shape(warm.spec, spec)
    return warm if usable else None


def _start(
    spec: EnsembleSpec,
    data: DataSet,
    residual: Residual,
    rng: np.random.Generator,
    earlier: Ensemble | None,
) -> Networks:
    """Networks to start from: those of an earlier ensemble, or new ones."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    if earlier is not None and earlier.networks is not None:
        start = residual.whitening.unfolded(earlier.networks)
        if not (spec.linear.enabled or earlier.spec.linear.enabled):
            # bare networks stand on reference energies, and these move with every label
            moved = earlier.reference - data.labelled.reference
            with torch.no_grad():
                start.biases[-1].add_(moved[:, None, None, None])
        return start
    n_elements, n_plain = data.scaling.mean.shape
    return Networks(spec.members, n_elements, n_plain, spec.network.hidden, generator)


def _device(settings: NetworkSpec) -> torch.device:
    """Where to train."""
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def _rarity(data: DataSet) -> list[Tensor]:
    """GDF weight of every atom of every structure."""
    scaled = [data.scaling.apply(f.values, f.species) for f in data.features]
    species = torch.cat([f.species for f in data.features])
    weights = rarity(torch.cat(scaled), species, len(data.scaling.mean))
    return list(weights.split([len(own) for own in scaled]))


def training_errors(ensemble: Ensemble, frames: Sequence[Frame]) -> dict[str, float]:
    """Root mean square errors of the mean: energy [meV/atom], forces [eV/Å], stress [GPa]."""
    energy, force, stress = [], [], []
    for start in range(0, len(frames), 64):
        part = frames[start : start + 64]
        found = ensemble.predict([frame.atoms for frame in part])
        offsets = np.cumsum([0, *(len(frame.atoms) for frame in part)])
        for index, frame in enumerate(part):
            energy.append((float(found.energy[index]) - frame.label.energy) / len(frame.atoms))
            own = found.forces[offsets[index] : offsets[index + 1]].numpy()
            force.append((own - frame.label.forces).ravel())
            if frame.label.stress is not None:
                stress.append(_voigt(found.stress[index].numpy()) - frame.label.stress)

    def rms(parts: list[FloatArray]) -> float:
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2))) if parts else float("nan")

    errors = {
        "energy_rmse_mev_per_atom": 1e3 * float(np.sqrt(np.mean(np.square(energy)))),
        "force_rmse_ev_per_a": rms(force),
    }
    if stress:
        errors["stress_rmse_gpa"] = rms(stress) * 160.21766208
    return errors


def _voigt(stress: FloatArray) -> FloatArray:
    from ase.stress import full_3x3_to_voigt_6_stress

    return np.asarray(full_3x3_to_voigt_6_stress(stress), dtype=np.float64)


def _same_shape(one: EnsembleSpec, other: EnsembleSpec) -> bool:
    return one.network.hidden == other.network.hidden and one.members == other.members


def _domain(data: DataSet) -> tuple[Tensor, Domain]:
    """Range of the scaled descriptors of every element in the labels (2, E, D), and what else."""
    own = [features.values for features in data.features]
    values, n_elements = torch.cat(own), len(data.scaling.mean)
    species = torch.cat([features.species for features in data.features])
    scaled = data.scaling.apply(values, species)
    index = species[:, None].expand_as(scaled)
    # an element met only without labels: everything is beyond the data
    empty = scaled.new_zeros(n_elements, scaled.shape[1])
    bounds = torch.stack(
        [
            empty.scatter_reduce(0, index, scaled, kind, include_self=False)
            for kind in ("amin", "amax")
        ]
    )
    sizes = [len(part) for part in own]
    folds = fold_of(data.ids, FOLDS)
    return bounds, domain_of(values, species, sizes, folds, n_elements)

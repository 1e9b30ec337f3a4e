"""fit(spec, frames, rng): descriptors, linear term in closed form, networks on what it leaves."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials import selection
from potentials.calibration import Calibration, FoldMembers, cross_calibration
from potentials.ensemble import Ensemble
from potentials.features import Features, FeatureSet, values_only
from potentials.linear import (
    Equations,
    Row,
    Targets,
    equations,
    reference_energies,
    row,
    solve,
    used_columns,
    with_targets,
)
from potentials.loss import label_weights
from potentials.network import Networks
from potentials.network_training import (
    Problem,
    Training,
    fold_of,
    held_out,
    train_networks,
)
from potentials.progress import NO_HOOKS, Hooks, Progress
from potentials.rarity import rarity
from potentials.residual import Residual
from potentials.scaling import Scaling, scaling_of
from potentials.selection import Choice
from potentials.spec import EnsembleSpec, NetworkSpec
from potentials.structures import FloatArray, Frame
from potentials.wall import no_wall, wall_of

#: added to every Poisson count, so that no member ignores a label altogether
BOOTSTRAP_FLOOR = 0.05


class DataError(ValueError):
    """The frames cannot be fitted together."""


@dataclass(frozen=True, eq=False, slots=True)
class DataSet:
    """Frames as a fit sees them, sorted by id so that arrival order does not matter."""

    frames: list[Frame]
    features: FeatureSet
    targets: list[Targets]
    weights: Tensor
    reference: Tensor
    scaling: Scaling


@dataclass(frozen=True, eq=False, slots=True)
class LinearTerm:
    """The closed form of all members: coefficients (K, E, C) on a basis, constants (K, E)."""

    scaling: Scaling
    coefficients: Tensor
    constants: Tensor


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
    _check(frames)
    frames = sorted(frames, key=lambda frame: frame.id)
    elements = _elements(frames, unlabelled, warm)
    warm = warm if warm is not None and _helpful(warm, spec, elements) else None
    hooks.tell(Progress("descriptors", 0, len(frames)))
    data = _data_set(spec, frames, elements, unlabelled, warm, pressure)
    hooks.tell(Progress("linear term", 0, 1))
    closed = _closed_form(spec, data, rng)
    networks = _networks(spec, data, closed, rng, warm, hooks)
    term = _final(spec, data, closed, networks)
    factors = _calibration(spec, data, closed, calibration)
    ensemble = Ensemble(
        spec=spec,
        elements=elements,
        scaling=term.scaling,
        reference=data.reference,
        linear=term.coefficients,
        constants=term.constants,
        networks=networks,
        wall=wall_of(data.features, elements) if spec.wall else no_wall(len(elements)),
        bounds=_bounds(data, len(elements)),
        calibration=factors.energy,
        force_calibration=factors.forces,
        engine=frames[0].label.engine,
        facts={},
    )
    choice = closed.choice
    facts = {
        "labels": len(frames),
        "products": choice.components > 0,
        "components": choice.components,
        "ridge": choice.ridge,
        "energy_weight": choice.loss.energy,
        "networks": networks is not None,
        "jacobians": "kept" if data.features.kept else "on the fly",
        "pressure_ev_per_a3": pressure,
        **training_errors(ensemble, frames),
        "seconds": time.perf_counter() - began,
    }
    return replace(ensemble, facts=facts)


def _helpful(warm: Ensemble, spec: EnsembleSpec, elements: tuple[int, ...]) -> bool:
    return warm.spec.descriptor == spec.descriptor and warm.elements == elements


@dataclass(frozen=True, eq=False, slots=True)
class Closed:
    """The closed form before its members are solved.

    Attributes:
        problem: equations on the basis of ``scaling``.
        scaling: with as many components as the largest basis tried.
        choice: what held-out errors chose.
        folds: fold of each block (B,).
        times: how often each member counts each block (K, B).
        kept_out: blocks whose labels a member's networks do not see (K, B).
    """

    problem: Equations
    scaling: Scaling
    choice: Choice
    folds: Tensor
    times: Tensor
    kept_out: Tensor

    def rows(self, data: DataSet) -> Iterator[Row]:
        """Columns of all structures, one by one."""
        return (row(found, self.scaling) for found in data.features)

    @property
    def used(self) -> Tensor:
        """Places of the coefficients that the choice uses (U,)."""
        n_elements, n_plain, most = self.scaling.components.shape
        return used_columns(n_elements, n_plain, most, self.choice.components)

    def left_out(self) -> FoldMembers:
        """Members of fits that leave one fold out each."""
        n_elements, choice, used = len(self.scaling.mean), self.choice, self.used
        found = []
        for fold in range(selection.FOLDS):
            seen = self.times * (self.folds != fold)
            found.append(solve(self.problem, seen, choice.loss, choice.ridge, used, n_elements))
        return FoldMembers(torch.stack(found), self.folds, used)

    def solved(self, problems: Sequence[Equations], times: Tensor) -> LinearTerm:
        """Members on their own goals, or all on the same."""
        n_elements, choice, used = len(self.scaling.mean), self.choice, self.used
        found = [
            solve(problem, own, choice.loss, choice.ridge, used, n_elements)
            for problem, own in zip(problems, times.split(len(times) // len(problems)), strict=True)
        ]
        solution = torch.cat(found)
        basis = solution[:, :-n_elements].reshape(len(times), n_elements, -1)
        return LinearTerm(self.scaling.leading(choice.components), basis, solution[:, -n_elements:])


def _closed_form(spec: EnsembleSpec, data: DataSet, rng: np.random.Generator) -> Closed:
    """Sums over the data, and the basis, ridge and weights that held-out errors choose."""
    ids = [frame.id for frame in data.frames]
    drawn = fold_of(ids, selection.MOST_BLOCKS)
    block, folds = selection.blocks(drawn)
    n_equations = sum(1 + len(t.forces) + 6 * (t.virial is not None) for t in data.targets)
    n_elements, n_plain = data.scaling.mean.shape
    tried = selection.candidates(spec.linear, len(ids), n_equations, n_elements, n_plain)
    scaling = data.scaling.leading(tried[-1])
    rows = (row(found, scaling) for found in data.features)
    problem = equations(rows, data.targets, data.weights, block)
    choice, _ = selection.choose(problem, folds, spec.linear, spec.loss, tried, n_elements)
    single = problem.n_blocks == len(ids)
    # by what was drawn, not by place: a block that no label is in may get one later
    names = ids if single else [f"block {name}" for name in drawn.unique().tolist()]
    kept_out = held_out(names, spec.members, spec.network.held_out)
    times = _bootstrap(spec, problem.n_blocks, rng)
    return Closed(problem, scaling, choice, folds, times, kept_out)


def _calibration(
    spec: EnsembleSpec, data: DataSet, closed: Closed, given: float | None
) -> Calibration:
    """As given, or from labels that members have not seen; networks are not counted."""
    enough = len(data.frames) >= selection.TUNE_FROM and spec.members > 1
    if given is not None or not enough or not spec.linear.enabled:
        return Calibration(given or 1.0, given or 1.0)
    return cross_calibration(closed.problem, closed.rows(data), data.targets, closed.left_out())


def _no_linear(spec: EnsembleSpec, data: DataSet) -> LinearTerm:
    n_elements, n_plain = data.scaling.mean.shape
    zero = torch.zeros(spec.members, n_elements, n_plain, dtype=torch.float64)
    return LinearTerm(data.scaling.leading(0), zero, zero[:, :, 0])


def _final(
    spec: EnsembleSpec, data: DataSet, closed: Closed, networks: Networks | None
) -> LinearTerm:
    """The linear term of all members on all labels, on what their networks leave."""
    if not spec.linear.enabled:
        return _no_linear(spec, data)
    if networks is None:
        return closed.solved([closed.problem], closed.times)
    left = _left(data, networks)
    problems = [with_targets(closed.problem, closed.rows(data), own) for own in left]
    return closed.solved(problems, closed.times)


def _left(data: DataSet, networks: Networks) -> list[list[Targets]]:
    """What the networks of each member leave of each label."""
    found: list[list[Targets]] = [[] for _ in range(networks.weights[0].shape[1])]
    for features, targets in zip(data.features, data.targets, strict=True):
        scaled = data.scaling.apply(features.values, features.species)
        with torch.no_grad():
            energies, slopes = networks(scaled, features.species)
        pull = slopes / data.scaling.spread[features.species]
        slope = pull.flatten(1) @ features.jacobian.flatten(0, 1)
        for member, own in enumerate(found):
            own.append(targets.minus(energies[member].sum(), slope[member]))
    return found


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
    if not settings.enabled or len(data.frames) < settings.min_labels:
        return None
    seen = torch.where(closed.kept_out, 0.0, closed.times)
    linear = (
        closed.solved([closed.problem], seen) if spec.linear.enabled else _no_linear(spec, data)
    )
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
    parts = residual.parts(settings.batch, dtype, device)
    block = closed.problem.block
    problem = Problem(
        parts,
        train=(seen[:, block] * data.weights).to(device),
        check=torch.where(closed.kept_out[:, block], data.weights, 0.0).to(device),
        loss=closed.choice.loss,
    )
    start = _start(spec, data, residual, rng, warm).to(device, dtype)
    trained = train_networks(Training(settings, problem, start, rng), hooks)
    if not trained.gained:
        return None
    return residual.whitening.folded(trained.networks.to("cpu", torch.float64))


def _start(
    spec: EnsembleSpec,
    data: DataSet,
    residual: Residual,
    rng: np.random.Generator,
    warm: Ensemble | None,
) -> Networks:
    """Networks to start from: those of an earlier ensemble of the same shape, or new ones."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    if warm is not None and warm.networks is not None and _same_shape(warm.spec, spec):
        return residual.whitening.unfolded(warm.networks)
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


def _check(frames: Sequence[Frame]) -> None:
    if len(frames) < 2:
        raise DataError(f"an ensemble needs at least 2 labelled structures, got {len(frames)}")
    engines = sorted({frame.label.engine for frame in frames})
    if len(engines) > 1:
        raise DataError(
            f"labels of {len(engines)} engine settings ({', '.join(engines)}) cannot be fitted "
            "together: their energies have different zeros; keep the labels of one"
        )
    ids = [frame.id for frame in frames]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise DataError(f"frame ids must be unique; occurring more than once: {twice[:5]}")


def _elements(
    frames: Sequence[Frame], unlabelled: Sequence[Atoms], warm: Ensemble | None
) -> tuple[int, ...]:
    numbers = {int(z) for frame in frames for z in frame.atoms.numbers}
    numbers |= {int(z) for atoms in unlabelled for z in atoms.numbers}
    if warm is not None and numbers <= set(warm.elements):
        return warm.elements
    return tuple(sorted(numbers))


def _data_set(
    spec: EnsembleSpec,
    frames: list[Frame],
    elements: tuple[int, ...],
    unlabelled: Sequence[Atoms],
    warm: Ensemble | None,
    pressure: float,
) -> DataSet:
    structures = [frame.atoms for frame in frames]
    found = FeatureSet(structures, spec.descriptor, elements)
    values, species = values_only([*structures, *unlabelled], spec.descriptor, elements)
    scaling = scaling_of(values, species, len(elements), None if warm is None else warm.scaling)
    size = torch.tensor([len(atoms) for atoms in structures], dtype=torch.float64)
    energies = torch.tensor([frame.label.energy for frame in frames], dtype=torch.float64)
    volumes = torch.tensor([f.volume for f in found], dtype=torch.float64)
    fmax = torch.tensor([frame.label.fmax for frame in frames], dtype=torch.float64)
    weights = label_weights((energies + pressure * volumes) / size, fmax, spec.labels)
    counts = torch.stack([torch.bincount(f.species, minlength=len(elements)) for f in found])
    reference = reference_energies(counts.double(), energies, weights)
    targets = [
        _targets(frame, f, energy - count.double() @ reference)
        for frame, f, energy, count in zip(frames, found, energies, counts, strict=True)
    ]
    return DataSet(frames, found, targets, weights, reference, scaling)


def _targets(frame: Frame, found: Features, energy: Tensor) -> Targets:
    label = frame.label
    virial = None if label.stress is None else torch.as_tensor(label.stress) * found.volume
    return Targets(energy, torch.as_tensor(label.forces).flatten(), virial)


def _bootstrap(spec: EnsembleSpec, n_blocks: int, rng: np.random.Generator) -> Tensor:
    """How often each member counts each block of labels (K, B)."""
    if spec.bootstrap == "none":
        return torch.ones(spec.members, n_blocks, dtype=torch.float64)
    counts = rng.poisson(1.0, (spec.members, n_blocks)) + BOOTSTRAP_FLOOR
    return torch.as_tensor(counts, dtype=torch.float64)


def _same_shape(one: EnsembleSpec, other: EnsembleSpec) -> bool:
    return one.network.hidden == other.network.hidden and one.members == other.members


def _bounds(data: DataSet, n_elements: int) -> Tensor:
    """Range of the scaled descriptors of every element in the labels (2, E, D)."""
    values = torch.cat([f.values for f in data.features])
    species = torch.cat([f.species for f in data.features])
    scaled = data.scaling.apply(values, species)
    low, high = [], []
    for element in range(n_elements):
        own = scaled[species == element]
        # an element met only without labels: everything is beyond the data
        empty = scaled.new_zeros(1, scaled.shape[1])
        own = own if len(own) else empty
        low.append(own.amin(dim=0))
        high.append(own.amax(dim=0))
    return torch.stack([torch.stack(low), torch.stack(high)])

"""fit(spec, frames, rng): descriptors, linear term in closed form, networks on what it leaves."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.ensemble import Ensemble
from potentials.features import Features, features, values_only
from potentials.linear import (
    Rows,
    Targets,
    held_out_loss,
    reference_energies,
    row_scale,
    rows,
    solve,
    without_products,
)
from potentials.loss import label_weights
from potentials.network import Networks
from potentials.residual import Residual, fold_of, held_out, train_networks
from potentials.scaling import Scaling, scaling_of
from potentials.spec import EnsembleSpec
from potentials.structures import FloatArray, Frame
from potentials.wall import wall_of

#: folds of the test whether products of descriptors pay
FOLDS = 5
#: added to every Poisson count, so that no member ignores a label altogether
BOOTSTRAP_FLOOR = 0.05


class DataError(ValueError):
    """The frames cannot be fitted together."""


@dataclass(frozen=True, eq=False, slots=True)
class DataSet:
    """Frames as a fit sees them, sorted by id so that arrival order does not matter."""

    frames: list[Frame]
    features: list[Features]
    targets: list[Targets]
    weights: Tensor
    reference: Tensor
    scaling: Scaling


def fit(
    spec: EnsembleSpec,
    frames: Sequence[Frame],
    rng: np.random.Generator,
    *,
    unlabelled: Sequence[Atoms] = (),
    warm: Ensemble | None = None,
    pressure: float = 0.0,
    calibration: float = 1.0,
) -> Ensemble:
    """Fit an ensemble to labelled structures.

    Args:
        spec: the settings.
        frames: at least two, all of one engine.
        rng: source of bootstrap weights and initial networks.
        unlabelled: further structures to scale the descriptors by.
        warm: an earlier ensemble; its scaling is kept and its networks are trained on. One of
            another descriptor or basis or of other elements is no help and left aside.
        pressure: labels are weighted by E + pV [eV/Å^3].
        calibration: factor from spread to error.

    Raises:
        DataError: too few frames, mixed engines, or an id that occurs twice.
    """
    began = time.perf_counter()
    _check(frames)
    frames = sorted(frames, key=lambda frame: frame.id)
    if warm is not None and not _same_basis(warm.spec, spec):
        warm = None
    elements = _elements(frames, unlabelled, warm)
    warm = warm if warm is not None and warm.elements == elements else None
    data = _data_set(spec, frames, elements, unlabelled, warm, pressure)
    boot = _bootstrap(spec, len(frames), rng) * data.weights
    equations = [
        rows(f, t, data.scaling, spec.loss)
        for f, t in zip(data.features, data.targets, strict=True)
    ]
    equations, products = _basis(spec, data, equations)
    networks = _networks(spec, data, equations, boot, rng, warm)
    coefficients = _final_linear(spec, data, equations, boot, networks)
    n_elements = len(elements)
    ensemble = Ensemble(
        spec=spec,
        elements=elements,
        scaling=data.scaling,
        reference=data.reference,
        linear=coefficients[:, :-n_elements].reshape(spec.members, n_elements, -1),
        constants=coefficients[:, -n_elements:],
        networks=networks,
        wall=wall_of(data.features, elements),
        bounds=_bounds(data, n_elements),
        calibration=calibration,
        engine=frames[0].label.engine,
        facts={},
    )
    facts = {
        "labels": len(frames),
        "products": products,
        "networks": networks is not None,
        "pressure_ev_per_a3": pressure,
        **training_errors(ensemble, frames),
        "seconds": time.perf_counter() - began,
    }
    return replace(ensemble, facts=facts)


def _basis(spec: EnsembleSpec, data: DataSet, equations: list[Rows]) -> tuple[list[Rows], bool]:
    """The equations with products of descriptors, if those lower a held-out error; else without.

    On a dozen labels products fit noise; on fifty they halve the error where bonding changes.
    """
    plain = without_products(equations, data.scaling)
    folds = fold_of([frame.id for frame in data.frames], FOLDS)
    if spec.linear.components == 0 or len(folds.unique()) < FOLDS:
        return plain, False
    n_elements = len(data.scaling.mean)
    lost = [
        held_out_loss(rows_, data.weights, folds, spec.linear.ridge, n_elements)
        for rows_ in (equations, plain)
    ]
    return (equations, True) if lost[0] < lost[1] else (plain, False)


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
    found = features(structures, spec.descriptor, elements)
    if warm is not None:
        scaling = warm.scaling
    else:
        values, species = values_only([*structures, *unlabelled], spec.descriptor, elements)
        scaling = scaling_of(values, species, len(elements), spec.linear.components)
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


def _bootstrap(spec: EnsembleSpec, n_frames: int, rng: np.random.Generator) -> Tensor:
    """How often each member counts each label (K, F)."""
    if spec.bootstrap == "none":
        return torch.ones(spec.members, n_frames, dtype=torch.float64)
    counts = rng.poisson(1.0, (spec.members, n_frames)) + BOOTSTRAP_FLOOR
    return torch.as_tensor(counts, dtype=torch.float64)


def _networks(
    spec: EnsembleSpec,
    data: DataSet,
    equations: list[Rows],
    boot: Tensor,
    rng: np.random.Generator,
    warm: Ensemble | None,
) -> Networks | None:
    """Networks on what the linear term leaves, or None where no member gains by them."""
    if not spec.network.enabled or len(data.frames) < spec.network.min_labels:
        return None
    n_elements = len(data.scaling.mean)
    kept_out = held_out([f.id for f in data.frames], spec.members, spec.network.held_out)
    train = torch.where(kept_out, torch.zeros_like(boot), boot)
    linear = solve(equations, train, spec.linear.ridge, n_elements)
    problem = Residual.of(data.features, equations, linear, data.scaling, spec.loss)
    start = warm.networks if warm is not None and _same_shape(warm.spec, spec) else None
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return train_networks(
        spec, problem, train, torch.where(kept_out, data.weights, 0.0), generator, start
    )


def _same_basis(one: EnsembleSpec, other: EnsembleSpec) -> bool:
    return one.descriptor == other.descriptor and one.linear.components == other.linear.components


def _same_shape(one: EnsembleSpec, other: EnsembleSpec) -> bool:
    return one.network.hidden == other.network.hidden and one.members == other.members


def _final_linear(
    spec: EnsembleSpec,
    data: DataSet,
    equations: list[Rows],
    boot: Tensor,
    networks: Networks | None,
) -> Tensor:
    """The linear term on all labels, given the networks: coefficients (K, C)."""
    n_elements = len(data.scaling.mean)
    if networks is None:
        return solve(equations, boot, spec.linear.ridge, n_elements)
    goals: list[list[Tensor]] = [[] for _ in range(spec.members)]
    for found, targets, equation in zip(data.features, data.targets, equations, strict=True):
        scale = row_scale(len(found.species), spec.loss, stress=targets.virial is not None)
        with torch.no_grad():
            energies, slopes = networks(
                data.scaling.apply(found.values, found.species), found.species
            )
        pull = slopes / data.scaling.spread[found.species]
        for member, goal in enumerate(goals):
            slope = torch.einsum("nd,ndx->x", pull[member], found.jacobian)
            goal.append(equation.minus(energies[member].sum(), slope, scale))
    return solve(equations, boot, spec.linear.ridge, n_elements, goals)


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

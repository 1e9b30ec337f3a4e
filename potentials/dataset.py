"""Labelled structures as a fit sees them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import Atoms
from torch import Tensor

from potentials.batch import element_indices
from potentials.descriptors import Descriptor
from potentials.ensemble import Ensemble
from potentials.features import FeatureSet, values_only
from potentials.linear import Targets, reference_energies
from potentials.loss import label_weights
from potentials.scaling import Scaling, scaling_of
from potentials.spec import LabelWeights
from potentials.structures import Frame


class DataError(ValueError):
    """The frames cannot be fitted together."""


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """Frames sorted by id, so that arrival order does not matter, and what they ask for.

    Attributes:
        frames: F labelled structures.
        elements: atomic numbers in the order of the element index.
        targets: labels without reference energies.
        weights: how much each counts (F,).
        reference: energy per atom of each element [eV] (E,).
    """

    frames: list[Frame]
    elements: tuple[int, ...]
    targets: list[Targets]
    weights: Tensor
    reference: Tensor

    @property
    def structures(self) -> list[Atoms]:
        """The structures without their labels."""
        return [frame.atoms for frame in self.frames]


@dataclass(frozen=True, eq=False, slots=True)
class DataSet:
    """Labels with the descriptors of their structures.

    Attributes:
        labelled: the labels.
        features: descriptors and Jacobians of the structures.
        scaling: of the descriptors, with all principal components.
    """

    labelled: Labelled
    features: FeatureSet
    scaling: Scaling

    @property
    def targets(self) -> list[Targets]:
        """Labels without reference energies."""
        return self.labelled.targets

    @property
    def weights(self) -> Tensor:
        """How much each label counts (F,)."""
        return self.labelled.weights

    @property
    def ids(self) -> list[str]:
        """Of the frames, in their order."""
        return [frame.id for frame in self.labelled.frames]


def labelled(
    frames: Sequence[Frame], elements: tuple[int, ...], weights: LabelWeights, pressure: float
) -> Labelled:
    """Targets and weights of labels that belong together.

    Args:
        frames: at least two, all of one engine.
        elements: atomic numbers that occur.
        weights: how much labels count.
        pressure: they are weighted by E + pV [eV/Å^3].
    """
    frames = sorted(frames, key=lambda frame: frame.id)
    volumes = [_volume(frame.atoms) for frame in frames]
    size = torch.tensor([len(frame.atoms) for frame in frames], dtype=torch.float64)
    energies = torch.tensor([frame.label.energy for frame in frames], dtype=torch.float64)
    fmax = torch.tensor([frame.label.fmax for frame in frames], dtype=torch.float64)
    volume = torch.tensor(volumes, dtype=torch.float64)
    species = [torch.as_tensor(element_indices(frame.atoms, elements)) for frame in frames]
    counts = torch.stack([torch.bincount(own, minlength=len(elements)) for own in species]).double()
    # of several compositions, each is weighed by how low it lies for what it is made of
    level = energies - counts @ reference_energies(counts, energies, torch.ones_like(energies))
    counted = label_weights((level + pressure * volume) / size, fmax, weights)
    reference = reference_energies(counts, energies, counted)
    left = energies - counts @ reference
    targets = [
        _targets(frame, volume, energy)
        for frame, volume, energy in zip(frames, volumes, left, strict=True)
    ]
    return Labelled(frames, elements, targets, counted, reference)


def _volume(atoms: Atoms) -> float:
    """Of the cell [Å^3]; zero without one."""
    return abs(float(torch.linalg.det(torch.as_tensor(atoms.cell.array))))


def _targets(frame: Frame, volume: float, energy: Tensor) -> Targets:
    label = frame.label
    virial = None if label.stress is None else torch.as_tensor(label.stress) * volume
    return Targets(energy, torch.as_tensor(label.forces).flatten(), virial)


def data_set(
    given: Labelled,
    descriptor: Descriptor,
    unlabelled: Sequence[Atoms] = (),
    earlier: Scaling | None = None,
) -> DataSet:
    """Labels with descriptors, which unlabelled structures help to scale.

    Args:
        given: the labels.
        descriptor: bound to its parameters, if it has any.
        unlabelled: further structures.
        earlier: keep its mean and spread.
    """
    structures, elements = given.structures, given.elements
    values, species = values_only([*structures, *unlabelled], descriptor, elements)
    scaling = scaling_of(values, species, len(elements), earlier)
    return DataSet(given, FeatureSet(structures, descriptor, elements), scaling)


def check(frames: Sequence[Frame]) -> None:
    """Refuse frames that cannot be fitted together.

    Raises:
        DataError: too few frames, mixed engines, or an id that occurs twice.
    """
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


def elements_of(
    frames: Sequence[Frame], unlabelled: Sequence[Atoms], warm: Ensemble | None
) -> tuple[int, ...]:
    """Atomic numbers that occur, ascending; those of an earlier ensemble if it knows them all."""
    numbers = {int(z) for frame in frames for z in frame.atoms.numbers}
    numbers |= {int(z) for atoms in unlabelled for z in atoms.numbers}
    if warm is not None and numbers <= set(warm.elements):
        return warm.elements
    return tuple(sorted(numbers))

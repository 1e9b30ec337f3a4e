"""The data of `focal.py`: a region that is not seen at first, splits of it, and errors on each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from potentials.descriptors import Descriptor
from potentials.features import FeatureSet
from potentials.linear import Targets, reference_energies
from potentials.loss import label_weights
from potentials.network import Networks
from potentials.residual import Block, Residual, Whitening
from potentials.scaling import Scaling, scaling_of
from potentials.spec import LabelWeights, LossWeights
from potentials.structures import Frame

#: energy and force errors apart
PARTS = (
    LossWeights(energy=1.0, forces=0.0, virial=0.0),
    LossWeights(energy=0.0, forces=1.0, virial=0.0),
)


@dataclass(frozen=True)
class Plan:
    """How many structures of each kind, and how long.

    Attributes:
        region: structures of largest volume per atom that count as unseen.
        unseen: of these, how many are never trained on.
        old_test: of the others, how many are never trained on.
        epochs, first_epochs: with the new structures, and before they come.
        members: initial networks by seed.
        batch: structures per step.
        first_rate: learning rate at the start of the training before.
        rate: the same with the new structures; a larger one destroys what was learned.
        rate_end: learning rate at the end of either training.
    """

    region: int = 140
    unseen: int = 60
    old_test: int = 60
    epochs: int = 100
    first_epochs: int = 60
    members: int = 2
    batch: int = 16
    first_rate: float = 0.01
    rate: float = 0.001
    rate_end: float = 0.0003


@dataclass(frozen=True, eq=False)
class Data:
    """Structures with descriptors and Jacobians, made once.

    Attributes:
        frames: all structures.
        found: their features.
        counts: atoms of each element (F, E).
        elements: atomic numbers.
    """

    frames: Sequence[Frame]
    found: FeatureSet
    counts: torch.Tensor
    elements: tuple[int, ...]

    @classmethod
    def of(cls, frames: Sequence[Frame], descriptor: Descriptor) -> "Data":
        """Features of all frames, kept whatever they take."""
        elements = tuple(sorted({int(z) for frame in frames for z in frame.atoms.numbers}))
        found = FeatureSet([f.atoms for f in frames], descriptor, elements, kept=True)
        counts = [torch.bincount(f.species, minlength=len(elements)).double() for f in found]
        return cls(frames, found, torch.stack(counts), elements)


@dataclass(frozen=True, eq=False)
class Split:
    """What a seed makes of the data: indices of structures, and the problem on all of them.

    Attributes:
        old, old_test, new, unseen: trained on and not, outside and inside the region.
        targets: labels without reference energies.
        residual: of all structures, scaled and whitened by the old ones alone.
    """

    old: list[int]
    old_test: list[int]
    new: list[int]
    unseen: list[int]
    targets: list[Targets]
    scaling: Scaling
    residual: Residual


@dataclass(frozen=True)
class Sides:
    """Structures trained on and not, outside and inside the region."""

    old: list[int]
    old_test: list[int]
    new: list[int]
    unseen: list[int]


def sides(frames: Sequence[Frame], plan: Plan, seed: int) -> Sides:
    """The structures of one seed; more new ones contain the fewer."""
    volume = [f.atoms.get_volume() / len(f.atoms) for f in frames]
    order = np.argsort(volume, kind="stable").tolist()
    rng = np.random.default_rng(seed)
    parts = order[: -plan.region], order[-plan.region :]
    outside, inside = (rng.permutation(own).tolist() for own in parts)
    return Sides(
        outside[plan.old_test :],
        outside[: plan.old_test],
        inside[plan.unseen :],
        inside[: plan.unseen],
    )


def split(data: Data, plan: Plan, seed: int) -> Split:
    """The structures of one seed, and the problem on all of them."""
    own = sides(data.frames, plan, seed)
    old = own.old
    energies = torch.tensor([f.label.energy for f in data.frames], dtype=torch.float64)
    ones = torch.ones(len(old), dtype=torch.float64)
    reference = reference_energies(data.counts[old], energies[old], ones)
    left = energies - data.counts @ reference
    targets = [
        Targets(energy, torch.as_tensor(f.label.forces).flatten(), None)
        for energy, f in zip(left, data.frames, strict=True)
    ]
    values = torch.cat([data.found[i].values for i in old])
    species = torch.cat([data.found[i].species for i in old])
    scaling = scaling_of(values, species, len(data.elements))
    n_elements, size = scaling.mean.shape
    none = torch.zeros(plan.members, n_elements, size, dtype=torch.float64)
    residual = Residual(data.found, targets, none, none[:, :, 0], scaling.leading(0))
    residual.whitening = Whitening.of(scaling.apply(values, species), species, n_elements)
    return Split(old, own.old_test, own.new, own.unseen, targets, scaling, residual)


def blocks(own: Split, indices: Sequence[int], batch: int) -> list[Block]:
    """Structures in parts of equal numbers of atoms."""
    by_size: dict[int, list[int]] = {}
    for index in indices:
        by_size.setdefault(len(own.targets[index].forces), []).append(index)
    return [
        own.residual.block(group[start : start + batch]).to(torch.float32, torch.device("cpu"))
        for group in by_size.values()
        for start in range(0, len(group), batch)
    ]


def errors(parts: Sequence[Block], networks: Networks) -> tuple[list[float], list[float]]:
    """Root mean squares of each member: energy [eV/atom] and forces [eV/A]."""
    found: list[list[float]] = []
    with torch.no_grad():
        for weights in PARTS:
            losses = torch.cat([part.losses(networks, weights) for part in parts], dim=1)
            found.append(losses.mean(dim=1).sqrt().tolist())
    return found[0], found[1]


def weights(data: Data, own: Split, trained: Sequence[int], setting: str) -> torch.Tensor:
    """How much each structure counts (F,); zero where it is not trained on."""
    found = torch.zeros(len(data.frames), dtype=torch.float64)
    if setting == "energy":
        above = torch.stack([own.targets[i].energy for i in trained]) / data.counts[trained].sum(1)
        spec = LabelWeights(force_scale_ev_per_a=None)
        found[trained] = label_weights(above, torch.zeros_like(above), spec)
    else:
        found[trained] = 1.0
    return found

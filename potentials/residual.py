"""Training of the networks on what the linear term leaves.

All members are trained in one graph on stored descriptors and Jacobians; each has its own
held-out labels and keeps its own best state. No network is the first candidate of every member,
so that networks never make a held-out error worse.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potentials.features import Features
from potentials.linear import Rows, row_scale
from potentials.loss import focal_weights, learning_rate, prefactors
from potentials.network import Networks
from potentials.scaling import Scaling
from potentials.spec import EnsembleSpec, LossWeights

#: the held-out error is looked at every so many steps
LOOK = 5


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Structures of equal size and stress knowledge, stacked (B structures of N atoms).

    Attributes:
        index: place of each structure among all (B,).
        scaled: scaled descriptors (B, N, D).
        species: element index (B, N).
        jacobian: derivatives of the scaled descriptors (B, N, D, 3N + 6).
        energy, forces, virial: what the linear term of each member leaves, per structure:
            (K, B), (K, B, 3N), (K, B, 6) or None.
    """

    index: Tensor
    scaled: Tensor
    species: Tensor
    jacobian: Tensor
    energy: Tensor
    forces: Tensor
    virial: Tensor | None

    def losses(self, networks: Networks, parts: LossWeights) -> Tensor:
        """Loss of every member on every structure (K, B)."""
        n_structures, n_atoms, size = self.scaled.shape
        energies, slopes = networks(self.scaled.reshape(-1, size), self.species.reshape(-1))
        members = len(energies)
        energy = energies.reshape(members, n_structures, n_atoms).sum(dim=2)
        pull = slopes.reshape(members, n_structures, n_atoms * size).transpose(0, 1)
        flat = self.jacobian.reshape(n_structures, n_atoms * size, -1)
        slope = (pull @ flat).transpose(0, 1)
        loss = parts.energy * ((energy - self.energy) / n_atoms) ** 2
        loss = loss + parts.forces * ((-slope[..., :-6] - self.forces) ** 2).mean(dim=2)
        if self.virial is not None:
            error = (slope[..., -6:] - self.virial) / n_atoms
            loss = loss + parts.virial * (error**2).mean(dim=2)
        total: Tensor = loss
        return total


@dataclass(frozen=True, eq=False, slots=True)
class Residual:
    """The whole training problem: blocks of structures, F in all, for K members."""

    blocks: list[Block]
    n_structures: int
    n_elements: int
    size: int

    @classmethod
    def of(
        cls,
        found: Sequence[Features],
        equations: Sequence[Rows],
        linear: Tensor,
        scaling: Scaling,
        loss: LossWeights,
    ) -> "Residual":
        """What ``linear`` (K, C) leaves of every structure's equations."""
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (f, rows) in enumerate(zip(found, equations, strict=True)):
            groups.setdefault((len(f.species), len(rows.goal)), []).append(index)
        blocks = [
            _block([found[i] for i in own], [equations[i] for i in own], own, linear, scaling, loss)
            for own in groups.values()
        ]
        return cls(blocks, len(found), *scaling.mean.shape)

    def losses(self, networks: Networks, parts: LossWeights) -> Tensor:
        """Loss of every member on every structure, in their first order (K, F)."""
        members = networks.weights[0].shape[1]
        total = torch.zeros(members, self.n_structures, dtype=torch.float64)
        for block in self.blocks:
            total = total.index_copy(1, block.index, block.losses(networks, parts).double())
        return total


def _block(
    found: Sequence[Features],
    equations: Sequence[Rows],
    index: Sequence[int],
    linear: Tensor,
    scaling: Scaling,
    loss: LossWeights,
) -> Block:
    n_atoms = len(found[0].species)
    stress = len(equations[0].goal) > 1 + 3 * n_atoms
    scale = row_scale(n_atoms, loss, stress=stress)
    # a part of weight zero has no equations to recover the residual from and is never looked at
    inverse = torch.where(scale > 0, 1.0 / scale.clamp(min=1e-300), torch.zeros_like(scale))
    left = torch.stack([r.goal - linear @ r.design.T for r in equations], dim=1) * inverse
    species = torch.stack([f.species for f in found])
    jacobian = torch.stack([f.jacobian for f in found])
    return Block(
        index=torch.tensor(index),
        scaled=torch.stack([scaling.apply(f.values, f.species) for f in found]),
        species=species,
        jacobian=jacobian / scaling.spread[species][..., None],
        energy=left[..., 0],
        forces=left[..., 1 : 1 + 3 * n_atoms],
        virial=left[..., 1 + 3 * n_atoms :] if stress else None,
    )


def fold_of(ids: Sequence[str], folds: int) -> Tensor:
    """The fold of each label for cross-validation, decided by the id alone (F,)."""
    return torch.tensor([int(_draw("fold", name) * folds) for name in ids])


def _draw(purpose: str, name: str) -> float:
    """A number in [0, 1) that depends on nothing but the two names."""
    digest = hashlib.sha256(f"{purpose}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def held_out(ids: Sequence[str], members: int, share: float) -> Tensor:
    """Which labels each member does not train on (K, F).

    Decided by the id alone, so that a label held out once stays so in every retraining and a warm
    start never knows it.
    """
    return torch.tensor([[_draw(str(k), name) < share for name in ids] for k in range(members)])


def train_networks(
    spec: EnsembleSpec,
    problem: Residual,
    train: Tensor,
    check: Tensor,
    generator: torch.Generator,
    warm: Networks | None,
) -> Networks | None:
    """Networks with each member's lowest held-out error; None if none is better than no network.

    Args:
        spec: settings of the ensemble.
        problem: what the linear term leaves.
        train: weight of each label for training (K, F), zero where held out.
        check: weight of each label for the held-out error (K, F).
        generator: source of initial weights.
        warm: networks to start from.
    """
    settings = spec.network
    networks = (
        copy.deepcopy(warm)
        if warm is not None
        else Networks(spec.members, problem.n_elements, problem.size, settings.hidden, generator)
    )
    nothing = _silent(networks)
    best = _Best(nothing, _held_out_error(problem, nothing, spec.loss, check))
    optimiser = torch.optim.Adam(networks.parameters(), lr=settings.learning_rate)
    focal = torch.ones_like(train)
    share = train / train.sum(dim=1, keepdim=True).clamp(min=1e-12)
    for step in range(settings.steps):
        rate = learning_rate(
            step, settings.steps, settings.learning_rate, settings.learning_rate_end
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        parts = prefactors(rate, settings.learning_rate, settings.prefactor_start, spec.loss)
        optimiser.zero_grad()
        losses = problem.losses(networks, parts)
        total = (share * focal * losses).sum() + settings.weight_penalty * networks.penalty().sum()
        total.backward()
        optimiser.step()
        focal = focal_weights(losses.detach(), settings.focal_gamma, train)
        if step % LOOK == LOOK - 1:
            best.look(step, networks, _held_out_error(problem, networks, spec.loss, check))
            if step - best.last_gain > settings.patience:
                break
    return best.networks if best.gained else None


def _held_out_error(
    problem: Residual, networks: Networks, parts: LossWeights, check: Tensor
) -> Tensor:
    """Weighted mean loss on the held-out labels of each member (K,); NaN where it has none."""
    with torch.no_grad():
        losses = problem.losses(networks, parts)
    return (losses * check).sum(dim=1) / check.sum(dim=1)


def _silent(networks: Networks) -> Networks:
    """A copy whose output is zero."""
    made = copy.deepcopy(networks)
    with torch.no_grad():
        made.weights[-1].zero_()
        made.biases[-1].zero_()
    return made


class _Best:
    """The best state of each member so far; begins with no network at all."""

    def __init__(self, start: Networks, error: Tensor) -> None:
        self.networks = start
        self.error = error
        self.last_gain = 0
        self.gained = False

    def look(self, step: int, networks: Networks, error: Tensor) -> None:
        """Take over the members whose held-out error fell; NaN never counts as lower."""
        better = error < self.error
        if not bool(better.any()):
            return
        self.last_gain, self.gained = step, True
        self.error = torch.where(better, error, self.error)
        with torch.no_grad():
            for mine, theirs in zip(self.networks.parameters(), networks.parameters(), strict=True):
                mine[:, better] = theirs[:, better]

"""What the linear term leaves, as the networks are trained on it.

Descriptors and Jacobians are taken once, stacked over structures of equal size, so that energies,
forces and stresses of all members are batched matrix products. Inputs are whitened: descriptors
are strongly correlated, and gradient descent on them as they are needs many times the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from potentials.basis import contract
from potentials.features import Features, FeatureSet, memory_limit
from potentials.linear import Targets
from potentials.network import Networks
from potentials.scaling import Scaling
from potentials.spec import LossWeights

#: added to the variance of every direction (1: that of a typical descriptor), so that directions
#: in which the data hardly differ are not blown up; 0.01 doubles the error on a thousand labels
WHITE = 1.0
#: forces on at most so many atoms of a structure train its networks: those of a large cell say much
#: the same, and their Jacobians grow with its square
MOST_FORCES = 32


class Part(Protocol):
    """Some structures of a training problem."""

    @property
    def index(self) -> Tensor:
        """Places of the structures among all (B,)."""

    def losses(self, networks: Networks, weights: LossWeights) -> Tensor:
        """Loss of every member on every structure (K, B)."""


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Structures of equal size and stress knowledge, stacked (B structures of N atoms).

    Attributes:
        index: place of each structure among all (B,).
        inputs: whitened descriptors (B, N, D).
        species: element index (B, N).
        jacobian: their derivatives (B, N, D, X + 6).
        energy, forces, virial: what the linear term of each member leaves, per structure:
            (K, B), (K, B, X), (K, B, 6) or None, with X the force components that are used.
        rarity: weight of each force component, mean 1 over all (B, 3N), or None.
    """

    index: Tensor
    inputs: Tensor
    species: Tensor
    jacobian: Tensor
    energy: Tensor
    forces: Tensor
    virial: Tensor | None
    rarity: Tensor | None = None

    def losses(self, networks: Networks, weights: LossWeights) -> Tensor:
        """Loss of every member on every structure (K, B)."""
        n_structures, n_atoms, size = self.inputs.shape
        energies, slopes = networks(self.inputs.reshape(-1, size), self.species.reshape(-1))
        members = len(energies)
        energy = energies.reshape(members, n_structures, n_atoms).sum(dim=2)
        pull = slopes.reshape(members, n_structures, n_atoms * size).transpose(0, 1)
        flat = self.jacobian.reshape(n_structures, n_atoms * size, -1)
        slope = (pull @ flat).transpose(0, 1)
        squares = (slope[..., :-6] + self.forces) ** 2
        if self.rarity is not None:
            squares = squares * self.rarity
        loss = weights.energy * ((energy - self.energy) / n_atoms) ** 2
        loss = loss + weights.forces * squares.mean(dim=2)
        if self.virial is not None:
            error = (slope[..., -6:] - self.virial) / n_atoms
            loss = loss + weights.virial * (error**2).mean(dim=2)
        total: Tensor = loss
        return total

    def to(self, dtype: torch.dtype, device: torch.device) -> "Block":
        """The same in another precision, elsewhere."""

        def moved(values: Tensor) -> Tensor:
            return values.to(device, dtype, non_blocking=True)

        return Block(
            self.index.to(device),
            moved(self.inputs),
            self.species.to(device),
            moved(self.jacobian),
            moved(self.energy),
            moved(self.forces),
            None if self.virial is None else moved(self.virial),
            None if self.rarity is None else moved(self.rarity),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Whitening:
    """Linear map of scaled descriptors to uncorrelated inputs, by element (E, D, D)."""

    forward: Tensor
    backward: Tensor

    @classmethod
    def of(cls, scaled: Tensor, species: Tensor, n_elements: int) -> "Whitening":
        """From the scaled descriptors of all atoms (N, D)."""
        forward, backward = [], []
        for element in range(n_elements):
            own = scaled[species == element]
            variance, turn = torch.linalg.eigh(own.T @ own / max(len(own), 1))
            size = (variance.clamp(min=0.0) + WHITE).sqrt()
            forward.append(turn / size)
            backward.append((turn * size).T)
        return cls(torch.stack(forward), torch.stack(backward))

    def folded(self, networks: Networks) -> Networks:
        """Networks of scaled descriptors from those of whitened inputs."""
        return networks.with_inputs(self.forward)

    def unfolded(self, networks: Networks) -> Networks:
        """The inverse of `folded`."""
        return networks.with_inputs(self.backward)


class Residual:
    """The whole training problem: F structures, for K members.

    Args:
        found: features of the structures; made again in every epoch where they are not kept.
        targets: labels without reference energies.
        linear: coefficients of the linear term of the members on the basis (K, E, C).
        constants: their constants (K, E).
        scaling: of the descriptors.
        rarity: weight of each atom of each structure (N,), or None.
    """

    def __init__(
        self,
        found: FeatureSet,
        targets: Sequence[Targets],
        linear: Tensor,
        constants: Tensor,
        scaling: Scaling,
        rarity: Sequence[Tensor] | None = None,
    ) -> None:
        self._found, self._targets, self._rarity = found, targets, rarity
        self._linear, self._constants, self._scaling = linear, constants, scaling
        self.n_structures = len(found)
        self.n_elements, self.size = scaling.mean.shape
        pairs = [(scaling.apply(f.values, f.species), f.species) for f in found]
        scaled, species = (torch.cat(column) for column in zip(*pairs, strict=True))
        self.whitening = Whitening.of(scaled, species, self.n_elements)

    def parts(
        self,
        size: int | None,
        dtype: torch.dtype,
        device: torch.device,
        new: Tensor | None = None,
    ) -> "list[Block] | list[_Lazy]":
        """The structures in groups of at most ``size`` that can be stacked.

        Args:
            size: None for any.
            dtype: of the numbers.
            device: where they are kept.
            new: structures that share no part with others (F,).
        """
        groups: dict[tuple[int, bool, bool], list[int]] = {}
        for index, target in enumerate(self._targets):
            fresh = new is not None and bool(new[index])
            kind = (len(target.forces), target.virial is None, fresh)
            groups.setdefault(kind, []).append(index)
        split = [
            own[start : start + (size or len(own))]
            for own in groups.values()
            for start in range(0, len(own), size or len(own))
        ]
        if self._found.kept or self._bytes(dtype) <= memory_limit():
            return [self.block(own).to(dtype, device) for own in split]
        return [_Lazy(self, torch.tensor(own), dtype, device) for own in split]

    def _bytes(self, dtype: torch.dtype) -> int:
        """Memory of the Jacobians of all blocks, which hold the forces on some atoms only."""
        sizes = [len(target.forces) // 3 for target in self._targets]
        columns = sum(n * (3 * min(n, MOST_FORCES) + 6) for n in sizes)
        return columns * self.size * torch.empty((), dtype=dtype).element_size()

    def block(self, own: Sequence[int]) -> Block:
        """Structures of equal size and stress knowledge as a block."""
        found = [self._found[index] for index in own]
        chosen = [_components(len(f.species), index) for f, index in zip(found, own, strict=True)]
        left = [
            self._left(one, self._targets[index]) for one, index in zip(found, own, strict=True)
        ]
        turn = [self.whitening.forward[f.species] for f in found]
        scaled = [self._scaling.apply(f.values, f.species) for f in found]
        spread = [self._scaling.spread[f.species][..., None] for f in found]
        return Block(
            index=torch.tensor(own),
            inputs=torch.stack(
                [(z[:, None] @ t).squeeze(1) for z, t in zip(scaled, turn, strict=True)]
            ),
            species=torch.stack([f.species for f in found]),
            jacobian=torch.stack(
                [
                    t.transpose(1, 2) @ (f.jacobian[..., _with_strain(c)] / s)
                    for f, t, s, c in zip(found, turn, spread, chosen, strict=True)
                ]
            ),
            energy=torch.stack([energy for energy, _, _ in left], dim=1),
            forces=torch.stack(
                [forces[:, c] for (_, forces, _), c in zip(left, chosen, strict=True)], dim=1
            ),
            virial=None
            if self._targets[own[0]].virial is None
            else torch.stack([virial for _, _, virial in left], dim=1),
            rarity=None
            if self._rarity is None
            else torch.stack(
                [
                    self._rarity[index].repeat_interleave(3)[c]
                    for index, c in zip(own, chosen, strict=True)
                ]
            ),
        )

    def _left(self, found: Features, target: Targets) -> tuple[Tensor, Tensor, Tensor]:
        """What each member's linear term leaves: energy (K,), forces (K, 3N), virial (K, 6)."""
        scaled = self._scaling.apply(found.values, found.species)
        energies, slopes = contract(self._linear, scaled, found.species, self._scaling)
        energies = energies + self._constants[:, found.species]
        pull = slopes / self._scaling.spread[found.species]
        slope = pull.flatten(1) @ found.jacobian.flatten(0, 1)
        virial = 0.0 if target.virial is None else target.virial
        return (
            target.energy - energies.sum(dim=1),
            target.forces + slope[:, :-6],
            virial - slope[:, -6:],
        )


def _components(n_atoms: int, index: int) -> Tensor:
    """Force components that networks are trained on: of so many atoms at most, ascending."""
    if n_atoms <= MOST_FORCES:
        return torch.arange(3 * n_atoms)
    generator = torch.Generator().manual_seed(index)
    atoms = torch.randperm(n_atoms, generator=generator)[:MOST_FORCES].sort().values
    return (3 * atoms[:, None] + torch.arange(3)).flatten()


def _with_strain(components: Tensor) -> Tensor:
    """Columns of a Jacobian (..., 3N + 6): these force components and all strains."""
    return torch.cat([components, torch.arange(-6, 0)])


@dataclass(frozen=True, eq=False, slots=True)
class _Lazy:
    """A block that is made whenever it is looked at: Jacobians do not fit into memory."""

    problem: Residual
    index: Tensor
    dtype: torch.dtype
    device: torch.device

    def losses(self, networks: Networks, weights: LossWeights) -> Tensor:
        """Loss of every member on every structure (K, B)."""
        block = self.problem.block(self.index.tolist())
        return block.to(self.dtype, self.device).losses(networks, weights)

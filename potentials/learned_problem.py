"""The training problem of descriptors that have parameters themselves.

Descriptors change from step to step, so that nothing can be stored but pair vectors: energies,
forces and virials are evaluated on the fly and differentiated through the descriptor, twice.
Parameters of the descriptor are shared by all members, networks are their own. There is no linear
term, whose closed form would need fixed descriptors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from ase import Atoms
from torch import Tensor

from potentials.batch import make_batch
from potentials.descriptors import Descriptor
from potentials.linear import Targets
from potentials.network import Networks
from potentials.scaling import Scaling
from potentials.spec import LossWeights

#: atoms in a part where no number of structures is given
CHUNK = 256

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False, slots=True)
class _Labelled:
    """F labelled structures with N atoms and P pairs in a row.

    Attributes:
        vectors: from each pair's first atom to its second [Å] (P, 3).
        first, second: indices of the atoms of each pair (P,).
        species: element index (N,).
        system: structure of each atom (N,).
        energy: total energies without references [eV] (F,).
        forces: [eV/Å] (N, 3).
        virial: dE/dstrain in Voigt order [eV] (F, 6); NaN where not known.
    """

    vectors: Tensor
    first: Tensor
    second: Tensor
    species: Tensor
    system: Tensor
    energy: Tensor
    forces: Tensor
    virial: Tensor

    def select(self, own: Tensor) -> "_Labelled":
        """The structures with these indices (B,), in their order."""
        n_structures = len(self.energy)
        atoms = _members(self.system, own, n_structures)
        pairs = _members(self.system[self.first], own, n_structures)
        place = torch.empty_like(self.system)
        place[atoms] = torch.arange(len(atoms), device=atoms.device)
        number = torch.empty_like(self.energy, dtype=torch.int64)
        number[own] = torch.arange(len(own), device=own.device)
        return _Labelled(
            vectors=self.vectors[pairs],
            first=place[self.first[pairs]],
            second=place[self.second[pairs]],
            species=self.species[atoms],
            system=number[self.system[atoms]],
            energy=self.energy[own],
            forces=self.forces[atoms],
            virial=self.virial[own],
        )

    def to(self, dtype: torch.dtype, device: torch.device) -> "_Labelled":
        """The same in another precision, elsewhere."""
        return _Labelled(
            vectors=self.vectors.to(device, dtype),
            first=self.first.to(device),
            second=self.second.to(device),
            species=self.species.to(device),
            system=self.system.to(device),
            energy=self.energy.to(device, dtype),
            forces=self.forces.to(device, dtype),
            virial=self.virial.to(device, dtype),
        )


def _members(owner: Tensor, own: Tensor, count: int) -> Tensor:
    """Indices of what belongs to ``own``, one owner after the other; ``owner`` is ascending."""
    sizes = torch.bincount(owner, minlength=count)
    start = (torch.cumsum(sizes, 0) - sizes)[own]
    mine = sizes[own]
    before = torch.cumsum(mine, 0) - mine
    shift = torch.repeat_interleave(start - before, mine)
    return torch.arange(len(shift), device=owner.device) + shift


@dataclass(frozen=True, eq=False, slots=True)
class LearnedPart:
    """Some structures of the problem: what one step looks at.

    Attributes:
        index: places of the structures among all (B,).
        labels: the structures.
        descriptor: the kind that is trained.
        learned: its parameters, the same tensors in all parts.
        scaling: of the descriptors.
    """

    index: Tensor
    labels: _Labelled
    descriptor: Descriptor
    learned: Mapping[str, Tensor]
    scaling: Scaling

    def losses(self, networks: Networks, weights: LossWeights) -> Tensor:
        """Loss of every member on every structure (K, B).

        Without gradients (`torch.no_grad`) no graph is kept.
        """
        part, n_structures = self.labels, len(self.index)
        energies, pull = self._atomic(networks)
        members = len(energies)
        atoms = torch.bincount(part.system, minlength=n_structures)
        energy = energies.new_zeros(members, n_structures).index_add(1, part.system, energies)
        loss = weights.energy * ((energy - part.energy) / atoms) ** 2
        zero = pull.new_zeros(members, len(part.species), 3)
        forces = zero.index_add(1, part.first, pull).index_add(1, part.second, -pull)
        squares = ((forces - part.forces) ** 2).sum(dim=2)
        by_structure = squares.new_zeros(members, n_structures).index_add(1, part.system, squares)
        loss = loss + weights.forces * by_structure / (3 * atoms)
        error = (_virials(pull, part, n_structures) - part.virial) / atoms[:, None]
        # structures without stress: no number is known, and none may reach the gradient
        error = torch.where(torch.isfinite(part.virial), error, torch.zeros_like(error))
        total: Tensor = loss + weights.virial * (error**2).mean(dim=2)
        return total

    def _atomic(self, networks: Networks) -> tuple[Tensor, Tensor]:
        """Atomic energies (K, N) and dE/d(pair vector) (K, P, 3) of every member."""
        training, part = torch.is_grad_enabled(), self.labels
        n_elements = len(self.scaling.mean)
        with torch.enable_grad():
            vectors = part.vectors.detach().requires_grad_()
            values = self.descriptor.bound(self.learned).values(
                vectors, part.first, part.species[part.second], part.species, n_elements
            )
            scaled = self.scaling.apply(values, part.species)
        energies, slopes = networks(scaled, part.species)
        pull = [
            torch.autograd.grad(scaled, vectors, slope, create_graph=training, retain_graph=True)[0]
            for slope in slopes
        ]
        return energies, torch.stack(pull)


@dataclass(frozen=True, eq=False, slots=True)
class LearnedProblem:
    """What networks and descriptor are fitted to: F structures, in the order they were given.

    Attributes:
        descriptor: the kind that is trained.
        learned: its parameters, leaves of the graph; changed in place by an optimiser.
        scaling: of the descriptors as they were at the start; kept, for it only conditions.
        labels: the structures.
    """

    descriptor: Descriptor
    learned: dict[str, Tensor]
    scaling: Scaling
    labels: _Labelled

    @classmethod
    def of(
        cls,
        structures: Sequence[Atoms],
        targets: Sequence[Targets],
        descriptor: Descriptor,
        elements: Sequence[int],
        learned: Mapping[str, Tensor],
        *,
        scaling: Scaling,
    ) -> "LearnedProblem":
        """Neighbours of all structures, and copies of the parameters to train.

        Args:
            structures: at least one.
            targets: what remains of each label without the reference energies.
            descriptor: a kind with parameters.
            elements: atomic numbers in the order of the element index.
            learned: parameters to begin with, by `Descriptor.learned` or of an ensemble.
            scaling: of the descriptors with these parameters.

        Raises:
            UnknownElementError: an element is not in ``elements``.
        """
        batch = make_batch(structures, elements, descriptor.cutoff)
        unknown = torch.full((6,), torch.nan, dtype=torch.float64)
        virials = [unknown if t.virial is None else t.virial for t in targets]
        labels = _Labelled(
            vectors=batch.vectors(),
            first=batch.pairs.first,
            second=batch.pairs.second,
            species=batch.species,
            system=batch.system,
            energy=torch.stack([torch.as_tensor(t.energy, dtype=torch.float64) for t in targets]),
            forces=torch.cat([t.forces for t in targets]).reshape(-1, 3),
            virial=torch.stack(virials),
        )
        leaves = {name: tensor.clone().requires_grad_() for name, tensor in learned.items()}
        return cls(descriptor, leaves, scaling, labels)

    @property
    def size(self) -> int:
        """Number of components D."""
        return self.scaling.mean.shape[1]

    def parameters(self) -> list[Tensor]:
        """What an optimiser is to change beside the networks."""
        return list(self.learned.values())

    def state(self) -> dict[str, Tensor]:
        """A copy of the parameters as they are now, for an ensemble."""
        return {name: tensor.detach().clone() for name, tensor in self.learned.items()}

    def parts(
        self, size: int | None, dtype: torch.dtype, device: torch.device
    ) -> list[LearnedPart]:
        """All structures in parts of at most ``size``; by their number of atoms where not given.

        Each takes structures from the whole list, for neighbours in it are often alike.
        """
        n_structures = len(self.labels.energy)
        enough = len(self.labels.species) / CHUNK if size is None else n_structures / size
        count = min(ceil(enough), n_structures)
        found = []
        for start in range(count):
            own = torch.arange(start, n_structures, count)
            labels = self.labels.select(own).to(dtype, device)
            part = LearnedPart(own.to(device), labels, self.descriptor, self.learned, self.scaling)
            found.append(part)
        return found


def _virials(pull: Tensor, part: _Labelled, n_structures: int) -> Tensor:
    """dE/dstrain of every member and structure in Voigt order [eV] (K, B, 6)."""
    outer = pull[..., :, None] * part.vectors[:, None, :]
    symmetric = 0.5 * (outer + outer.transpose(2, 3))
    voigt = torch.stack([symmetric[..., a, b] for a, b in _VOIGT], dim=-1)
    zero = voigt.new_zeros(len(pull), n_structures, 6)
    return zero.index_add(1, part.system[part.first], voigt)

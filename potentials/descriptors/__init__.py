"""Descriptors: what an atom sees of its neighbours. One kind a file; `kind` is the file's name."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch
    from ase import Atoms

_log = logging.getLogger(__name__)


class Descriptor(BaseModel, ABC):
    """A map from an atom's neighbours to numbers that symmetry leaves unchanged.

    A kind computes from pair vectors only, so that forces and stress follow from one derivative,
    dE/d(vector): F_i = sum over pairs, virial = sum of vector x derivative.

    A kind may have parameters that are trained with the networks and shared by all members: it
    makes them in `learned` and takes them in `bound`.

    Attributes:
        continuous: whether values and first derivatives are continuous.
        mirror: whether a mirror image has the same values.
    """

    continuous: ClassVar[bool] = True
    mirror: ClassVar[bool] = True

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    cutoff: float = Field(6.0, gt=0, description="Radius of the environment [Å].")

    @abstractmethod
    def size(self, n_elements: int) -> int:
        """Number of components D for a system of ``n_elements`` elements."""

    @abstractmethod
    def values(
        self,
        vectors: "torch.Tensor",
        first: "torch.Tensor",
        neighbour: "torch.Tensor",
        species: "torch.Tensor",
        n_elements: int,
    ) -> "torch.Tensor":
        """Components of every atom, differentiable in ``vectors``.

        Args:
            vectors: from an atom to its neighbour [Å] (P, 3), all shorter than the cutoff.
            first: index of the atom of each pair (P,).
            neighbour: element index of the neighbour of each pair (P,).
            species: element index of every atom, with neighbours or without (N,).
            n_elements: number of elements.

        Returns:
            Descriptors (N, D).
        """

    def slopes(
        self,
        vectors: "torch.Tensor",
        first: "torch.Tensor",
        neighbour: "torch.Tensor",
        species: "torch.Tensor",
        n_elements: int,
    ) -> "torch.Tensor":
        """Derivatives of the components of each pair's first atom by the vector (P, D, 3) [1/Å].

        One derivative per component; a kind that can write them out does so.
        """
        import torch

        moving = vectors.detach().requires_grad_()
        values = self.values(moving, first, neighbour, species, n_elements)
        if not len(vectors):
            return vectors.new_zeros(0, values.shape[1], 3)
        # an atom's components depend on its own pairs only: summing over atoms loses nothing
        by_component = [
            torch.autograd.grad(column.sum(), moving, retain_graph=True)[0]
            for column in values.unbind(dim=1)
        ]
        return torch.stack(by_component, dim=1)

    def suited(self, structures: "Sequence[Atoms]") -> Self:
        """The descriptor with what it takes from the data; itself for a kind that takes nothing."""
        del structures
        return self

    def accepts(self, other: "Descriptor") -> bool:
        """Whether ``other`` is this one, or this one suited to some data."""
        return self == other

    def learned(self, n_elements: int, generator: "torch.Generator") -> "dict[str, torch.Tensor]":
        """Parameters to begin a training with, by name, in float64; none for a fixed kind.

        Args:
            n_elements: number of elements.
            generator: source of the numbers.
        """
        del n_elements, generator
        return {}

    def bound(self, learned: "Mapping[str, torch.Tensor]") -> Self:
        """The descriptor whose ``values`` use these parameters, differentiable in them.

        Args:
            learned: what `learned` gave, or what training made of it; empty for a fixed kind.

        Raises:
            ValueError: they do not belong to this descriptor.
        """
        if learned:
            raise ValueError(
                f"descriptor {self.kind} has no parameters, got {', '.join(learned)}; "
                "settings and weights do not belong together"
            )
        return self


def warn_of_jumps(descriptor: Descriptor, work: str) -> None:
    """Log a warning where ``work`` ("relaxation", say) follows energies that are not continuous."""
    if not descriptor.continuous:
        _log.warning(
            "%s on the descriptor %s: its energies jump where neighbours change places, so that "
            "minima may not be found and energies are not conserved; train with deeppot or moments",
            work,
            descriptor.kind,
        )


def kinds() -> dict[str, type[Descriptor]]:
    """All descriptors, found by listing this folder and the entry points ``aga.descriptors``."""
    from potentials import roles

    return roles.kinds(__name__, Descriptor, "aga.descriptors")


def build(data: dict[str, Any]) -> Descriptor:
    """The descriptor that ``data`` names by its ``kind``.

    Raises:
        ValueError: the kind is unknown.
    """
    from potentials import roles

    made: Descriptor = roles.build(data, kinds(), "descriptor")
    return made

"""Descriptors: what an atom sees of its neighbours. One kind a file; `kind` is the file's name."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class Descriptor(BaseModel, ABC):
    """A map from an atom's neighbours to numbers that symmetry leaves unchanged.

    A kind computes from pair vectors only, so that forces and stress follow from one derivative,
    dE/d(vector): F_i = sum over pairs, virial = sum of vector x derivative.
    """

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

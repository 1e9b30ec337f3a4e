"""Role Operator: how new structures are made from old ones. One file per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field

from aga.search.seeds import separate
from aga.search.space import Space, tidied
from potentials import roles
from potentials.structures import bare

# children are pushed apart just beyond what a proposal must keep; bonds of parents stay
_CHILD_SCALE = 1.05


class Operator(BaseModel, ABC):
    """A way to make one new structure.

    A kind sets ``kind`` (its file's name), ``parents`` and `vary`; its fields are its YAML keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parents: ClassVar[int]

    kind: str
    tries: int = Field(5, ge=1, description="Attempts before the operator gives up.")

    def applicable(self, space: Space) -> bool:
        """Whether the operator can do anything in this space."""
        return True

    def propose(self, parents: Sequence[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """A feasible new structure of the space's composition, or None after a few tries.

        Args:
            parents: as many as the operator's ``parents`` says; they are not changed.
            space: what the child must obey.
            rng: the only source of chance.

        Raises:
            ValueError: the number of parents is wrong.
        """
        if len(parents) != self.parents:
            raise ValueError(
                f"operator {self.kind}: expected {self.parents} parents, got {len(parents)}"
            )
        for _ in range(self.tries):
            child = self.vary([bare(parent) for parent in parents], space, rng)
            if child is None:
                continue
            child = finished(child, space)
            if child is not None:
                return child
        return None

    @abstractmethod
    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child; ``parents`` are copies and may be changed."""


def finished(child: Atoms, space: Space) -> Atoms | None:
    """The child in a compact cell, close atoms apart; None where it stays infeasible."""
    if abs(np.linalg.det(child.cell.array)) < 1e-6:
        return None
    child = tidied(child)
    if not space.proposable(child):
        return child
    child = separate(child, space, scale=_CHILD_SCALE)
    return None if space.proposable(child) else child


def rattled(atoms: Atoms, amplitude: float, rng: Generator) -> Atoms:
    """``atoms``, moved in place by normal displacements of ``amplitude`` [Å] per component."""
    atoms.positions += rng.normal(0.0, amplitude, (len(atoms), 3))
    return atoms


def kinds() -> dict[str, type[Operator]]:
    """Every kind of operator by name."""
    return roles.kinds(__name__, Operator, "aga.operators")


def build(data: Mapping[str, Any]) -> Operator:
    """The operator that ``data`` describes.

    Raises:
        ValueError: the kind is unknown or a field is wrong.
    """
    made: Operator = roles.build(data, kinds(), "operator")
    return made

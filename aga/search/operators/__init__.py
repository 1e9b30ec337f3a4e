"""Role Operator: how new structures are made from old ones. One file per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from aga.search.seeds import separate
from aga.search.space import Dimension, Space, tidied
from potentials import roles
from potentials.structures import bare

FloatArray = NDArray[np.float64]

# children are pushed apart just beyond what a proposal must keep; bonds of parents stay
_CHILD_SCALE = 1.05


class Operator(BaseModel, ABC):
    """A way to make one new structure.

    A kind sets ``kind`` (its file's name), ``parents`` and `vary`; its fields are its YAML keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parents: ClassVar[int]
    #: whether parents may have another composition than the child
    any_composition: ClassVar[bool] = False
    #: what it can make
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk",)
    #: whether a campaign that names no operators uses it
    by_default: ClassVar[bool] = True

    kind: str
    tries: int = Field(5, ge=1, description="Attempts before the operator gives up.")

    def applicable(self, space: Space) -> bool:
        """Whether the operator can do anything in this space."""
        return space.dimension in self.dimensions

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
    if space.dimension == "bulk" and abs(np.linalg.det(child.cell.array)) < 1e-6:
        return None
    child = tidied(child)
    if not space.proposable(child):
        return child
    diameters = {pair: _CHILD_SCALE * value for pair, value in space.proposal_distance.items()}
    child = separate(child, diameters)
    return None if space.proposable(child) else child


def rattled(atoms: Atoms, amplitude: float, rng: Generator) -> Atoms:
    """``atoms``, moved in place by normal displacements of ``amplitude`` [Å] per component."""
    atoms.positions += rng.normal(0.0, amplitude, (len(atoms), 3))
    return atoms


def spun(atoms: Atoms, rng: Generator) -> FloatArray:
    """Positions of a cluster around its middle, turned at random and evenly [Å] (N, 3)."""
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(upper))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    return np.asarray((atoms.positions - atoms.positions.mean(axis=0)) @ turn)


def reframed(atoms: Atoms, rng: Generator) -> Atoms:
    """The same crystal, its origin anywhere and its cell vectors a few random sums of themselves.

    The first two vectors span a random lattice plane, mostly of low index; right-handed.
    """
    frame = np.eye(3)[rng.permutation(3)]
    for _ in range(int(rng.integers(0, 4))):
        one, two = rng.choice(3, 2, replace=False)
        frame[one] += rng.choice([-1.0, 1.0]) * frame[two]
    cell = frame @ atoms.cell.array
    cell *= np.sign(np.linalg.det(cell))
    other = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=True)
    other.positions += rng.random(3) @ cell
    other.wrap(eps=0)
    return other


def glide(atoms: Atoms, rng: Generator) -> FloatArray:
    """A random shift along the plane of the first two cell vectors [Å] (3,).

    As likely as not it takes one atom into the column of another: where one layer of a crystal
    found its place, another may.
    """
    cell = atoms.cell.array
    if len(atoms) > 1 and rng.random() < 0.5:
        one, two = rng.choice(len(atoms), 2, replace=False)
        apart = atoms.positions[one] - atoms.positions[two]
        normal = np.cross(cell[0], cell[1])
        apart -= apart @ normal / (normal @ normal) * normal
        whole = np.round(apart @ np.linalg.pinv(cell[:2])) @ cell[:2]
        # not straight above each other
        if np.linalg.norm(apart - whole) > 0.1:
            return np.asarray(apart)
    return np.asarray(rng.random(2) @ cell[:2])


def kinds() -> dict[str, type[Operator]]:
    """Every kind of operator by name."""
    return roles.kinds(__name__, Operator, "aga.operators")


def defaults() -> tuple[Operator, ...]:
    """What a campaign uses that names no operators."""
    return tuple(made.model_validate({}) for made in kinds().values() if made.by_default)


def build(data: Mapping[str, Any]) -> Operator:
    """The operator that ``data`` describes.

    Raises:
        ValueError: the kind is unknown or a field is wrong.
    """
    made: Operator = roles.build(data, kinds(), "operator")
    return made

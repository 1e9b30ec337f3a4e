"""Structures under search: what a potential thinks of them, and what an oracle said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

from ase import Atoms
from ase.units import GPa
from deap import base

from aga.search.compositions import counts_of, named, reduced
from aga.search.similarity import FloatArray, fingerprint
from potentials.structures import atoms_from_dict, atoms_to_dict

#: origin of a labelled structure that was relaxed on the potential again
RELABEL = "relabel"
MINIMUM_FMAX = 0.05
MINIMUM_STRESS = 1.0 * GPa


class EnthalpyFitness(base.Fitness):  # type: ignore[misc, unused-ignore]
    """Lower enthalpy per atom above the ground is fitter; absent until known, never NaN."""

    weights = (-1.0,)


class Crystal:
    """What a structure is by its atoms alone."""

    atoms: Atoms

    @cached_property
    def counts(self) -> dict[str, int]:
        """Atoms of each element in the cell."""
        return counts_of(self.atoms)

    @cached_property
    def cell(self) -> str:
        """The name of the cell's composition, e.g. "Au2Cu2"."""
        return named(self.counts)

    @cached_property
    def formula(self) -> str:
        """Reduced formula: only crystals with the same one can be the same."""
        return named(reduced(self.counts))

    @cached_property
    def fingerprint(self) -> FloatArray:
        """See `similarity.fingerprint`."""
        return fingerprint(self.atoms)


@dataclass(eq=False)
class Candidate(Crystal):
    """A proposed structure; DEAP's individual.

    Attributes:
        id: unique in the campaign.
        atoms: geometry, without calculator; relaxed once ``enthalpy`` is there.
        origin: the operator that made it, or "relabel" (a labelled one relaxed again).
        parents: ids of its parents.
        enthalpy: predicted (E + pV)/n [eV/atom], or None before it is relaxed.
        spread: calibrated standard deviation of ``enthalpy`` [eV/atom].
        fmax: predicted largest force [eV/Å].
        ground: enthalpy [eV/atom] that structures of its composition are measured from: the convex
            hull where several compositions are searched, else 0. It moves with the labels and is
            not stored.

    Raises:
        ValueError: a prediction is NaN or infinite.
    """

    id: str
    atoms: Atoms
    origin: str
    parents: tuple[str, ...] = ()
    enthalpy: float | None = None
    spread: float | None = None
    fmax: float | None = None
    ground: float = 0.0
    fitness: EnthalpyFitness = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Set the fitness from the enthalpy."""
        for name in ("enthalpy", "spread", "fmax"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise ValueError(f"Candidate {self.id}: {name} is {value}, expected a number")
        self.stand_on(self.ground)

    def stand_on(self, ground: float) -> None:
        """Measure from another ground [eV/atom]."""
        self.ground = ground
        self.fitness = EnthalpyFitness(() if self.enthalpy is None else (self.height,))

    @property
    def height(self) -> float:
        """Predicted enthalpy above the ground [eV/atom]; infinite before it is relaxed."""
        return float("inf") if self.enthalpy is None else self.enthalpy - self.ground

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, exact to the last bit; the fingerprint is computed anew."""
        return {
            "id": self.id,
            "atoms": atoms_to_dict(self.atoms),
            "origin": self.origin,
            "parents": list(self.parents),
            "enthalpy": self.enthalpy,
            "spread": self.spread,
            "fmax": self.fmax,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Candidate":
        """The inverse of `to_dict`."""
        return cls(
            id=str(data["id"]),
            atoms=atoms_from_dict(data["atoms"]),
            origin=str(data["origin"]),
            parents=tuple(data["parents"]),
            enthalpy=data["enthalpy"],
            spread=data["spread"],
            fmax=data.get("fmax"),
        )


@dataclass(eq=False)
class Known(Crystal):
    """A labelled structure.

    Attributes:
        id: its id in the campaign.
        atoms: geometry that was labelled.
        enthalpy: (E + pV)/n by the oracle [eV/atom].
        fmax: largest oracle force [eV/Å].
        stress_error: largest component of |stress + p| by the oracle [eV/Å^3]; None where the
            stress is not converged.
        ground: as of a `Candidate`.
    """

    id: str
    atoms: Atoms
    enthalpy: float
    fmax: float
    stress_error: float | None = None
    ground: float = 0.0

    def stand_on(self, ground: float) -> None:
        """Measure from another ground [eV/atom]."""
        self.ground = ground

    @property
    def height(self) -> float:
        """Enthalpy above the ground [eV/atom]."""
        return self.enthalpy - self.ground

    def at_minimum(self, fmax: float = MINIMUM_FMAX, stress: float = MINIMUM_STRESS) -> bool:
        """Whether forces [eV/Å] and stress [eV/Å^3] are those of a relaxed crystal."""
        return self.fmax <= fmax and (self.stress_error is None or self.stress_error <= stress)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, exact to the last bit; the fingerprint is computed anew."""
        return {
            "id": self.id,
            "atoms": atoms_to_dict(self.atoms),
            "enthalpy": self.enthalpy,
            "fmax": self.fmax,
            "stress_error": self.stress_error,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Known":
        """The inverse of `to_dict`."""
        return cls(
            id=str(data["id"]),
            atoms=atoms_from_dict(data["atoms"]),
            enthalpy=float(data["enthalpy"]),
            fmax=float(data["fmax"]),
            stress_error=data["stress_error"],
        )

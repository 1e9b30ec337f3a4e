"""Structures under search: what a potential thinks of them, and what an oracle said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Any

from ase import Atoms
from ase.units import GPa
from deap import base

from aga.search.similarity import FloatArray, fingerprint
from potentials.structures import atoms_from_dict, atoms_to_dict

#: origin of a labelled structure that was relaxed on the potential again
RELABEL = "relabel"
MINIMUM_FMAX = 0.05
MINIMUM_STRESS = 1.0 * GPa


class EnthalpyFitness(base.Fitness):  # type: ignore[misc, unused-ignore]
    """Lower enthalpy per atom is fitter; absent until known, never NaN."""

    weights = (-1.0,)


@dataclass(eq=False)
class Candidate:
    """A proposed structure; DEAP's individual.

    Attributes:
        id: unique in the campaign.
        atoms: geometry, without calculator; relaxed once ``enthalpy`` is there.
        origin: the operator that made it, or "relabel" (a labelled one relaxed again).
        parents: ids of its parents.
        enthalpy: predicted (E + pV)/n [eV/atom], or None before it is relaxed.
        spread: calibrated standard deviation of ``enthalpy`` [eV/atom].
        fmax: predicted largest force [eV/Å].

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
    fitness: EnthalpyFitness = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Set the fitness from the enthalpy."""
        for name in ("enthalpy", "spread", "fmax"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                raise ValueError(f"Candidate {self.id}: {name} is {value}, expected a number")
        self.fitness = EnthalpyFitness(() if self.enthalpy is None else (self.enthalpy,))

    @cached_property
    def fingerprint(self) -> FloatArray:
        """See `similarity.fingerprint`."""
        return fingerprint(self.atoms)

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
class Known:
    """A labelled structure.

    Attributes:
        id: its id in the campaign.
        atoms: geometry that was labelled.
        enthalpy: (E + pV)/n by the oracle [eV/atom].
        fmax: largest oracle force [eV/Å].
        stress_error: largest component of |stress + p| by the oracle [eV/Å^3]; None where the
            stress is not converged.
    """

    id: str
    atoms: Atoms
    enthalpy: float
    fmax: float
    stress_error: float | None = None

    @cached_property
    def fingerprint(self) -> FloatArray:
        """See `similarity.fingerprint`."""
        return fingerprint(self.atoms)

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

"""When a structure is the ground state: the only place that knows the answer."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from ase import Atoms

#: a structure this close to the lowest reference, or lower, is near enough [eV/atom]
NEAR = 0.005
#: a structure of another form lies lower when it does by more than this [eV/atom]
LOWER = 0.0005
#: references this close to the lowest are ground states as well: polytypes tie [eV/atom]
TIE = 0.001
#: the same form when atoms are off by this, rms over the cube root of the volume per atom: on the
#: way down, Cmmm-CuAu matches Pmma at 0.086, and ends elsewhere
SAME = 0.05
#: shortest distances that are believed, over the sum of covalent radii
SANE = 0.6
#: clusters are the same where the sorted distances that their atoms see differ by less, as root
#: mean square over the median of the shortest
SAME_CLUSTER = 0.03
#: how far atoms may be off where a primitive cell is looked for [Å]
SYMPRECS = (0.01, 0.05, 0.15, 0.3, 0.5)


@dataclass(frozen=True, eq=False)
class Reference:
    """A known structure, relaxed with the oracle.

    Attributes:
        name: its name.
        enthalpy: (E + pV)/n [eV/atom].
        atoms: its primitive cell.
    """

    name: str
    enthalpy: float
    atoms: Atoms

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"name": self.name, "enthalpy": self.enthalpy, "atoms": plain(self.atoms)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Reference":
        """The inverse of `to_dict`."""
        return cls(data["name"], float(data["enthalpy"]), atoms_of(data["atoms"]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a structure is.

    Attributes:
        strict: the form of the lowest reference (or of one that ties with it), within 5 meV/atom;
            any form where the judge asks for none.
        energy: within 5 meV/atom of it or lower, whatever the form.
        lower: lower than every reference, and another form.
    """

    strict: bool = False
    energy: bool = False
    lower: bool = False

    @property
    def found(self) -> bool:
        """The ground state, or something better."""
        return self.strict or self.lower


class Judge:
    """Holds structures against the lowest of the references.

    Args:
        references: those that fit into the cell of the search, one or more.
        any_form: whether a structure as low as the lowest is a hit, whatever its form.
    """

    def __init__(self, references: Sequence[Reference], *, any_form: bool = False) -> None:
        self.references = sorted(references, key=lambda one: one.enthalpy)
        self._any_form = any_form

    @property
    def goal(self) -> Reference:
        """The lowest reference."""
        return self.references[0]

    @property
    def title(self) -> str:
        """Its name."""
        return self.goal.name

    @property
    def elements(self) -> dict[str, float]:
        """Enthalpies that are given to every method [eV/atom]: none."""
        return {}

    def fresh(self) -> "Judge":
        """A judge of another run: this one, which remembers nothing."""
        return self

    def news(self, atoms: Atoms, enthalpy: float, best: float | None = None) -> float | None:
        """The enthalpy where a structure is the lowest until now, else None.

        Args:
            atoms: the structure.
            enthalpy: (E + pV)/n by the oracle [eV/atom].
            best: lowest before it [eV/atom], or None.
        """
        lower = best is None or enthalpy < best
        return enthalpy if lower and sane(atoms) else None

    def above(self, enthalpy: float) -> float:
        """Enthalpy above the lowest reference [eV/atom]."""
        return enthalpy - self.goal.enthalpy

    def final(self, answer: Sequence[tuple[Atoms, float]]) -> tuple[Verdict, float]:
        """What an answer is, structure and enthalpy, and how far above the reference [eV/atom]."""
        ((atoms, enthalpy),) = answer
        return self.verdict(atoms, enthalpy), self.above(enthalpy)

    def details(self) -> dict[str, Any]:
        """What else a row tells: nothing."""
        return {}

    def verdict(self, atoms: Atoms, enthalpy: float) -> Verdict:
        """What a structure is; the structure is looked at only where its enthalpy is near.

        Args:
            atoms: the structure.
            enthalpy: (E + pV)/n by the oracle [eV/atom].
        """
        above = self.above(enthalpy)
        if not above <= NEAR or not sane(atoms):  # the first is true for NaN
            return Verdict()
        strict = self._any_form or any(form.matches(atoms) for form in self._goals)
        return Verdict(strict, energy=True, lower=not strict and above < -LOWER)

    @cached_property
    def _goals(self) -> "list[_Form | _ClusterForm]":
        tied = [one for one in self.references if self.above(one.enthalpy) <= TIE]
        return [_form(one.atoms) for one in tied]


class _Form:
    """The form of a structure: its primitive cells as pymatgen sees them."""

    def __init__(self, atoms: Atoms) -> None:
        self._structure = _structure(primitive(atoms, SYMPRECS[0]))

    def matches(self, atoms: Atoms) -> bool:
        """Whether ``atoms`` is this form, in any cell, small distortions and volume aside."""
        tried = set()
        for symprec in SYMPRECS:
            small = primitive(atoms, symprec)
            # distorted supercells show their primitive cell only where more is tolerated
            if len(small) in tried:
                continue
            tried.add(len(small))
            apart = _matcher().get_rms_dist(self._structure, _structure(small))
            if apart is not None and apart[0] <= SAME:
                return True
        return False


class _ClusterForm:
    """The form of a cluster: what each of its atoms sees of the others."""

    def __init__(self, atoms: Atoms) -> None:
        self._atoms = atoms

    def matches(self, atoms: Atoms) -> bool:
        """Whether ``atoms`` is this form, turned, mirrored and its atoms in any order."""
        from scipy.optimize import linear_sum_assignment

        one, two = self._atoms, atoms
        if sorted(one.numbers) != sorted(two.numbers):
            return False
        first, second = _views(one), _views(two)
        cost = ((first[:, None] - second) ** 2).mean(axis=2)
        cost[one.numbers[:, None] != two.numbers] = 1e6
        rows, columns = linear_sum_assignment(cost)
        bond = float(np.median(_distances(one).min(axis=1)))
        return float(np.sqrt(cost[rows, columns].mean())) <= SAME_CLUSTER * bond


def _form(atoms: Atoms) -> _Form | _ClusterForm:
    return _Form(atoms) if atoms.pbc.any() else _ClusterForm(atoms)


def _distances(atoms: Atoms) -> np.ndarray:
    """From every atom to the others (n, n); infinite to itself."""
    apart = atoms.get_all_distances()
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart)


def _views(atoms: Atoms) -> np.ndarray:
    """Distances from each atom to all others, by element and sorted (n, n - 1)."""
    apart, numbers = _distances(atoms), atoms.numbers
    rows = []
    for own, number in zip(apart, numbers, strict=True):
        # to itself, as far as can be: left out from its own element
        others = [np.sort(own[numbers == one]) for one in sorted(set(numbers))]
        place = sorted(set(numbers)).index(number)
        others[place] = others[place][:-1]
        rows.append(np.concatenate(others) if len(numbers) > 1 else np.zeros(1))
    # unlike atoms see other numbers of each element, but as many in all
    return np.array(rows)


def sane(atoms: Atoms) -> bool:
    """Whether no two atoms are closer than any bond: oracles have holes there."""
    from ase.data import covalent_radii
    from ase.neighborlist import neighbor_list

    radii = SANE * covalent_radii[atoms.numbers]
    return not len(neighbor_list("i", atoms, radii))


def primitive(atoms: Atoms, symprec: float) -> Atoms:
    """The primitive cell found within ``symprec`` [Å]; the structure itself where none is."""
    import spglib

    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its change of error handling
        found = spglib.find_primitive(cell, symprec=symprec)
    if found is None:
        return atoms
    lattice, fractions, numbers = found
    return Atoms(numbers=numbers, scaled_positions=fractions, cell=lattice, pbc=True)


@lru_cache(maxsize=1)
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=0.2, stol=0.2, angle_tol=5, primitive_cell=True, scale=True, attempt_supercell=False
    )


def _structure(atoms: Atoms) -> Any:
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(atoms.cell.array), list(atoms.symbols), atoms.get_scaled_positions())


def plain(atoms: Atoms) -> dict[str, Any]:
    """A structure as JSON data."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "periodic": bool(atoms.pbc.any()),
    }


def atoms_of(data: dict[str, Any]) -> Atoms:
    """The inverse of `plain`."""
    return Atoms(
        numbers=data["numbers"],
        positions=np.array(data["positions"]),
        cell=data["cell"],
        pbc=data["periodic"],
    )

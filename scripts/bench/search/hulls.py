"""When a run knows the convex hull of a system: the judge of variable composition.

The enthalpies of the elements are given to every method and to the judge, as they are by the users
of programs that search hulls: a run spends nothing on them. What counts is how far the hull of all
that a run has asked the oracle for lies above the hull of the references. Between the vertices of
the references theirs is linear and that of the run convex, so that the difference is largest at a
vertex: only there is it looked at.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from search.judge import NEAR, Reference, Verdict, sane

#: a run whose hull lies nowhere higher than this above the references has found it [eV/atom]
AGREED = 0.001
#: what lies lower by less than this is no news [eV/atom]
NEWS = 1e-7
#: element by element, the shares of the atoms
Shares = tuple[float, ...]


class HullJudge:
    """Follows one run, and holds its hull against that of the references.

    Args:
        references: those that fit into the cells of the search, and a crystal of every element.
        symbols: the elements.

    Attributes:
        references: the lowest first.
        elements: enthalpy of each element [eV/atom].
        height: how far the hull of the run lies above that of the references, at most [eV/atom].

    Raises:
        ValueError: an element has no reference.
    """

    def __init__(self, references: Sequence[Reference], symbols: Sequence[str]) -> None:
        self.references = sorted(references, key=lambda one: one.enthalpy)
        self._elements = tuple(sorted(symbols))
        self.elements: dict[str, float] = {}
        for one in self.references:
            if len(set(one.atoms.symbols)) == 1:
                self.elements.setdefault(one.atoms.symbols[0], one.enthalpy)
        if missing := sorted(set(symbols) - set(self.elements)):
            raise ValueError(f"expected a crystal of each element, got none of {missing[0]}")
        self._ends = {self._shares({symbol: 1}): 0.0 for symbol in self._elements}
        self._goal = self._vertices()
        self._lowest = dict(self._ends)
        self._structures: dict[Shares, Atoms] = {}
        self.height = self._highest()

    def fresh(self) -> "HullJudge":
        """A judge of another run."""
        return HullJudge(self.references, self._elements)

    @property
    def goal(self) -> list[Reference]:
        """The compounds on the hull of the references, by composition."""
        return [self._goal[shares] for shares in sorted(self._goal)]

    @property
    def title(self) -> str:
        """Their names."""
        return ", ".join(one.name for one in self.goal)

    @property
    def answer(self) -> list[Atoms]:
        """The structures on the hull of the run, by composition."""
        return [
            self._structures[shares]
            for shares in sorted(self._structures)
            if ground(_without(self._lowest, shares), shares) > self._lowest[shares] + NEWS
        ]

    def news(self, atoms: Atoms, enthalpy: float, best: float | None = None) -> float | None:
        """Take in an answer of the oracle.

        Args:
            atoms: the structure.
            enthalpy: (E + pV)/n by the oracle [eV/atom].
            best: not looked at: the run's hull is remembered.

        Returns:
            How far the run is above the references, where this structure has lowered its hull.
        """
        del best
        shares = self._shares(_counts(atoms))
        formed = enthalpy - sum(
            share * self.elements[symbol]
            for symbol, share in zip(self._elements, shares, strict=True)
        )
        # true for NaN as well; the second is quick, and false for nearly all
        if not formed < self._lowest.get(shares, np.inf) - NEWS or not sane(atoms):
            return None
        if not formed < ground(self._lowest, shares) - NEWS:
            return None
        self._lowest[shares] = formed
        self._structures[shares] = atoms.copy()
        self.height = self._highest()
        return self.height

    def details(self) -> dict[str, Any]:
        """For a row: see `run.py`."""
        formed = {shares: self._formed(one) for shares, one in self._goal.items()} | self._ends
        below = [ground(formed, shares) - value for shares, value in self._lowest.items()]
        return {
            "best_above_reference_mev": round(1e3 * self.height, 3),
            "above_each_mev": {
                one.name: round(1e3 * height, 3)
                for one, height in zip(self.goal, self._heights(), strict=True)
            },
            "below_mev": round(1e3 * max(below), 3),
        }

    def _heights(self) -> list[float]:
        """The hull of the run above the references at each vertex, by composition [eV/atom]."""
        return [
            ground(self._lowest, shares) - self._formed(self._goal[shares])
            for shares in sorted(self._goal)
        ]

    def _highest(self) -> float:
        return max(self._heights(), default=0.0)

    def above(self, best: float) -> float:
        """What `news` has told, as an enthalpy above the references [eV/atom]."""
        return best

    def final(self, answer: Sequence[tuple[Atoms, float]]) -> tuple[Verdict, float]:
        """What an answer of structures with their enthalpies is, whatever this run has seen."""
        other = self.fresh()
        for atoms, enthalpy in answer:
            other.news(atoms, enthalpy)
        return Verdict(other.height <= AGREED, other.height <= NEAR), other.height

    def verdict(self, atoms: Atoms, enthalpy: float) -> Verdict:
        """What the run has found; the structure itself was taken in by `news`."""
        del atoms, enthalpy
        return Verdict(strict=self.height <= AGREED, energy=self.height <= NEAR)

    def _vertices(self) -> dict[Shares, Reference]:
        """The lowest reference of each composition that lies below what it falls apart into."""
        lowest: dict[Shares, Reference] = {}
        for one in self.references:
            lowest.setdefault(self._shares(_counts(one.atoms)), one)
        formed = {shares: self._formed(one) for shares, one in lowest.items()} | self._ends
        return {
            shares: one
            for shares, one in lowest.items()
            if shares not in self._ends
            and ground(_without(formed, shares), shares) > formed[shares] + NEWS
        }

    def _formed(self, one: Reference) -> float:
        """Enthalpy of formation from the elements [eV/atom]."""
        counts = _counts(one.atoms)
        mixed = sum(count * self.elements[symbol] for symbol, count in counts.items())
        return float(one.enthalpy - mixed / len(one.atoms))

    def _shares(self, counts: Mapping[str, int]) -> Shares:
        total = sum(counts.values())
        return tuple(round(counts.get(symbol, 0) / total, 9) for symbol in self._elements)


def ground(phases: Mapping[Shares, float], shares: Shares) -> float:
    """The lowest enthalpy that a mixture of phases has at a composition [eV/atom].

    Args:
        phases: enthalpy of formation by composition [eV/atom], the elements among them.
        shares: the composition.
    """
    from scipy.optimize import linprog

    found = linprog(
        list(phases.values()), A_eq=np.array([*phases]).T, b_eq=shares, bounds=(0, None)
    )
    return float(found.fun)


def _without(phases: Mapping[Shares, float], shares: Shares) -> dict[Shares, float]:
    return {one: formed for one, formed in phases.items() if one != shares}


def _counts(atoms: Atoms) -> dict[str, int]:
    return {symbol: atoms.symbols.count(symbol) for symbol in sorted(set(atoms.symbols))}

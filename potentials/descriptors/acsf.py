"""Atom-centred symmetry functions: exact G2, G4 and G5, as RuNNer, n2p2 and SIMPLE-NN know them.

Behler, J. Chem. Phys. 134, 074106 (2011), doi:10.1063/1.3553717; the formulas stand in
`potentials.symmetry_functions`. Functions name elements by symbol and may differ by central
element; those that leave elements open apply to all. Components of an atom are the functions of
its element in their order; an element with fewer functions than another has zeros at the end.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from potentials.acsf_parameters import (
    CU_AU_O_H,
    SHORTEST,
    TIO2,
    TIO2_CUTOFF,
    Angular,
    AnyFunction,
    Radial,
    choose,
    shortest_distance,
)
from potentials.descriptors import Descriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms
    from torch import Tensor

    from potentials.symmetry_functions import Plan

#: a component: its function and the element indices of the neighbours, one or two
Component = tuple[Radial | Angular, tuple[int, ...]]


class Acsf(Descriptor):
    """Symmetry functions: a list, a published set, or (by default) chosen from two lengths."""

    kind: Literal["acsf"] = "acsf"
    preset: Literal["automatic", "TiO2", "Cu-Au-O-H"] = Field(
        "automatic",
        description="Functions where none are listed; automatic: from `shortest` to `cutoff`.",
    )
    shortest: float | None = Field(
        None,
        gt=0,
        description="Shortest distance to describe [Å], for automatic; a fit takes its data's.",
    )
    functions: tuple[AnyFunction, ...] = Field((), description="The functions, one by one.")
    elements: tuple[str, ...] = Field(
        (), description="Symbols in the order of the element index, where functions name elements."
    )
    envelope: Literal[
        "cos", "tanh3", "tanh3_unit", "exp", "poly1", "poly2", "poly3", "poly4", "hard"
    ] = Field("cos", description="Cutoff function; hard leaves a jump at the cutoff.")
    inner: float = Field(
        0.0, ge=0, lt=1, description="Share of a cutoff below which the cutoff function is flat."
    )
    summation: Literal["unordered", "ordered"] = Field(
        "unordered",
        description="Angular sums over j < k (n2p2, SIMPLE-NN), or over j != k: twice as large.",
    )

    @model_validator(mode="before")
    @classmethod
    def _cutoff_of_set(cls, data: Any) -> Any:
        """The published set brings its cutoff along."""
        if isinstance(data, dict) and data.get("preset") == "TiO2":
            return {"cutoff": TIO2_CUTOFF, **data}
        return data

    @model_validator(mode="after")
    def _elements_are_listed(self) -> "Acsf":
        """Every element that a function names has an index, and no function reaches too far."""
        named = {e for f in self.functions for e in _symbols(f)}
        if missing := sorted(named - set(self.elements)):
            raise ValueError(
                f"functions name {', '.join(missing)}, but elements lists "
                f"{', '.join(self.elements) or 'nothing'}; list all symbols in index order"
            )
        far = max((f.cutoff or 0.0 for f in self.functions), default=0.0)
        if far > self.cutoff:
            raise ValueError(
                f"a function has the cutoff {far} Å, beyond the descriptor's {self.cutoff} Å; "
                "the descriptor's must be the largest"
            )
        return self

    def suited(self, structures: "Sequence[Atoms]") -> Self:
        """Automatic functions begin at the shortest distance of the data."""
        if not self._chosen or self.shortest is not None:
            return self
        shortest = shortest_distance(structures, self.cutoff)
        # atoms that are all alone say nothing of distances
        return self.model_copy(update={"shortest": shortest}) if shortest < self.cutoff else self

    def accepts(self, other: Descriptor) -> bool:
        """Whether ``other`` differs at most in a shortest distance that this one leaves open."""
        if self._chosen and self.shortest is None and isinstance(other, Acsf):
            return self == other.model_copy(update={"shortest": None})
        return self == other

    @property
    def _chosen(self) -> bool:
        """Whether functions follow from two lengths."""
        return not self.functions and self.preset == "automatic"

    def all_functions(self) -> tuple[Radial | Angular, ...]:
        """The functions listed, or those of the preset."""
        if self._chosen:
            return choose(self.shortest or SHORTEST * self.cutoff, self.cutoff)
        if self.functions:
            return self.functions
        return TIO2 if self.preset == "TiO2" else CU_AU_O_H

    def components(self, n_elements: int) -> tuple[tuple[Component, ...], ...]:
        """The components of every element, in order.

        Raises:
            ValueError: elements are listed, but not as many as there are.
        """
        if self.elements and len(self.elements) != n_elements:
            raise ValueError(
                f"descriptor acsf: made for {len(self.elements)} elements "
                f"({', '.join(self.elements)}), used for {n_elements}; make it anew"
            )
        return _components(self, n_elements)

    def size(self, n_elements: int) -> int:
        """Components per atom: the longest list of any element."""
        return max(len(own) for own in self.components(n_elements))

    def values(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Components (N, D) in the order of `components`."""
        from potentials.symmetry_functions import evaluate

        self.components(n_elements)
        return evaluate(_plan(self, n_elements), vectors, first, neighbour, species)

    def slopes(
        self,
        vectors: "Tensor",
        first: "Tensor",
        neighbour: "Tensor",
        species: "Tensor",
        n_elements: int,
    ) -> "Tensor":
        """Derivatives of the first atom's components by each pair vector (P, D, 3) [1/Å].

        The same as differentiating `values` component by component, many times faster.
        """
        from potentials.symmetry_slopes import slopes

        self.components(n_elements)
        return slopes(_plan(self, n_elements), vectors, first, neighbour, species)


def _symbols(function: Radial | Angular) -> set[str]:
    """All elements that a function names."""
    own = {function.centre} if function.centre else set()
    if isinstance(function, Radial):
        return own | ({function.neighbour} if function.neighbour else set())
    return own | set(function.neighbours or ())


@lru_cache(maxsize=32)
def _components(descriptor: Acsf, n_elements: int) -> tuple[tuple[Component, ...], ...]:
    place = {symbol: index for index, symbol in enumerate(descriptor.elements)}
    everyone = [(a,) for a in range(n_elements)]
    couples = [(a, b) for a in range(n_elements) for b in range(a, n_elements)]
    made: list[list[Component]] = [[] for _ in range(n_elements)]
    for function in descriptor.all_functions():
        partners: list[tuple[int, ...]]
        if isinstance(function, Radial):
            partners = [(place[function.neighbour],)] if function.neighbour else [*everyone]
        elif function.neighbours:
            partners = [tuple(sorted(place[symbol] for symbol in function.neighbours))]
        else:
            partners = [*couples]
        centres = [place[function.centre]] if function.centre else range(n_elements)
        for centre in centres:
            made[centre].extend((function, own) for own in partners)
    return tuple(tuple(own) for own in made)


@lru_cache(maxsize=32)
def _plan(descriptor: Acsf, n_elements: int) -> "Plan":
    """Distinct factors of all functions, and where each function is found among their products."""
    from potentials.symmetry_functions import Angle, Envelope, Gaussian, Plan

    functions = descriptor.all_functions()

    def gaussian(function: Radial | Angular) -> Gaussian:
        return Gaussian(function.eta, function.shift, function.cutoff or descriptor.cutoff)

    def distinct(kind: str) -> tuple[Gaussian, ...]:
        return tuple(dict.fromkeys(gaussian(f) for f in functions if f.kind == kind))

    lists = {kind: distinct(kind) for kind in ("radial", "narrow", "wide")}
    turns = dict.fromkeys(Angle(f.zeta, f.lam) for f in functions if isinstance(f, Angular))
    angles = tuple(turns)
    couples = [(a, b) for a in range(n_elements) for b in range(a, n_elements)]
    n_radial, n_angles = len(lists["radial"]), len(angles)
    block = (len(lists["narrow"]) + len(lists["wide"])) * n_angles
    zero = n_elements * n_radial + len(couples) * block

    def place(function: Radial | Angular, partners: tuple[int, ...]) -> int:
        row = lists[function.kind].index(gaussian(function))
        if isinstance(function, Radial):
            return partners[0] * n_radial + row
        start = n_elements * n_radial + couples.index((partners[0], partners[1])) * block
        row += len(lists["narrow"]) * (function.kind == "wide")
        return start + row * n_angles + angles.index(Angle(function.zeta, function.lam))

    size = descriptor.size(n_elements)
    rows = [[place(*c) for c in own] for own in descriptor.components(n_elements)]
    return Plan(
        radial=lists["radial"],
        narrow=lists["narrow"],
        wide=lists["wide"],
        angles=angles,
        table=tuple(tuple(row + [zero] * (size - len(row))) for row in rows),
        envelope=Envelope(descriptor.envelope, descriptor.inner),
        factor=2.0 if descriptor.summation == "ordered" else 1.0,
    )

"""The part of a campaign file that names several compositions, which are searched together."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from math import comb
from typing import Annotated, Any

from ase.data import chemical_symbols
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from aga.search.compositions import cells, named, neutral, parsed, reduced
from aga.search.hull import Phase, extremes
from potentials.roles import nearest

ELEMENTS = tuple(chemical_symbols[1:])
#: compositions of one campaign at most: each must be met now and then
MOST = 1000
#: atoms of one cell at most: far beyond what can be searched, and well within what memory holds
MOST_ATOMS = 1000
#: the same before charges have been looked at
MOST_CHARGED = 100_000


def _element(symbol: str) -> str:
    if symbol not in ELEMENTS:
        close = nearest(symbol, ELEMENTS) or nearest(symbol.capitalize(), ELEMENTS)
        hint = f" (did you mean '{close}'?)" if close else ""
        raise ValueError(f"expected the symbol of an element, got '{symbol}'{hint}")
    return symbol


def _formula(text: str) -> str:
    counts = parsed(text)
    for symbol in counts:
        _element(symbol)
    within_reach(sum(counts.values()))
    return named(counts)


def within_reach(atoms: int) -> None:
    """Refuse cells that no search gets through.

    Raises:
        ValueError: there are more atoms than `MOST_ATOMS`.
    """
    if atoms > MOST_ATOMS:
        raise ValueError(f"expected at most {MOST_ATOMS} atoms in a cell, got {atoms}")


def _charges(value: Any) -> Any:
    """One charge is a range of one."""
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _rising(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"expected [lowest, highest], got {list(value)}")
    return value


Symbol = Annotated[str, AfterValidator(_element)]
Formula = Annotated[str, AfterValidator(_formula)]
Range = Annotated[tuple[int, int], AfterValidator(_rising)]
Charge = Annotated[Range, BeforeValidator(_charges)]


class Section(BaseModel):
    """A part of the file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ReferenceConfig(Section):
    """A phase whose enthalpy the user knows, by the very engine and settings of the campaign."""

    formula: Formula = Field(description="Composition, e.g. Ti2O3; only the ratio counts.")
    enthalpy_ev_per_atom: float = Field(description="(E + pV)/n by the same engine [eV/atom].")


class CompositionsConfig(Section):
    """Several compositions: a list, or a range of cells of some elements."""

    formulas: tuple[Formula, ...] = Field(
        (), description="Atoms in the cell, e.g. [Cu3Au, Cu2Au2]; instead of elements and atoms."
    )
    elements: tuple[Symbol, ...] = Field(
        (),
        validate_default=True,
        description="Every compound of two or more of them is searched, e.g. [Cu, Au].",
    )
    atoms: Range | None = Field(
        None,
        validate_default=True,
        description="Fewest and most atoms in the cell, e.g. [2, 12]; with elements.",
    )
    charges: dict[Symbol, Charge] | None = Field(
        None,
        validate_default=True,
        description="Charge of each element, or [lowest, highest]: only neutral cells are "
        "searched, and elements by themselves are no part of the hull. E.g. {Ti: 4, O: -2}.",
    )
    references: tuple[ReferenceConfig, ...] = Field(
        (), description="Phases of known enthalpy, which need no label to be part of the hull."
    )

    @field_validator("elements")
    @classmethod
    def _one_way(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "formulas" in info.data and bool(value) == bool(info.data["formulas"]):
            raise ValueError(
                "expected either formulas or elements with atoms, got "
                + ("both" if value else "neither")
            )
        return tuple(sorted(set(value)))

    @field_validator("atoms")
    @classmethod
    def _sizes(cls, value: tuple[int, int] | None, info: ValidationInfo) -> tuple[int, int] | None:
        elements = info.data.get("elements")
        if elements is None:  # already told
            return value
        if bool(elements) != (value is not None):
            raise ValueError("expected atoms together with elements, and not with formulas")
        if value is not None and value[0] < 1:
            raise ValueError(f"expected cells of one atom or more, got {list(value)}")
        if value is not None:
            within_reach(value[1])
        if value is not None and comb(value[1] + len(elements), len(elements)) > MOST_CHARGED:
            raise ValueError(f"more than {MOST_CHARGED} compositions: take fewer elements or atoms")
        if value is not None and not cells(elements, *value):
            raise ValueError(f"no compound of {len(elements)} elements has {value[1]} atom")
        return value

    @field_validator("charges")
    @classmethod
    def _some_neutral(
        cls, value: dict[str, tuple[int, int]] | None, info: ValidationInfo
    ) -> dict[str, tuple[int, int]] | None:
        found = _all_cells(info.data)
        if value is None and len(found) > MOST:
            raise ValueError(
                f"{len(found)} compositions are more than {MOST}: take fewer elements or atoms"
            )
        if found and value is not None:
            missing = sorted({s for counts in found for s in counts} - set(value))
            if missing:
                raise ValueError(f"expected a charge of every element, got none of {missing[0]}")
            kept = sum(neutral(counts, value) for counts in found)
            if not 0 < kept <= MOST:
                raise ValueError(
                    f"expected 1 to {MOST} neutral compositions, got {kept}: take other charges or "
                    f"{'fewer' if kept else 'more'} atoms"
                )
        return value

    @field_validator("references")
    @classmethod
    def _of_the_elements(
        cls, value: tuple[ReferenceConfig, ...], info: ValidationInfo
    ) -> tuple[ReferenceConfig, ...]:
        elements = {symbol for counts in _all_cells(info.data) for symbol in counts}
        for one in value if elements else ():
            if foreign := sorted(set(parsed(one.formula)) - elements):
                raise ValueError(
                    f"{one.formula} holds {foreign[0]}, which is not searched; expected phases of "
                    f"{', '.join(sorted(elements))}"
                )
        return value

    @cached_property
    def cells(self) -> tuple[dict[str, int], ...]:
        """The compositions that are searched, each once, by size."""
        given = {"formulas": self.formulas, "elements": self.elements, "atoms": self.atoms}
        found = _all_cells(given)
        if self.charges is not None:
            found = [counts for counts in found if neutral(counts, self.charges)]
        return tuple(found)

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        """The references as points of the hull."""
        return tuple(
            Phase(f"reference {one.formula}", parsed(one.formula), one.enthalpy_ev_per_atom)
            for one in self.references
        )

    @cached_property
    def ends(self) -> tuple[dict[str, int], ...]:
        """Cells of the end members of the hull that must be labelled: those not referred to.

        The elements; with charges the outermost of the neutral compositions; none where all cells
        have one ratio.
        """
        known = [dict(phase.counts) for phase in self.phases]
        if len({named(reduced(counts)) for counts in (*self.cells, *known)}) == 1:
            return ()
        if self.charges is None:
            found = [{s: 1} for s in sorted({s for counts in self.cells for s in counts})]
        else:
            whole = [*known, *self.cells]
            found = [whole[place] for place in extremes(whole)]
        done = {named(reduced(counts)) for counts in known}
        return tuple(counts for counts in found if named(reduced(counts)) not in done)


def _all_cells(data: Mapping[str, Any]) -> list[dict[str, int]]:
    """What formulas or ranges hold, before charges; nothing where they are wrong."""
    formulas: Sequence[str] = data.get("formulas", ())
    if formulas:
        found = [parsed(name) for name in sorted(set(formulas))]
        return sorted(found, key=lambda counts: (sum(counts.values()), named(counts)))
    elements, atoms = data.get("elements", ()), data.get("atoms")
    return cells(elements, *atoms) if elements and atoms else []

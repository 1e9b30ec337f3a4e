"""A system to search: what it is made of, its oracle, and what only the judge may know.

    composition: {Ti: 4, O: 8}     # atoms of each element in the cell
    pressure_gpa: 0                # what is minimised is E + pV
    dimension: bulk                # or cluster: atoms in free space
    hit: form                      # of the lowest reference and near it; or energy: near it alone
    noise: {energy_ev_per_atom: 0.002, forces_ev_per_a: 0.03, stress_gpa: 0.3}   # of the answers
    oracle:                        # any ASE calculator: import path and keywords
      path: ase.calculators.emt.EMT
      arguments: {}
    references:                    # known structures, each built in one of three ways
      - name: rutile
        spacegroup: 136            # number or symbol; cell [Å, degrees], Wyckoff positions
        cell: [4.594, 4.594, 2.959, 90, 90, 90]
        sites: [[Ti, 0, 0, 0], [O, 0.305, 0.305, 0]]
      - name: diamond
        bulk: {name: C, crystalstructure: diamond, a: 3.57}    # ase.build.bulk
      - name: mine
        file: mine.extxyz          # beside this file

Instead of `composition`, all compounds of some elements, for their convex hull (see `hulls.py`):

    compositions: {elements: [Cu, Au], atoms: [2, 12]}    # cells of 2 to 12 atoms

`hit: energy` is for oracles that cannot tell forms apart, such as short-ranged potentials, to which
graphite's layers are as good at any distance: no structure matcher knows them all again.

References are relaxed with the oracle before they are used; the search sees none of this, but of a
hull the enthalpies of the elements, as every method's users give them.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import combinations_with_replacement
from math import gcd
from pathlib import Path
from typing import Any

from ase.data import atomic_numbers

SHIPPED = Path(__file__).parent / "systems"
_KEYS = {
    "composition", "compositions", "pressure_gpa", "dimension", "hit", "noise", "oracle",
    "references",
}  # fmt: skip
_NOISE = ("energy_ev_per_atom", "forces_ev_per_a", "stress_gpa")
_BUILDS = {
    "file": {"name", "file"},
    "bulk": {"name", "bulk"},
    "sites": {"name", "spacegroup", "setting", "cell", "sites"},
}


class SystemFileError(ValueError):
    """A system file that cannot be used; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class System:
    """See the module's text.

    Attributes:
        name: of the file, without suffix.
        composition: atoms of each element in the cell; empty where a hull is searched.
        oracle: ``path`` and ``arguments`` of an ASE calculator.
        references: as in the file; paths are absolute.
        pressure_gpa: external pressure [GPa].
        compositions: ``elements`` and ``atoms`` (fewest, most) where a hull is searched, else None.
        dimension: bulk or cluster.
        hit: form where a hit must have that of the lowest reference, energy where any form will do.
        noise: what the answers of the oracle are off by (see `noise.Noise`); empty: nothing.
    """

    name: str
    composition: dict[str, int]
    oracle: dict[str, Any]
    references: tuple[dict[str, Any], ...]
    pressure_gpa: float = 0.0
    compositions: dict[str, Any] | None = None
    dimension: str = "bulk"
    hit: str = "form"
    noise: dict[str, float] = field(default_factory=dict)

    @property
    def elements(self) -> list[str]:
        """What the system is made of."""
        return list(self.compositions["elements"] if self.compositions else self.composition)

    @property
    def cells(self) -> list[dict[str, int]]:
        """The compositions that are searched: atoms in the cell by symbol."""
        if self.compositions is None:
            return [self.composition]
        low, high = self.compositions["atoms"]
        drawn = [
            Counter(atoms)
            for size in range(low, high + 1)
            for atoms in combinations_with_replacement(self.elements, size)
        ]
        return [dict(one) for one in drawn if len(one) > 1]

    @property
    def symbols(self) -> list[str]:
        """Element of every atom."""
        return [symbol for symbol, count in self.composition.items() for _ in range(count)]

    @property
    def pressure(self) -> float:
        """External pressure [eV/Å^3]."""
        from ase.units import GPa

        return self.pressure_gpa * GPa

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def shipped() -> list[str]:
    """Names of the systems that come with this benchmark."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def load(name_or_file: str) -> System:
    """Read a system by name or from a file.

    Raises:
        SystemFileError: there is no such system, or something in the file is wrong.
    """
    from ruamel.yaml import YAML, YAMLError

    path = Path(name_or_file)
    if not path.is_file():
        path = SHIPPED / f"{name_or_file}.yaml"
    if not path.is_file():
        raise SystemFileError(
            f"{name_or_file}: no such file and no such system; there are {', '.join(shipped())}"
        )
    try:
        data = YAML(typ="safe").load(path.read_text("utf-8"))
    except YAMLError as error:
        raise SystemFileError(f"{path}: not YAML: {error}") from error
    try:
        return _checked(path, data)
    except SystemFileError as error:
        raise SystemFileError(f"{path}: {error}") from error


def _checked(path: Path, data: Any) -> System:
    if not isinstance(data, dict):
        raise SystemFileError(f"expected a mapping, got {type(data).__name__}")
    if unknown := sorted(set(map(str, data)) - _KEYS):
        raise SystemFileError(f"unknown key {unknown[0]!r}; known: {', '.join(sorted(_KEYS))}")
    if missing := sorted({"oracle", "references"} - set(data)):
        raise SystemFileError(f"{missing[0]} is missing")
    if ("composition" in data) == ("compositions" in data):
        raise SystemFileError("expected either composition or compositions")
    dimension = data.get("dimension", "bulk")
    if dimension not in ("bulk", "cluster"):
        raise SystemFileError(f"dimension: expected bulk or cluster, got {dimension!r}")
    pressure = data.get("pressure_gpa", 0.0)
    if isinstance(pressure, bool) or not isinstance(pressure, int | float):
        raise SystemFileError(f"pressure_gpa: expected a number in GPa, got {pressure!r}")
    if dimension == "cluster" and (pressure or "compositions" in data):
        raise SystemFileError("a cluster has neither pressure_gpa nor compositions: leave them out")
    several = _compositions(data["compositions"]) if "compositions" in data else None
    composition = {} if several else _composition(data["composition"])
    elements = several["elements"] if several else [*composition]
    return System(
        path.stem,
        composition,
        _oracle(data["oracle"]),
        _references(data["references"], elements, path.absolute().parent, whole=not several),
        float(pressure),
        several,
        dimension,
        _hit(data),
        _noise(data.get("noise", {})),
    )


def _noise(given: Any) -> dict[str, float]:
    fits = isinstance(given, dict) and set(given) <= set(_NOISE)
    if not fits or not all(type(one) in (int, float) and one >= 0 for one in given.values()):
        raise SystemFileError(
            f"noise: expected standard deviations of {', '.join(_NOISE)} (0 or more), got {given!r}"
        )
    return {name: float(value) for name, value in given.items()}


def _hit(data: dict[str, Any]) -> str:
    hit = data.get("hit", "form")
    if hit not in ("form", "energy"):
        raise SystemFileError(
            f"hit: expected form (that of the lowest reference, and within 5 meV/atom of it) or "
            f"energy (within 5 meV/atom, whatever the form), got {hit!r}"
        )
    if "hit" in data and "compositions" in data:
        raise SystemFileError("a hull is a matter of energies alone: leave hit out")
    return str(hit)


def _compositions(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or set(given) != {"elements", "atoms"}:
        raise SystemFileError(
            f"compositions: expected e.g. {{elements: [Cu, Au], atoms: [2, 12]}}, got {given!r}"
        )
    elements, atoms = given["elements"], given["atoms"]
    if not isinstance(elements, list) or len(elements) < 2:
        raise SystemFileError(f"compositions.elements: expected two or more, got {elements!r}")
    if unknown := [one for one in elements if one not in atomic_numbers]:
        raise SystemFileError(f"compositions.elements: {unknown[0]!r} is no element")
    whole = isinstance(atoms, list) and [type(one) for one in atoms] == [int, int]
    if not whole or not len(elements) <= atoms[1] >= atoms[0] >= 1:
        raise SystemFileError(f"compositions.atoms: expected [fewest, most], got {atoms!r}")
    return {"elements": sorted(set(elements)), "atoms": list(atoms)}


def _composition(given: Any) -> dict[str, int]:
    if not isinstance(given, dict) or not given:
        raise SystemFileError(f"composition: expected e.g. {{Ti: 4, O: 8}}, got {given!r}")
    for symbol, count in given.items():
        if symbol not in atomic_numbers:
            raise SystemFileError(f"composition: {symbol!r} is no element")
        if isinstance(count, list):
            raise SystemFileError(
                f"composition.{symbol}: {count} is a range: give one number of atoms, or a range "
                "of cells as compositions: {elements: [Cu, Au], atoms: [2, 12]}"
            )
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise SystemFileError(f"composition.{symbol}: expected a number >= 1, got {count!r}")
    return dict(given)


def _oracle(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or set(given) - {"path", "arguments"} or "path" not in given:
        raise SystemFileError(
            f"oracle: expected {{path: module.Calculator, arguments: {{...}}}}, got {given!r}"
        )
    return {"path": str(given["path"]), "arguments": dict(given.get("arguments") or {})}


def _references(
    given: Any, elements: list[str], folder: Path, *, whole: bool
) -> tuple[dict[str, Any], ...]:
    """The entries, with absolute paths; ``whole``: each holds all of the elements."""
    if not isinstance(given, list) or not given:
        raise SystemFileError("references: expected a list of one structure or more")
    found = []
    for number, entry in enumerate(given):
        where = f"references[{number}]"
        if not isinstance(entry, dict) or "name" not in entry:
            raise SystemFileError(f"{where}: expected a mapping with a name, got {entry!r}")
        one = dict(entry)
        kinds = [kind for kind in _BUILDS if kind in one]
        if len(kinds) != 1 or set(one) - _BUILDS[kinds[0]]:
            raise SystemFileError(
                f"{where} ({one['name']}): expected one of file, bulk, or spacegroup with cell "
                f"and sites, got {', '.join(map(str, one))}"
            )
        if kinds == ["file"]:
            one["file"] = str(folder / one["file"])
            if not Path(one["file"]).is_file():
                raise SystemFileError(f"{where} ({one['name']}): no such file: {one['file']}")
        if kinds == ["sites"]:
            found_here = {site[0] for site in one["sites"]}
            fits = found_here == set(elements) if whole else found_here <= set(elements)
            if not fits or any(len(site) != 4 for site in one["sites"]):
                raise SystemFileError(
                    f"{where} ({one['name']}): sites must be [element, x, y, z] of "
                    f"{'all' if whole else 'some'} of {', '.join(elements)}, got {one['sites']}"
                )
        found.append(one)
    return tuple(found)


def named(composition: dict[str, int]) -> str:
    """The name of a cell's composition, such as Au1Cu3."""
    return "".join(f"{symbol}{composition[symbol]}" for symbol in sorted(composition))


def reduced(composition: dict[str, int]) -> dict[str, int]:
    """The formula unit: counts without their common divisor."""
    divisor = gcd(*composition.values())
    return {symbol: composition[symbol] // divisor for symbol in sorted(composition)}

"""Known structures, built from what a system's file says and relaxed with its oracle."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE

from search.hulls import HullJudge
from search.judge import SYMPRECS, Judge, Reference, primitive
from search.oracle import FAILURES, build
from search.system import System, SystemFileError, reduced

#: end of a reference's relaxation [eV/Å]
FMAX = 0.005
STEPS = 300


def judge(system: System, cache: Path | None = None) -> Judge | HullJudge:
    """The judge of a system; references that do not fit into its cell are no goals.

    Args:
        system: what is searched.
        cache: folder where relaxed references are kept; None: nowhere.

    Raises:
        SystemFileError: a reference cannot be built or relaxed, or none fits.
    """
    found = relaxed(system, cache)
    fitting = [one for one in found if fits(one, system)]
    for one in found:
        if one not in fitting:
            print(
                f"{system.name}: {one.name} ({one.enthalpy:.4f} eV/atom) has {len(one.atoms)} "
                f"atoms in its primitive cell, does not fit, and is no goal",
                file=sys.stderr,
            )
    if not fitting:
        raise SystemFileError(f"{system.name}: no reference fits into the cell of the search")
    return judge_of(system, fitting)


def judge_of(system: System, fitting: Sequence[Reference]) -> Judge | HullJudge:
    """The judge of one composition or of a hull.

    Raises:
        SystemFileError: a hull has an element without a reference.
    """
    if system.compositions is None:
        return Judge(fitting, any_form=system.hit == "energy")
    try:
        return HullJudge(fitting, system.elements)
    except ValueError as error:
        raise SystemFileError(f"{system.name}: references: {error}") from error


def fits(reference: Reference, system: System) -> bool:
    """Whether a cell of the search can hold whole primitive cells of a reference.

    Elements always fit: of a hull they are given.
    """
    if system.compositions is not None and len(set(reference.atoms.symbols)) == 1:
        return True
    size = len(reference.atoms)
    return any(sum(cell.values()) % size == 0 for cell in system.cells)


def relaxed(system: System, cache: Path | None = None) -> list[Reference]:
    """All references, relaxed, from the cache where they are there."""
    path = None if cache is None else cache / f"{system.name}-{_key(system)}.json"
    if path is not None and path.is_file():
        return [Reference.from_dict(data) for data in json.loads(path.read_text())]
    found = [_relax(one, system) for one in system.references]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([one.to_dict() for one in found]))
    return found


def atoms_from(one: Mapping[str, Any]) -> Atoms:
    """The structure that an entry of a system's file describes."""
    if "file" in one:
        from ase.io import read

        return read(one["file"])
    if "bulk" in one:
        from ase.build import bulk

        return bulk(**one["bulk"])
    from ase.spacegroup import crystal

    return crystal(
        [site[0] for site in one["sites"]],
        [site[1:] for site in one["sites"]],
        spacegroup=one["spacegroup"],
        setting=one.get("setting", 1),
        cellpar=one["cell"],
    )


def _relax(one: Mapping[str, Any], system: System) -> Reference:
    where = f"{system.name}: reference {one['name']}"
    try:
        built = atoms_from(one)
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        raise SystemFileError(f"{where} cannot be built: {error}") from error
    symbols = {symbol: built.symbols.count(symbol) for symbol in set(built.symbols)}
    if system.compositions is None:
        wanted = str(reduced(system.composition))
        right = str(reduced(symbols)) == wanted
    else:
        wanted = ", ".join(system.elements)
        right = set(symbols) <= set(system.elements)
    crystal = system.dimension == "bulk"
    if not right or not (built.pbc.all() if crystal else not built.pbc.any()):
        raise SystemFileError(
            f"{where} is {built.get_chemical_formula()}, expected a "
            f"{'crystal' if crystal else 'cluster'} of {wanted}"
        )
    atoms = primitive(built, SYMPRECS[0]) if crystal else built
    atoms.calc = build(system.oracle)
    try:
        for optimizer in (FIRE, BFGS):  # the first is robust, the second ends
            moving = FrechetCellFilter(atoms, scalar_pressure=system.pressure) if crystal else atoms
            optimizer(moving, logfile=None).run(fmax=FMAX, steps=STEPS)
        energy = float(atoms.get_potential_energy())
    except FAILURES as error:
        raise SystemFileError(f"{where} cannot be relaxed: {error}") from error
    volume = atoms.get_volume() if crystal else 0.0
    atoms.calc = None
    # what was no minimum may have left its symmetry, and its primitive cell with it
    found = primitive(atoms, SYMPRECS[0]) if crystal else atoms
    return Reference(one["name"], (energy + system.pressure * volume) / len(atoms), found)


def _key(system: System) -> str:
    """What relaxed references depend on."""
    files = [Path(one["file"]).read_text() for one in system.references if "file" in one]
    names = ("ase", system.oracle["path"].partition(".")[0])
    own = {key: value for key, value in system.to_dict().items() if key != "hit"}
    about = [FMAX, STEPS, own, files, [_version(name) for name in names]]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""

"""Labels and structures in the formats of other programs.

Energies are totals [eV], forces [eV/Å], stress (1/V) dE/dstrain, tension positive [eV/Å^3], as in
ASE; pymatgen's entries carry the same numbers and say so.
"""

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from aga.campaign.state import Labelled, State
from aga.report.cif import to_pymatgen, write_structures
from aga.report.files import published
from aga.report.status import load
from aga.yaml_source import ConfigError
from potentials.roles import nearest
from potentials.structures import FloatArray


def export(run_dir: Path, form: str, out: Path) -> None:
    """Write what a run has found.

    Args:
        run_dir: the run folder; the campaign may be running.
        form: extxyz, db, traj or entries (every label), or cif or, of clusters, xyz (distinct
            structures, ranked).
        out: file to write, a folder for cif and xyz; replaced as a whole.

    Raises:
        ConfigError: the format is unknown or not for what was searched, the run has no labels, or
            ``out`` is of the wrong kind.
    """
    if form not in FORMATS:
        close = nearest(form, FORMATS)
        hint = f" (did you mean '{close}'?)" if close else ""
        raise ConfigError([f"export: expected one of {', '.join(FORMATS)}, got '{form}'{hint}"])
    folder = form in ("cif", "xyz")
    if out.exists() and out.is_dir() != folder:
        kinds = ("a folder", "a file") if folder else ("a file", "a folder")
        raise ConfigError([f"export: {form} writes {kinds[0]}, but {out} is {kinds[1]}"])
    state = load(run_dir)
    if not state.labelled:
        raise ConfigError(
            [f"export: {run_dir} has no labelled structures yet; `aga status {run_dir}` says why"]
        )
    dimension = state.config.dimension
    if form in OTHERS[dimension]:
        raise ConfigError(
            [f"export: {form} is not for what is searched ({dimension}): {OTHERS[dimension][form]}"]
        )
    FORMATS[form](state, out)


def distinct(state: State) -> list[Labelled]:
    """Every label once, by id: a geometry may have been asked for twice."""
    first: dict[str, Labelled] = {}
    for one in state.labelled:
        first.setdefault(one.key, one)
    return sorted(first.values(), key=lambda one: one.known.id)


def _facts(one: Labelled) -> dict[str, Any]:
    """What every format says about a label besides its numbers."""
    return {
        "config_type": one.purpose,
        "label_id": one.known.id,
        "origin": one.origin,
        "engine": one.label.engine,
        "label_key": one.key,
    }


def _above(one: Labelled, state: State) -> dict[str, float]:
    """The height above the hull, where several compositions are searched and it is known."""
    known = state.hull is not None and isfinite(one.known.height)
    return {"above_hull_ev_per_atom": float(one.known.height)} if known else {}


def _extxyz(state: State, out: Path) -> None:
    """Keys that training programs look for (REF_energy ...), stress as nine numbers."""
    from ase.io import write

    frames = []
    for one in distinct(state):
        atoms = one.known.atoms.copy()
        facts = _facts(one)
        atoms.info = {"id": facts.pop("label_id"), **facts, "REF_energy": one.label.energy}
        if one.label.stress is not None:
            atoms.info["REF_stress"] = voigt_6_to_full_3x3_stress(one.label.stress).ravel()
        atoms.set_array("REF_forces", one.label.forces)
        if one.label.magmoms is not None:
            atoms.set_array("REF_magmoms", one.label.magmoms)
        if one.label.magnetization is not None:
            atoms.info["REF_magnetization"] = one.label.magnetization
        frames.append(atoms)
    with published(out) as temporary:
        write(temporary, frames, format="extxyz")


def with_calculator(one: Labelled) -> Atoms:
    """A copy of the structure that gives back its label as ASE expects it."""
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = one.known.atoms.copy()
    results: dict[str, Any] = {"energy": one.label.energy, "forces": one.label.forces}
    if one.label.stress is not None:
        results["stress"] = one.label.stress
    if one.label.magmoms is not None:
        results["magmoms"] = one.label.magmoms
    if one.label.magnetization is not None:
        results["magmom"] = one.label.magnetization
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _traj(state: State, out: Path) -> None:
    from ase.io import write

    frames = []
    for one in distinct(state):
        atoms = with_calculator(one)
        atoms.info = _facts(one)
        frames.append(atoms)
    with published(out) as temporary:
        write(temporary, frames, format="traj")


def _db(state: State, out: Path) -> None:
    """A file for `ase db`: one row per label, facts as key-value pairs."""
    from ase.db import connect

    with published(out) as temporary, connect(temporary, type="db", use_lock_file=False) as rows:
        for one in distinct(state):
            numbers = {"enthalpy_per_atom": float(one.known.enthalpy), "seconds": one.label.seconds}
            pairs = {**_facts(one), **numbers, **_above(one, state)}
            rows.write(with_calculator(one), key_value_pairs=pairs)


def _entries(state: State, out: Path) -> None:
    """A list of pymatgen's ComputedStructureEntry as JSON (monty), energies as totals [eV]."""
    from monty.serialization import dumpfn
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    entries = [
        ComputedStructureEntry(
            to_pymatgen(one.known.atoms),
            one.label.energy,
            parameters={"engine": state.config.engine.description(), "key": one.label.engine},
            data={
                **_facts(one),
                "pressure_gpa": state.config.pressure_gpa,
                "enthalpy_per_atom_ev": float(one.known.enthalpy),
                "forces_ev_per_a": one.label.forces.tolist(),
                "stress_voigt_ev_per_a3": _listed(one.label.stress),
                "magmoms": _listed(one.label.magmoms),
                "magnetization": one.label.magnetization,
                **_above(one, state),
            },
            entry_id=one.known.id,
        )
        for one in distinct(state)
    ]
    entries += _references(state)
    with published(out) as temporary:
        # another ending would make a compressed or a YAML file
        plain = temporary.with_name(f"{temporary.name}.json")
        dumpfn(entries, plain)
        plain.replace(temporary)


def _references(state: State) -> list[Any]:
    """The user's references as entries without a structure, so that the hull is complete."""
    from pymatgen.core import Composition
    from pymatgen.entries.computed_entries import ComputedEntry

    given = state.config.compositions
    return [
        ComputedEntry(
            Composition(phase.counts),
            phase.enthalpy * sum(phase.counts.values()),
            entry_id=phase.name,
        )
        for phase in (given.phases if given else ())
    ]


def _listed(numbers: FloatArray | None) -> list[float] | None:
    return None if numbers is None else numbers.tolist()


def _structures(state: State, out: Path) -> None:
    write_structures(state, out)


FORMATS: dict[str, Callable[[State, Path], None]] = {
    "extxyz": _extxyz,
    "cif": _structures,
    "xyz": _structures,
    "db": _db,
    "traj": _traj,
    "entries": _entries,
}
#: what cannot be written, and what can instead
OTHERS: dict[str, dict[str, str]] = {
    "bulk": {"xyz": "take cif, or extxyz for all labels"},
    "cluster": {
        "cif": "a cluster has no cell; take xyz",
        "entries": "pymatgen's entries are of crystals; take extxyz",
    },
}

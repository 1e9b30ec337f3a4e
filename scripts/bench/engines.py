"""Do the engines agree? Forces, stress and moments of the same crystals, at the settings of docs.

    python scripts/bench/engines.py                        # as text
    python scripts/bench/engines.py --json                 # one JSON object per row
    python scripts/bench/engines.py --engines gpaw espresso --systems si al tio2

ESPRESSO_PSEUDO and ABINIT_PP_PATH name the folders of pseudopotentials (docs/engines.md says where
to get them). An engine that cannot run here is a row with a `reason` and no figures.

Systems: `si` diamond, 2 atoms; `al` fcc, 4 atoms; `tio2` rutile, 6 atoms; all with displaced atoms
(0.05 Å, fixed seed); `fe` bcc, 1 atom, ferromagnetic, start 2.5 Bohr magnetons.

Keys of a row: `system`, `engine`, `description`; `seconds`; `fmax` [eV/Å]; `stress_gpa` (xx, yy,
zz, yz, xz, xy); `magnetization` [Bohr magneton]; from the first engine of the list that runs:
`force_difference` (largest component, eV/Å) and `stress_difference_gpa` (largest component). One
core; energies are not compared, because their zeros differ.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.spacegroup import crystal

sys.path.insert(0, str(Path(__file__).parents[2]))

from calculators.engines import Engine, build, kinds
from calculators.labelling import single_point
from potentials.structures import Label

ENGINES = ["gpaw", "espresso", "abinit", "cp2k"]
SYSTEMS = ["si", "al", "tio2", "fe"]
MOMENTS = {"fe": {"Fe": 2.5}}
#: cutoffs that an engine does not choose by itself [eV]
CUTOFFS = {"gpaw": {"si": 300.0, "al": 300.0, "tio2": 800.0, "fe": 600.0}}
LIMITS = {"deadline_s": 3600.0, "memory_gb": 0.0}


def structure(system: str) -> Atoms:
    """A crystal with displaced atoms."""
    made = {
        "si": lambda: bulk("Si"),
        "al": lambda: bulk("Al", cubic=True),
        "tio2": lambda: crystal(
            ["Ti", "O"],
            [(0, 0, 0), (0.305, 0.305, 0)],
            spacegroup=136,
            cellpar=[4.594, 4.594, 2.959, 90, 90, 90],
        ),
        "fe": lambda: bulk("Fe"),
    }[system]()
    atoms = Atoms(numbers=made.numbers, positions=made.positions, cell=made.cell, pbc=True)
    if len(atoms) > 1:
        atoms.rattle(0.05, rng=np.random.default_rng(1))
    return atoms


def engine_of(kind: str, system: str, given: argparse.Namespace) -> Engine:
    """An engine at the settings of docs/engines.md."""
    settings: dict[str, Any] = {"kind": kind, **LIMITS}
    known = kinds()[kind].model_fields
    if kind in CUTOFFS:
        settings["ecut_ev"] = given.cutoff or CUTOFFS[kind][system]
    if "kpts_density" in known:
        settings["kpts_density"] = given.density
    if system in MOMENTS and "magmoms" in known:
        settings["magmoms"] = MOMENTS[system]
    return build(settings).settled(set(structure(system).symbols))


def rows(given: argparse.Namespace, store: Path) -> Iterator[dict[str, Any]]:
    """All measurements."""
    for system in given.systems:
        atoms, reference = structure(system), None
        for kind in given.engines:
            engine = engine_of(kind, system, given)
            row: dict[str, Any] = {"system": system, "engine": kind}
            found = single_point(atoms, engine, store, every_stress=True)
            if not isinstance(found, Label):
                yield row | {"reason": found.reason}
                continue
            reference = reference or found
            yield row | {"description": engine.description()} | compare(found, reference)


def compare(label: Label, reference: Label) -> dict[str, Any]:
    """Figures of one label and their differences from another."""
    row: dict[str, Any] = {
        "seconds": round(label.seconds, 1),
        "fmax": round(label.fmax, 4),
        "force_difference": round(float(np.abs(label.forces - reference.forces).max()), 4),
    }
    if label.stress is not None and reference.stress is not None:
        row["stress_gpa"] = [round(float(one), 2) for one in label.stress / units.GPa]
        difference = np.abs(label.stress - reference.stress).max() / units.GPa
        row["stress_difference_gpa"] = round(float(difference), 2)
    if label.magnetization is not None:
        row["magnetization"] = round(label.magnetization, 2)
    return row


def show(row: dict[str, Any], *, as_json: bool) -> None:
    """One row, as JSON or as text."""
    text = json.dumps(row) if as_json else "  ".join(f"{key} {value}" for key, value in row.items())
    print(text, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object per row")
    add("--engines", nargs="+", default=ENGINES, choices=[*kinds()], help="kinds, the first leads")
    add("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS, help="crystals")
    add("--density", type=float, default=2.0, help="k-points per 1/Å along each axis [Å]")
    add("--cutoff", type=float, help="plane waves of gpaw [eV]; others choose by themselves")
    add("--store", type=Path, help="keep the labels there, and use those found there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(given, given.store or Path(scratch)):
            show(row, as_json=given.json)


if __name__ == "__main__":
    main()

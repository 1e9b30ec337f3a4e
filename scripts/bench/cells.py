"""How far one crystal lies from itself in other cells, by the density of k-points.

    python scripts/bench/cells.py                          # as text; GPAW, silicon and aluminium
    python scripts/bench/cells.py --engine espresso --systems al --densities 3 4 5 --json

A search compares energies of one crystal in whatever cells it comes upon. What a mesh leaves of the
difference between cells is an error of the ranking that no convergence in a single cell shows.

Keys of a row: `system`, `engine`, `density` [Å], `energies` (by cell) and their `span` [meV/atom],
`seconds`. Energies are above the lowest of the row. One core.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk

sys.path.insert(0, str(Path(__file__).parents[2]))

from calculators.engines import Engine, build, kinds
from calculators.labelling import single_point
from potentials.structures import Label

SYSTEMS = {"si": ("Si", 5.47), "al": ("Al", 4.04)}
DENSITIES = (2.0, 2.5, 3.0, 3.5, 4.0)
#: of GPAW, which chooses none by itself; enough for both elements [eV]
CUTOFF = 300.0
LIMITS = {"deadline_s": 3600.0, "memory_gb": 0.0}


def cells(system: str) -> dict[str, Atoms]:
    """One crystal in several cells, none with displaced atoms."""
    element, a = SYSTEMS[system]
    one = bulk(element, a=a)
    return {
        "primitive": one,
        "cubic": bulk(element, a=a, cubic=True),
        "1x2x2": one.repeat((1, 2, 2)),
        "1x1x3": one.repeat((1, 1, 3)),
    }


def measured(system: str, engine: Engine, density: float) -> dict[str, Any]:
    """A row; of what failed the reason."""
    row: dict[str, Any] = {"system": system, "engine": engine.description(), "density": density}
    started, energies = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as store:
        for name, atoms in cells(system).items():
            found = single_point(atoms, engine, Path(store))
            if not isinstance(found, Label):
                return {**row, "reason": found.reason}
            energies[name] = 1e3 * found.energy / len(atoms)
    lowest = min(energies.values())
    above = {name: round(energy - lowest, 2) for name, energy in energies.items()}
    seconds = round(time.perf_counter() - started, 1)
    return {**row, "energies": above, "span": max(above.values()), "seconds": seconds}


def rows(
    engine: str, systems: Sequence[str], densities: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """One row for every system and density."""
    cutoff = {"ecut_ev": CUTOFF} if engine == "gpaw" else {}
    for system in systems:
        for density in densities:
            made = build({"kind": engine, "kpts_density": density, **cutoff, **LIMITS})
            yield measured(system, made, density)


def text(row: dict[str, Any]) -> str:
    """A row to read."""
    head = f"{row['system']:3s} {row['density']:4g}  "
    if "reason" in row:
        return f"{head}{row['reason']}"
    parts = "  ".join(f"{name} {energy:6.1f}" for name, energy in row["energies"].items())
    return f"{head}span {row['span']:6.1f} meV/atom  ({parts})  {row['seconds']:.0f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for every system and density."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="gpaw", help="one with k-points")
    parser.add_argument("--systems", nargs="+", choices=[*SYSTEMS], default=[*SYSTEMS])
    parser.add_argument("--densities", nargs="+", type=float, default=DENSITIES)
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    given = parser.parse_args(arguments)
    kind = kinds().get(given.engine)
    if kind is None or "kpts_density" not in kind.model_fields:
        parser.error(f"--engine: expected one with k-points, got {given.engine}")
    failed = False
    for row in rows(given.engine, given.systems, given.densities):
        print(json.dumps(row) if given.json else text(row), flush=True)
        failed = failed or "reason" in row
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

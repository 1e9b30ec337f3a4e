"""Relax a structure file on a trained ensemble, which is an ASE calculator like any other.

python scripts/relax.py RUN/models/latest POSCAR relaxed.cif
"""

import argparse
from collections.abc import Sequence

from ase import units
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS

from calculators.ensemble import EnsembleCalculator


def main(arguments: Sequence[str] | None = None) -> None:
    """Positions and cell to the nearest minimum of E + pV; says how far to trust it."""
    given = _parser().parse_args(arguments)

    atoms = read(given.structure)
    atoms.calc = EnsembleCalculator.load(given.ensemble)
    cell_and_atoms = FrechetCellFilter(atoms, scalar_pressure=given.pressure_gpa * units.GPa)
    converged = BFGS(cell_and_atoms).run(fmax=given.fmax, steps=given.steps)

    write(given.output, atoms)
    _report(atoms.calc, len(atoms), converged=bool(converged))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("ensemble", help="folder of a trained ensemble, e.g. RUN/models/latest")
    parser.add_argument("structure", help="any file that ASE reads: CIF, POSCAR, extxyz, ...")
    parser.add_argument("output", help="where the relaxed structure goes; the ending says how")
    parser.add_argument("--pressure-gpa", type=float, default=0.0, help="pressure [GPa]")
    parser.add_argument("--fmax", type=float, default=0.02, help="largest force [eV/Å]")
    parser.add_argument("--steps", type=int, default=500, help="largest number of steps")
    return parser


def _report(calculator: EnsembleCalculator, n_atoms: int, *, converged: bool) -> None:
    results = calculator.results
    energy, spread = results["energy"] / n_atoms, results["energy_std"]
    print(f"E = {energy:.4f} +- {spread:.4f} eV/atom (spread of the members)")
    if not converged:
        print("not converged: allow more --steps")
    if results["extrapolating"]:
        print("outside the training data: label this structure before you trust it")


if __name__ == "__main__":
    main()

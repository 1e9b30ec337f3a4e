"""Molecular dynamics on a trained ensemble, with ASE: trajectory, energies, distances.

python scripts/md.py RUN/models/latest POSCAR --repeat 3 --temperature 600 --rdf rdf.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.progress import track

from aga.report import drawing
from aga.report.files import published
from calculators.dynamics import Moment, PairDistribution, Trace, options, repeated
from calculators.ensemble import EnsembleCalculator

#: the first part of a run does not count for the distances: it still remembers the start
EQUILIBRATION = 0.2
SHELLS = 200


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, save every so many steps, say how it went."""
    given = _parser().parse_args(arguments)
    rng = np.random.default_rng(given.seed)
    atoms = start(given, rng)
    mover = dynamics(given, atoms, rng)
    trace = Trace(len(atoms))
    pairs = PairDistribution(given.rdf_radius, SHELLS)
    crystal = bool(atoms.pbc.all())
    if given.rdf and not crystal:
        sys.exit("md: a radial distribution function needs a structure periodic in 3 directions")

    saved = max(given.steps // given.every, 1)
    with Path(given.trajectory).open("w", encoding="utf-8") as file:
        for number in track(range(saved + 1), "steps", console=Console(stderr=True)):
            if number:
                mover.run(given.every)
            trace.moments.append(_moment(atoms, number * given.every * given.timestep_fs * 1e-3))
            write(file, _snapshot(atoms), format="extxyz")
            if given.rdf and number >= EQUILIBRATION * saved:
                pairs.add(atoms)

    for line in trace.lines(conserved=given.dynamics == "nve", alarm=given.alarm_mev * 1e-3):
        print(line)
    print(f"trajectory: {given.trajectory}")
    if given.rdf:
        draw(pairs, Path(given.rdf))
        print(f"radial distribution function: {given.rdf}")


def _parser() -> argparse.ArgumentParser:
    parser = options(
        __doc__.splitlines()[0] if __doc__ else "", dynamics="nvt", trajectory="md.extxyz"
    )
    parser.add_argument("--rdf", help="draw the radial distribution function into this .png")
    parser.add_argument(
        "--rdf-radius",
        type=float,
        default=8.0,
        help="its largest distance [Å]; beyond half a cell atoms meet images of themselves",
    )
    return parser


def start(given: argparse.Namespace, rng: np.random.Generator) -> Atoms:
    """The structure with a calculator and velocities of the temperature."""
    atoms = repeated(read(given.structure), given.repeat)
    atoms.calc = EnsembleCalculator.load(given.ensemble)
    atoms.set_momenta(momenta(atoms.get_masses(), given.temperature, rng))
    return atoms


def momenta(masses: np.ndarray, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Maxwell-Boltzmann momenta (N, 3) of a temperature [K] whose sum is zero, in ASE's units."""
    drawn = rng.normal(size=(len(masses), 3)) * np.sqrt(masses * units.kB * temperature)[:, None]
    return drawn - masses[:, None] / masses.sum() * drawn.sum(axis=0)


def dynamics(given: argparse.Namespace, atoms: Atoms, rng: np.random.Generator) -> Any:
    """The integrator."""
    step = given.timestep_fs * units.fs
    if given.dynamics == "nve":
        return VelocityVerlet(atoms, step)
    friction = given.friction_per_ps / (1000.0 * units.fs)
    # with the centre of mass held, ASE's Langevin does not sample the canonical ensemble
    return Langevin(
        atoms,
        step,
        temperature_K=given.temperature,
        friction=friction,
        fixcm=False,
        rng=rng,
    )


def _moment(atoms: Atoms, time_ps: float) -> Moment:
    energy, results = atoms.get_potential_energy(), atoms.calc.results
    # a single member has no spread
    spread = results.get("energy_std", np.nan)
    return Moment(time_ps, energy, atoms.get_kinetic_energy(), spread, results["extrapolating"])


def _snapshot(atoms: Atoms) -> Atoms:
    """A copy with energy and forces as other programs expect them."""
    copy = atoms.copy()
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    copy.calc = SinglePointCalculator(copy, energy=energy, forces=forces)
    return copy


def draw(pairs: PairDistribution, path: Path) -> None:
    """A line for every pair of elements."""
    with drawing.style():
        picture = drawing.figure()
        axes = picture.subplots()
        for colour, ((a, b), values) in zip(drawing.WHEEL, pairs.mean().items(), strict=False):
            axes.plot(pairs.distances, values, color=colour, lw=1.5, label=f"{a}-{b}")
        axes.axhline(1.0, color=drawing.GREY, lw=0.8)
        axes.set_xlim(0.0, pairs.edges[-1])
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("distance [Å]")
        axes.set_ylabel("radial distribution function")
        axes.legend()
        with published(path) as temporary:
            picture.savefig(temporary, dpi=150)


if __name__ == "__main__":
    main()

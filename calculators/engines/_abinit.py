"""How ABINIT is run: its input, its output, and why it failed; imported in the child process alone.

ASE writes the atoms and reads the output, but for three things: k-points, whose even grids ASE
shifts off Gamma; moments of the atoms; and an SCF that has not converged, which ABINIT 9 says in
capitals that ASE does not look for, so that its last iteration would pass for an answer.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.abinit import Abinit, AbinitProfile, AbinitTemplate
from ase.io.abinit import write_abinit_in

from calculators.engines._grid import grid, moments
from calculators.engines._headers import Pseudo
from calculators.engines._program import ended, last_words, tied
from calculators.outcome import EngineError

if TYPE_CHECKING:
    from calculators.engines import abinit

_OCCOPT = {"cold": 4, "fermi-dirac": 3, "gaussian": 7}
_EV_PER_ATOM = 1e-6  # end of the SCF
_UNCONVERGED = re.compile(r"nstep=?\s*(\d+) was not enough SCF cycles", re.IGNORECASE)
_SPHERES = re.compile(r"^ Atom\s+Radius.*Diff\(up-dn\).*$", re.MULTILINE)


class Template(AbinitTemplate):  # type: ignore[misc]  # ASE has no types
    """ASE's way with ABINIT, corrected.

    Args:
        engine: the settings.
        files: pseudopotentials by element.
    """

    def __init__(self, engine: "abinit.Abinit", files: Mapping[str, Pseudo]) -> None:
        super().__init__()
        self.implemented_properties |= {"magmoms"}
        self._engine = engine
        self._files = files

    def write_input(
        self, profile: Any, directory: Path, atoms: Atoms, parameters: Any, properties: Any
    ) -> None:
        """The input with everything that depends on the structure."""
        polarised = atoms.copy()
        if self._engine.magmoms is not None:
            polarised.set_initial_magnetic_moments(moments(atoms, self._engine.magmoms))
        by_number = {atoms.numbers[list(atoms.symbols).index(s)]: f for s, f in self._files.items()}
        species = sorted(by_number)
        (directory / "abinit.abo").unlink(missing_ok=True)  # ABINIT would take another name
        with (directory / self.inputname).open("w") as file:
            write_abinit_in(
                file,
                polarised,
                param=settings(self._engine, atoms, by_number[species[0]].path.parent),
                species=species,
                pseudos=[by_number[number].path.name for number in species],
            )

    def execute(self, directory: Path, profile: Any) -> None:
        """Run ABINIT; what it says becomes the message where it fails."""
        try:
            super().execute(directory, profile)
        except CalledProcessError as error:
            raise ended("abinit", error.returncode, reason(directory)) from error

    def read_results(self, directory: Path) -> dict[str, Any]:
        """Energy [eV], forces [eV/Å], stress [eV/Å^3], moments [Bohr magneton]."""
        text = (directory / "abinit.abo").read_text("utf-8", "replace")
        if _UNCONVERGED.search(text):
            raise EngineError(reason(directory))
        results: dict[str, Any] = dict(super().read_results(directory))
        if spheres := _SPHERES.search(text):
            lines = text[spheres.end() :].split("\n")[1 : len(results["forces"]) + 1]
            results["magmoms"] = [float(line.split()[-1]) for line in lines]
        return results


def calculator(engine: "abinit.Abinit", files: Mapping[str, Pseudo], directory: Path) -> Abinit:
    """ASE's calculator in a folder."""
    made = Abinit(profile=AbinitProfile(tied(engine.command)), directory=directory)
    made.template = Template(engine, files)
    return made


def settings(engine: "abinit.Abinit", atoms: Atoms, folder: Path) -> dict[str, Any]:
    """ABINIT's variables; energies in eV, as ASE writes their unit."""
    return {
        "xc": engine.xc,
        "pp_dirpath": f'"{folder}"',
        "ecut": engine.ecut_ev,
        # as numbers: ASE would shift even grids, and ABINIT by itself every grid
        "kptopt": 1,
        "ngkpt": list(grid(atoms, engine.kpts_density)),
        "nshiftk": 1,
        "shiftk": [0.0, 0.0, 0.0],
        "occopt": _OCCOPT[engine.smearing],
        "tsmear": engine.smearing_ev,
        "nstep": engine.maxiter,
        "toldfe": _EV_PER_ATOM * len(atoms),
        "diemix": engine.mixing_beta,
        "optforces": 1,
        "optstress": 1,
        # ABINIT refuses grids less symmetric than the crystal, and translations off the FFT grid
        "chksymbreak": 0,
        "chksymtnons": 0,
        "prtwf": 0,
        "prtden": 0,
        **({} if engine.symmetry else {"nsym": 1}),
        **({"nsppol": 2} if engine.magmoms is not None else {}),
    }


def reason(directory: Path) -> str:
    """Why ABINIT gave no answer, in one line."""
    log = directory / "abinit.log"
    text = log.read_text("utf-8", "replace") if log.is_file() else ""
    if found := _UNCONVERGED.search(text):
        return f"abinit: the SCF has not converged after {found[1]} iterations"
    if found := re.search(r"chkinp: ERROR -\n(.*?)\n\s*\n", text, re.DOTALL):
        return "abinit: " + " ".join(found[1].split())
    if found := re.search(r"--- !(?:ERROR|BUG)\n(.*?)\n\.\.\.", text, re.DOTALL):
        message = found[1].partition("message: |")[2] or found[1]
        return "abinit: " + " ".join(message.split())
    return last_words(directory / "abinit.err", log)

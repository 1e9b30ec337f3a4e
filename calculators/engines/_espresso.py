"""How pw.x is run: its input, its output, and why it failed; imported in the child process alone.

ASE writes the input and reads the output, but for four things: starting moments, which pw.x wants
as a fraction of the valence and ASE writes as they are (iron then lands in a higher spin state,
9 GPa off, without a word); final moments, of which ASE reads the wrong column; the total moment;
and the reason of a failure.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.calculators.espresso import Espresso, EspressoProfile, EspressoTemplate

from calculators.engines import SCRATCH
from calculators.engines._grid import grid, moments
from calculators.engines._headers import Pseudo
from calculators.engines._program import ended, last_words, tied
from calculators.outcome import EngineError

if TYPE_CHECKING:
    from calculators.engines import espresso

_SMEARINGS = {"cold": "mv", "fermi-dirac": "fd", "gaussian": "gauss"}
_RY_PER_ATOM = 1e-7  # end of the SCF
_MOST_POLARISED = 0.9  # of the valence; pw.x takes fractions up to 1


class Template(EspressoTemplate):  # type: ignore[misc]  # ASE has no types
    """ASE's way with pw.x, corrected.

    Args:
        engine: the settings.
        files: pseudopotentials by element.
    """

    def __init__(self, engine: "espresso.Espresso", files: Mapping[str, Pseudo]) -> None:
        super().__init__()
        self.implemented_properties |= {"magmom"}
        self.inputname, self.outputname, self.errorname = "pw.in", "pw.txt", "pw.err"
        self._engine = engine
        self._files = files

    def write_input(
        self, profile: Any, directory: Path, atoms: Atoms, parameters: Any, properties: Any
    ) -> None:
        """The input with everything that depends on the structure."""
        polarised = atoms.copy()
        if self._engine.magmoms is not None:
            starts = moments(atoms, self._engine.magmoms)
            valence = [self._files[symbol].valence for symbol in atoms.symbols]
            fractions = [fraction(*pair) for pair in zip(starts, valence, strict=True)]
            polarised.set_initial_magnetic_moments(fractions)
        given = {
            "input_data": settings(self._engine, len(atoms)),
            "pseudopotentials": {symbol: one.path.name for symbol, one in self._files.items()},
            # as numbers: of a density ASE would make a grid without Gamma where it is even
            "kpts": grid(atoms, self._engine.kpts_density),
        }
        super().write_input(profile, directory, polarised, given, properties)

    def execute(self, directory: Path, profile: Any) -> None:
        """Run pw.x; what it says becomes the message where it fails."""
        try:
            super().execute(directory, profile)
        except CalledProcessError as error:
            raise ended("pw.x", error.returncode, reason(directory)) from error

    def read_results(self, directory: Path) -> dict[str, Any]:
        """Energy [eV], forces [eV/Å], stress [eV/Å^3], moments [Bohr magneton]."""
        text = (directory / self.outputname).read_text("utf-8", "replace")
        if "convergence has been achieved" not in text:
            raise EngineError(reason(directory) or "pw.x says nothing of convergence")
        try:
            results: dict[str, Any] = dict(super().read_results(directory))
        except ValueError as error:  # numbers too large for their columns are stars
            raise EngineError(
                f"pw.x: its output has no number where one belongs: {error}"
            ) from error
        results.pop("magmoms", None)
        if self._engine.magmoms is not None:
            count = len(results["forces"])
            results["magmoms"] = [float(one) for one in _MOMENT.findall(text)[-count:]]
            results["magmom"] = float(_TOTAL.findall(text)[-1])
        return results


_MOMENT = re.compile(r"^\s+atom:?\s+\d+ .*?magn[:=]\s*(-?\d+\.\d+)", re.MULTILINE)
_TOTAL = re.compile(r"total magnetization\s+=\s+(-?\d+\.\d+)")


def calculator(
    engine: "espresso.Espresso", files: Mapping[str, Pseudo], directory: Path
) -> Espresso:
    """ASE's calculator in a folder."""
    folder = next(iter(files.values())).path.parent
    made = Espresso(profile=EspressoProfile(tied(engine.command), folder), directory=directory)
    made.template = Template(engine, files)
    return made


def fraction(moment: float, valence: float) -> float:
    """A moment [Bohr magneton] as the part of the valence electrons that is polarised."""
    return max(-_MOST_POLARISED, min(_MOST_POLARISED, moment / valence))


def settings(engine: "espresso.Espresso", count: int) -> dict[str, dict[str, Any]]:
    """The namelists for ``count`` atoms; energies in Rydberg."""
    from ase.units import Ry

    if engine.ecut_ev is None or engine.density_factor is None:
        raise ValueError(" ".join(engine.open_settings(engine.checksums)))
    cutoff = engine.ecut_ev / Ry
    return {
        "control": {
            "calculation": "scf",
            "outdir": f"./{SCRATCH}",
            "disk_io": "none",
            "tprnfor": True,
            "tstress": True,
        },
        "system": {
            "ecutwfc": round(cutoff, 6),
            "ecutrho": round(engine.density_factor * cutoff, 6),
            "occupations": "smearing",
            "smearing": _SMEARINGS[engine.smearing],
            "degauss": round(engine.smearing_ev / Ry, 8),
            **({"nspin": 2} if engine.magmoms is not None else {}),
        },
        "electrons": {
            "conv_thr": _RY_PER_ATOM * count,
            "electron_maxstep": engine.maxiter,
            "mixing_beta": engine.mixing_beta,
            "mixing_mode": engine.mixing_mode,
            "diagonalization": engine.diagonalization,
        },
    }


def reason(directory: Path) -> str:
    """Why pw.x gave no answer, in one line."""
    output = directory / "pw.txt"
    text = output.read_text("utf-8", "replace") if output.is_file() else ""
    if found := re.search(r"convergence NOT achieved after\s+(\d+) iterations", text):
        return f"pw.x: the SCF has not converged after {found[1]} iterations"
    crash = directory / "CRASH"
    said = text + (crash.read_text("utf-8", "replace") if crash.is_file() else "")
    if found := re.search(r"%{20,}\s*\n(.*?)\n\s*%{20,}", said, re.DOTALL):
        return "pw.x: " + " ".join(found[1].split())
    return last_words(directory / "pw.err", output)

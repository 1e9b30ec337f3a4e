"""How VASP is run: its input set, its vasprun.xml, and why it failed; imported in the child alone.

vasprun.xml is read by pymatgen, which knows the errors in the file that VASP 5 and 6 have (its last
energy may be wrong by the entropy). It is the one place in `calculators` that imports pymatgen.
"""

import re
import shlex
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.io import write

from calculators.engines._grid import grid, moments
from calculators.engines._headers import Pseudo
from calculators.engines._program import ended, last_words, tied
from calculators.outcome import EngineError

if TYPE_CHECKING:
    from calculators.engines import vasp

_ISMEAR = {"gaussian": 0, "fermi-dirac": -1, "methfessel-paxton": 1}
_EV_PER_ATOM = 1e-7  # end of the SCF
_KBAR = 0.1 * units.GPa
# lines of a box that VASP draws around an error
_BOXED = re.compile(r"^ \|\s+(.*?)\s*\|$", re.MULTILINE)
_TOTAL = re.compile(r"number of electron\s+\S+\s+magnetization\s+(\S+)")


class Runner(Calculator):  # type: ignore[misc]  # ASE has no types
    """Writes the input set, runs VASP and reads what it left.

    Args:
        engine: the settings.
        files: POTCAR files by element.
        directory: folder of everything.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress", "magmoms", "magmom")

    def __init__(self, engine: "vasp.Vasp", files: Mapping[str, Pseudo], directory: Path) -> None:
        super().__init__()
        self._engine = engine
        self._files = files
        self._folder = directory

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy [eV], forces [eV/Å], stress [eV/Å^3] and moments of one structure.

        Raises:
            EngineError: VASP has not converged or ended, with what it says.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        for old in ("vasprun.xml", "OUTCAR"):
            (self._folder / old).unlink(missing_ok=True)
        write_input(self._engine, self._files, self.atoms, self._folder)
        with (self._folder / "vasp.txt").open("wb") as output:
            done = subprocess.run(
                shlex.split(tied(self._engine.command)),
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise ended("vasp", done.returncode, reason(self._folder))
        self.results = read_results(self._folder, order(self.atoms))


def order(atoms: Atoms) -> list[int]:
    """Atoms as POSCAR has them: element by element, in the order of the alphabet."""
    return sorted(range(len(atoms)), key=lambda index: (atoms.symbols[index], index))


def write_input(
    engine: "vasp.Vasp", files: Mapping[str, Pseudo], atoms: Atoms, folder: Path
) -> None:
    """INCAR, KPOINTS, POSCAR and POTCAR; POTCAR.spec names its parts, where POTCAR may not go."""
    grouped = atoms[order(atoms)]
    symbols = sorted(set(grouped.symbols))
    tags = incar(engine, grouped)
    lines = [f"{name} = {_fortran(value)}" for name, value in sorted(tags.items())]
    (folder / "INCAR").write_text("\n".join(lines) + "\n")
    sizes = " ".join(map(str, grid(atoms, engine.kpts_density)))
    (folder / "KPOINTS").write_text(f"on Gamma\n0\nGamma\n{sizes}\n0 0 0\n")
    write(folder / "POSCAR", grouped, format="vasp", direct=True)
    parts = [files[symbol].path for symbol in symbols]
    (folder / "POTCAR").write_text("".join(path.read_text("utf-8", "replace") for path in parts))
    (folder / "POTCAR.spec").write_text("".join(f"{path.parent.name}\n" for path in parts))


def incar(engine: "vasp.Vasp", atoms: Atoms) -> dict[str, Any]:
    """Tags of the INCAR for atoms in the order of POSCAR."""
    tags = {
        "PREC": "Accurate",
        "GGA": engine.gga(),
        "ENCUT": engine.ecut_ev,
        "ISMEAR": _ISMEAR[engine.smearing],
        "SIGMA": engine.smearing_ev,
        "EDIFF": _EV_PER_ATOM * len(atoms),
        "NELM": engine.maxiter,
        "ALGO": engine.algo,
        "ISTART": 0,
        "ICHARG": 2,
        "IBRION": -1,
        "NSW": 0,
        "ISIF": 2,
        "LREAL": False,
        "LWAVE": False,
        "LCHARG": False,
        **engine.incar,
    }
    if engine.mixing_beta is not None:
        tags["AMIX"] = engine.mixing_beta
    if not engine.symmetry:
        tags["ISYM"] = 0
    if engine.magmoms is not None:
        starts = moments(atoms, engine.magmoms)
        tags |= {"ISPIN": 2, "LORBIT": 10, "MAGMOM": " ".join(f"{one:g}" for one in starts)}
    return tags


def read_results(folder: Path, places: Sequence[int]) -> dict[str, Any]:
    """What VASP left, in ASE's units and in the order of the structure that was asked for.

    Args:
        folder: holds vasprun.xml, and OUTCAR of what is spin-polarised.
        places: for each atom of POSCAR its index in the structure.

    Raises:
        EngineError: the file is not there or broken off, or the SCF has not converged.
    """
    from pymatgen.io.vasp.outputs import UnconvergedVASPWarning, Vasprun

    path = folder / "vasprun.xml"
    if not path.is_file():
        raise EngineError(reason(folder) or "vasp ended and left no vasprun.xml")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnconvergedVASPWarning)  # an error, below
            run = Vasprun(path, parse_dos=False, parse_eigen=False, parse_potcar_file=False)
    except (SyntaxError, KeyError, IndexError) as error:  # that of XML is one of syntax
        raise EngineError(reason(folder) or f"vasprun.xml is not complete: {error!r}") from error
    if not run.converged_electronic:
        steps = len(run.ionic_steps[-1]["electronic_steps"])
        raise EngineError(f"vasp: the SCF has not converged after {steps} iterations")
    last, back = run.ionic_steps[-1], np.argsort(places)
    results: dict[str, Any] = {
        "energy": float(run.final_energy),
        "free_energy": float(last["e_fr_energy"]),
        "forces": np.array(last["forces"], dtype=np.float64)[back],
        # VASP's is the pressure on the cell [kbar]
        "stress": -_KBAR * np.array(last["stress"], dtype=np.float64),
    }
    if run.parameters.get("ISPIN", 1) == 2:
        results |= _moments(folder / "OUTCAR", back)
    return results


def _moments(outcar: Path, back: Any) -> dict[str, Any]:
    """Moment of each atom, in its sphere, and of the cell [Bohr magneton]."""
    text = outcar.read_text("utf-8", "replace")
    table = text.rpartition("magnetization (x)")[2]
    rows = re.findall(r"^\s+\d+((?:\s+-?\d+\.\d+){3,})\s*$", table, re.MULTILINE)[: len(back)]
    each = np.array([float(row.split()[-1]) for row in rows], dtype=np.float64)
    total = _TOTAL.findall(text)
    return {
        **({"magmoms": each[back]} if len(each) == len(back) else {}),
        **({"magmom": float(total[-1])} if total else {}),
    }


def _fortran(value: Any) -> str:
    """A value as VASP reads it."""
    if isinstance(value, bool):
        return ".TRUE." if value else ".FALSE."
    return f"{value:g}" if isinstance(value, float) and value < 1e-3 else str(value)


def reason(folder: Path) -> str:
    """Why VASP gave no answer, in one line."""
    output = folder / "vasp.txt"
    text = output.read_text("utf-8", "replace") if output.is_file() else ""
    words = [line for line in _BOXED.findall(text) if re.search(r"[a-z]{3}", line)]
    if "I REFUSE TO CONTINUE" in text and words:
        return "vasp: " + " ".join(" ".join(words).split())[-400:]
    last = last_words(output)
    return f"vasp: {last}" if last else ""

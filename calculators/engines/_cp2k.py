"""How CP2K is run: its input and why it failed; imported in the child process alone.

ASE talks to CP2K's shell. Ours are the k-points, whose even grids CP2K shifts off Gamma (its scheme
MACDONALD takes a shift that brings them back: checked against supercells), and the look at what
CP2K wrote, because an SCF that has not converged is only a warning to it.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.cp2k import CP2K

from calculators.engines._grid import grid
from calculators.engines._program import ended, last_words, tied
from calculators.outcome import EngineError

if TYPE_CHECKING:
    from calculators.engines import cp2k

_EPS_SCF = 1e-7
_PATIENCE = 5.0  # [s] for a program that has broken off the talk to end
_ABORT = re.compile(r"\[ABORT\][\s*]*\n(.*?)\n[\s*]*\*{20,}", re.DOTALL)
# the man beside the message
_PICTURE = re.compile(r"^[\s*]*(?:\\___/|O/\||/\| \||/ \\|\|)?")


class Runner(Calculator):  # type: ignore[misc]  # ASE has no types
    """A CP2K of its own for every structure: a shell would keep k-points and grids of the first.

    Args:
        engine: the settings.
        directory: folder of input and output.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, engine: "cp2k.CP2K", directory: Path) -> None:
        super().__init__()
        self._engine = engine
        self._folder = directory

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Energy [eV], forces [eV/Å] and stress [eV/Å^3] of one structure.

        Raises:
            EngineError: CP2K has not converged or ended, with what it says.
        """
        super().calculate(atoms, list(properties), list(system_changes))
        output = self._folder / "cp2k.out"
        output.unlink(missing_ok=True)
        try:
            self.results = self._talk(output)
        finally:
            for left in self._folder.glob("cp2k-RESTART*"):
                left.unlink()
        if "SCF run NOT converged" in output.read_text("utf-8", "replace"):
            raise EngineError(reason(output))
        output.replace(output.with_suffix(".txt"))  # what is kept of a label

    def _talk(self, output: Path) -> dict[str, Any]:
        """What CP2K's shell answers."""
        with CP2K(**arguments(self._engine, self.atoms, self._folder)) as program:
            child = program._shell._child  # noqa: SLF001 - ASE asserts, its status says more
            try:
                program.calculate(self.atoms, ["energy"], list(all_changes))
            except (AssertionError, OSError, ValueError) as error:
                with suppress(TimeoutExpired):
                    child.wait(_PATIENCE)
                said = reason(output) or f"cp2k: {error!r}"
                raise ended("cp2k", child.poll() or 0, said) from error
            return dict(program.results)


def arguments(engine: "cp2k.CP2K", atoms: Atoms, folder: Path) -> dict[str, Any]:
    """Keywords of ASE's calculator."""
    data = engine.data() or Path()
    return {
        # ASE starts a shell for it: the program takes its place, so that it is our child
        "command": f"exec {tied(engine.command)}",
        "label": str(folder / "cp2k"),
        "inp": template(engine, atoms),
        "xc": engine.xc,
        "cutoff": engine.grid_ev,
        "basis_set": engine.basis,
        "basis_set_file": str(data / engine.basis_file),
        "pseudo_potential": engine.pseudopotential(),
        "potential_file": str(data / engine.potential_file),
        "max_scf": engine.maxiter,
        "poisson_solver": None,
        "print_level": "MEDIUM",
    }


def template(engine: "cp2k.CP2K", atoms: Atoms) -> str:
    """What ASE's calculator has no keyword for."""
    sizes = grid(atoms, engine.kpts_density)
    shifts = [0.0 if size % 2 else 0.5 / size for size in sizes]
    scheme = " ".join(map(str, sizes)) + " " + " ".join(f"{shift:.12g}" for shift in shifts)
    points = f"&KPOINTS\nSCHEME MACDONALD {scheme}\n&END KPOINTS"
    return f"""
&FORCE_EVAL
&DFT
{points if max(sizes) > 1 else ""}
&QS
EPS_DEFAULT 1e-12
&END QS
&MGRID
REL_CUTOFF [eV] {engine.relative_grid_ev:.6f}
&END MGRID
&SCF
ADDED_MOS -1
EPS_SCF {_EPS_SCF}
&SMEAR
METHOD FERMI_DIRAC
ELECTRONIC_TEMPERATURE [K] {engine.smearing_ev / units.kB:.6f}
&END SMEAR
&MIXING
METHOD BROYDEN_MIXING
ALPHA {engine.mixing_beta}
&END MIXING
&END SCF
&END DFT
&END FORCE_EVAL
"""


def reason(output: Path) -> str:
    """Why CP2K gave no answer, in one line."""
    text = output.read_text("utf-8", "replace") if output.is_file() else ""
    if "SCF run NOT converged" in text:
        steps = re.findall(r"^\s+(\d+) (?:Broy|P_Mix|Pulay)\S*", text, re.MULTILINE)
        after = f" after {steps[-1]} iterations" if steps else ""
        return f"cp2k: the SCF has not converged{after}"
    if found := _ABORT.search(text):
        lines = (_PICTURE.sub("", line).strip(" *") for line in found[1].splitlines())
        return "cp2k: " + " ".join(" ".join(lines).split())
    return last_words(output)

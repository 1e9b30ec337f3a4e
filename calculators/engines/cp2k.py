"""CP2K as a program of its own: Gaussians and plane waves, with the sets that come with it.

Kühne et al. 2020, doi:10.1063/5.0007045. An SCF that does not converge is a failure: by itself CP2K
goes on with a warning. Not spin-polarised here.

The energy is CP2K's total energy, the free energy at the width of the smearing; forces and stress
belong to it. They are as good as the basis: forces of a double-zeta set are some percent from those
of plane waves, stresses some GPa.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from ase.units import Ry
from pydantic import Field

from calculators.engines import Accuracy, Engine
from calculators.engines._grid import boxed, pointed
from calculators.engines._program import Command, missing
from calculators.homes import homed

_INSTALL = "install CP2K (Debian: apt-get install cp2k cp2k-data)"
# beside the program, as Debian and as CP2K's own build put it
_SHARED = ("../share/cp2k", "../share/cp2k/data", "../../data")


class CP2K(Engine):
    """Gamma-centred k-points by density, Fermi-Dirac smearing, diagonalisation."""

    kind: Literal["cp2k"] = "cp2k"
    xc: Literal["PBE", "PADE", "BLYP"] = Field(
        default="PBE", description="functional; PADE is CP2K's LDA"
    )
    basis: str = Field(default="DZVP-MOLOPT-SR-GTH", description="basis set of every element")
    potential: str = Field(default="GTH-{xc}", description="pseudopotential of every element")
    basis_file: str = Field(default="BASIS_MOLOPT", description="file of the data folder")
    potential_file: str = Field(default="GTH_POTENTIALS", description="file of the data folder")
    grid_ev: float = Field(
        default=400 * Ry, gt=0, description="cutoff of the finest grid of the density [eV]"
    )
    relative_grid_ev: float = Field(
        default=60 * Ry, gt=0, description="cutoff that a Gaussian of exponent 1 needs [eV]"
    )
    kpts_density: float = Field(
        default=3.0, gt=0, description="k-points per 1/Å along each axis, Gamma-centred [Å]"
    )
    smearing_ev: float = Field(default=0.1, gt=0, description="Fermi-Dirac width [eV]")
    data_dir: str | None = Field(
        default=None,
        description="CP2K's data folder; none: CP2K_DATA_DIR in the environment, or beside the "
        "program",
    )
    command: Command = Field(default="cp2k_shell.psmp", description="e.g. mpirun -n 4 cp2k.psmp -s")
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixing_beta: float = Field(default=0.4, gt=0, le=1, description="mixing parameter")
    retries: tuple[dict[str, Any], ...] = (
        {"mixing_beta": 0.2, "maxiter": 160},
        {"mixing_beta": 0.05, "maxiter": 400},
    )

    # of the grid alone: what the basis leaves out stays
    accuracy: ClassVar[Accuracy | None] = Accuracy("grid_ev", "kpts_density")
    surrogate: ClassVar[bool] = False
    threaded: ClassVar[bool] = False
    helpers: ClassVar[frozenset[str]] = frozenset({"maxiter", "mixing_beta"})
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}
    places: ClassVar[frozenset[str]] = frozenset({"command", "data_dir"})

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """No program, no data, or elements that the sets leave out."""
        found = missing("cp2k", self.command, _INSTALL)
        folder = self.data()
        if folder is None:
            return [
                *found,
                "The engine 'cp2k' finds no data folder with basis sets and pseudopotentials: set "
                "data_dir (or CP2K_DATA_DIR in the environment) to it.",
            ]
        for key, name, file in (
            ("basis", self.basis, self.basis_file),
            ("potential", self.pseudopotential(), self.potential_file),
        ):
            path = folder / file
            try:
                known = _elements(path, name)
            except OSError as error:
                found.append(
                    f"There is no {file} that can be read in {folder} ({error.strerror}): correct "
                    f"{key}_file or data_dir."
                )
                continue
            if lost := sorted(set(symbols) - known):
                found.append(
                    f"{path} has no {name} for {', '.join(lost)}: choose another {key} or another "
                    "composition."
                )
        return found

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator, started anew for every structure."""
        from calculators.engines import _cp2k

        return _cp2k.Runner(pointed(self, atoms), directory)

    def placed(self, atoms: Atoms) -> Atoms:
        """A cluster in the middle of a cubic box of vacuum, which repeats."""
        return boxed(atoms)

    def description(self) -> str:
        """One line for tables."""
        return f"CP2K {self.xc}, {self.basis}, k density {self.kpts_density:g}"

    def pseudopotential(self) -> str:
        """Name of the pseudopotentials in their file."""
        return self.potential.replace("{xc}", self.xc)

    def data(self) -> Path | None:
        """CP2K's data folder."""
        if named := self.data_dir or os.environ.get("CP2K_DATA_DIR"):
            return homed(named).absolute()
        words = [shutil.which(word) for word in shlex.split(self.command) if "cp2k" in word]
        beside = [Path(word).resolve().parent / name for word in words if word for name in _SHARED]
        return next((folder.resolve() for folder in beside if folder.is_dir()), None)


def _elements(path: Path, name: str) -> set[str]:
    """Elements that a file of CP2K's has an entry of this name for."""
    entry = re.compile(rf"^\s*([A-Z][a-z]?)\s(?:.*\s)?{re.escape(name)}(?:\s|$)", re.MULTILINE)
    return set(entry.findall(path.read_text("utf-8", "replace")))

"""VASP, where you have a licence: its input set, your binary and POTCAR files, its vasprun.xml.

Kresse and Furthmüller 1996, doi:10.1103/PhysRevB.54.11169. An SCF that does not converge is a
failure and the next rung of the ladder, never a label. Custodian is not used: its handlers change
smearing, k-points and cutoff where they see fit, and labels of different settings would share a
key.

The energy is extrapolated to no smearing; forces and stress belong to the free energy.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from pydantic import Field, field_validator

from calculators.engines._grid import pointed
from calculators.engines._headers import Pseudo, read_potcar
from calculators.engines._plane_waves import PlaneWaves
from calculators.engines._program import Command
from calculators.homes import homed

# ENMAX is meant for energies at a fixed cell; stress needs more of the same waves
_STRESS_FACTOR = 1.3
# functional of the POTCAR files, tag GGA, and their folder in VASP_PP_PATH
_SETS = {
    "PBE": ("PBE", "PE", "potpaw_PBE"),
    "PBEsol": ("PBE", "PS", "potpaw_PBE"),
    "LDA": ("LDA", "CA", "potpaw"),
}

Tag = str | int | float | bool

#: tags that the engine writes itself
OWN_TAGS = frozenset(
    "ALGO AMIX BMIX EDIFF ENCUT GGA IBRION ICHARG ISIF ISMEAR ISPIN ISTART ISYM KGAMMA KSPACING "  # noqa: SIM905
    "LCHARG LORBIT LREAL LWAVE MAGMOM NELM NSW PREC SIGMA".split()
)


class Vasp(PlaneWaves):
    """VASP with Gamma-centred k-points by density and POTCAR files of one functional.

    The cutoff, where none is given: 1.3 times the largest ENMAX of the POTCAR files.
    """

    kind: Literal["vasp"] = "vasp"
    xc: Literal["PBE", "PBEsol", "LDA"] = "PBE"
    smearing: Literal["gaussian", "fermi-dirac", "methfessel-paxton"] = "gaussian"
    incar: dict[str, Tag] = Field(
        default={}, description="further tags of the INCAR, e.g. {LASPH: true, NCORE: 4}"
    )
    pseudo_dir: str | None = Field(
        default=None,
        description="folder that holds Si/POTCAR and so on; none: potpaw_PBE or potpaw in "
        "VASP_PP_PATH of the environment",
    )
    pseudopotentials: dict[str, str] = Field(
        default={}, description="sub-folder of an element where it is not its symbol: {Ti: Ti_sv}"
    )
    command: Command = Field(default="vasp_std", description="e.g. mpirun -n 4 vasp_std")
    maxiter: int = Field(default=100, ge=1, description="SCF iterations before it is given up")
    algo: Literal["Normal", "Fast", "All", "Damped"] = Field(
        default="Normal", description="the way to the ground state (ALGO)"
    )
    mixing_beta: float | None = Field(default=None, gt=0, le=1, description="AMIX")
    symmetry: bool = Field(default=True, description="whether symmetries save k-points")
    retries: tuple[dict[str, Any], ...] = (
        {"algo": "All", "maxiter": 200},
        {"algo": "Normal", "mixing_beta": 0.1, "maxiter": 300, "symmetry": False},
    )

    helpers: ClassVar[frozenset[str]] = frozenset({"maxiter", "algo", "mixing_beta", "symmetry"})
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}

    title: ClassVar[str] = "VASP"
    install: ClassVar[str] = "put vasp_std there (VASP needs a licence of its makers)"
    variable: ClassVar[str] = "VASP_PP_PATH"

    @field_validator("incar")
    @classmethod
    def _not_ours(cls, value: dict[str, Tag]) -> dict[str, Tag]:
        upper = {name.upper(): tag for name, tag in value.items()}
        if ours := sorted(OWN_TAGS & set(upper)):
            raise ValueError(
                f"{', '.join(ours)} may not stand in incar: the engine writes them itself, from "
                "keys such as ecut_ev, smearing, magmoms and kpts_density"
            )
        return upper

    def needed(self, symbols: set[str], files: Mapping[str, Pseudo]) -> float:
        """From what the files recommend."""
        most = max((pseudo.cutoff for pseudo in files.values()), default=0.0)
        return round(_STRESS_FACTOR * most, 3)

    def read(self, path: Path) -> Pseudo | None:
        """A POTCAR of one element."""
        return read_potcar(path)

    def functional(self) -> str:
        """The functional that the POTCAR files must be of; there is no set of PBEsol."""
        return _SETS[self.xc][0]

    def names(self, symbols: set[str]) -> dict[str, str]:
        """Every file has its folder."""
        return {s: f"{self.pseudopotentials.get(s, s)}/POTCAR" for s in symbols}

    def called(self, pseudo: Pseudo) -> str:
        """The sub-folder."""
        return pseudo.path.parent.name

    def folder(self) -> Path | None:
        """Where the sub-folders with a POTCAR are."""
        named = os.environ.get(self.variable)
        if self.pseudo_dir or not named:
            return super().folder()
        return homed(named).absolute() / _SETS[self.xc][2]

    def distributions(self) -> tuple[str, ...]:
        """Installed distributions whose versions are kept with a label."""
        return ("ase", "pymatgen")

    def gga(self) -> str:
        """Value of the tag GGA."""
        return _SETS[self.xc][1]

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """A calculator that writes the input set, runs VASP and reads vasprun.xml."""
        from calculators.engines import _vasp

        return _vasp.Runner(pointed(self, atoms), self.chosen(atoms), directory)

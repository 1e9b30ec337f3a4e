"""ABINIT as a program of its own, with norm-conserving pseudopotentials in psp8 of yours.

Gonze et al. 2020, doi:10.1016/j.cpc.2019.107042. An SCF that does not converge is a failure: by
itself ABINIT ends with status 0 and the numbers of its last iteration.

The energy is ABINIT's total energy, which with smearing is the free energy; forces and stress
belong to it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from pydantic import Field

from calculators.engines._grid import by_class, pointed
from calculators.engines._headers import Pseudo, read_psp8
from calculators.engines._plane_waves import PlaneWaves
from calculators.engines._program import Command


class Abinit(PlaneWaves):
    """ABINIT with Gamma-centred k-points by density and psp8 files of one functional.

    The cutoff, where none is given: 400 eV with Al and Si alone, 1200 with 3d metals, else 1000.
    """

    kind: Literal["abinit"] = "abinit"
    xc: Literal["PBE", "LDA"] = "PBE"
    smearing: Literal["cold", "fermi-dirac", "gaussian"] = "cold"
    smearing_ev: float = Field(default=0.27, gt=0, description="width of the smearing [eV]")
    command: Command = Field(default="abinit", description="e.g. mpirun -n 4 abinit")
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixing_beta: float = Field(
        default=0.7, gt=0, le=1, description="part of a new density that is taken (diemix)"
    )
    symmetry: bool = Field(default=True, description="whether symmetries save k-points")
    retries: tuple[dict[str, Any], ...] = (
        {"mixing_beta": 0.3, "maxiter": 160},
        {"mixing_beta": 0.1, "maxiter": 300, "symmetry": False},
    )

    helpers: ClassVar[frozenset[str]] = frozenset({"maxiter", "mixing_beta", "symmetry"})
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}

    title: ClassVar[str] = "ABINIT"
    install: ClassVar[str] = "install ABINIT (Debian: apt-get install abinit)"
    variable: ClassVar[str] = "ABINIT_PP_PATH"

    def needed(self, symbols: set[str], files: Mapping[str, Pseudo]) -> float:
        """By class, measured with the SPMS set."""
        return by_class(symbols, soft=400.0, others=1000.0, metals_3d=1200.0)

    def read(self, path: Path) -> Pseudo | None:
        """A psp8 file."""
        return read_psp8(path)

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator with k-points, moments and failures of our own."""
        from calculators.engines import _abinit

        return _abinit.calculator(pointed(self, atoms), self.chosen(atoms), directory)

"""Quantum ESPRESSO's pw.x as a program of its own: real DFT with pseudopotentials of yours.

Giannozzi et al. 2017, doi:10.1088/1361-648X/aa8f79. An SCF that does not converge is a failure and
the next rung of the ladder, never a label.

The energy is the total energy that pw.x prints, which with smearing is the free energy; forces and
stress belong to it. With cold smearing it is as good as extrapolated to no smearing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from ase.units import Ry
from pydantic import Field

from calculators.engines._grid import by_class, pointed
from calculators.engines._headers import Pseudo, read_upf
from calculators.engines._plane_waves import PlaneWaves
from calculators.engines._program import Command

# of the density, over that of the wave functions
_PLAIN_FACTOR, _AUGMENTED_FACTOR = 4.0, 10.0


class Espresso(PlaneWaves):
    """pw.x with Gamma-centred k-points by density and UPF files of one functional.

    The cutoff, where none is given: 30 Ry with Al and Si alone, 90 Ry with 3d metals, else 80 Ry.
    """

    kind: Literal["espresso"] = "espresso"
    density_factor: float | None = Field(
        default=None,
        ge=4,
        description="cutoff of the density over ecut_ev; none: 4, or 10 with an ultrasoft or PAW "
        "file",
    )
    smearing: Literal["cold", "fermi-dirac", "gaussian"] = "cold"
    smearing_ev: float = Field(default=0.02 * Ry, gt=0, description="width of the smearing [eV]")
    command: Command = Field(default="pw.x", description="e.g. mpirun -n 4 pw.x -nk 2")
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixing_beta: float = Field(default=0.4, gt=0, le=1, description="mixing parameter")
    mixing_mode: Literal["plain", "TF", "local-TF"] = "plain"
    diagonalization: Literal["david", "cg"] = "david"
    retries: tuple[dict[str, Any], ...] = (
        {"mixing_beta": 0.2, "maxiter": 160},
        {"mixing_beta": 0.1, "mixing_mode": "local-TF", "diagonalization": "cg", "maxiter": 300},
    )

    helpers: ClassVar[frozenset[str]] = frozenset(
        {"maxiter", "mixing_beta", "mixing_mode", "diagonalization"}
    )
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}

    title: ClassVar[str] = "Quantum ESPRESSO"
    install: ClassVar[str] = "install Quantum ESPRESSO (Debian: apt-get install quantum-espresso)"
    variable: ClassVar[str] = "ESPRESSO_PSEUDO"

    def needed(self, symbols: set[str], files: Mapping[str, Pseudo]) -> float:
        """By class, measured with PseudoDojo.

        Rutile's stress is 245 GPa off at 30 Ry, 7 at 60, converged at 80; iron's is 187 GPa off at
        60 Ry and converged at 90.
        """
        return by_class(symbols, soft=30 * Ry, others=80 * Ry, metals_3d=90 * Ry)

    def read(self, path: Path) -> Pseudo | None:
        """A UPF file."""
        return read_upf(path)

    def further(self, files: Mapping[str, Pseudo]) -> dict[str, Any]:
        """The cutoff of the density."""
        plain = all(pseudo.plain for pseudo in files.values())
        factor = _PLAIN_FACTOR if plain else _AUGMENTED_FACTOR
        return {"density_factor": self.density_factor or factor}

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator with starting moments, reading and failures of our own."""
        from calculators.engines import _espresso

        return _espresso.calculator(pointed(self, atoms), self.chosen(atoms), directory)

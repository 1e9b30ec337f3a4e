"""Quantum ESPRESSO's pw.x as a program of its own: real DFT with pseudopotentials of yours.

Giannozzi et al. 2017, doi:10.1088/1361-648X/aa8f79. An SCF that does not converge is a failure and
the next rung of the ladder, never a label.

The energy is the total energy that pw.x prints, which with smearing is the free energy; forces and
stress belong to it. With cold smearing it is as good as extrapolated to no smearing.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ase import Atoms
from ase.units import Ry
from pydantic import Field

from calculators.engines import Engine
from calculators.engines._grid import boxed, by_class
from calculators.engines._program import missing
from calculators.engines._pseudo import Pseudo, changed, choose, read_upf

_INSTALL = "install Quantum ESPRESSO (Debian: apt-get install quantum-espresso)"
# measured with PseudoDojo: rutile's stress is 245 GPa off at 30 Ry, 7 at 60, converged at 80; iron's
# 187 GPa at 60 Ry, converged at 90
_CUTOFFS = (30 * Ry, 80 * Ry, 90 * Ry)  # Al and Si, all others, 3d metals [eV]
# of the density, over that of the wave functions
_PLAIN_FACTOR, _AUGMENTED_FACTOR = 4.0, 10.0


class Espresso(Engine):
    """Gamma-centred k-points by density, one functional for all pseudopotentials."""

    kind: Literal["espresso"] = "espresso"
    xc: str = Field(default="PBE", description="functional that every UPF file must be of")
    ecut_ev: float | None = Field(
        default=None,
        gt=0,
        description="plane-wave cutoff [eV]; none: 408 with Al and Si alone, 1224 with 3d metals, "
        "else 1088",
    )
    density_factor: float | None = Field(
        default=None,
        ge=4,
        description="cutoff of the density over ecut_ev; none: 4, or 10 with an ultrasoft or PAW "
        "file",
    )
    kpts_density: float = Field(
        default=2.0, gt=0, description="k-points per 1/Å along each axis, Gamma-centred [Å]"
    )
    smearing: Literal["cold", "fermi-dirac", "gaussian"] = "cold"
    smearing_ev: float = Field(default=0.02 * Ry, gt=0, description="width of the smearing [eV]")
    magmoms: dict[str, float] | None = Field(
        default=None, description="starting moment of each element [Bohr magneton]"
    )
    pseudo_dir: str | None = Field(
        default=None, description="folder of UPF files; none: ESPRESSO_PSEUDO in the environment"
    )
    pseudopotentials: dict[str, str] = Field(
        default={}, description="file of an element where the folder has several, by symbol"
    )
    checksums: dict[str, str] = Field(
        default={}, description="of the files by element; written by the program, not by you"
    )
    command: str = Field(default="pw.x", description="e.g. mpirun -n 4 pw.x -nk 2")
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixing_beta: float = Field(default=0.4, gt=0, le=1, description="mixing parameter")
    mixing_mode: Literal["plain", "TF", "local-TF"] = "plain"
    diagonalization: Literal["david", "cg"] = "david"
    retries: tuple[dict[str, Any], ...] = (
        {"mixing_beta": 0.2, "maxiter": 160},
        {"mixing_beta": 0.1, "mixing_mode": "local-TF", "diagonalization": "cg", "maxiter": 300},
    )

    surrogate: ClassVar[bool] = False
    helpers: ClassVar[frozenset[str]] = frozenset(
        {"maxiter", "mixing_beta", "mixing_mode", "diagonalization"}
    )
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}
    # the files count by their content
    places: ClassVar[frozenset[str]] = frozenset({"command", "pseudo_dir", "pseudopotentials"})

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """No program, no pseudopotentials, the wrong ones, or settings that are still open."""
        wanted = set(symbols)
        program = missing("espresso", self.command, _INSTALL)
        if self._folder() is None:
            return [
                *program,
                "The engine 'espresso' has no pseudopotentials: set pseudo_dir (or ESPRESSO_PSEUDO "
                f"in the environment) to a folder of UPF files of {self.xc}.",
            ]
        found, problems = self._files(wanted)
        problems = [*program, *problems, *changed(found, self.checksums)]
        return problems or self.open_settings(wanted)

    def settled(self, symbols: Iterable[str]) -> Self:
        """With the cutoffs of the hardest element and the checksums of the files."""
        wanted = set(symbols)
        found, problems = self._files(wanted)
        if problems:
            return self
        plain = all(pseudo.plain for pseudo in found.values())
        sums = {symbol: pseudo.checksum() for symbol, pseudo in sorted(found.items())}
        return self.overridden(
            {
                "retries": self.retries,
                "ecut_ev": self.ecut_ev or by_class(wanted, *_CUTOFFS),
                "density_factor": self.density_factor
                or (_PLAIN_FACTOR if plain else _AUGMENTED_FACTOR),
                "pseudo_dir": self.pseudo_dir and str(Path(self.pseudo_dir).expanduser().absolute()),
                "pseudopotentials": {symbol: pseudo.path.name for symbol, pseudo in found.items()}
                | self.pseudopotentials,
                "checksums": sums | self.checksums,
            }
        )

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator with starting moments, reading and failures of our own."""
        from calculators.engines import _espresso

        found, problems = self._files(set(atoms.symbols))
        if problems or self.ecut_ev is None or self.density_factor is None:
            raise ValueError(" ".join(problems) or "the engine 'espresso' is not settled")
        return _espresso.calculator(self, found, directory)

    def placed(self, atoms: Atoms) -> Atoms:
        """A cluster in the middle of a cubic box of vacuum, which repeats."""
        return boxed(atoms)

    def stress_converged(self, atoms: Atoms) -> bool:
        """False below the cutoff of the hardest element: Pulay stress would ruin a training."""
        needed = by_class(set(atoms.symbols), *_CUTOFFS)
        return self.ecut_ev is None or self.ecut_ev >= 0.999 * needed

    def description(self) -> str:
        """One line for tables."""
        cutoff = "default" if self.ecut_ev is None else f"{self.ecut_ev:.0f} eV"
        spin = ", spin-polarised" if self.magmoms else ""
        return (
            f"Quantum ESPRESSO {self.xc}, plane waves {cutoff}, "
            f"k density {self.kpts_density:g}{spin}"
        )

    def _folder(self) -> Path | None:
        """Where the UPF files are."""
        named = self.pseudo_dir or os.environ.get("ESPRESSO_PSEUDO")
        return Path(named).expanduser().absolute() if named else None

    def _files(self, symbols: set[str]) -> tuple[dict[str, Pseudo], list[str]]:
        """The file of each element, and what is wrong."""
        folder = self._folder()
        if folder is None:
            return {}, ["no pseudo_dir"]
        return choose(symbols, folder, self.pseudopotentials, self.xc, read_upf)

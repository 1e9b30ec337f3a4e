"""ABINIT as a program of its own, with norm-conserving pseudopotentials in psp8 of yours.

Gonze et al. 2020, doi:10.1016/j.cpc.2019.107042. An SCF that does not converge is a failure: by
itself ABINIT ends with status 0 and the numbers of its last iteration.

The energy is ABINIT's total energy, which with smearing is the free energy; forces and stress belong
to it.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ase import Atoms
from pydantic import Field

from calculators.engines import Engine
from calculators.engines._grid import boxed, by_class
from calculators.engines._program import missing
from calculators.engines._pseudo import Pseudo, changed, choose, read_psp8

_INSTALL = "install ABINIT (Debian: apt-get install abinit)"
_CUTOFFS = (400.0, 1000.0, 1200.0)  # Al and Si, all others, 3d metals [eV]


class Abinit(Engine):
    """Gamma-centred k-points by density, one functional for all pseudopotentials."""

    kind: Literal["abinit"] = "abinit"
    xc: Literal["PBE", "LDA"] = Field(
        default="PBE", description="functional that every psp8 file must be of"
    )
    ecut_ev: float | None = Field(
        default=None,
        gt=0,
        description="plane-wave cutoff [eV]; none: 400 with Al and Si alone, 1200 with 3d metals, "
        "else 1000",
    )
    kpts_density: float = Field(
        default=2.0, gt=0, description="k-points per 1/Å along each axis, Gamma-centred [Å]"
    )
    smearing: Literal["cold", "fermi-dirac", "gaussian"] = "cold"
    smearing_ev: float = Field(default=0.27, gt=0, description="width of the smearing [eV]")
    magmoms: dict[str, float] | None = Field(
        default=None, description="starting moment of each element [Bohr magneton]"
    )
    pseudo_dir: str | None = Field(
        default=None, description="folder of psp8 files; none: ABINIT_PP_PATH in the environment"
    )
    pseudopotentials: dict[str, str] = Field(
        default={}, description="file of an element where the folder has several, by symbol"
    )
    checksums: dict[str, str] = Field(
        default={}, description="of the files by element; written by the program, not by you"
    )
    command: str = Field(default="abinit", description="e.g. mpirun -n 4 abinit")
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixing_beta: float = Field(
        default=0.7, gt=0, le=1, description="part of a new density that is taken (diemix)"
    )
    symmetry: bool = Field(default=True, description="whether symmetries save k-points")
    retries: tuple[dict[str, Any], ...] = (
        {"mixing_beta": 0.3, "maxiter": 160},
        {"mixing_beta": 0.1, "maxiter": 300, "symmetry": False},
    )

    surrogate: ClassVar[bool] = False
    helpers: ClassVar[frozenset[str]] = frozenset({"maxiter", "mixing_beta", "symmetry"})
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}
    # the files count by their content
    places: ClassVar[frozenset[str]] = frozenset({"command", "pseudo_dir", "pseudopotentials"})

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """No program, no pseudopotentials, the wrong ones, or settings that are still open."""
        wanted = set(symbols)
        program = missing("abinit", self.command, _INSTALL)
        if self._folder() is None:
            return [
                *program,
                "The engine 'abinit' has no pseudopotentials: set pseudo_dir (or ABINIT_PP_PATH in "
                f"the environment) to a folder of psp8 files of {self.xc}.",
            ]
        found, problems = self._files(wanted)
        problems = [*program, *problems, *changed(found, self.checksums)]
        return problems or self.open_settings(wanted)

    def settled(self, symbols: Iterable[str]) -> Self:
        """With the cutoff of the hardest element and the checksums of the files."""
        wanted = set(symbols)
        found, problems = self._files(wanted)
        if problems:
            return self
        sums = {symbol: pseudo.checksum() for symbol, pseudo in sorted(found.items())}
        return self.overridden(
            {
                "retries": self.retries,
                "ecut_ev": self.ecut_ev or by_class(wanted, *_CUTOFFS),
                "pseudo_dir": self.pseudo_dir and str(Path(self.pseudo_dir).expanduser().absolute()),
                "pseudopotentials": {symbol: pseudo.path.name for symbol, pseudo in found.items()}
                | self.pseudopotentials,
                "checksums": sums | self.checksums,
            }
        )

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator with k-points, moments and failures of our own."""
        from calculators.engines import _abinit

        found, problems = self._files(set(atoms.symbols))
        if problems or self.ecut_ev is None:
            raise ValueError(" ".join(problems) or "the engine 'abinit' is not settled")
        return _abinit.calculator(self, found, directory)

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
        return f"ABINIT {self.xc}, plane waves {cutoff}, k density {self.kpts_density:g}{spin}"

    def _folder(self) -> Path | None:
        """Where the psp8 files are."""
        named = self.pseudo_dir or os.environ.get("ABINIT_PP_PATH", "").split(os.pathsep)[0]
        return Path(named).expanduser().absolute() if named else None

    def _files(self, symbols: set[str]) -> tuple[dict[str, Pseudo], list[str]]:
        """The file of each element, and what is wrong."""
        folder = self._folder()
        if folder is None:
            return {}, ["no pseudo_dir"]
        return choose(symbols, folder, self.pseudopotentials, self.xc, read_psp8)

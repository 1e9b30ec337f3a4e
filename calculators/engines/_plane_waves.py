"""What engines with plane waves and pseudopotential files of the user's have in common."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from ase import Atoms
from pydantic import Field

from calculators.engines import Accuracy, Engine
from calculators.engines._grid import boxed
from calculators.engines._headers import Pseudo
from calculators.engines._program import Command, missing
from calculators.engines._pseudo import changed, choose
from calculators.homes import homed


class PlaneWaves(Engine):
    """A program, a folder of pseudopotentials of one functional, a cutoff for the hardest element.

    The cutoff and the checksums of the files are settled once for all elements of a campaign (see
    `Engine.settled`): an oxide and its metal have energies of one cutoff.
    """

    xc: str = Field(default="PBE", description="functional, of the pseudopotentials too")
    ecut_ev: float | None = Field(
        default=None,
        gt=0,
        description="plane-wave cutoff [eV]; none: what the stress of the hardest element needs",
    )
    kpts_density: float = Field(
        default=3.0, gt=0, description="k-points per 1/Å along each axis, Gamma-centred [Å]"
    )
    smearing_ev: float = Field(default=0.1, gt=0, description="width of the smearing [eV]")
    magmoms: dict[str, float] | None = Field(
        default=None, description="starting moment of each element [Bohr magneton]"
    )
    pseudo_dir: str | None = Field(
        default=None,
        description="folder of the pseudopotentials, relative to where `aga` is started; none: "
        "from the environment",
    )
    pseudopotentials: dict[str, str] = Field(
        default={}, description="file of an element where the folder leaves a choice, by symbol"
    )
    checksums: dict[str, str] = Field(
        default={}, description="of the files by element; written by the program, not by you"
    )
    command: Command = Field(
        description="how the program is started, e.g. with mpirun -n 4 before it"
    )

    accuracy: ClassVar[Accuracy | None] = Accuracy("ecut_ev", "kpts_density")
    surrogate: ClassVar[bool] = False
    threaded: ClassVar[bool] = False
    # the files count by their content
    places: ClassVar[frozenset[str]] = frozenset({"command", "pseudo_dir", "pseudopotentials"})

    title: ClassVar[str]
    """Name of the program in tables."""

    install: ClassVar[str]
    """What to do where it is missing."""

    variable: ClassVar[str]
    """Environment variable that names the folder where `pseudo_dir` does not."""

    @abstractmethod
    def needed(self, symbols: set[str], files: Mapping[str, Pseudo]) -> float:
        """The cutoff [eV] that the stress of the hardest of some elements needs."""

    @abstractmethod
    def read(self, path: Path) -> Pseudo | None:
        """The header of a pseudopotential file; None for anything else."""

    def functional(self) -> str:
        """The functional that the files must be of."""
        return self.xc

    def names(self, symbols: set[str]) -> dict[str, str]:
        """Files that are looked up by name, relative to the folder."""
        return {s: self.pseudopotentials[s] for s in symbols if s in self.pseudopotentials}

    def called(self, pseudo: Pseudo) -> str:
        """What `pseudopotentials` says for a file."""
        return pseudo.path.name

    def further(self, files: Mapping[str, Pseudo]) -> dict[str, Any]:
        """What else `settled` writes out."""
        return {}

    def folder(self) -> Path | None:
        """Where the pseudopotentials are."""
        named = self.pseudo_dir or os.environ.get(self.variable)
        return homed(named).absolute() if named else None

    def files(self, symbols: set[str]) -> tuple[dict[str, Pseudo], list[str]]:
        """The file of each element, and what is wrong."""
        folder = self.folder()
        if folder is None:
            return {}, [
                f"The engine {self.kind!r} has no pseudopotentials: set pseudo_dir (or "
                f"{self.variable} in the environment) to a folder of {self.functional()} files."
            ]
        try:
            return choose(symbols, folder, self.names(symbols), self.functional(), self.read)
        except OSError as error:  # e.g. no permission
            return {}, [
                f"The pseudopotentials of {self.kind!r} cannot be read: {error.filename}: "
                f"{error.strerror}. Correct pseudo_dir or the permissions."
            ]

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """No program, no pseudopotentials, the wrong ones, or settings that are still open."""
        wanted = set(symbols)
        found, problems = self.files(wanted)
        problems = [
            *missing(self.kind, self.command, self.install),
            *problems,
            *changed(found, self.checksums),
        ]
        return problems or self.open_settings(wanted)

    def settled(self, symbols: Iterable[str]) -> Self:
        """With the cutoff of the hardest element and the checksums of the files."""
        wanted = set(symbols)
        found, problems = self.files(wanted)
        if problems:
            return self
        sums = {symbol: pseudo.checksum() for symbol, pseudo in sorted(found.items())}
        folder = self.pseudo_dir and str(homed(self.pseudo_dir).absolute())
        return self.overridden(
            {
                "retries": self.retries,
                "ecut_ev": self.ecut_ev or self.needed(wanted, found),
                "pseudo_dir": folder,
                "checksums": sums | self.checksums,
                # so that the folder is searched once
                "pseudopotentials": {
                    **{symbol: self.called(pseudo) for symbol, pseudo in sorted(found.items())},
                    **self.pseudopotentials,
                },
                **self.further(found),
            }
        )

    def chosen(self, atoms: Atoms) -> dict[str, Pseudo]:
        """The files of a structure's elements, for a calculation.

        Raises:
            ValueError: one is missing, or the cutoff is open.
        """
        found, problems = self.files(set(atoms.symbols))
        if self.ecut_ev is None:
            problems = [*problems, *self.open_settings(set(atoms.symbols))]
        if problems:
            raise ValueError(" ".join(problems))
        return found

    def placed(self, atoms: Atoms) -> Atoms:
        """A cluster in the middle of a cubic box of vacuum, which repeats."""
        return boxed(atoms)

    def usual_cutoff(self, symbols: Iterable[str]) -> float | None:
        """That of the hardest element; None where its pseudopotentials are missing."""
        wanted = set(symbols)
        found, problems = self.files(wanted)
        return None if problems else self.needed(wanted, found)

    def stress_converged(self, atoms: Atoms) -> bool:
        """False below the cutoff of the hardest element: Pulay stress would ruin a training."""
        if self.ecut_ev is None:
            return True
        symbols = set(atoms.symbols)
        return self.ecut_ev >= 0.999 * self.needed(symbols, self.files(symbols)[0])

    def description(self) -> str:
        """One line for tables."""
        cutoff = "default" if self.ecut_ev is None else f"{self.ecut_ev:.0f} eV"
        spin = ", spin-polarised" if self.magmoms else ""
        return (
            f"{self.title} {self.xc}, plane waves {cutoff}, k density {self.kpts_density:g}{spin}"
        )

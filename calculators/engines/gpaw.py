"""GPAW with plane waves: real DFT from PyPI that needs only g++.

Mortensen et al. 2024, doi:10.1063/5.0182685. GPAW is under the GPL: it is imported in the child
process alone, never by these modules.

The energy is ASE's default, extrapolated to zero smearing; forces and stress belong to the free
energy. At 0.1 eV the two differ by a few meV per atom in metals and by nothing in insulators.
"""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from pydantic import Field

from calculators.engines import Accuracy, Engine
from calculators.engines._grid import METALS_3D, boxed, moments

# Below these cutoffs the Pulay stress of the 2p of nitrogen, oxygen and fluorine and of the 3d
# shells is up to tens of GPa, while the forces have long converged. Rutile, off its stress at 1000
# eV: 17 GPa at 520, 6.3 at 600, 0.3 at 800 eV. Iron, off that at 800 eV: 5.7 at 400, 0.5 at 600 eV.
_HARD = frozenset(("N", "O", "F"))
_HARD_CUTOFF, _METALS_3D_CUTOFF, _SOFT_CUTOFF = 800.0, 600.0, 300.0  # [eV]

# functionals with PAW datasets of their own; all others use those of PBE
_OWN_DATASETS = frozenset({"LDA", "RPBE", "revPBE", "GLLBSC"})

_INSTALL = (
    "The engine 'gpaw' is not installed: "
    "GPAW_CONFIG=$PWD/scripts/gpaw_siteconfig.py pip install 'aga-search[gpaw]' "
    "(needs only g++; GPAW_CONFIG names the build settings). Without g++ the same campaign runs "
    "with `engine: {kind: chgnet}` (wheels only: pip install 'aga-search[chgnet]'; a surrogate of "
    "PBE, not DFT)."
)


class GPAW(Engine):
    """Gamma-centred k-points by density, Fermi-Dirac smearing, an SCF that must converge.

    The ladder may change the way to the answer (mixing, eigensolver, number of iterations) and,
    if you say so, the smearing, which moves energies by meV; the default ladder does not.
    """

    kind: Literal["gpaw"] = "gpaw"
    ecut_ev: float = Field(default=_SOFT_CUTOFF, gt=0, description="plane-wave cutoff [eV]")
    kpts_density: float = Field(
        default=3.0, gt=0, description="k-points per 1/Å along each axis, Gamma-centred [Å]"
    )
    xc: str = Field(default="PBE", description="exchange-correlation functional")
    smearing_ev: float = Field(default=0.1, gt=0, description="Fermi-Dirac width [eV]")
    magmoms: dict[str, float] | None = Field(
        default=None, description="starting moment of each element [Bohr magneton]"
    )
    maxiter: int = Field(default=80, ge=1, description="SCF iterations before it is given up")
    mixer: Literal["msr1", "pulay"] | None = Field(default=None, description="density mixer")
    mixing_beta: float | None = Field(default=None, gt=0, le=1, description="mixing parameter")
    eigensolver: Literal["davidson", "rmm-diis"] | None = None
    retries: tuple[dict[str, Any], ...] = (
        {"mixer": "pulay", "mixing_beta": 0.05, "maxiter": 160},
        {"mixer": "pulay", "mixing_beta": 0.02, "maxiter": 300, "eigensolver": "davidson"},
    )

    surrogate: ClassVar[bool] = False
    helpers: ClassVar[frozenset[str]] = frozenset(
        {"maxiter", "mixer", "mixing_beta", "eigensolver"}
    )
    ladder: ClassVar[frozenset[str]] = helpers | {"smearing_ev"}
    accuracy: ClassVar[Accuracy | None] = Accuracy("ecut_ev", "kpts_density")

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """Not installed, or elements without a PAW dataset."""
        if find_spec("gpaw") is None:
            return [_INSTALL]
        folders = _dataset_folders()
        kind = self.xc if self.xc in _OWN_DATASETS else "PBE"
        missing = [
            symbol
            for symbol in sorted(set(symbols))
            if not any(any(folder.glob(f"{symbol}.{kind}*")) for folder in folders)
        ]
        if not missing:
            return []
        where = ", ".join(map(str, folders)) or "no folder: gpaw-data is not installed"
        return [
            f"GPAW has no {kind} dataset for {', '.join(missing)} (looked in {where}): "
            "pip install gpaw-data, set GPAW_SETUP_PATH to a folder that has them, "
            "or take another composition."
        ]

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """GPAW's ASE calculator; raises KohnShamConvergenceError where the SCF does not end."""
        import gpaw

        optional: dict[str, Any] = {}
        if self.mixer is not None or self.mixing_beta is not None:
            optional["mixer"] = {"name": self.mixer or "msr1"}
        if self.mixing_beta is not None:
            optional["mixer"]["beta"] = self.mixing_beta
        if self.eigensolver is not None:
            optional["eigensolver"] = {"name": self.eigensolver}
        if self.magmoms is not None:
            optional["magmoms"] = moments(atoms, self.magmoms)
        return gpaw.GPAW(
            mode={"name": "pw", "ecut": self.ecut_ev},
            xc=self.xc,
            kpts={"density": self.kpts_density, "gamma": True} if atoms.pbc.any() else (1, 1, 1),
            occupations={"name": "fermi-dirac", "width": self.smearing_ev},
            # as a convergence criterion GPAW would return silently
            maxiter=self.maxiter,
            txt=str(directory / "gpaw.txt"),
            **optional,
        )

    def placed(self, atoms: Atoms) -> Atoms:
        """A cluster in the middle of a cubic box of vacuum, which repeats."""
        return boxed(atoms)

    def stress_converged(self, atoms: Atoms) -> bool:
        """False below 800 eV with N, O or F, and below 600 with a 3d metal: Pulay stress."""
        return self.ecut_ev >= _needed(atoms.symbols)

    def usual_cutoff(self, symbols: Iterable[str]) -> float | None:
        """By class of element, 300 eV for those that are soft."""
        return max(_SOFT_CUTOFF, _needed(symbols))

    def distributions(self) -> tuple[str, ...]:
        """Installed distributions whose versions are kept with a label."""
        return ("ase", "gpaw", "gpaw-data")

    def description(self) -> str:
        """One line for tables."""
        spin = ", spin-polarised" if self.magmoms else ""
        return (
            f"GPAW {self.xc}, plane waves {self.ecut_ev:g} eV, "
            f"k density {self.kpts_density:g}{spin}"
        )


def _needed(symbols: Iterable[str]) -> float:
    """The cutoff below which the stress of these elements is known to be wrong [eV]; 0: none is."""
    found = set(symbols)
    if found & _HARD:
        return _HARD_CUTOFF
    return _METALS_3D_CUTOFF if found & METALS_3D else 0.0


def _dataset_folders() -> list[Path]:
    """Where GPAW looks for datasets: its environment variable, then the gpaw-data package."""
    named = os.environ.get("GPAW_SETUP_PATH", "")
    folders = [Path(folder) for folder in named.split(os.pathsep) if folder]
    data = find_spec("gpaw_data")
    if data is not None and data.origin is not None:
        folders.append(Path(data.origin).parent / "setups")
    return folders

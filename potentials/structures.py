"""Labels and frames: what an oracle said about a structure; structures as plain data."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Label:
    """One single point of one engine.

    Attributes:
        energy: total energy [eV].
        forces: forces without constraints [eV/Å] (N, 3).
        stress: (1/V) dE/dstrain, tension positive [eV/Å^3], Voigt-6 (xx, yy, zz, yz, xz, xy);
            None where the engine says that its stress is not converged.
        engine: key of the engine's settings; one key per data set.
        seconds: wall time of the calculation [s].
        magmoms: magnetic moments [bohr magneton] (N,), or None.
        magnetization: total moment of the cell [bohr magneton], or None; between the atoms too, so
            it is not the sum of ``magmoms``.

    Raises:
        ValueError: a shape is wrong or a number is not finite.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None
    engine: str
    seconds: float = 0.0
    magmoms: FloatArray | None = None
    magnetization: float | None = None

    def __post_init__(self) -> None:
        """Refuse labels that would poison a fit."""
        if self.forces.ndim != 2 or self.forces.shape[1] != 3:
            raise ValueError(f"Label.forces must be (N, 3), got {self.forces.shape}")
        if self.stress is not None and self.stress.shape != (6,):
            raise ValueError(
                f"Label.stress must be Voigt-6 (6,), got {self.stress.shape}; "
                "use ase.stress.full_3x3_to_voigt_6_stress"
            )
        if self.magmoms is not None and self.magmoms.shape != self.forces.shape[:1]:
            raise ValueError(
                f"Label.magmoms must be (N,) = {self.forces.shape[:1]}, got {self.magmoms.shape}; "
                "give one moment per atom, or None"
            )
        parts = [
            np.array([self.energy]),
            self.forces,
            *([] if self.stress is None else [self.stress]),
            *([] if self.magmoms is None else [self.magmoms]),
            np.array([self.magnetization or 0.0]),
        ]
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("Label holds a number that is not finite (NaN or infinity)")

    @property
    def fmax(self) -> float:
        """Largest force on an atom [eV/Å]."""
        with np.errstate(over="ignore"):  # infinite is as good an answer
            return float(np.linalg.norm(self.forces, axis=1).max(initial=0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, exact to the last bit."""
        return {
            "energy": self.energy,
            "forces": self.forces.tolist(),
            "stress": None if self.stress is None else self.stress.tolist(),
            "engine": self.engine,
            "seconds": self.seconds,
            "magmoms": None if self.magmoms is None else self.magmoms.tolist(),
            "magnetization": self.magnetization,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Label":
        """The inverse of `to_dict`."""

        def array(value: Any) -> FloatArray | None:
            return None if value is None else np.array(value, dtype=np.float64)

        total = data.get("magnetization")  # labels of earlier versions have none
        return cls(
            energy=float(data["energy"]),
            forces=np.array(data["forces"], dtype=np.float64).reshape(-1, 3),
            stress=array(data["stress"]),
            engine=str(data["engine"]),
            seconds=float(data.get("seconds", 0.0)),
            magmoms=array(data.get("magmoms")),
            magnetization=None if total is None else float(total),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A labelled structure; ``atoms`` carries no calculator.

    Raises:
        ValueError: label and structure differ in their number of atoms.
    """

    id: str
    atoms: Atoms
    label: Label

    def __post_init__(self) -> None:
        """Refuse a label of another structure."""
        if len(self.label.forces) != len(self.atoms):
            raise ValueError(
                f"Frame {self.id!r}: {len(self.atoms)} atoms, but the label holds forces on "
                f"{len(self.label.forces)}; label and structure do not belong together"
            )


def atoms_to_dict(atoms: Atoms) -> dict[str, Any]:
    """Numbers, positions [Å], cell rows [Å] and periodicity as plain JSON data."""
    return {
        "numbers": [int(number) for number in atoms.numbers],
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": [bool(flag) for flag in atoms.pbc],
    }


def atoms_from_dict(data: dict[str, Any]) -> Atoms:
    """The inverse of `atoms_to_dict`."""
    return Atoms(
        numbers=data["numbers"], positions=data["positions"], cell=data["cell"], pbc=data["pbc"]
    )


def bare(atoms: Atoms) -> Atoms:
    """A copy with numbers, positions, cell and periodicity only."""
    return Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def volume_of(atoms: Atoms) -> float:
    """Of the cell [Å^3]; 0 for what is not periodic in three directions."""
    return float(atoms.get_volume()) if atoms.pbc.all() else 0.0


def heights(atoms: Atoms) -> FloatArray:
    """Distances between opposite cell faces [Å] (3,)."""
    inverse: FloatArray = np.linalg.inv(atoms.cell.array)
    return np.asarray(1.0 / np.linalg.norm(inverse, axis=0))


def content_key(*parts: Any) -> str:
    """A 20-character hash of plain JSON data, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def rounded(atoms: Atoms, digits: int = 6) -> dict[str, Any]:
    """`atoms_to_dict` with lengths rounded to ``digits`` decimals [Å], for content keys."""
    data = atoms_to_dict(atoms)
    for name in ("positions", "cell"):
        # adding zero turns -0.0 into 0.0
        data[name] = (np.round(np.array(data[name], dtype=np.float64), digits) + 0.0).tolist()
    return data

"""Gates before and after an oracle: what it must not be asked and must not be believed."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from potentials.structures import Label

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LabelGates:
    """Limits that hold for every label.

    Attributes:
        min_distance: shortest distance of each pair of elements, symbols sorted [Å].
        shortest: the same for pairs not named [Å]; H2 is 0.74 Å long.
        volume_per_atom: smallest and largest volume [Å^3]; for crystals periodic in three axes.
        max_force: largest force on an atom [eV/Å].
        energy_window: lowest and highest energy of the engine [eV/atom], or None.
    """

    min_distance: dict[Pair, float] = field(default_factory=dict)
    shortest: float = 0.6
    volume_per_atom: tuple[float, float] = (0.5, 1000.0)
    max_force: float = 100.0
    energy_window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """A pair written the other way round would silently not count."""
        for pair in self.min_distance:
            if tuple(sorted(pair)) != pair:
                raise ValueError(
                    f"LabelGates.min_distance: symbols of a pair must be sorted, got {pair}"
                )

    def before(self, atoms: Atoms) -> str:
        """Why ``atoms`` must not be calculated; empty where nothing speaks against it."""
        if len(atoms) == 0:
            return "the structure has no atoms"
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            return "a position or cell vector is not finite"
        if atoms.pbc.any() and atoms.cell.rank < 3:
            return "a periodic structure needs three independent cell vectors"
        if atoms.pbc.all():
            volume = atoms.get_volume() / len(atoms)
            low, high = self.volume_per_atom
            if not low <= volume <= high:
                return f"{volume:.3g} Å^3 per atom lies outside the gate {low:g} to {high:g} Å^3"
        return self._too_close(atoms)

    def after(self, atoms: Atoms, label: Label) -> str:
        """Why ``label`` must not be believed; empty where nothing speaks against it."""
        if len(label.forces) != len(atoms):
            return f"{len(label.forces)} forces came back for {len(atoms)} atoms"
        if label.fmax > self.max_force:
            return f"a force of {label.fmax:.4g} eV/Å exceeds the gate of {self.max_force:g} eV/Å"
        if self.energy_window is not None:
            low, high = self.energy_window
            energy = label.energy / len(atoms)
            if not low <= energy <= high:
                return f"{energy:.4g} eV/atom lies outside the window {low:g} to {high:g} eV/atom"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            **asdict(self),
            "min_distance": [[*pair, value] for pair, value in self.min_distance.items()],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "LabelGates":
        """The inverse of `to_dict`."""
        window = data["energy_window"]
        return cls(
            min_distance={(a, b): value for a, b, value in data["min_distance"]},
            shortest=data["shortest"],
            volume_per_atom=(data["volume_per_atom"][0], data["volume_per_atom"][1]),
            max_force=data["max_force"],
            energy_window=None if window is None else (window[0], window[1]),
        )

    def _too_close(self, atoms: Atoms) -> str:
        """The pair, periodic images included, that lies deepest below its gate."""
        reach = max([self.shortest, *self.min_distance.values()])
        first, second, distances = neighbor_list("ijd", atoms, reach)
        symbols = np.array(atoms.get_chemical_symbols())
        worst, text = 1.0, ""
        for a, b, distance in zip(symbols[first], symbols[second], distances, strict=True):
            low, high = min(a, b), max(a, b)
            gate = self.min_distance.get((low, high), self.shortest)
            if distance < worst * gate:
                worst = distance / gate
                text = f"{low} and {high} are {distance:.3f} Å apart, below the gate of {gate:g} Å"
        return text

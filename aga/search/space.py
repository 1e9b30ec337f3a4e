"""What may be searched: composition, volume, distances, pressure, symmetry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations_with_replacement
from math import pi
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.random import Generator

from aga.search.compositions import Counts, counts_of, named
from aga.search.hull import Hull
from aga.search.ions import anion_distances
from aga.search.neighbours import neighbours
from aga.search.volumes import mixture_volume
from potentials.gates import Gates, connected
from potentials.structures import heights

PairDistances = Mapping[tuple[str, str], float]
#: crystals, or clusters: not periodic, without a cell, around the origin
Dimension = Literal["bulk", "cluster"]

GATE_FACTOR = 0.6
PROPOSAL_FACTOR = 0.75
#: parts of a cluster farther apart than this beyond the sum of covalent radii are not bound [Å]
GAP = 2.0
#: largest extent of a cluster over the diameter of a ball of its atoms: chains of ten still fit
STRETCH = 3.0


def covalent_distances(
    symbols: tuple[str, ...], factor: float, gap: float = 0.0
) -> dict[tuple[str, str], float]:
    """``factor`` times the sum of covalent radii and a gap [Å] by sorted pair of symbols.

    Radii: Cordero et al. 2008, https://doi.org/10.1039/b801115j (as in ASE).
    """
    radii = {symbol: float(covalent_radii[atomic_numbers[symbol]]) for symbol in symbols}
    return {
        (one, two): factor * (radii[one] + radii[two]) + gap
        for one, two in combinations_with_replacement(sorted(symbols), 2)
    }


@dataclass(frozen=True)
class Space:
    """The structures one search considers: bulk crystals or clusters of one composition.

    A cluster must hang together, and has neither volume nor space group nor pressure.

    Attributes:
        composition: atoms in the simulation cell, or of the cluster, by symbol.
        volume_per_atom: guess [Å^3/atom]; 0 takes `volumes.mixture_volume`.
        volumes: others that random crystals are drawn near, as often [Å^3/atom].
        pressure: external pressure [eV/Å^3].
        spacegroups: numbers that random crystals are drawn from.
        min_distance: gate of a relaxation [Å] by sorted pair of symbols; pairs left out take 0.6
            times the sum of covalent radii.
        proposal_distance: gate of a proposal [Å]; pairs left out take the larger of 0.75 times the
            sum and the gate of the relaxation. Short bonds of oxides (V=O) reach 0.73 sums.
        volume_range: allowed volume in units of the guess.
        min_height: smallest distance between opposite cell faces [Å].
        max_length: longest cell vector [Å].
        dimension: crystals or clusters.

    Raises:
        ValueError: an unknown element, no atoms, or a range that holds nothing.
    """

    composition: Mapping[str, int]
    volume_per_atom: float = 0.0
    volumes: tuple[float, ...] = ()
    pressure: float = 0.0
    spacegroups: tuple[int, ...] = tuple(range(2, 231))
    min_distance: PairDistances = field(default_factory=dict)
    proposal_distance: PairDistances = field(default_factory=dict)
    volume_range: tuple[float, float] = (0.5, 2.0)
    min_height: float = 1.2
    max_length: float = 40.0
    dimension: Dimension = "bulk"

    def __post_init__(self) -> None:
        """Check, and fill in what was left out."""
        self._check()
        symbols = tuple(sorted(self.composition))
        gate = covalent_distances(symbols, GATE_FACTOR) | _by_sorted_pair(self.min_distance)
        loose = covalent_distances(symbols, PROPOSAL_FACTOR)
        loose = {pair: max(value, gate[pair]) for pair, value in loose.items()}
        values = {
            "composition": {symbol: int(self.composition[symbol]) for symbol in symbols},
            "volume_per_atom": self.volume_per_atom or mixture_volume(self.composition),
            "min_distance": gate,
            "proposal_distance": loose | _by_sorted_pair(self.proposal_distance),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check(self) -> None:
        unknown = [symbol for symbol in self.composition if symbol not in atomic_numbers]
        if unknown:
            raise ValueError(f"Space.composition: {unknown[0]!r} is not a chemical symbol")
        if not self.composition or min(self.composition.values()) < 1:
            raise ValueError(
                f"Space.composition: expected at least one atom of each element named, "
                f"got {dict(self.composition)}"
            )
        if not self.spacegroups or not set(self.spacegroups) <= set(range(1, 231)):
            raise ValueError("Space.spacegroups: expected one or more numbers of 1-230")
        low, high = self.volume_range
        if not 0 < low < high or self.volume_per_atom < 0:
            raise ValueError(
                f"Space: expected 0 < low < high in volume_range and a positive volume_per_atom, "
                f"got {self.volume_range} and {self.volume_per_atom}"
            )
        if self.dimension == "cluster" and self.pressure != 0:
            raise ValueError("Space.pressure: expected none on a cluster, which has no volume")

    @property
    def name(self) -> str:
        """The composition of the cell, e.g. "Au2Cu2"."""
        return named(self.composition)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The elements in alphabetical order."""
        return tuple(self.composition)

    @property
    def n_atoms(self) -> int:
        """Atoms in the simulation cell, or of the cluster."""
        return sum(self.composition.values())

    @property
    def volume_window(self) -> tuple[float, float]:
        """Smallest and largest allowed volume [Å^3/atom]."""
        low, high = self.volume_range
        return low * self.volume_per_atom, high * self.volume_per_atom

    @property
    def diameter(self) -> float:
        """Of a ball that holds the atoms at the guessed volume [Å]."""
        return float(np.cbrt(6 / pi * self.n_atoms * self.volume_per_atom))

    @cached_property
    def anion_distance(self) -> PairDistances:
        """How far apart anions are in its random structures [Å] by sorted pair of symbols."""
        return anion_distances(self.composition)

    @property
    def bonds(self) -> dict[tuple[str, str], float]:
        """Longest distances that hold a cluster together [Å] by sorted pair of symbols."""
        return covalent_distances(self.symbols, 1.0, GAP)

    def gates(self) -> Gates:
        """What a relaxation may not leave."""
        if self.dimension == "cluster":
            return Gates(
                min_distance=dict(self.min_distance),
                volume_per_atom=(0.0, np.inf),
                max_length=STRETCH * self.diameter,
                bonds=self.bonds,
            )
        return Gates(
            min_distance=dict(self.min_distance),
            volume_per_atom=self.volume_window,
            min_height=self.min_height,
            max_length=self.max_length,
        )

    def feasible(self, atoms: Atoms, distances: PairDistances | None = None) -> str:
        """Why ``atoms`` lies outside the space; "" where it lies inside.

        Args:
            atoms: the structure.
            distances: shortest allowed distances [Å]; ``min_distance`` unless told.
        """
        return (
            self._composition_problem(atoms)
            or (self._cell_problem if self.dimension == "bulk" else self._shape_problem)(atoms)
            or _distance_problem(atoms, self.min_distance if distances is None else distances)
        )

    def proposable(self, atoms: Atoms) -> str:
        """`feasible` with the wider distances that a proposal must keep."""
        return self.feasible(atoms, self.proposal_distance)

    def _composition_problem(self, atoms: Atoms) -> str:
        found = counts_of(atoms)
        if found != self.composition:
            return f"composition {found} is not {dict(self.composition)}"
        if self.dimension == "bulk" and not atoms.pbc.all():
            return "not periodic in three directions"
        if self.dimension == "cluster" and atoms.pbc.any():
            return "periodic, which a cluster is not"
        return ""

    def _cell_problem(self, atoms: Atoms) -> str:
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            return "a position or cell vector is not finite"
        determinant = float(np.linalg.det(atoms.cell.array))
        if determinant < 0:
            return "left-handed cell vectors"
        low, high = self.volume_window
        if not low <= determinant / len(atoms) <= high:
            return f"volume outside {low:.1f}-{high:.1f} Å^3/atom"
        if atoms.cell.lengths().max() > self.max_length:
            return f"a cell vector longer than {self.max_length:g} Å"
        if heights(atoms).min() < self.min_height:
            return f"cell faces closer than {self.min_height:g} Å"
        return ""

    def _shape_problem(self, atoms: Atoms) -> str:
        if not np.isfinite(atoms.positions).all():
            return "a position is not finite"
        widest = STRETCH * self.diameter
        if np.ptp(atoms.positions, axis=0).max() > widest:
            return f"longer than {widest:.1f} Å"
        return "" if connected(atoms, self.bonds) else "in pieces"


class Spaces:
    """The spaces of one search, one for each composition that it considers.

    Args:
        members: at least one.
        chances: probability that a proposal is made in each; even if not given.
        hull: the enthalpies that structures are measured from; None: zero.

    Raises:
        ValueError: no members, or the chances are not one for each and sum to 1.
    """

    def __init__(
        self,
        members: Sequence[Space],
        chances: Sequence[float] | None = None,
        hull: Hull | None = None,
    ) -> None:
        self.members = tuple(members)
        even = [1 / max(1, len(members))] * len(members)
        self.chances = np.array(even if chances is None else chances)
        self._hull = hull
        if not members or len(self.chances) != len(members) or abs(self.chances.sum() - 1) > 1e-9:
            raise ValueError(
                f"Spaces: expected a probability for each of one or more spaces, got "
                f"{len(self.chances)} that sum to {self.chances.sum():g} for {len(members)}"
            )

    def draw(self, rng: Generator) -> Space:
        """A space by its chance; with a single one chance is left alone."""
        if len(self.members) == 1:
            return self.members[0]
        return self.members[int(rng.choice(len(self.members), p=self.chances))]

    def ground(self, counts: Counts) -> float:
        """Enthalpy that structures of a composition are measured from [eV/atom]."""
        return 0.0 if self._hull is None else self._hull.ground(counts)

    def gates(self) -> Gates:
        """The gates of a relaxation, wide enough for every member."""
        gates = [space.gates() for space in self.members]
        pairs: dict[tuple[str, str], float] = {}
        for gate in gates:
            pairs |= gate.min_distance
        lows, highs = zip(*(gate.volume_per_atom for gate in gates), strict=True)
        return Gates(
            min_distance=pairs,
            volume_per_atom=(min(lows), max(highs)),
            min_height=min(gate.min_height for gate in gates),
            max_length=max(gate.max_length for gate in gates),
            bonds={pair: length for gate in gates for pair, length in gate.bonds.items()},
        )


def pair_matrix(atoms: Atoms, distances: PairDistances) -> tuple[np.ndarray, np.ndarray]:
    """Distances as a matrix [Å] (S, S) and the row of each atom (N,); unnamed pairs are 0."""
    symbols = sorted(set(atoms.symbols))
    table = np.zeros((len(symbols), len(symbols)))
    for row, one in enumerate(symbols):
        for column, two in enumerate(symbols):
            table[row, column] = distances.get((min(one, two), max(one, two)), 0.0)
    place = {symbol: index for index, symbol in enumerate(symbols)}
    return table, np.array([place[symbol] for symbol in atoms.symbols], dtype=np.int64)


def tidied(atoms: Atoms) -> Atoms:
    """The same crystal in the most compact right-handed cell, atoms wrapped into it.

    A cluster is put around the origin, without a cell.

    Raises:
        ValueError: the cell of a crystal has no volume.
    """
    if not atoms.pbc.any():
        return Atoms(
            numbers=atoms.numbers, positions=atoms.positions - atoms.positions.mean(axis=0)
        )
    if abs(np.linalg.det(atoms.cell.array)) < 1e-6:
        raise ValueError("tidied: expected three independent cell vectors, got a flat cell")
    reduced = np.asarray(atoms.cell.minkowski_reduce()[0])
    if np.linalg.det(reduced) < 0:
        reduced = -reduced
    tidy = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=reduced, pbc=True)
    tidy.wrap()
    return tidy


def _by_sorted_pair(distances: PairDistances) -> dict[tuple[str, str], float]:
    return {(min(pair), max(pair)): float(value) for pair, value in distances.items()}


def _distance_problem(atoms: Atoms, distances: PairDistances) -> str:
    table, rows = pair_matrix(atoms, distances)
    if table.max(initial=0.0) <= 0.0:
        return ""
    pairs = neighbours(atoms, float(table.max()))
    short = pairs.distances < table[rows[pairs.first], rows[pairs.second]]
    if not short.any():
        return ""
    worst = int(np.argmin(np.where(short, pairs.distances, np.inf)))
    names = sorted((atoms.symbols[pairs.first[worst]], atoms.symbols[pairs.second[worst]]))
    return f"{'-'.join(names)} {pairs.distances[worst]:.2f} Å apart"

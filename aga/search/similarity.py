"""When two structures are the same: a fast fingerprint first, an exact matcher as the judge.

Fingerprint: partial radial distributions per pair of elements less the uniform background,
smeared and compared by the cosine (Oganov & Valle 2009, https://doi.org/10.1063/1.3079326), here
weighted by a smooth cutoff and the distance, which shows stackings and orderings best among the 32
forms tried.

Measured distances (limit for "duplicate" 0.02): isotropic strain of 0.5 % at most 0.006; rattling
random cells of 4-6 atoms by 0.02 / 0.05 / 0.1 Å 0.003 / 0.018 / 0.065 (median), symmetric crystals
in cells of 16-32 atoms a tenth of that. Four orderings of CuAu on fcc lie at least 0.10 apart,
diamond and lonsdaleite 0.065, fcc and hcp 0.082, dhcp and either of them 0.021.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aga.search.compositions import counts_of, reduced
from aga.search.matching import matches
from aga.search.neighbours import neighbours

FloatArray = NDArray[np.float64]

CUTOFF = 10.0
SMEARING = 0.20
DUPLICATE = 0.02
DIFFERENT = 0.1
# below this no matcher is asked: rattling a small cell by 0.02 Å moves it further
IDENTICAL = 0.001
_FINE = 0.02
_COARSE = 0.1
FORM_VOLUME = 0.2
_VOLUME_TOLERANCE = 0.03
_FARTHEST = 2.0


def fingerprint(atoms: Atoms) -> FloatArray:
    """A unit vector that is the same for every cell choice, supercell, rotation and atom order.

    Args:
        atoms: a periodic structure.

    Returns:
        One smeared radial distribution per pair of elements, pairs by rising atomic number
        (pairs * bins,). Comparable between structures of the same elements.
    """
    elements, species = np.unique(atoms.numbers, return_inverse=True)
    pairs = neighbours(atoms, CUTOFF)
    one, two = species[pairs.first], species[pairs.second]
    low, high = np.minimum(one, two), np.maximum(one, two)
    channel = low * len(elements) - low * (low - 1) // 2 + high - low
    grid = np.arange(0.0, CUTOFF + 1.5 * _FINE, _FINE)
    # each pair is shared between the two grid points next to it, so the vector is continuous
    place = pairs.distances / _FINE
    left = np.minimum(place.astype(np.int64), len(grid) - 2)
    share = place - left
    weight = _taper(pairs.distances) / np.maximum(pairs.distances, _FINE)
    counts = np.bincount(species)
    size = len(counts) * (len(counts) + 1) // 2 * len(grid)
    base = channel * len(grid) + left
    histogram = np.bincount(base, weight * (1 - share), size)
    histogram += np.bincount(base + 1, weight * share, size)
    # as many pairs, spread evenly: 4 pi r^2 dr times the densities, half for like atoms
    mixed = np.outer(counts, counts)[np.triu_indices(len(counts))].astype(np.float64)
    mixed[[0, *np.cumsum(np.arange(len(counts), 1, -1))]] /= 2
    even = 4 * np.pi * grid * np.maximum(_taper(grid), 0.0) * _FINE / atoms.get_volume()
    excess = histogram.reshape(len(mixed), len(grid)) - mixed[:, None] * even
    vector = (excess @ _smearing(len(grid))).ravel()
    norm = float(np.linalg.norm(vector))
    return np.asarray(vector / norm if norm > 0 else vector, dtype=np.float64)


def distance(one: FloatArray, two: FloatArray) -> float:
    """Cosine distance 1 - cos of two fingerprints, 0 (same) to 2 (opposite).

    Raises:
        ValueError: the fingerprints belong to different numbers of elements.
    """
    if one.shape != two.shape:
        raise ValueError(
            f"distance: expected fingerprints of the same elements, got {one.shape} and {two.shape}"
        )
    return max(0.0, 1.0 - float(one @ two))


class KnownSet:
    """Fingerprints of what is known already, asked for neighbours all at once."""

    def __init__(self, fingerprints: Sequence[FloatArray] = ()) -> None:
        self._count = 0
        self._rows = np.zeros((0, 0))
        for vector in fingerprints:
            self.add(vector)

    def __len__(self) -> int:
        return self._count

    def add(self, vector: FloatArray) -> None:
        """Know one more."""
        if self._count == len(self._rows):
            # twice the room each time, so that the cost of copying stays that of adding
            rows = np.zeros((2 * self._count + 8, len(vector)))
            rows[: self._count] = self._rows if self._count else 0.0
            self._rows = rows
        self._rows[self._count] = vector
        self._count += 1

    def distances(self, vector: FloatArray) -> FloatArray:
        """Cosine distances to all that are known, in their order (n,)."""
        if not self._count:
            return np.zeros(0)
        return np.maximum(0.0, 1.0 - self._rows[: self._count] @ vector)

    def within(self, vector: FloatArray, threshold: float = DUPLICATE) -> list[int]:
        """Places of those nearer than ``threshold``, nearest first."""
        distances = self.distances(vector)
        order = np.argsort(distances, kind="stable")
        return [int(index) for index in order if distances[index] < threshold]

    def has(self, vector: FloatArray, threshold: float = DUPLICATE) -> bool:
        """Whether one nearer than ``threshold`` is known."""
        return bool((self.distances(vector) < threshold).any())


class Comparable(Protocol):
    """A crystal with its reduced formula and its fingerprint."""

    @property
    def formula(self) -> str:
        """Reduced formula."""

    @property
    def fingerprint(self) -> FloatArray:
        """See `fingerprint`."""


class KnownCrystals:
    """`KnownSet` of crystals of any composition: only those of one formula are compared."""

    def __init__(self, crystals: Sequence[Comparable] = ()) -> None:
        self._sets: dict[str, KnownSet] = {}
        self._places: dict[str, list[int]] = {}
        self._count = 0
        for one in crystals:
            self.add(one)

    def __len__(self) -> int:
        return self._count

    def add(self, one: Comparable) -> None:
        """Know one more."""
        self._sets.setdefault(one.formula, KnownSet()).add(one.fingerprint)
        self._places.setdefault(one.formula, []).append(self._count)
        self._count += 1

    def within(self, one: Comparable, threshold: float = DUPLICATE) -> list[int]:
        """Places of those nearer than ``threshold``, in the order of knowing; nearest first."""
        if one.formula not in self._sets:
            return []
        own = self._places[one.formula]
        return [own[place] for place in self._sets[one.formula].within(one.fingerprint, threshold)]

    def has(self, one: Comparable, threshold: float = DUPLICATE) -> bool:
        """Whether one nearer than ``threshold`` is known."""
        return one.formula in self._sets and self._sets[one.formula].has(one.fingerprint, threshold)

    def distance(self, one: Comparable) -> float:
        """To the nearest that is known; 2, the largest there is, where none has the formula."""
        if one.formula not in self._sets:
            return _FARTHEST
        return float(self._sets[one.formula].distances(one.fingerprint).min())


def same(one: Atoms, two: Atoms) -> bool:
    """Whether two structures are one crystal, small distortions and cell choice aside.

    Fingerprints further apart than 0.1 or volumes that differ by more than 3 % say no; else
    pymatgen's StructureMatcher (ltol 0.2, stol 0.2, 5 degrees) judges the primitive cells. A
    distorted supercell may hide its primitive cell, so that is looked for at growing tolerance.
    """
    volumes = [atoms.get_volume() / len(atoms) for atoms in (one, two)]
    if abs(volumes[0] - volumes[1]) > _VOLUME_TOLERANCE * max(volumes):
        return False
    if reduced(counts_of(one)) != reduced(counts_of(two)):
        return False
    if distance(fingerprint(one), fingerprint(two)) > DIFFERENT:
        return False
    return matches(one, two)


def same_form(one: Atoms, two: Atoms) -> bool:
    """`same` at the volume of the first, if the volumes differ by at most 20 %.

    A crystal labelled before it was relaxed is the same form as its minimum: diamond at 8 GPa is
    diamond.
    """
    volumes = [atoms.get_volume() / len(atoms) for atoms in (one, two)]
    if abs(volumes[0] - volumes[1]) > FORM_VOLUME * max(volumes):
        return False
    scaled = two.copy()
    scaled.set_cell(two.cell.array * (volumes[0] / volumes[1]) ** (1 / 3), scale_atoms=True)
    return same(one, scaled)


def near(one: Atoms, first: FloatArray, two: Atoms, second: FloatArray) -> bool:
    """`same`, for those whose fingerprints lie within 0.02; certain below 0.002."""
    apart = distance(first, second)
    return apart < IDENTICAL or (apart < DUPLICATE and same(one, two))


def _taper(distances: FloatArray) -> FloatArray:
    """Falls smoothly from 1 to 0 at the cutoff."""
    ratio = distances / CUTOFF
    return np.asarray((1 - ratio**2) ** 2)


@lru_cache(maxsize=1)
def _smearing(n_fine: int) -> FloatArray:
    """Gaussians around the points of the coarse grid (n_fine, n_coarse)."""
    fine = np.arange(n_fine) * _FINE
    coarse = np.arange(0.0, CUTOFF + _COARSE, _COARSE)
    return np.asarray(np.exp(-0.5 * ((fine[:, None] - coarse) / SMEARING) ** 2))

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

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from aga.search import cluster_similarity
from aga.search.compositions import counts_of, reduced
from aga.search.matching import matches
from aga.search.neighbours import neighbours

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

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
#: coordinates of a sketch: of 100,000 shaken crystals one in 100,000 has to be compared in full
_DIRECTIONS = 24
#: fingerprints that its coordinates are chosen by
_SAMPLE = 512
#: compared in full before any other in search of the nearest
_FIRST = 32
#: single precision sums unit vectors to better than this
_ROUNDING = 1e-5


def fingerprint(atoms: Atoms) -> FloatArray:
    """A unit vector that is the same for every cell choice, supercell, rotation and atom order.

    Args:
        atoms: a crystal or a cluster.

    Returns:
        One smeared radial distribution per pair of elements, pairs by rising atomic number
        (pairs * bins,). Comparable between structures of the same elements. Of a cluster see
        `cluster_similarity`.
    """
    if not atoms.pbc.any():
        return cluster_similarity.fingerprint(atoms)
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


def apart(crystals: "Sequence[Comparable]", others: "Sequence[Comparable]") -> list[float]:
    """How far each crystal is from the nearest of some others; 2 where none has its formula."""
    found = [_FARTHEST] * len(crystals)
    for formula in {one.formula for one in others}:
        places = [place for place, one in enumerate(crystals) if one.formula == formula]
        if not places:
            continue
        near = np.array([one.fingerprint for one in others if one.formula == formula])
        common = np.array([crystals[place].fingerprint for place in places]) @ near.T
        for place, most in zip(places, common.max(axis=1), strict=True):
            found[place] = max(0.0, 1.0 - float(most))
    return found


class KnownSet:
    """Fingerprints of what is known already, asked for neighbours all at once.

    Exact, and fast among many: of every fingerprint the `_DIRECTIONS` coordinates that tell most
    are kept in a table of their own, and the length of the rest. By Cauchy and Schwarz two rests
    have at most the product of their lengths in common, so that one product with the table says
    how far each one is at least, and only those that may be near are compared in full.
    """

    def __init__(self, fingerprints: Sequence[FloatArray] = ()) -> None:
        self._vectors: list[FloatArray] = []
        self._basis = np.zeros((0, 0))
        self._sketches = np.zeros((0, 1), dtype=np.float32)
        for vector in fingerprints:
            self.add(vector)

    def __len__(self) -> int:
        return len(self._vectors)

    def add(self, vector: FloatArray) -> None:
        """Know one more."""
        if not self._vectors:
            self._basis = np.zeros((len(vector), 0))
        if vector.shape != (len(self._basis),):
            raise ValueError(
                f"KnownSet: expected a fingerprint ({len(self._basis)},), got {vector.shape}"
            )
        place = len(self._vectors)
        self._vectors.append(vector)
        if place == len(self._sketches):
            # twice the room each time, so that the cost of drawing anew stays that of adding
            self._draw(2 * place + 8)
        self._sketches[place] = self._sketched(vector[None])[0]

    def within(self, vector: FloatArray, threshold: float = DUPLICATE) -> list[int]:
        """Places of those nearer than ``threshold``, nearest first."""
        near, distances = self._near(vector, threshold)
        return [int(place) for place in near[np.argsort(distances, kind="stable")]]

    def has(self, vector: FloatArray, threshold: float = DUPLICATE) -> bool:
        """Whether one nearer than ``threshold`` is known."""
        return len(self._near(vector, threshold)[0]) > 0

    def distance(self, vector: FloatArray) -> float:
        """To the nearest; 2, the largest there is, where nothing is known."""
        if not self._vectors:
            return _FARTHEST
        least = self._least(vector)
        likely = np.argpartition(least, min(_FIRST, len(least) - 1))[:_FIRST]
        nearest = float(self._distances(likely, vector).min())
        return min(nearest, float(self._near(vector, nearest)[1].min(initial=nearest)))

    def _near(self, vector: FloatArray, threshold: float) -> tuple[IntArray, FloatArray]:
        """Places of those nearer than a threshold, in their order, and how far they are."""
        if not self._vectors:
            return np.zeros(0, dtype=np.int64), np.zeros(0)
        places = np.flatnonzero(self._least(vector) < threshold)
        distances = self._distances(places, vector)
        near = distances < threshold
        return places[near], distances[near]

    def _least(self, vector: FloatArray) -> NDArray[np.float32]:
        """What the cosine distance to each is at least (n,)."""
        common = self._sketches[: len(self)] @ self._sketched(vector[None])[0]
        return np.asarray(1.0 - _ROUNDING - common)

    def _distances(self, places: IntArray, vector: FloatArray) -> FloatArray:
        """Cosine distances to those at some places (n,)."""
        if not len(places):
            return np.zeros(0)
        common = np.array([self._vectors[place] for place in places]) @ vector
        return np.asarray(np.maximum(0.0, 1.0 - common))

    def _draw(self, room: int) -> None:
        """Choose the coordinates anew, and make room for more."""
        count = len(self) - 1
        sample = [self._vectors[i] for i in np.linspace(0, count, min(count, _SAMPLE), dtype=int)]
        # few are sooner compared in full than described
        if len(sample) >= _SAMPLE:
            self._basis = np.linalg.svd(sample, full_matrices=False)[2][:_DIRECTIONS].T
        self._sketches = np.zeros((room, self._basis.shape[1] + 1), dtype=np.float32)
        for start in range(0, count, _SAMPLE):
            part = np.array(self._vectors[start : start + _SAMPLE])
            self._sketches[start : start + len(part)] = self._sketched(part)

    def _sketched(self, vectors: FloatArray) -> NDArray[np.float32]:
        """Coordinates of vectors (n, d) and lengths of their rests (n, k + 1)."""
        inside = vectors @ self._basis
        rest = (vectors**2).sum(axis=1) - (inside**2).sum(axis=1)
        return np.column_stack([inside, np.sqrt(np.maximum(rest, 0.0))]).astype(np.float32)


class Comparable(Protocol):
    """A crystal with its reduced formula and its fingerprint."""

    @property
    def formula(self) -> str:
        """Reduced formula."""

    @property
    def fingerprint(self) -> FloatArray:
        """See `fingerprint`."""


class KnownCrystals:
    """`KnownSet` of crystals of any composition: only those of one formula are compared.

    A fingerprint takes a third of a millisecond: none is asked for before its formula is.
    """

    def __init__(self, crystals: Iterable[Comparable] = ()) -> None:
        self._sets: dict[str, KnownSet] = {}
        self._places: dict[str, list[int]] = {}
        self._waiting: dict[str, list[Comparable]] = {}
        self._count = 0
        for one in crystals:
            self.add(one)

    def __len__(self) -> int:
        return self._count

    @property
    def formulas(self) -> int:
        """How many there are."""
        return len(self._places)

    def add(self, one: Comparable) -> None:
        """Know one more."""
        self._waiting.setdefault(one.formula, []).append(one)
        self._places.setdefault(one.formula, []).append(self._count)
        self._count += 1

    def within(self, one: Comparable, threshold: float = DUPLICATE) -> list[int]:
        """Places of those nearer than ``threshold``, in the order of knowing; nearest first."""
        places = self._set(one).within(one.fingerprint, threshold)
        return [self._places[one.formula][place] for place in places]

    def has(self, one: Comparable, threshold: float = DUPLICATE) -> bool:
        """Whether one nearer than ``threshold`` is known."""
        return self._set(one).has(one.fingerprint, threshold)

    def distance(self, one: Comparable) -> float:
        """To the nearest that is known; 2, the largest there is, where none has the formula."""
        return self._set(one).distance(one.fingerprint)

    def _set(self, one: Comparable) -> KnownSet:
        """All of its formula."""
        found = self._sets.setdefault(one.formula, KnownSet())
        for new in self._waiting.pop(one.formula, ()):
            found.add(new.fingerprint)
        return found


def same(one: Atoms, two: Atoms) -> bool:
    """Whether two structures are one crystal, small distortions and cell choice aside.

    Fingerprints further apart than 0.1 or volumes that differ by more than 3 % say no; else
    pymatgen's StructureMatcher (ltol 0.2, stol 0.2, 5 degrees) judges the primitive cells. A
    distorted supercell may hide its primitive cell, so that is looked for at growing tolerance.
    """
    if not one.pbc.any():
        return cluster_similarity.same(one, two)
    return (
        _comparable(one, two)
        and distance(fingerprint(one), fingerprint(two)) <= DIFFERENT
        and matches(one, two)
    )


def _comparable(one: Atoms, two: Atoms) -> bool:
    """Whether two crystals have about the same volume and the same composition."""
    volumes = [atoms.get_volume() / len(atoms) for atoms in (one, two)]
    if abs(volumes[0] - volumes[1]) > _VOLUME_TOLERANCE * max(volumes):
        return False
    return reduced(counts_of(one)) == reduced(counts_of(two))


def same_form(one: Atoms, two: Atoms) -> bool:
    """`same` at the volume of the first, if the volumes differ by at most 20 %.

    A crystal labelled before it was relaxed is the same form as its minimum: diamond at 8 GPa is
    diamond.
    """
    volumes = room(one), room(two)
    if abs(volumes[0] - volumes[1]) > FORM_VOLUME * max(volumes):
        return False
    return same(one, at_room(two, volumes[0]))


def room(atoms: Atoms) -> float:
    """Volume [Å^3/atom]; of a cluster see `cluster_similarity.room`."""
    if not atoms.pbc.any():
        return cluster_similarity.room(atoms)
    return float(atoms.get_volume() / len(atoms))


def at_room(atoms: Atoms, volume: float) -> Atoms:
    """The same structure, evenly stretched to another volume [Å^3/atom]."""
    ratio = float(np.cbrt(volume / room(atoms)))
    scaled = atoms.copy()
    if atoms.pbc.any():
        scaled.set_cell(atoms.cell.array * ratio, scale_atoms=True)
    else:
        scaled.positions *= ratio
    return scaled


def near(one: Atoms, first: FloatArray, two: Atoms, second: FloatArray) -> bool:
    """`same`, for those whose fingerprints lie within 0.02; certain below 0.002."""
    apart = distance(first, second)
    if apart >= DUPLICATE or apart < IDENTICAL:
        return apart < IDENTICAL
    if not one.pbc.any():
        return cluster_similarity.same(one, two)
    return _comparable(one, two) and matches(one, two)


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

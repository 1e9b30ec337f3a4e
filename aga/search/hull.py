"""The convex hull of enthalpy over composition: what lies on it cannot fall apart.

Per atom and as fractions of the elements, the lowest enthalpy that any mixture of phases reaches at
a composition is a convex function, piecewise linear; its facets are found once (Qhull, Barber,
Dobkin & Huhdanpaa 1996, https://doi.org/10.1145/235815.235821) and the function is the largest of
their planes, so that thousands of structures are placed in one product.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aga.search.compositions import Counts

FloatArray = NDArray[np.float64]

#: what lies at most this far above the hull is on it [eV/atom]
ON_HULL = 1e-8
#: compositions that differ by less are the same
_SAME = 1e-9


@dataclass(frozen=True)
class Phase:
    """A structure, or an entry of the user, as a point of the hull.

    Attributes:
        name: its id.
        counts: atoms by symbol; only their ratio counts.
        enthalpy: (E + pV)/n [eV/atom].
    """

    name: str
    counts: Counts
    enthalpy: float


class Hull:
    """The lower convex hull of some phases.

    Compositions that no mixture of the phases has are outside: nothing is known there.

    Args:
        phases: at least one; of one composition only the lowest matters.

    Raises:
        ValueError: no phases, or one of them has no atoms.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        if not phases:
            raise ValueError("Hull: expected at least one phase, got none")
        self.phases = tuple(phases)
        self.elements = tuple(sorted({symbol for phase in phases for symbol in phase.counts}))
        self._points = self._fractions([phase.counts for phase in phases])
        self._enthalpies = np.array([phase.enthalpy for phase in phases])
        self._known: dict[tuple[tuple[str, int], ...], float] = {}

    def ground(self, counts: Counts) -> float:
        """The hull at a composition [eV/atom]; minus infinity outside."""
        key = tuple(sorted(counts.items()))
        if key not in self._known:
            self._known[key] = float(self.grounds([counts])[0])
        return self._known[key]

    def grounds(self, compositions: Sequence[Counts]) -> FloatArray:
        """`ground` of many compositions at once (n,)."""
        inside = [all(symbol in self.elements for symbol in counts) for counts in compositions]
        values = np.full(len(compositions), -np.inf)
        chosen = [counts for counts, known in zip(compositions, inside, strict=True) if known]
        if chosen:
            values[inside] = self._surface.at(self._fractions(chosen))
        return values

    @cached_property
    def stable(self) -> tuple[Phase, ...]:
        """The phases on the hull, in the order they were given."""
        above = self._enthalpies - self._surface.at(self._points)
        return tuple(
            phase for phase, height in zip(self.phases, above, strict=True) if height <= ON_HULL
        )

    def decomposition(self, counts: Counts) -> dict[str, float]:
        """What a composition falls apart into: share of the atoms by name of the phase.

        Raises:
            ValueError: the composition lies outside.
        """
        from scipy.optimize import linprog

        if self.ground(counts) == -np.inf:
            raise ValueError(f"Hull: no mixture of the phases has the composition {dict(counts)}")
        points = self._fractions([phase.counts for phase in self.stable])
        found = linprog(
            [phase.enthalpy for phase in self.stable],
            A_eq=points.T,
            b_eq=self._fractions([counts])[0],
            bounds=(0, 1),
        )
        shares = zip(self.stable, found.x, strict=True)
        return {phase.name: float(share) for phase, share in shares if share > _SAME}

    def _fractions(self, compositions: Sequence[Counts]) -> FloatArray:
        table = np.array(
            [[counts.get(s, 0) for s in self.elements] for counts in compositions], dtype=np.float64
        )
        totals = table.sum(axis=1, keepdims=True)
        if totals.min() <= 0:
            raise ValueError("Hull: expected atoms in every composition, got one without")
        return np.asarray(table / totals)

    @cached_property
    def _surface(self) -> "_Surface":
        return _Surface.through(self._points, self._enthalpies)


def formation(phase: Phase, elements: Mapping[str, float]) -> float:
    """Enthalpy of formation [eV/atom] from the elements, whose enthalpies are [eV/atom].

    Raises:
        KeyError: an element is missing.
    """
    total = sum(phase.counts.values())
    mixed = sum(n * elements[symbol] for symbol, n in phase.counts.items()) / total
    return phase.enthalpy - mixed


def extremes(compositions: Sequence[Counts]) -> list[int]:
    """Places of the compositions that no mixture of the others has, each composition once."""
    elements = sorted({symbol for counts in compositions for symbol in counts})
    table = np.array([[counts.get(s, 0) for s in elements] for counts in compositions], float)
    points = table / table.sum(axis=1, keepdims=True)
    first = sorted(np.unique(points.round(9), axis=0, return_index=True)[1].tolist())
    flat = _Span.of(points[first])
    return [first[place] for place in flat.corners(flat.coordinates(points[first]))]


@dataclass(frozen=True)
class _Span:
    """The flat space that some points lie in, as coordinates of its own.

    Attributes:
        origin: a point of it (e,).
        axes: unit vectors as columns (e, r).
    """

    origin: FloatArray
    axes: FloatArray

    @classmethod
    def of(cls, points: FloatArray) -> "_Span":
        origin = points.mean(axis=0)
        _, sizes, axes = np.linalg.svd(points - origin, full_matrices=False)
        return cls(origin, axes[sizes > _SAME].T)

    def coordinates(self, points: FloatArray) -> FloatArray:
        """Of points (n, e) in the span (n, r)."""
        return np.asarray((points - self.origin) @ self.axes)

    def contains(self, points: FloatArray) -> NDArray[np.bool_]:
        """Which points lie in the span (n,)."""
        back = self.coordinates(points) @ self.axes.T + self.origin
        return np.asarray(np.abs(back - points).max(axis=1) < _SAME)

    @staticmethod
    def corners(places: FloatArray) -> list[int]:
        """Places of the corners of the convex region of points (n, r)."""
        from scipy.spatial import ConvexHull

        if places.shape[1] == 0:
            return [0]
        if places.shape[1] == 1:
            return sorted({int(places[:, 0].argmin()), int(places[:, 0].argmax())})
        return sorted(int(place) for place in ConvexHull(places).vertices)


@dataclass(frozen=True)
class _Surface:
    """A convex function over a convex region of compositions.

    Attributes:
        span: the flat space of the region.
        slopes: of the planes [eV/atom] (f, r).
        offsets: of the planes [eV/atom] (f,).
        tilt: what was taken off before: an enthalpy of each element [eV/atom] (e,).
        walls: the region is where walls @ (coordinates, 1) is not positive (w, r + 1).
    """

    span: _Span
    slopes: FloatArray
    offsets: FloatArray
    tilt: FloatArray
    walls: FloatArray

    @classmethod
    def through(cls, points: FloatArray, enthalpies: FloatArray) -> "_Surface":
        """The lower hull of points (n, e) at some enthalpies [eV/atom] (n,)."""
        # total energies of elements differ by thousands of eV: numbers near zero are exact
        tilt = np.asarray(np.linalg.lstsq(points, enthalpies, rcond=None)[0], dtype=np.float64)
        above = enthalpies - points @ tilt
        span = _Span.of(points)
        places = span.coordinates(points)
        dimension = places.shape[1]
        if dimension == 0:
            flat = np.zeros((1, 0)), np.array([above.min()])
            return cls(span, *flat, tilt, np.zeros((0, 1)))
        slopes, offsets = _lower_planes(places, above)
        return cls(span, slopes, offsets, tilt, _walls(places))

    def at(self, points: FloatArray) -> FloatArray:
        """The function (n,) at points (n, e); minus infinity outside the region."""
        places = self.span.coordinates(points)
        values = (places @ self.slopes.T + self.offsets).max(axis=1) + points @ self.tilt
        outside = ~self.span.contains(points)
        if len(self.walls):
            beyond = places @ self.walls[:, :-1].T + self.walls[:, -1]
            outside |= (beyond > _SAME).any(axis=1)
        return np.where(outside, -np.inf, values)


def _lower_planes(places: FloatArray, above: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slopes (f, r) and offsets (f,) of the facets that face down."""
    from scipy.spatial import ConvexHull

    # a point high over the middle: no set of enthalpies, however flat, is without volume
    top = np.append(places.mean(axis=0), above.max() + max(1.0, float(np.ptp(above))))
    hull = ConvexHull(np.vstack([np.column_stack([places, above]), top]))
    down = hull.equations[:, -2] < -_SAME
    normals, shifts = hull.equations[down, :-1], hull.equations[down, -1]
    # normal . (place, enthalpy) + shift = 0
    slopes = -normals[:, :-1] / normals[:, -1:]
    return slopes, -shifts / normals[:, -1]


def _walls(places: FloatArray) -> FloatArray:
    from scipy.spatial import ConvexHull

    if places.shape[1] == 1:
        return np.array([[1.0, -float(places.max())], [-1.0, float(places.min())]])
    return np.asarray(ConvexHull(places).equations)

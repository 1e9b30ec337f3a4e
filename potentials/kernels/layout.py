"""Where the compiled code keeps the components of the `moments` descriptor."""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from potentials.kernels.harmonics import COUNT

if TYPE_CHECKING:
    from potentials.descriptors.moments import Moments


@dataclass(frozen=True, eq=False, slots=True)
class Arrangement:
    """The order of the components in the compiled code.

    Attributes:
        place: of every component (D,).
        count: number of places, some of which may stay empty.
    """

    place: NDArray[Any]
    count: int

    def put(self, values: NDArray[Any], width: int, fill: float = 0.0) -> NDArray[Any]:
        """Components on the last axis, each at its place in a row of ``width``."""
        made = np.full((*values.shape[:-1], width), fill)
        made[..., self.place] = values
        return made


class Layout:
    """The order of the descriptors, and which moments each is made of.

    Channels stand side by side, so that all of them are computed at once; their number is filled
    up to a power of two.

    Args:
        descriptor: its settings.
        n_elements: number of elements.

    Attributes:
        channels: number of channels, filled up.
        place: of every component in the order of the compiled code (D,).
        count: number of places, some of which stay empty.
        two: places of the moments whose products are summed (terms, 2).
        two_start: first of them for every block of invariants, and the end (blocks + 1,).
        three: the same for products of three moments, of all elements together (terms, 3).
        three_factor: of each such product (terms,).
        three_start: likewise (triples + 1,).
        three_range: harmonics that each triple needs: the first, and the end (triples, 2).
    """

    def __init__(self, descriptor: "Moments", n_elements: int) -> None:
        self.channels = max(8, 2 ** (descriptor.angular - 1).bit_length())
        self.two, self.two_start = self._pairs(descriptor.degree, n_elements)
        together = n_elements if n_elements > 1 else 0
        self.three, self.three_factor, self.three_start = self._triples(
            descriptor.triples, together * COUNT
        )
        self.three_range = np.array(
            [(min(t) ** 2, (max(t) + 1) ** 2) for t in descriptor.triples], dtype=np.int64
        ).reshape(-1, 2)
        radial = descriptor.radial * n_elements
        levels = descriptor.degree + 1
        pairs = np.arange(len(self.two_start) - 1).reshape(-1, 1, levels)
        triples = len(pairs) * levels + np.arange(len(descriptor.triples)).reshape(1, 1, -1)
        place: list[int] = list(range(radial))
        for blocks in (pairs, triples):
            own = np.arange(descriptor.angular)[None, :, None]
            place += (radial + blocks * self.channels + own).ravel().tolist()
        self.place = np.array(place)
        self.count = radial + (pairs.size + triples.size) * self.channels

    def _pairs(self, degree: int, n_elements: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """By pair of elements and degree: the products over m."""
        two, starts = [], [0]
        for one, other in combinations_with_replacement(range(n_elements), 2):
            for level in range(degree + 1):
                rows = range(level**2, (level + 1) ** 2)
                two += [(one * COUNT + lm, other * COUNT + lm) for lm in rows]
                starts.append(len(two))
        return np.array(two) * self.channels, np.array(starts)

    def _triples(
        self, triples: tuple[tuple[int, int, int], ...], first: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """By triple: the products with coupling coefficients; equal ones are joined."""
        from potentials.moment_tensors import couplings

        if not triples:
            return np.zeros((0, 3), dtype=np.int64), np.zeros(0), np.zeros(1, dtype=np.int64)
        joined: dict[tuple[int, ...], float] = {}
        for number, *rows, factor in zip(*couplings(triples), strict=True):
            key = (int(number), *sorted(int(row) for row in rows))
            joined[key] = joined.get(key, 0.0) + float(factor)
        keys = np.array(sorted(joined))
        factors = np.array([joined[tuple(key)] for key in keys.tolist()])
        starts = np.searchsorted(keys[:, 0], np.arange(len(triples) + 1))
        return (keys[:, 1:] + first) * self.channels, factors, starts

"""How often each composition is tried: by how near the hull it comes, and how often it was tried.

A composition whose best structure lies far above the hull is not likely to have a stable one; one
that is predicted below it is, and must be labelled; one that has been tried many times has shown
what it holds. Of all of this a floor is kept free, because predictions err.

Measured on Cu-Au by EMT, cells of 2 to 6 atoms, 4 seeds: all four structures of the hull within
1 meV/atom after 57 to 75 labels; with the proposals spread evenly, after 60 with one seed, and with
three seeds not within 90 labels; with a floor of 0.05 one seed of three. With 66 cells of up to 12
atoms most ratios come within 2 to 20 meV/atom of the hull: a fixed scale of 50 meV gave the cell of
the ground state 1.5 % of the proposals, as if they were spread evenly.
"""

from collections.abc import Mapping
from math import exp, isinf
from statistics import median

#: a composition that lies higher by half the height of the middle one is tried e times less; at
#: most by this much, for oxides and the first labels [eV/atom]
SCALE = 0.05
#: and at least by this much, the error of a good potential [eV/atom]
FINEST = 0.004
#: share of the proposals that are spread evenly
FLOOR = 0.25
#: labels after which a composition is tried half as often
TRIED = 4.0


def chances(
    heights: Mapping[str, float], tried: Mapping[str, int], floor: float = FLOOR
) -> dict[str, float]:
    """The probability of each composition; they sum to 1.

    Args:
        heights: lowest height above the hull that is known or predicted [eV/atom], negative below
            it, by composition; infinite where nothing is known, which counts as on the hull.
        tried: labels spent on each composition; one that is missing has none.
        floor: share that is spread evenly.

    Raises:
        ValueError: no compositions, or a floor outside 0..1.
    """
    if not heights or not 0 <= floor <= 1:
        raise ValueError(
            f"chances: expected compositions and a floor of 0..1, got {list(heights)}, {floor}"
        )
    scale = _scale(heights)
    wanted = {}
    for name, height in heights.items():
        # what is predicted far below the hull is a hole of the potential more often than not
        known = 0.0 if isinf(height) else max(height, -scale)
        wanted[name] = exp(-known / scale) / (1 + tried.get(name, 0) / TRIED)
    total = sum(wanted.values())
    even = floor / len(wanted)
    return {name: even + (1 - floor) * value / total for name, value in wanted.items()}


def _scale(heights: Mapping[str, float]) -> float:
    """Half the height of the middle one: what is near where all come near [eV/atom]."""
    found = [height for height in heights.values() if not isinf(height)]
    return min(max(median(found) / 2, FINEST), SCALE) if found else SCALE

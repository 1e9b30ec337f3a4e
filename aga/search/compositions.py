"""Compositions: reading and writing them, and which ones a search considers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from math import gcd

from ase import Atoms

Counts = Mapping[str, int]

_TERM = re.compile(r"([A-Z][a-z]?)(\d*)")


def counts_of(atoms: Atoms) -> dict[str, int]:
    """Atoms of each element in a cell, by symbol."""
    symbols = list(atoms.symbols)
    return {symbol: symbols.count(symbol) for symbol in sorted(set(symbols))}


def parsed(formula: str) -> dict[str, int]:
    """Atoms of each element in a plain formula such as "Ti2O4"; the same element may recur.

    Raises:
        ValueError: the formula is not of symbols and whole numbers from 1.
    """
    terms = _TERM.findall(formula)
    if not terms or "".join(symbol + count for symbol, count in terms) != formula:
        raise ValueError(f"expected a formula such as Ti2O4, got {formula!r}")
    found: dict[str, int] = {}
    for symbol, count in terms:
        if count.startswith("0"):
            raise ValueError(f"expected a formula with counts from 1, got {formula!r}")
        found[symbol] = found.get(symbol, 0) + int(count or 1)
    return dict(sorted(found.items()))


def named(counts: Counts) -> str:
    """The one name of a cell's composition: symbols in alphabetical order, "Au1" as "Au"."""
    return "".join(
        symbol + (str(counts[symbol]) if counts[symbol] > 1 else "") for symbol in sorted(counts)
    )


def reduced(counts: Counts) -> dict[str, int]:
    """The smallest whole numbers in the same ratio."""
    divisor = gcd(*counts.values())
    return {symbol: counts[symbol] // divisor for symbol in sorted(counts)}


def cells(elements: Sequence[str], smallest: int, largest: int) -> list[dict[str, int]]:
    """Every composition of two or more of the elements, by size; of a single one every size.

    Args:
        elements: symbols.
        smallest: fewest atoms in the cell.
        largest: most atoms in the cell.
    """
    symbols = sorted(elements)
    least = min(2, len(symbols))
    found = []
    for size in range(smallest, largest + 1):
        drawn = (
            {symbol: n for symbol, n in zip(symbols, counts, strict=True) if n}
            for counts in _shared(size, len(symbols))
        )
        found += sorted((one for one in drawn if len(one) >= least), key=named)
    return found


def _shared(size: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to give ``size`` atoms to some elements: places of the walls between these."""
    for walls in combinations(range(size + parts - 1), parts - 1):
        edges = (-1, *walls, size + parts - 1)
        yield tuple(right - left - 1 for left, right in pairwise(edges))


def neutral(counts: Counts, charges: Mapping[str, tuple[int, int]]) -> bool:
    """Whether some charges of the atoms add up to nothing.

    Args:
        counts: atoms by symbol.
        charges: lowest and highest charge of an atom of each element; every whole number between
            is allowed, and atoms of one element may differ (magnetite).
    """
    low, high = (sum(n * charges[symbol][end] for symbol, n in counts.items()) for end in (0, 1))
    return low <= 0 <= high

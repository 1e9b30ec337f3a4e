"""Text files read line by line, with errors that say where, what was expected and what stands."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from potentials.structures import FloatArray


class FormatError(ValueError):
    """A file does not follow its format, or an object cannot be written in it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its place in the file."""

    path: Path
    number: int
    text: str

    @property
    def words(self) -> list[str]:
        """What white space separates."""
        return self.text.split()

    def error(self, expected: str) -> FormatError:
        """What was expected in place of this line."""
        shown = self.text if len(self.text) < 80 else self.text[:77] + "..."
        return FormatError(f"{self.path}, line {self.number}: expected {expected}, got {shown!r}")

    def numbers(self, first: int, count: int | None, expected: str) -> FloatArray:
        """Words from ``first`` on as finite numbers; ``count`` of them, or all there are.

        Raises:
            FormatError: there are fewer, or one is no finite number.
        """
        words = self.words[first:] if count is None else self.words[first : first + count]
        if count is not None and len(words) < count:
            raise self.error(expected)
        try:
            made = np.array([float(word) for word in words], dtype=np.float64)
        except ValueError as error:
            raise self.error(expected) from error
        if not np.isfinite(made).all():
            raise self.error(f"{expected}, all finite")
        return made

    def number_at(self, place: int, expected: str) -> float:
        """One word as a number."""
        return float(self.numbers(place, 1, expected)[0])

    def integer(self, place: int, expected: str) -> int:
        """One word as a whole number.

        Raises:
            FormatError: it is none.
        """
        value = self.number_at(place, expected)
        if value != int(value):
            raise self.error(expected)
        return int(value)


def content(path: Path, comment: str = "#") -> Iterator[Line]:
    """Lines that are not blank, without what follows ``comment`` (nothing is cut where empty).

    Raises:
        FormatError: there is no such file, or it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # the latter of what is no UTF-8
        raise FormatError(f"{path}: expected a text file, got: {error}") from error
    for number, whole in enumerate(text.splitlines(), 1):
        kept = whole.split(comment, 1)[0].strip() if comment else whole.strip()
        if kept:
            yield Line(path, number, kept)


class Reader:
    """Lines taken one after the other; the end of the file is an error where more is expected."""

    def __init__(self, path: Path, comment: str = "#") -> None:
        self.path = path
        self._lines = list(content(path, comment))
        self._next = 0

    @property
    def more(self) -> bool:
        """Whether a line is left."""
        return self._next < len(self._lines)

    def peek(self) -> Line | None:
        """The next line, which stays."""
        return self._lines[self._next] if self.more else None

    def take(self, expected: str) -> Line:
        """The next line.

        Raises:
            FormatError: the file has ended.
        """
        if not self.more:
            raise FormatError(f"{self.path}: expected {expected}, got the end of the file")
        self._next += 1
        return self._lines[self._next - 1]

    def keyword(self, name: str, expected: str) -> Line:
        """The next line, which must start with ``name``.

        Raises:
            FormatError: it starts with something else, or the file has ended.
        """
        line = self.take(expected)
        if line.words[0] != name:
            raise line.error(expected)
        return line


def atomic_number(symbol: str, line: Line) -> int:
    """The atomic number of an element's symbol, or of a number written out.

    Raises:
        FormatError: there is no such element.
    """
    from ase.data import atomic_numbers, chemical_symbols

    if symbol.isdecimal() and 0 < int(symbol) < len(chemical_symbols):
        return int(symbol)
    if symbol not in atomic_numbers or symbol == "X":
        raise line.error(f"the symbol of an element in place of {symbol!r}")
    return int(atomic_numbers[symbol])


def row(values: Sequence[float] | FloatArray) -> str:
    """Numbers with all their digits, so that reading gives them back to the last bit."""
    return " ".join(repr(float(value)) for value in values)

"""What a YAML file says as builtin types: small enough to be a settings file, and nothing else.

Aliases can make a file of ten lines hold millions of values, or hold itself; escapes can put into
a text what no file name and no terminal takes.
"""

import math
from datetime import date
from typing import Any, NamedTuple

from ruamel.yaml.scalarbool import ScalarBoolean

#: values of one file, aliases counted wherever they stand
MOST = 100_000
#: mappings and lists inside each other
DEEPEST = 40
#: larger whole numbers are no setting, and Python refuses to print very large ones
LARGEST = 2**64


class UnreadableError(ValueError):
    """A value that no setting can have.

    Attributes:
        line: where it stands, counted from 0.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Place(NamedTuple):
    """Where a value stands: its line, and how many mappings and lists are around it."""

    line: int = 0
    depth: int = 0


def plain(tree: Any) -> Any:
    """Ruamel's nodes as dict, list, str, int, float, bool and None; keys are text.

    Dates and numbers that are not finite become a text that every number refuses.

    Raises:
        UnreadableError: a value is of another type, too large or too deep, or a text holds what
            is no character.
    """
    return _Reading().value(tree, _Place())


class _Reading:
    """Counts what is read."""

    def __init__(self) -> None:
        self._count = 0

    def value(self, node: Any, at: _Place) -> Any:
        self._count += 1
        if self._count > MOST:
            raise UnreadableError(
                at.line, f"more than {MOST} values, aliases counted wherever they stand: shorten it"
            )
        if isinstance(node, dict | list):
            return self._several(node, at)
        return _scalar(node, at.line)

    def _several(self, node: Any, at: _Place) -> Any:
        if at.depth == DEEPEST:
            raise UnreadableError(at.line, f"nested deeper than {DEEPEST} levels: flatten it")
        if isinstance(node, dict):
            return {
                _key(key, at.line): self.value(value, _inside(node, key, at))
                for key, value in node.items()
            }
        return [self.value(value, _inside(node, place, at)) for place, value in enumerate(node)]


def _key(key: Any, line: int) -> str:
    """A key as text."""
    if isinstance(key, int):
        _scalar(key, line)
    return str(_scalar(str(key), line))


def _inside(node: Any, key: Any, at: _Place) -> _Place:
    """Where a value of a mapping or list stands; of merged keys nothing is known."""
    marks = getattr(getattr(node, "lc", None), "data", None) or {}
    return _Place(marks[key][0] if key in marks else at.line, at.depth + 1)


def _scalar(node: Any, line: int) -> Any:
    """One value as a builtin type."""
    if isinstance(node, date) or (isinstance(node, float) and not math.isfinite(node)):
        return f"{node} without quotes"  # no setting is a date or infinite: to be refused as text
    if isinstance(node, bool | ScalarBoolean):  # the latter, with an anchor, is a whole number
        return bool(node)
    if isinstance(node, int) and abs(node) > LARGEST:
        raise UnreadableError(line, "a whole number beyond 2^64: no setting is so large")
    if isinstance(node, str) and (odd := _odd(node)):
        raise UnreadableError(
            line, f"a text holds {odd!a}, which is no character: write it without the escape"
        )
    for builtin in (int, float, str):
        if isinstance(node, builtin):
            return builtin(node)
    if node is None:
        return None
    tag = getattr(getattr(node, "tag", None), "value", None) or type(node).__name__
    raise UnreadableError(line, f"a value with the tag {tag}: only plain values are settings")


def _odd(text: str) -> str:
    """The first NUL or half of a surrogate pair in a text, or an empty string."""
    return next((one for one in text if one == "\0" or "\ud800" <= one <= "\udfff"), "")

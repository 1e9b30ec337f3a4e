"""YAML files with line numbers: what was read, and where each key stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Key = str | int


class ConfigError(Exception):
    """Everything that is wrong with a configuration.

    Attributes:
        messages: one line each, ``file:line: key.path: what was expected, got X``.
    """

    def __init__(self, messages: Sequence[str]) -> None:
        super().__init__("\n".join(messages))
        self.messages = list(messages)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file.

    Attributes:
        path: the file.
        data: its content as plain dict, list, str, int, float, bool and None.
        tree: its content as ruamel's nodes, which know their lines.
        included: files that a top-level key was read from instead, e.g. ``cluster``.
    """

    path: Path
    data: Any
    tree: Any
    included: dict[Key, "Document"] = field(default_factory=dict)

    def where(self, keys: Sequence[Key]) -> str:
        """``file:line`` of a key, or of the nearest key above it that is written in the file."""
        if keys and keys[0] in self.included:
            return self.included[keys[0]].where(keys[1:])
        line, node = 0, self.tree
        for key in keys:
            marks = getattr(getattr(node, "lc", None), "data", None) or {}
            written = key if key in marks else next((k for k in marks if str(k) == key), None)
            if written is None:
                break
            line, node = marks[written][0], node[written]
        return f"{self.path}:{line + 1}"


def read(path: Path) -> tuple[Document, list[str]]:
    """Read one YAML 1.2 file.

    Returns:
        the document and the complaints that did not stop the reading (duplicate keys).

    Raises:
        ConfigError: the file is absent, unreadable, empty, not YAML, or not a mapping.
    """
    text = _text(path)
    complaints: list[str] = []
    try:
        tree = YAML().load(text)
    except DuplicateKeyError as error:
        complaints.append(_marked(path, error))
        lenient = YAML()
        lenient.allow_duplicate_keys = True
        tree = lenient.load(text)
    except MarkedYAMLError as error:
        raise ConfigError([_marked(path, error)]) from error
    except (YAMLError, ValueError, RecursionError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError([f"{path}:1: not readable as YAML: {first}"]) from error
    if tree is None:
        raise ConfigError([f"{path}:1: the file is empty; expected a mapping of keys to values"])
    if not isinstance(tree, dict):
        found = "a list" if isinstance(tree, list) else repr(tree)
        raise ConfigError([f"{path}:1: expected a mapping of keys to values, got {found}"])
    return Document(path, _plain(tree), tree), complaints


def _text(path: Path) -> str:
    """The file as text; every way a file can be unreadable becomes one message."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: no such file"]) from error
    except IsADirectoryError as error:
        raise ConfigError([f"{path}: expected a YAML file, got a folder"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}:1: expected UTF-8 text ({error.reason})"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error


def _marked(path: Path, error: MarkedYAMLError) -> str:
    """A YAML error with the line it points at."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    problem = (error.problem or "not YAML").split(' with value "')[0]
    if isinstance(error, DuplicateKeyError):
        problem = f"{problem}; a key may stand once in a mapping"
    elif error.context:
        problem = f"{problem} ({error.context})"
    return f"{path}:{line}: {problem}"


def _plain(node: Any) -> Any:
    """Ruamel's nodes as builtin types; keys are text, and no number is infinite."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, date) or (isinstance(node, float) and not isfinite(node)):
        return f"{node} without quotes"  # no setting is a date or infinite: to be refused as text
    for builtin in (bool, int, float, str):
        if isinstance(node, builtin):
            return builtin(node)
    return node

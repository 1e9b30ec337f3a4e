"""YAML files with line numbers: what was read, and where each key stands."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning

from aga.yaml_plain import UnreadableError, plain

Key = str | int

#: characters of a file, brackets open at the same time, and lists begun in one line
_LARGEST, _DEEPEST = 10**6, 400
_TOO_DEEP = "nested too deep to be read: flatten it"
_LISTS = re.compile(rf"(?:[-?][ \t]+){{{_DEEPEST}}}")


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
    _check_size(path, text)
    complaints: list[str] = []
    try:
        tree = _loaded(path, text)
    except DuplicateKeyError as error:
        complaints.append(_marked(path, error))
        tree = _loaded(path, text, twice=True)
    if tree is None:
        raise ConfigError([f"{path}:1: the file is empty; expected a mapping of keys to values"])
    try:
        data = plain(tree)
    except UnreadableError as error:
        raise ConfigError([f"{path}:{error.line + 1}: {error}"]) from error
    if not isinstance(data, dict):
        found = "a list" if isinstance(data, list) else repr(data)
        raise ConfigError([f"{path}:1: expected a mapping of keys to values, got {found[:60]}"])
    return Document(path, data, tree), complaints


def _check_size(path: Path, text: str) -> None:
    """Refuse at once what would take the reader minutes: its time grows as the square of depth."""
    if len(text) > _LARGEST:
        raise ConfigError([f"{path}: larger than 1 MB, which no file of settings is"])
    depth = 0
    for number, line in enumerate(text.splitlines(), 1):
        depth += line.count("[") + line.count("{") - line.count("]") - line.count("}")
        most = max(depth, line.count("[") + line.count("{"))
        if most > _DEEPEST or _LISTS.search(line):
            raise ConfigError([f"{path}:{number}: {_TOO_DEEP}"])


def _loaded(path: Path, text: str, *, twice: bool = False) -> Any:
    """Ruamel's nodes.

    Args:
        path: of the file, for messages.
        text: its content.
        twice: whether a key may stand twice in a mapping.

    Raises:
        DuplicateKeyError: one does, and may not.
        ConfigError: the text is not YAML.
    """
    reader = YAML()
    reader.allow_duplicate_keys = twice
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReusedAnchorWarning)  # YAML allows it
            return reader.load(text)
    except DuplicateKeyError:
        raise
    except MarkedYAMLError as error:
        raise ConfigError([_marked(path, error)]) from error
    except RecursionError as error:
        raise ConfigError([f"{path}:1: {_TOO_DEEP}"]) from error
    except Exception as error:  # of odd text ruamel raises whatever its parts do
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError([f"{path}:1: not readable as YAML: {first}"]) from error


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
    except (OSError, ValueError) as error:  # the latter of a name that no file can have
        why = getattr(error, "strerror", None) or error
        raise ConfigError([f"{path}: cannot be read: {why}"]) from error


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

"""Rows of a long measurement, kept as they come, so that it can be stopped and gone on with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Rows:
    """Rows by key, in a file of one JSON object per line where one is given.

    Args:
        path: of the file, read first if it exists; or None: nothing outlasts the process.
        keys: the fields that say what a row measures.
    """

    def __init__(self, path: Path | None, keys: tuple[str, ...]) -> None:
        self._path, self._keys = path, keys
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for line in whole:
            self._take(json.loads(line))
        # a line that was being written when the process died is no row
        path.write_text("".join(whole))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows.values())

    def has(self, **about: object) -> bool:
        """Whether this was measured."""
        return self._key(about) in self._rows

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row."""
        self._take(row)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def _take(self, row: dict[str, Any]) -> None:
        self._rows[self._key(row)] = row

    def _key(self, about: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(about.get(name, "") for name in self._keys)

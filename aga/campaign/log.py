"""The log of a campaign: JSON lines in a file that is changed for a new one when it is large."""

import json
import os
from pathlib import Path
from typing import Any, Self

NAME = "log.jsonl"


class Log:
    """Appends to ``log.jsonl``; full ones are ``log.jsonl.1`` (the newest), ``.2`` and so on.

    A line is there in full or not at all, even where the disk is full.

    Args:
        folder: where the files are.
        limit: a file that has reached this is put aside [bytes].
        keep: how many of those are kept.
    """

    def __init__(self, folder: Path, limit: float, keep: int) -> None:
        self._path = folder / NAME
        self._limit, self._keep = limit, keep
        self._file = self._opened()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def write(self, data: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        size = os.fstat(self._file).st_size
        if size >= self._limit:
            self._put_aside()
            size = 0
        text = json.dumps(data).encode() + b"\n"
        try:
            written = os.write(self._file, text)
            if written < len(text):  # the disk has become full on the way: try to hear it said
                os.write(self._file, text[written:])
        except OSError:
            os.ftruncate(self._file, size)
            raise

    def _opened(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def _put_aside(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            old = self._numbered(number)
            if old.exists():
                old.replace(self._numbered(number + 1))
        if self._keep:
            self._path.replace(self._numbered(1))
        else:
            self._path.unlink()
        os.close(self._file)
        self._file = self._opened()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{NAME}.{number}")

"""Checksums of saved data: what was spoilt on the disk is told from what was written."""

import hashlib
import json
from pathlib import Path
from typing import Any

#: key of the checksum in a mapping; what has none was written by an earlier version
SEAL = "checksum"


class DamagedError(ValueError):
    """A file is not what was written."""


def sealed(data: dict[str, Any]) -> dict[str, Any]:
    """Plain JSON data with their checksum."""
    return {**data, SEAL: _hash(data)}


def opened(data: dict[str, Any], path: Path) -> dict[str, Any]:
    """The data without their checksum.

    Args:
        data: as read, keys in the order in which they were written.
        path: where from, for the message.

    Raises:
        DamagedError: the checksum is that of other data.
    """
    if SEAL not in data:
        return data
    plain = {name: value for name, value in data.items() if name != SEAL}
    if data[SEAL] != _hash(plain):
        raise DamagedError(f"{path}: damaged (its checksum is that of other data)")
    return plain


def file_hash(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()

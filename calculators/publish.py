"""Files that are either absent or complete, whatever dies at whatever moment."""

import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from potentials.seal import DamagedError, opened

#: what a damaged file or folder is called from then on
DAMAGED = ".damaged"


def publish_json(path: Path, data: Any) -> None:
    """Write JSON by `publish_text`.

    Floats are written in the shortest form that reads back to the same bits.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    publish_text(path, json.dumps(data, allow_nan=False))


def publish_text(path: Path, text: str) -> None:
    """Write text under a temporary name, fsync it, rename it, fsync the folder."""
    make_folder(path.parent)
    # unique even between hosts of one network file system
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_json(path: Path) -> Any | None:
    """The data of a published file, without their checksum, or None where there is none.

    Raises:
        DamagedError: the file is not as it was published: it is no JSON, or its checksum is wrong.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
    except ValueError as error:  # of JSON, or of UTF-8
        raise DamagedError(f"{path}: damaged, not JSON ({error})") from error
    return opened(data, path) if isinstance(data, dict) else data


def put_aside(path: Path) -> None:
    """Give a damaged file or folder another name, in place of an earlier one."""
    aside = path.with_name(path.name + DAMAGED)
    if aside.is_dir():
        shutil.rmtree(aside)
    path.replace(aside)


def append_line(path: Path, text: str) -> None:
    """Append one line in one write, on disk before this returns."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, f"{text}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents so that their names survive a power failure."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

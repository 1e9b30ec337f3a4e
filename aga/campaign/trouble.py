"""What of the things that end a campaign its user can mend, in words."""

import errno
import json
import sqlite3
from pathlib import Path

from calculators import disk

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DamagedStoreError(Exception):
    """The database is read without an error, but is not what was written."""


def trouble(error: BaseException, run_dir: Path) -> str:
    """What to do about an error, or an empty string where it is a fault of this program."""
    return full(error, run_dir) or unwritable(error, run_dir) or damaged(error, run_dir)


def full(error: BaseException, run_dir: Path) -> str:
    """Of errors that come of a full disk; some of SQLite's only say that a write failed."""
    code = _code(error)
    failed_write = code == sqlite3.SQLITE_IOERR and disk.no_room(run_dir)
    if not (disk.is_full(error) or code == sqlite3.SQLITE_FULL or failed_write):
        return ""
    return (
        f"{run_dir}: the disk is full, so the campaign has stopped. Nothing that was finished is "
        "lost: make room, then start the same command again to go on."
    )


def unwritable(error: BaseException, run_dir: Path) -> str:
    """Of errors that come of a folder that this user, or nobody, may write into."""
    why = ""
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        path, folder = Path(str(error.filename)).absolute(), run_dir.absolute()
        if path.is_relative_to(folder) or folder.is_relative_to(path):
            why = str(error.strerror)
    elif _code(error) == sqlite3.SQLITE_READONLY:
        why = str(error)
    if not why:
        return ""
    return (
        f"{run_dir}: the run folder cannot be written ({why}). Nothing that was finished is lost: "
        "make the folder and its files writable (`ls -ld`, `mount`), or choose another with "
        "--run-dir, then start the same command again to go on."
    )


def damaged(error: BaseException, run_dir: Path) -> str:
    """Of errors that come of a database that something has spoilt."""
    unreadable = isinstance(error, json.JSONDecodeError | DamagedStoreError)
    if _code(error) not in _DAMAGED and not unreadable:
        return ""
    return (
        f"{run_dir / 'campaign.db'}: the database is damaged ({error}). The labels are files of "
        f"their own, in {run_dir / 'labels'}. Put back a copy; or move campaign.db* away and start "
        "the same `aga run` again, which computes no label again that it finds there."
    )


def _code(error: BaseException) -> int:
    """SQLite's own code, without what extends it."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF

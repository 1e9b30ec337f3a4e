"""One driver per run folder."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LOCK_NAME = "campaign.lock"
TRIES, PAUSE_S = 5, 0.1  # a look by `holder` takes the lock for an instant


class RunLocked(RuntimeError):  # noqa: N818  reads as what happened
    """Another driver has this run folder.

    Attributes:
        holder: what it wrote into the lock file (pid, host, started); empty if not readable.
    """

    def __init__(self, path: Path, holder: dict[str, Any]) -> None:
        self.holder = holder
        who = "another process"
        if holder:
            who = described(holder)
        super().__init__(
            f"{path.parent}: this campaign is being run by {who}. Watch it with `aga status`, end "
            f"it with `aga stop` (or Ctrl-C where it runs), or choose another run folder. The lock "
            "goes away with its holder; there is nothing to delete."
        )


class RunLock:
    """Exclusive use of a run folder for as long as the block runs, or the process lives.

    The lock is the kernel's (flock on ``campaign.lock``), so a killed driver leaves none behind. On
    NFS, Linux passes it on to the server, and it holds between hosts. The file is never removed:
    a process that waits on a removed file would hold a lock nobody else sees.

    Raises:
        RunLocked: another process, or this one, has the folder.
        OSError: the folder is not there or not writable, or its file system has no locks.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = Path(run_dir) / LOCK_NAME
        self._file: int | None = None

    def __enter__(self) -> Self:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _locked(file, self._path):
                raise RunLocked(self._path, _content(self._path))
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": started}
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps(holder).encode() + b"\n", 0)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def described(holder: dict[str, Any]) -> str:
    """The process of a lock, in words."""
    pid, host = holder.get("pid", "?"), holder.get("host", "?")
    return f"process {pid} on {host}, started {holder.get('started', '?')}"


def holder(run_dir: Path) -> dict[str, Any] | None:
    """Who runs this campaign (pid, host, started), or None when nobody does."""
    held, content = _look(run_dir)
    return content if held else None


def left_behind(run_dir: Path) -> dict[str, Any] | None:
    """Who had this campaign and did not end it: killed, or the machine went down; else None.

    A driver that ends by itself leaves the file empty.
    """
    held, content = _look(run_dir)
    return None if held else content or None


def _look(run_dir: Path) -> tuple[bool, dict[str, Any]]:
    """Whether the lock is held, and what the file says; nobody can take it in between."""
    path = Path(run_dir) / LOCK_NAME
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False, {}
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True, _content(path)
    else:
        return False, _content(path)
    finally:
        os.close(file)


def _locked(file: int, path: Path) -> bool:
    """Try to take the lock a few times."""
    for _ in range(TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(PAUSE_S)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise OSError(
                error.errno,
                f"{path}: this file system has no file locks ({error.strerror}), and the campaign "
                "database needs them; put the run folder on a local disk, or have the file system "
                "mounted with locks (Lustre: -o flock)",
            ) from error
        else:
            return True
    return False


def _content(path: Path) -> dict[str, Any]:
    """What the holder wrote; empty while it is still writing."""
    with contextlib.suppress(ValueError):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict):
            return data
    return {}

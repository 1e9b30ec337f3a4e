"""A full disk: no outcome of any calculation, so nothing is recorded or published as one."""

import errno
import os
import shutil
from pathlib import Path

#: exit status of a child process that could not write
STATUS = 74  # EX_IOERR of sysexits.h
#: a disk with less room than this is full, whatever a program made of it [bytes]
LEAST = 2**20

_NUMBERS = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that there is no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            return True
        error = error.__cause__
    return False


def no_room(folder: Path) -> bool:
    """Whether the disk of a folder is full; a quota is only seen by trying."""
    usage = shutil.disk_usage(folder)
    return bool(usage.total) and usage.free < LEAST  # some file systems do not say


def full(folder: Path) -> OSError:
    """The error to raise where a program could not write into a folder."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

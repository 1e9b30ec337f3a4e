"""What calculations leave behind in a label store: logs stay, the rest goes sooner or later.

Of a success everything but the logs goes at once; of failures the newest keep all their files, so
that one can look at them. ``result.json`` and ``starts`` always stay.
"""

import shutil
from collections import deque
from pathlib import Path

from calculators.publish import read_json
from potentials.seal import DamagedError

#: endings of logs
KEPT = frozenset({".txt", ".log"})


def tidy(folder: Path) -> None:
    """Remove from the attempts of one result all but their logs."""
    for attempt in folder.glob("attempt-*"):
        tidy_attempt(attempt)


def tidy_attempt(attempt: Path) -> None:
    """Remove from one attempt all but its logs."""
    for path in attempt.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.suffix not in KEPT:
            path.unlink()


class Failures:
    """The failed results of a store whose files are still there; no more than a number of them.

    Args:
        store: root folder of the label store.
        keep: how many.
    """

    def __init__(self, store: Path, keep: int) -> None:
        self._keep = keep
        self._folders: deque[Path] = deque()
        found = []
        for path in store.glob("*/*/result.json"):
            if _untidy(path.parent):
                if _failed(path):
                    found.append((path.stat().st_mtime_ns, path.parent))
                else:
                    tidy(path.parent)  # what an attempt before the one that succeeded has left
        for _, folder in sorted(found):
            self.add(folder)

    def add(self, folder: Path) -> None:
        """Take in the newest failure; the oldest beyond the number lose their files."""
        if folder not in self._folders and _untidy(folder):
            self._folders.append(folder)
        while len(self._folders) > self._keep:
            tidy(self._folders.popleft())


def _untidy(folder: Path) -> bool:
    """Whether there is anything but logs."""
    return any(
        path.is_dir() or path.suffix not in KEPT
        for attempt in folder.glob("attempt-*")
        for path in attempt.iterdir()
    )


def _failed(path: Path) -> bool:
    try:
        result = read_json(path)
    except DamagedError:
        return True  # nobody knows: its files are not thrown away as those of a success
    return result is not None and bool(result["status"] != "ok")

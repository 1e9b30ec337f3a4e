"""A small disk of its own, that can be full or read-only; only root may make one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILLER = "filler"


class Disk:
    """A tmpfs.

    Args:
        folder: where it is mounted.
        megabytes: its size.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._size = megabytes

    def mount(self) -> bool:
        """Make it; False where that is not allowed."""
        self.folder.mkdir(exist_ok=True)
        return sys.platform == "linux" and self._call(
            "mount", "-t", "tmpfs", "-o", f"size={self._size}m", "none"
        )

    def unmount(self) -> None:
        """Forget it with all that is on it."""
        assert self._call("umount", "-l")

    def fill(self) -> None:
        """Use up all room."""
        with (self.folder / FILLER).open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """Make room."""
        (self.folder / FILLER).unlink(missing_ok=True)

    @contextmanager
    def readonly(self) -> Iterator[None]:
        """Nothing can be written; nobody may have a file open for that."""
        assert self._call("mount", "-o", "remount,ro")
        try:
            yield
        finally:
            assert self._call("mount", "-o", "remount,rw")

    def _call(self, *words: str) -> bool:
        done = subprocess.run([*words, str(self.folder)], check=False, capture_output=True)
        return done.returncode == 0


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk | None]:
    """A disk while the block runs; None where there can be none."""
    made = Disk(folder, megabytes)
    mounted = made.mount()
    try:
        yield made if mounted else None
    finally:
        if mounted:
            made.unmount()

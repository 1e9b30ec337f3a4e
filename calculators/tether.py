"""Start a program that dies with the process that started it; run by path, never imported.

``python -I -S tether.py <pid> <argv...>``: pid is the starter's. An engine's binary is a grandchild
of the worker: the watcher ends it with the rest of the program's group, and this ends it where the
watcher itself was killed together with the program between them. Other systems than Linux have the
group alone.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def _main(starter: int, argv: list[str]) -> None:
    """Tie this process to its parent, then become the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != starter:
        sys.exit("the process that wanted this program is gone")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{argv[0]}: {error.strerror}")


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2:])

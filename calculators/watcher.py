"""The process between a worker and an outside program; run by path, never imported.

``python -I -S watcher.py <fd> <bytes> <argv...>``: fd is the read end of a pipe whose write end
only the worker has. End of file means that the worker is dead (even by kill -9) or wants the
program gone. PR_SET_PDEATHSIG alone would not do inside a worker: it is tied to the forking
*thread*. This process has one thread, so here it covers that somebody kills the watcher itself.

What leaves the program's group (mpirun gives its ranks groups of their own) becomes a child of this
process when its parent is gone, and is ended like the rest.
"""

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_ENDED = 97  # exit status after the pipe was closed
_GRACE = 1.0  # [s] between SIGTERM and SIGKILL
_POLL = 0.05  # [s]
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prepare(memory: int) -> None:
    """In the program's process, before it starts: limit its memory, tie it to the watcher."""
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_group(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the program and everything it started, e.g. mpirun and its ranks."""
    try:
        os.killpg(program.pid, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody left; macOS says PermissionError for a group of zombies


def _end(program: subprocess.Popen[bytes]) -> None:
    """Ask, wait a little, then kill."""
    _signal_group(program, signal.SIGTERM)
    until = time.monotonic() + _GRACE
    while program.poll() is None and time.monotonic() < until:
        time.sleep(_POLL)
    _signal_group(program, signal.SIGKILL)
    program.wait()


def _children() -> list[int]:
    """Processes whose parent this one is; none where there is no /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # after the name, which may hold anything: state, parent
            parent = int(path.read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # gone meanwhile
        if parent == os.getpid():
            found.append(int(path.parent.name))
    return found


def _end_strays() -> None:
    """Kill what left the group; its own children come to us in turn."""
    while strays := _children():
        for pid in strays:
            os.kill(pid, signal.SIGKILL)  # a zombie at the worst: nobody else waits for it
            os.waitpid(pid, 0)


def _watch(descriptor: int, memory: int, argv: list[str]) -> int:
    """Run the program until it ends or the pipe is closed; return the exit status."""
    program = subprocess.Popen(
        argv,
        start_new_session=True,
        preexec_fn=lambda: _prepare(memory),  # noqa: PLW1509 - this process has one thread
    )
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _signal_group(program, signal.SIGTERM))
    while program.poll() is None:
        readable, _, _ = select.select([descriptor], [], [], _POLL)
        if readable and not os.read(descriptor, 1):
            _end(program)
            _end_strays()
            return _ENDED
    _signal_group(program, signal.SIGKILL)  # what the program left behind
    _end_strays()
    return program.returncode if program.returncode >= 0 else 128 - program.returncode


if __name__ == "__main__":
    sys.exit(_watch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))

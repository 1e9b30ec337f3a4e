"""Run an outside program so that it dies with the worker, on request, or at the deadline."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_WATCHER = Path(__file__).with_name("watcher.py")
_POLL = 0.1  # [s] between two looks at the deadline and at should_stop
_PATIENCE = 10.0  # [s] for the watcher to end the program


def never() -> bool:
    """The default of ``should_stop``."""
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    Attributes:
        deadline: wall time [s].
        memory_gb: address space [GB]; 0 = no limit.
        should_stop: asked a few times a second; True ends the program, e.g. because a cancel file
            has appeared. The worker needs no private knowledge of its scheduler for that.
    """

    deadline: float
    memory_gb: float = 0.0
    should_stop: Callable[[], bool] = never


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended.

    Attributes:
        ended_by: itself (``program``), the ``deadline``, or a ``stop`` that was asked for.
        status: exit status of the program, 128 + n where signal n ended it; meaningless unless
            it ended by itself.
        seconds: wall time [s].
    """

    ended_by: Literal["program", "deadline", "stop"]
    status: int
    seconds: float


def run(
    argv: Sequence[str], limits: Limits, *, cwd: Path, log: Path, env: Mapping[str, str]
) -> Exit:
    """Run a program in a session of its own; its whole group is gone when this returns.

    Args:
        argv: program and arguments.
        limits: deadline, memory and who may stop it.
        cwd: folder it runs in.
        log: file that gets its standard output and error, appended.
        env: its environment, complete.
    """
    start = time.monotonic()
    watcher, lifeline = _start(argv, limits.memory_gb, cwd=cwd, log=log, env=env)
    try:
        ended_by = _wait(watcher, limits, start)
    finally:
        os.close(lifeline)  # tells the watcher to end the program, if it still runs
        try:
            status = watcher.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            watcher.kill()
            status = watcher.wait()
    # a watcher killed by somebody took the program along
    status = status if status >= 0 else 128 - status
    return Exit(ended_by, status, time.monotonic() - start)


def _start(
    argv: Sequence[str], memory_gb: float, *, cwd: Path, log: Path, env: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the watcher; return it and the write end of its pipe."""
    read_end, lifeline = os.pipe()  # not inheritable, so no other child holds the write end
    head = [sys.executable, "-I", "-S", str(_WATCHER), str(read_end), str(int(memory_gb * 1e9))]
    try:
        with log.open("ab") as output:
            watcher = subprocess.Popen(
                [*head, *argv],
                pass_fds=(read_end,),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                # Ctrl-C in a terminal reaches the driver alone, which then decides
                start_new_session=True,
            )
    except BaseException:
        os.close(lifeline)
        raise
    finally:
        os.close(read_end)
    return watcher, lifeline


def _wait(
    watcher: subprocess.Popen[bytes], limits: Limits, start: float
) -> Literal["program", "deadline", "stop"]:
    """Wait for the end, the deadline or a request to stop, whichever comes first."""
    while True:
        try:
            watcher.wait(_POLL)
        except subprocess.TimeoutExpired:
            if time.monotonic() - start > limits.deadline:
                return "deadline"
            if limits.should_stop():
                return "stop"
        else:
            return "program"

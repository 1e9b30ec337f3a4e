"""Programs that engines start: whether they are there, how they are tied, why they failed."""

import os
import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from calculators.outcome import EngineError, MachineError

_TETHER = Path(__file__).parent.parent / "tether.py"
# what Fortran and C++ run times, malloc and MPI say when there is no memory left
_MEMORY = re.compile(
    r"allocat\w* .{0,40}memory|memory limit|out of memory|bad_alloc", re.IGNORECASE
)
_LINES = 3
_LONGEST = 400


def _quoted_right(command: str) -> str:
    """Refuse what a shell could not split into words."""
    try:
        shlex.split(command)
    except ValueError as error:
        raise ValueError(f"expected words as in a shell, got {command!r}: {error}") from error
    return command


#: how a program is started, e.g. ``mpirun -n 4 pw.x``
Command = Annotated[str, AfterValidator(_quoted_right)]


def missing(kind: str, command: str, install: str) -> list[str]:
    """A sentence for a command that cannot be run here.

    Args:
        kind: of the engine, for the message.
        command: as in the campaign file, e.g. ``mpirun -n 4 pw.x``.
        install: what to do where the program is not installed.
    """
    words = shlex.split(command)
    if not words:
        return [f"The engine '{kind}' has an empty command: leave it out, or name the program."]
    if shutil.which(words[0]):
        return []
    return [
        f"The engine '{kind}' finds no program {words[0]!r} on PATH: {install}, "
        "or set `command` to where it is."
    ]


def tied(command: str) -> str:
    """The command as one that dies with this process (see `calculators.tether`)."""
    head = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
    return shlex.join([*head, *shlex.split(command)])


def ended(program: str, status: int, reason: str) -> Exception:
    """What to raise for a program that failed.

    Args:
        program: its name.
        status: exit status, negative for a signal as `subprocess` has it.
        reason: what its output says, or empty.
    """
    number = -status if status < 0 else status - 128
    said = f"; it says: {reason}" if reason else ""
    if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGBUS}:
        name = signal.Signals(number).name
        return MachineError(f"{program} was killed by {name} (out of memory?){said}")
    if _MEMORY.search(reason):
        return MachineError(f"{program} ran out of memory; raise memory_gb{said}")
    return EngineError(reason or f"{program} ended with status {status} and said nothing")


def last_words(*paths: Path) -> str:
    """The last lines with text of the first of some files that has any; empty for none."""
    for path in paths:
        if path.is_file():
            lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
            kept = [line for line in lines if re.search(r"\w", line)][-_LINES:]
            if kept:
                return " ".join(kept)[-_LONGEST:]
    return ""

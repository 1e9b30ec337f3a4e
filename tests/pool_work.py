"""Work for the tests of pools; a module of its own because workers import it."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from calculators.task import Task


def work(task: Task) -> dict[str, Any]:
    """Do what ``inputs["do"]`` says."""
    return globals()[f"_{task.inputs.get('do', 'echo')}"](task)


def _echo(task: Task) -> dict[str, Any]:
    return {"ok": {"ordinal": task.ordinal, "inputs": task.inputs, "pid": os.getpid()}}


def _fail(task: Task) -> dict[str, Any]:
    return {"failure": {"kind": "permanent", "reason": "SCF did not converge", "log": "x.log"}}


def _raise(task: Task) -> dict[str, Any]:
    raise ValueError(f"no such thing: {task.key}")


def _exit(task: Task) -> dict[str, Any]:
    sys.exit(3)


def _log(task: Task) -> dict[str, Any]:
    """As Dask does in a worker that is closed while its heartbeat is on the way."""
    logging.getLogger("distributed.worker").error("Unexpected exception during heartbeat.")
    return _echo(task)


def _nonsense(task: Task) -> Any:
    return 42


def _unserialisable(task: Task) -> dict[str, Any]:
    return {"ok": {"path": Path("x")}}


def _unpicklable(task: Task) -> dict[str, Any]:
    class OddError(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("cannot be pickled")

    raise OddError("odd")


def _sleep(task: Task) -> dict[str, Any]:
    time.sleep(task.inputs["seconds"])
    return _echo(task)


def _environ(task: Task) -> dict[str, Any]:
    """What the process was started with, before any library was loaded."""
    start = dict(
        entry.split("=", 1)
        for entry in Path("/proc/self/environ").read_text().split("\0")
        if "=" in entry
    )
    return {"ok": {"omp": start.get("OMP_NUM_THREADS")}}


def _variable(task: Task) -> dict[str, Any]:
    return {"ok": {"value": os.environ.get(task.inputs["name"])}}


def _eat(task: Task) -> dict[str, Any]:
    """Use so many bytes of memory for some seconds."""
    eaten = b"x" * task.inputs["bytes"]
    time.sleep(30.0)
    return {"ok": {"bytes": len(eaten)}}


def _die(task: Task) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _hold(task: Task) -> dict[str, Any]:
    """Leave a mark for every run, then wait until told to go on."""
    folder = Path(task.inputs["folder"])
    (folder / f"run-{task.ordinal}-{os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.02)
    return _echo(task)


def _mark(task: Task) -> dict[str, Any]:
    """Leave a mark for every run, then work for some seconds."""
    (Path(task.inputs["folder"]) / f"run-{task.ordinal}-{time.time_ns()}").touch()
    return _sleep(task)


def _program(task: Task) -> dict[str, Any]:
    """A program that notes the signal it gets, in the worker's process group."""
    folder = Path(task.inputs["folder"])
    script = (
        "import pathlib, signal, sys, time\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "signal.signal(signal.SIGINT, lambda *_: (folder / 'interrupted').touch())\n"
        "(folder / 'ready').touch()\n"
        "time.sleep(2)\n"
    )
    # its output is not the driver's, which ends before it
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-S", "-c", script, str(folder)], check=True, **quiet)
    return _echo(task)


def memory(_task: Task) -> dict[str, Any]:
    """How the C library of this worker's programs is told to keep memory."""
    return {"ok": {name: value for name, value in os.environ.items() if "MALLOC" in name}}

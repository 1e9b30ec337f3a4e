"""What a worker process does before its first task; Dask calls `dask_setup` in it (preload)."""

import os
import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave the terminal's process group and report the process id with every heartbeat.

    Ctrl-C is sent to the whole group of the driver. In a session of its own neither the worker nor
    the programs it starts see it: the driver alone decides what ends. Until here SIGINT was blocked
    (`_dask_crew.interrupts_held`).
    """
    if os.getpid() != os.getsid(0):
        os.setsid()
    # a Ctrl-C from before is waiting: ignoring the signal for a moment forgets it
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    worker.metrics["pid"] = pid


async def pid(worker: Any) -> int:
    """A metric in the form Dask wants it."""
    del worker
    return os.getpid()

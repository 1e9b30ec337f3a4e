"""What a worker in a batch job does before its first task; Dask calls `dask_setup` in it (preload).

Before the walltime, or when it is told that nobody needs it, a worker takes no new task, finishes
what runs, lets the driver collect it, and leaves. Dask's own ``--lifetime`` does not wait, and
blames tasks that were merely queued on a leaving worker for its end.
"""

import asyncio
import contextlib
import os
import time
from typing import Any

import psutil

from calculators.clusters._dask_worker import pid

POLL_S = 0.5  # [s] between two looks at what still runs
COLLECT_S = 1.0  # [s] for the driver to fetch the last outcome: it is in this process only


def dask_setup(worker: Any) -> None:
    """Report the process id with every heartbeat, and leave before the walltime."""
    worker.metrics["pid"] = pid
    worker.leave_now = asyncio.Event()
    # the event loop keeps only a weak reference to it
    worker.drain_task = asyncio.get_running_loop().create_task(_leave_in_time(worker))


async def leave(dask_worker: Any) -> None:
    """Run by the driver on a worker that is not needed any more."""
    dask_worker.leave_now.set()


async def _leave_in_time(worker: Any) -> None:
    """Wait for the time to leave, and do so."""
    # the parent started with the job; this process may be its second after a crash
    started = psutil.Process(os.getppid()).create_time()
    left = started + float(os.environ["AGA_DRAIN_AFTER_S"]) - time.time()
    with contextlib.suppress(TimeoutError):  # the time has come
        await asyncio.wait_for(worker.leave_now.wait(), max(0.0, left))
    await worker.set_resources(**dict.fromkeys(worker.state.total_resources, 0))
    state = worker.state
    while state.executing_count or state.all_running_tasks or state.ready:
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(COLLECT_S)
    await worker.close_gracefully(restart=False, reason="drained")

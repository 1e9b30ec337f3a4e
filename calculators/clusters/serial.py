"""Everything in this process, one task at a time, in the order of submission."""

import os
from collections import deque
from typing import Any, Literal

from calculators.clusters import Cluster, Crew, Needs
from calculators.task import Outcome, Pool, Task, Work, attempt


class SerialCrew(Crew):
    """Runs the next task when it is asked for outcomes."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._queue: deque[Task] = deque()

    def slots(self, pool: Pool) -> int:
        """One per pool, so that every pool can have work queued."""
        del pool
        return 1

    def start(self, task: Task) -> None:
        """Queue the task."""
        self._queue.append(task)

    def finished(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """Run the oldest task; a running task is never interrupted by the timeout."""
        del timeout
        if not self._queue:
            return []
        outcome = attempt(self._work, self._queue[0], worker="serial")
        return [(self._queue.popleft(), outcome)]

    def workers(self) -> list[dict[str, Any]]:
        """This process."""
        state = "busy" if self._queue else "idle"
        pool = self._queue[0].pool if self._queue else ""
        row = {"name": "serial", "pool": pool, "state": state, "pid": os.getpid(), "memory": 0}
        return [row]

    def close(self) -> None:
        """Forget what is queued."""
        self._queue.clear()


class Serial(Cluster):
    """No workers: for tests, debugging and strictly reproducible studies."""

    kind: Literal["serial"] = "serial"

    def open(self, work: Work, needs: Needs | None = None) -> SerialCrew:
        """Nothing to start."""
        del needs
        return SerialCrew(work)

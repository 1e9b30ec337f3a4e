"""The pools of a campaign: a bounded window of tasks on a cluster, and what came of them."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from calculators.clusters import Cluster, Needs
from calculators.task import Outcome, Pool, Task, Work, ahead


class Pools:
    """Three pools (search, dft, train) on one cluster; its workers run ``work`` on every task.

    A pool takes a few tasks more than it has slots (`calculators.task.ahead`), so that no slot
    waits for the driver. What else is to be done stays with the driver, which may change its mind
    about it.

    Use as a context manager: on any way out, Ctrl-C included, all workers end within seconds. They
    also end when this process is killed (jobs of a batch system at the next start).

    Args:
        cluster: where they run.
        work: what they run; picklable.
        needs: of the campaign; see `calculators.clusters.Cluster.open`.
    """

    def __init__(self, cluster: Cluster, work: Work, needs: Needs | None = None) -> None:
        self._tasks: dict[int, Task] = {}
        self._crew = cluster.open(work, needs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def slots(self, pool: Pool) -> int:
        """How many tasks of this pool run at the same time; may change from call to call."""
        return self._crew.slots(pool)

    def free(self, pool: Pool) -> int:
        """How many more tasks `submit` takes for this pool now."""
        used = Counter(task.pool for task in self._tasks.values())
        return max(0, self._room(pool) - used[pool])

    def _room(self, pool: Pool) -> int:
        slots = self.slots(pool)
        return slots + ahead(slots)

    def in_flight(self) -> frozenset[int]:
        """Ordinals of the tasks submitted whose outcome has not been handed out."""
        return frozenset(self._tasks)

    def submit(self, task: Task) -> None:
        """Hand over a task.

        Raises:
            ValueError: a task with this ordinal is in flight.
            RuntimeError: the pool's window is full.
        """
        if task.ordinal in self._tasks:
            raise ValueError(f"task {task.ordinal} ({task.kind}) is in flight already")
        if not self.free(task.pool):
            raise RuntimeError(
                f"pool {task.pool} has {self._room(task.pool)} tasks in flight and takes no "
                f"more; ask free({task.pool!r}) before task {task.ordinal} is submitted"
            )
        self._crew.start(task)
        self._tasks[task.ordinal] = task

    def completed(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """Outcomes since the last call, by ordinal.

        Returns as soon as a pool has used up half of what waited for its slots (with few slots:
        as soon as there is an outcome), after ``timeout`` [s], or at once when nothing is in
        flight. Of hundreds of slots one becomes free at every moment, and a driver that looked at
        each alone would do nothing else.

        Every outcome holds ``"ok"`` or ``"failure"`` (kind, reason, log) and ``"meta"``: started,
        finished [s since 1970], worker. A failure is transient when workers were lost,
        permanent when the task raised an exception; ``meta`` then has its ``traceback``.

        Raises:
            ClusterError: there is nobody to work, and waiting will not help.
        """
        if not self._tasks:
            return []
        deadline = time.monotonic() + timeout
        done = self._crew.finished(timeout)
        while len(done) < len(self._tasks) and not self._enough(done):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            done += self._crew.finished(left)
        for task, _ in done:
            del self._tasks[task.ordinal]
        return sorted(done, key=lambda pair: pair[0].ordinal)

    def _enough(self, done: Sequence[tuple[Task, Outcome]]) -> bool:
        """Whether slots may soon wait for the driver."""
        ended = Counter(task.pool for task, _ in done)
        return any(count >= max(1, ahead(self.slots(pool)) // 2) for pool, count in ended.items())

    def workers(self) -> list[dict[str, Any]]:
        """One row per live worker: name, pool, state (busy, idle), pid, memory [bytes]."""
        return self._crew.workers()

    def close(self) -> None:
        """End everything within seconds; what was in flight is forgotten."""
        self._tasks.clear()
        self._crew.close()

"""A crew of Dask workers of any kind; imported only when such a cluster is opened."""

import functools
import logging
import queue
import signal
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any

from distributed import Client, Future, KilledWorker, get_worker

from calculators.clusters import ClusterError, Crew
from calculators.task import POOLS, Outcome, Pool, Task, Work, attempt, failure, with_meta

log = logging.getLogger(__name__)

SETTINGS: dict[str, Any] = {
    # every value answers a failure that was seen: innocents blamed for a lost worker, tasks stuck
    # after stealing, workers restarted because a library held the GIL, spilling, short hiccups; the
    # client asks every two seconds for a summary without workers, and that was now and then the
    # answer to who works
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-ttl": "30 minutes",
    "distributed.scheduler.unknown-task-duration": "30m",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": 0.9,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.comm.retry.count": 3,
    "distributed.deploy.lost-worker-timeout": "15s",
    "distributed.client.scheduler-info-interval": "1 day",
}

SUPERVISE_S = 2.0  # [s] between two looks at whether every worker is there
LOST = "the connection to Dask's scheduler is lost"
GATHER_S = 10.0  # [s] to fetch one small outcome from its worker


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, so that nothing is left half started or half ended.

    Threads and processes started inside inherit the blocked signal: workers, and those that Dask's
    event loop starts in their place later, are out of reach of Ctrl-C from their first instant.
    """
    # started later it would unblock the signal in the event loop's thread (CPython 3.11)
    resource_tracker.ensure_running()
    held: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    # threads from before may still receive the signal; Python then tells the main thread
    handler = signal.signal(signal.SIGINT, lambda *_: held.append(1)) if main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if main:
            # None: a handler that was not installed from Python
            signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
        if held:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def losses_told_once() -> Iterator[None]:
    """Dask's client meets a lost scheduler with a traceback; the crew has a sentence for it."""
    client = logging.getLogger("distributed.client")
    before = client.level
    client.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        client.setLevel(before)


def run_on_worker(work: Work, task: Task) -> Outcome:
    """What Dask runs: `attempt` under the worker's name."""
    return attempt(work, task, worker=str(get_worker().name))


class Staff(ABC):
    """The workers behind a crew: how many there are, and who sees to it that there are enough."""

    @abstractmethod
    def slots(self, pool: Pool) -> int:
        """Tasks at the same time that this pool is worth planning for."""

    @abstractmethod
    def ready(self, pool: Pool) -> int:
        """Tasks at the same time that its workers can take now; asked from Dask's threads too."""

    @abstractmethod
    def keep_up(self, load: Callable[[Pool], int]) -> None:
        """Start workers again that are missing; called every few seconds.

        Args:
            load: tasks of a pool that run or wait.
        """


class Fixed(Staff):
    """A number of workers that never changes.

    Args:
        slots: tasks at the same time, per pool.
        restart: starts workers again that are missing.
    """

    def __init__(self, slots: Mapping[Pool, int], restart: Callable[[], None]) -> None:
        self._slots = dict(slots)
        self._restart = restart

    def slots(self, pool: Pool) -> int:
        """Workers this pool is meant to have; lost ones are replaced."""
        return self._slots[pool]

    def ready(self, pool: Pool) -> int:
        """The same."""
        return self._slots[pool]

    def keep_up(self, load: Callable[[Pool], int]) -> None:
        """Replace those that are lost."""
        del load
        self._restart()


class DaskCrew(Crew):
    """Sends a pool no more tasks than it has slots; the next one waits here, not on a worker.

    A task sent to a busy worker would wait for that worker even when others become free, and would
    share the blame when it dies.

    Args:
        client: connected to the scheduler.
        staff: the workers.
        work: runs on the workers.
        stack: what `close` ends, after the client.
    """

    def __init__(
        self,
        client: Client,
        staff: Staff,
        work: Work,
        stack: ExitStack,
    ) -> None:
        self._client = client
        self._staff = staff
        self._work = work
        self._stack = stack
        self._lock = threading.Lock()  # `_sent` and `_waiting` are shared with Dask's callbacks
        self._sent: dict[Pool, int] = dict.fromkeys(POOLS, 0)
        self._waiting: dict[Pool, deque[Task]] = {pool: deque() for pool in POOLS}
        self._arrived: queue.SimpleQueue[tuple[Task, Future, float]] = queue.SimpleQueue()
        self._supervised = float("-inf")
        self._closed = False

    def slots(self, pool: Pool) -> int:
        """Tasks at the same time that this pool is worth planning for."""
        return self._staff.slots(pool)

    def start(self, task: Task) -> None:
        """Send the task, or keep it until a slot is free."""
        with self._lock:
            self._waiting[task.pool].append(task)
            self._send_next(task.pool)

    def _send_next(self, pool: Pool) -> None:
        """Fill the free slots of a pool; the lock is held."""
        ready = self._staff.ready(pool)
        while self._waiting[pool] and self._sent[pool] < ready and not self._closed:
            task = self._waiting[pool].popleft()
            self._sent[pool] += 1
            future = self._client.submit(
                run_on_worker,
                self._work,
                task,
                # a key that failed once would meet its old state
                key=f"{task.kind}-{task.key}-{uuid.uuid4().hex[:8]}",
                resources={pool: 1},
                pure=False,
            )
            future.add_done_callback(functools.partial(self._done, task, time.time()))

    def _done(self, task: Task, sent: float, future: Future) -> None:
        """Called by Dask in a thread of its own when a future is finished, failed or cancelled."""
        with self._lock:
            if self._closed:
                return
            self._sent[task.pool] -= 1
            self._send_next(task.pool)
        self._arrived.put((task, future, sent))

    def finished(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """Wait for at least one outcome, at most ``timeout`` [s]; then all that are there."""
        deadline = time.monotonic() + timeout
        done: list[tuple[Task, Outcome]] = []
        while not done:
            self._supervise()
            left = deadline - time.monotonic()
            try:
                arrivals = [self._arrived.get(timeout=max(0.0, min(left, SUPERVISE_S)))]
            except queue.Empty:
                if left <= SUPERVISE_S:
                    break
                continue
            arrivals += [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]
            done = [(a[0], outcome) for a in arrivals if (outcome := self._outcome(*a))]
        return done

    def _supervise(self) -> None:
        """Look after the workers when it is time again; more of them take more tasks."""
        if time.monotonic() - self._supervised > SUPERVISE_S:
            self._staff.keep_up(self._load)
            self._supervised = time.monotonic()
            with self._lock:
                for pool in POOLS:
                    self._send_next(pool)

    def _load(self, pool: Pool) -> int:
        """Tasks of a pool that run or wait."""
        with self._lock:
            return self._sent[pool] + len(self._waiting[pool])

    def _outcome(self, task: Task, future: Future, sent: float) -> Outcome | None:
        """Fetch an outcome and let Dask forget it; None: not yet, it will arrive again.

        Raises:
            ClusterError: the scheduler is gone, which says nothing about the task.
        """
        try:
            error = future.exception(timeout=GATHER_S)
            outcome = future.result(timeout=GATHER_S) if error is None else None
        except CancelledError as cancelled:
            outcome, error = None, cancelled
        except TimeoutError:
            # its worker died with the outcome in memory; Dask runs the task again
            self._arrived.put((task, future, sent))
            return None
        if isinstance(error, CancelledError) and self._client.status != "running":
            raise ClusterError(LOST)
        # held by the driver, an outcome would be computed again when its worker leaves
        future.release()
        if isinstance(outcome, dict):
            return outcome
        if isinstance(error, KilledWorker | CancelledError):
            log.warning("task %d (%s) lost its workers: %s", task.ordinal, task.kind, error)
            return with_meta(failure("transient", _lost(error)), sent, worker="")
        reason = f"the worker could not run the task: {type(error).__name__}: {error}"
        return with_meta(failure("permanent", reason), sent, worker="")

    def workers(self) -> list[dict[str, Any]]:
        """One row per live worker, as of its last heartbeat."""
        return sorted((_row(worker) for worker in rows(self._client)), key=lambda row: row["name"])

    def close(self) -> None:
        """Forget all tasks and end all workers."""
        with self._lock:
            self._closed = True
            for waiting in self._waiting.values():
                waiting.clear()
        with interrupts_held():
            self._stack.close()


def rows(client: Client) -> list[Mapping[str, Any]]:
    """What the scheduler knows of every worker, with its ``address``.

    Raises:
        ClusterError: it does not answer.
    """
    try:
        known = client.scheduler_info(n_workers=-1)["workers"]
    except (OSError, RuntimeError, KeyError) as error:  # the last: a lost one's answer is empty
        raise ClusterError(LOST) from error
    return [{**worker, "address": address} for address, worker in known.items()]


def _lost(error: BaseException) -> str:
    """One sentence for the record."""
    if isinstance(error, KilledWorker):
        return f"every worker that ran this task died ({error.allowed_failures + 1} times)"
    return f"the scheduler lost this task: {error}"


def _row(worker: Mapping[str, Any]) -> dict[str, Any]:
    """A line of the table of workers."""
    metrics = worker["metrics"]
    tasks = metrics.get("task_counts", {})  # by state, as of the last heartbeat
    return {
        "name": str(worker["name"]),
        "pool": next(iter(worker["resources"]), ""),
        "state": "busy" if tasks.get("executing") else "idle",
        "pid": metrics.get("pid", 0),
        "memory": metrics.get("memory", 0),
    }

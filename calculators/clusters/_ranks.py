"""The jobs of one pool: what is known of them, and what should be done; nothing is done here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from calculators.clusters._batch import JobPool

PATIENCE_S = 600.0  # [s] a job may wait in the queue and still be counted on
SETTLE_S = 5.0  # [s] after which a submitted job must show in the queue
GRACE_S = 60.0  # [s] for a worker to come back before its job is given up
FAILURES = 3  # starts in a row that may fail before the first worker of a pool has ever come up
HOLD_S, LONGEST_HOLD_S = 10.0, 600.0  # [s] without new jobs after a failure; doubled each time

Row = Mapping[str, Any]


@dataclass(slots=True)
class Job:
    """A job that was submitted and, as far as is known, has not ended.

    Attributes:
        id: the batch system's.
        name: also of its script and log, and the beginning of its workers' names.
        submitted: when [s].
        seen: when a worker of it was last there [s]; None: it has not started.
        workers: Dask's rows of those that are there.
    """

    id: str
    name: str
    submitted: float
    seen: float | None = None
    workers: Sequence[Row] = ()

    @property
    def idle(self) -> bool:
        """Whether it has started and none of its workers does anything, as of the last look."""
        return bool(self.workers) and not any(map(_busy, self.workers))


@dataclass(slots=True)
class Ranks:
    """The jobs of one pool. Moments are of `time.monotonic` [s].

    Attributes:
        pool: settings.
        idle_s: a surplus that lasts so long is ended [s].
        last: number of the last job.
        jobs: those that have not ended, in the order of submission.
        failures: starts that failed, since the last that did not.
        proven: whether a worker of this pool has ever come up.
        hold_until: no job is submitted before.
        surplus_since: since when there are more jobs than are needed; None: there are not.
    """

    pool: JobPool
    idle_s: float
    last: int = 0
    jobs: list[Job] = field(default_factory=list)
    failures: int = 0
    proven: bool = False
    hold_until: float = 0.0
    surplus_since: float | None = None

    @property
    def there(self) -> int:
        """Workers that are connected."""
        return sum(len(job.workers) for job in tuple(self.jobs))

    def coming(self, now: float) -> int:
        """Workers of jobs that wait in the queue, and have not done so for long."""
        young = [
            job for job in tuple(self.jobs) if job.seen is None and now - job.submitted < PATIENCE_S
        ]
        return len(young) * self.pool.workers_per_job

    def count(self, workers: Mapping[str, Sequence[Row]], now: float) -> None:
        """Note which jobs have workers.

        Args:
            workers: Dask's rows by the name of their job.
            now: the time.
        """
        for job in self.jobs:
            job.workers = workers.get(job.name, ())
            if job.workers:
                job.seen, self.proven, self.failures = now, True, 0

    def doubtful(self, now: float) -> list[Job]:
        """Jobs without a worker: the queue must tell whether they are still there."""
        return [job for job in self.jobs if not job.workers and now - job.submitted > SETTLE_S]

    def given_up(self, now: float) -> list[Job]:
        """Jobs that had workers which do not come back."""
        return [
            job
            for job in self.jobs
            if not job.workers and job.seen is not None and now - job.seen > GRACE_S
        ]

    def wanted(self, load: int) -> int:
        """Jobs that ``load`` tasks are worth."""
        return min(self.pool.max_jobs, math.ceil(load / self.pool.workers_per_job))

    def missing(self, load: int, now: float) -> int:
        """How many jobs to submit; never more than one for every worker that is needed."""
        return 0 if now < self.hold_until else max(0, self.wanted(load) - len(self.jobs))

    def surplus(self, load: int, now: float) -> tuple[list[Job], list[Job]]:
        """Jobs that nobody has needed for long: to be cancelled, and to be told to leave."""
        extra = len(self.jobs) - self.wanted(load)
        if extra <= 0:
            self.surplus_since = None
            return [], []
        if self.surplus_since is None:
            self.surplus_since = now
        if now - self.surplus_since < self.idle_s:
            return [], []
        waiting = [job for job in self.jobs if job.seen is None][:extra]
        return waiting, [job for job in self.jobs if job.idle][: extra - len(waiting)]

    def failed(self, now: float) -> bool:
        """Note that a start has failed; whether it is no use to go on trying."""
        self.failures += 1
        if not self.proven:
            return self.failures >= FAILURES
        self.hold_until = now + min(LONGEST_HOLD_S, HOLD_S * 2 ** (self.failures - 1))
        return False


def _busy(row: Row) -> bool:
    """Whether a worker had something to do at its last heartbeat."""
    tasks = row["metrics"].get("task_counts", {})
    return bool(set(tasks) & {"executing", "ready", "constrained", "long-running"})

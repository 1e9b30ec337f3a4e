"""The jobs behind the pools: as many as there is work for, replaced when lost, ended when idle."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from distributed import Client

from calculators.clusters import ClusterError, Needs
from calculators.clusters._batch import Batch
from calculators.clusters._batch_worker import leave
from calculators.clusters._dask_crew import Staff, interrupts_held, rows
from calculators.clusters._queue import Queue, QueueError
from calculators.clusters._ranks import Job, Ranks, Row
from calculators.task import POOLS, Pool

MISSED_S = 3.0  # [s] between two looks at the queue when a worker has gone
LAST_WORDS = 3  # lines of the log of a job that failed

log = logging.getLogger(__name__)


class JobStaff(Staff):
    """Keeps jobs in the queue of a batch system.

    Nothing is remembered between starts: the name of a job tells which run it belongs to.

    Args:
        batch: settings.
        queue: of the batch system.
        client: of Dask's scheduler.
        address: of the scheduler, for workers.
        needs: of the campaign.
    """

    def __init__(
        self, batch: Batch, queue: Queue, client: Client, address: str, needs: Needs
    ) -> None:
        self._batch = batch
        self._queue = queue
        self._client = client
        self._address = address
        self._needs = needs
        self._folder = batch.folder(needs)
        self._prefix = batch.prefix(needs)
        self._polled = 0.0
        self._ranks = {
            name: Ranks(pool, 60.0 * batch.idle_min, self._last_number(name))
            for name, pool in batch.pools().items()
        }

    def slots(self, pool: Pool) -> int:
        """Workers that are there, and those of jobs that have not waited for long."""
        ranks = self._ranks[pool]
        return ranks.there + ranks.coming(time.monotonic())

    def ready(self, pool: Pool) -> int:
        """Workers that are there; one that takes no more is ending its last task."""
        return self._ranks[pool].there

    def keep_up(self, load: Callable[[Pool], int]) -> None:
        """Look at the workers and the queue; submit what is missing, end what nobody needs.

        Raises:
            ClusterError: the scheduler is gone, or no job of a pool ever comes up.
        """
        workers, now = self._workers(), time.monotonic()
        for ranks in self._ranks.values():
            ranks.count(workers, now)
        self._bury(now)
        for pool in POOLS:
            self._scale(pool, load(pool), now)

    def close(self) -> None:
        """End all jobs: those that are known, and what else the queue has of this run."""
        self._queue.cancel(job.id for _, _, job in self._all())
        try:
            self._queue.clear()
        except QueueError as error:
            log.warning("jobs named %s* may be left in the queue: %s", self._prefix, error)

    def _workers(self) -> dict[str, list[Row]]:
        """Dask's rows of all workers, by the name of their job."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in rows(self._client):
            # a job with several workers adds -0, -1 ... to its name
            found["-".join(str(row["name"]).split("-")[:3])].append(row)
        return found

    def _all(self) -> Iterator[tuple[Pool, Ranks, Job]]:
        for pool, ranks in self._ranks.items():
            for job in tuple(ranks.jobs):
                yield pool, ranks, job

    def _bury(self, now: float) -> None:
        """Forget jobs that have ended, and give up those whose workers do not come back."""
        doubtful = [job for ranks in self._ranks.values() for job in ranks.doubtful(now)]
        lost = any(job.seen is not None for job in doubtful)
        if not doubtful or now - self._polled < (MISSED_S if lost else self._batch.poll_s):
            return
        self._polled = now
        try:
            alive = self._queue.mine([job.id for job in doubtful])
        except QueueError as error:
            log.warning("the queue does not answer, so nothing is known of jobs: %s", error)
            return
        names = set(alive.values())
        for pool, ranks, job in self._all():
            if job in doubtful and job.name not in names:
                ranks.jobs.remove(job)
                if job.seen is None:
                    said = f"ended before its worker came up; {self._last_words(job)}"
                    self._failed(pool, f"job {job.id} ({job.name}) {said}", now)
            elif job in ranks.given_up(now):
                log.warning("job %s (%s) has lost its workers and is ended", job.id, job.name)
                self._queue.cancel([job.id])
                ranks.jobs.remove(job)

    def _scale(self, pool: Pool, load: int, now: float) -> None:
        """Submit or end jobs of one pool."""
        ranks = self._ranks[pool]
        for _ in range(ranks.missing(load, now)):
            try:
                self._submit(pool)
            except QueueError as error:
                self._failed(pool, str(error), now)
                break
        waiting, idle = ranks.surplus(load, now)
        self._queue.cancel(job.id for job in waiting)
        for job in waiting:
            ranks.jobs.remove(job)
        if addresses := [row["address"] for job in idle for row in job.workers]:
            # a task that is sent to them at this moment is still done
            self._client.run(leave, workers=addresses, wait=False, on_error="ignore")

    def _submit(self, pool: Pool) -> None:
        """Put one more job into the queue."""
        ranks = self._ranks[pool]
        ranks.last += 1
        name = f"{self._prefix}{pool[0]}{ranks.last}"
        script = self._folder / f"{name}.sh"
        script.write_text(self._batch.script(pool, name, self._address, self._needs))
        with interrupts_held():  # a job that is in the queue is in the list
            number = self._queue.submit(script)
            ranks.jobs.append(Job(number, name, time.monotonic()))
        log.info("job %s (%s) submitted", number, name)

    def _failed(self, pool: Pool, message: str, now: float) -> None:
        """A start that came to nothing.

        Raises:
            ClusterError: none of this pool has ever come to anything.
        """
        if self._ranks[pool].failed(now):
            raise ClusterError(
                f"cluster {self._batch.kind}: no worker of the pool {pool} came up in "
                f"{self._ranks[pool].failures} tries, at last: {message}"
            )
        log.warning("pool %s: %s", pool, message)

    def _last_words(self, job: Job) -> str:
        """Where its output is, and how it ends."""
        logs = sorted(self._folder.glob(f"{job.name}*.log"))
        if not logs:
            return f"it left no output in {self._folder}"
        lines = logs[-1].read_text("utf-8", "replace").strip().splitlines()
        return f"its output ends with: {' | '.join(lines[-LAST_WORDS:])} (all: {logs[-1]})"

    def _last_number(self, pool: Pool) -> int:
        """Of the scripts of earlier starts: no name is used twice."""
        head = f"{self._prefix}{pool[0]}"
        numbers = [path.stem.removeprefix(head) for path in Path(self._folder).glob(f"{head}*.sh")]
        return max((int(number) for number in numbers if number.isdigit()), default=0)

"""Start Dask's scheduler in this process and workers beside it; imported when `local` is opened."""

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from calculators.clusters import ClusterError
from calculators.clusters._dask_crew import SETTINGS, DaskCrew, Fixed, interrupts_held
from calculators.clusters._environment import MEMORY
from calculators.task import Work

if TYPE_CHECKING:
    from calculators.clusters.local import Local

HOST = "127.0.0.1"
CLOSE_S = 1.0  # [s] a worker gets to end by itself
CLOSE_LIMIT_S = 20.0  # [s] for all of them; what is left then ends with this process
# workers that are ended tell of their last heartbeat with a traceback; what matters to the user
# comes as an outcome, or as a message of the crew's
SILENCE = logging.CRITICAL
OPENINGS = 3  # tries: Dask replaces a worker that dies, but not one that dies while it starts

log = logging.getLogger(__name__)


class LocalNanny(Nanny):  # type: ignore[misc]
    """Starts a worker process, restarts it when it dies, ends it quickly."""

    def __init__(self, *args: Any, threads: dict[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        # numerical libraries read these when they are loaded; Nanny's `env` comes too late for
        # that, and Dask's own defaults give way to what the user has exported
        self.pre_spawn_env.update(threads | MEMORY)
        self.env.update(threads | MEMORY)  # and the programs that the worker starts

    async def close(self, timeout: float = CLOSE_S, reason: str = "close") -> Any:
        """As Nanny's, but with a shorter default: a task that runs is not waited for."""
        return await super().close(timeout=min(timeout, CLOSE_S), reason=reason)


def start(local: "Local", work: Work) -> DaskCrew:
    """Workers up and connected; everything ends with the crew's `close`, or with this process."""
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({**SETTINGS, **local.settings()}))
        with interrupts_held():
            cluster = _opened(local)
            stack.callback(cluster.close, timeout=CLOSE_LIMIT_S)
            client = Client(cluster, set_as_default=False)
            stack.callback(client.close, timeout=CLOSE_LIMIT_S)
        size = len(cluster.worker_spec)
        # the number it has: `scale` then starts those that are missing and changes nothing else
        staff = Fixed(local.slots(), lambda: cluster.scale(size))
        return DaskCrew(client, staff, work, stack.pop_all())


def _opened(local: "Local") -> SpecCluster:
    """The cluster, opened anew where a worker or the scheduler did not come up.

    Raises:
        ClusterError: it failed every time.
    """
    for opening in range(1, OPENINGS + 1):
        try:
            return _cluster(local)
        except RuntimeError as error:  # what Dask raises; it has ended what it had started
            log.warning(
                "opening %d of %d of the local cluster failed: %s", opening, OPENINGS, error
            )
            last = error
    raise ClusterError(
        f"cluster local: expected {sum(local.slots().values())} workers, but opening them failed "
        f"{OPENINGS} times, at last with: {last} Usually the machine is out of memory and kills "
        "them: ask for fewer workers (cluster: {kind: local, dft_workers: 1}) or use cluster: "
        "{kind: serial}"
    ) from last


def _cluster(local: "Local") -> SpecCluster:
    """One process per slot."""
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": HOST,
            "dashboard": local.dashboard,
            "dashboard_address": f"{HOST}:0",
        },
    }
    return SpecCluster(
        workers=_workers(local), scheduler=scheduler, silence_logs=SILENCE, name="aga"
    )


def _workers(local: "Local") -> dict[str, dict[str, Any]]:
    """Dask's specification of every worker, by name."""
    memory = local.worker_memory_gb
    options = {
        "nthreads": 1,
        "host": HOST,
        "threads": local.threads(),
        "memory_limit": MEMORY_LIMIT // 2 if memory is None else int(memory * 1e9),
        "preload": ["calculators.clusters._dask_worker"],
        "dashboard": False,
        "silence_logs": SILENCE,
    }
    return {
        f"{pool}-{number}": {"cls": LocalNanny, "options": {**options, "resources": {pool: 1}}}
        for pool, slots in local.slots().items()
        for number in range(slots)
    }

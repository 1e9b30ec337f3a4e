"""Worker processes on this machine, each with one thread, on Dask over loopback."""

import os
from typing import Any, Literal

from pydantic import Field

from calculators.clusters import Cluster, Crew, Needs
from calculators.clusters._environment import threads
from calculators.task import Pool, Work


def _cores() -> int:
    """Cores this process may use (a batch system may have given it a part of the machine)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Local(Cluster):
    """One process per slot; searching goes on while DFT and training run.

    Anyone who can log in to this machine can reach ports on its loopback interface, and a Dask
    scheduler runs what it is sent: use `serial` on a machine shared with people you do not trust.

    Attributes:
        dft_workers: single points at the same time; one per core by default.
        search_workers: processes that generate and evolve structures.
        train_workers: processes that train ensembles.
        threads_per_task: threads of the numerical libraries (OpenMP, MKL, OpenBLAS, Numba) in a
            task and in the programs it starts.
        worker_memory_gb: a worker over this [GB] is restarted; programs it starts do not count.
            Default: half of the machine's memory.
        allowed_failures: a task that was running while so many workers died is run once more, then
            reported as a transient failure.
        dashboard: serve Dask's own web page on a free loopback port (needs bokeh).
    """

    kind: Literal["local"] = "local"
    dft_workers: int = Field(default_factory=_cores, ge=1)
    search_workers: int = Field(default=1, ge=1)
    train_workers: int = Field(default=1, ge=1)
    threads_per_task: int = Field(default=1, ge=1)
    worker_memory_gb: float | None = Field(default=None, gt=0)
    allowed_failures: int = Field(default=10, ge=0)
    dashboard: bool = False

    def slots(self) -> dict[Pool, int]:
        """Workers per pool."""
        return {
            "search": self.search_workers,
            "dft": self.dft_workers,
            "train": self.train_workers,
        }

    def threads(self) -> dict[str, str]:
        """Environment of the workers: how many threads numerical libraries may start."""
        return threads(self.threads_per_task)

    def settings(self) -> dict[str, Any]:
        """Dask settings that differ from `_dask_crew.SETTINGS`."""
        return {"distributed.scheduler.allowed-failures": self.allowed_failures}

    def open(self, work: Work, needs: Needs | None = None) -> Crew:
        """Start the scheduler in this process and the workers beside it."""
        del needs
        from calculators.clusters import _dask_local

        return _dask_local.start(self, work)

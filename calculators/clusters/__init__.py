"""Role Cluster: where the tasks of a campaign run; one file per kind."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from calculators.task import Outcome, Pool, Task, Work
from potentials import roles


class ClusterError(RuntimeError):
    """The machines do not do what the settings ask for; says which command failed, and how."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a campaign tells its cluster.

    Attributes:
        folder: the run folder, on a file system that all hosts see.
        seconds: how long one task of a pool may take, where that is known [s].
    """

    folder: Path
    seconds: Mapping[Pool, float] = field(default_factory=dict)


class Crew(ABC):
    """The workers of an open cluster; `calculators.pools.Pools` is its only user.

    It is handed at most ``slots + ahead(slots)`` tasks per pool, each ordinal once.
    """

    @abstractmethod
    def slots(self, pool: Pool) -> int:
        """How many tasks of this pool run at the same time; may change from call to call."""

    @abstractmethod
    def start(self, task: Task) -> None:
        """Take a task; it runs as soon as a worker of its pool is free."""

    @abstractmethod
    def finished(self, timeout: float) -> list[tuple[Task, Outcome]]:
        """Wait for at least one outcome, at most ``timeout`` [s]; then all that are there.

        Raises:
            ClusterError: there is nobody to work, and waiting will not help.
        """

    @abstractmethod
    def workers(self) -> list[dict[str, Any]]:
        """One row per live worker: name, pool, state (busy, idle), pid, memory [bytes]."""

    @abstractmethod
    def close(self) -> None:
        """End everything that runs, within seconds; calling it again does nothing."""


class Cluster(BaseModel, ABC):
    """Settings of a place to run tasks; the fields are its YAML keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @abstractmethod
    def open(self, work: Work, needs: Needs | None = None) -> Crew:
        """Start the workers; they run ``work`` on every task.

        Args:
            work: what the workers do; picklable.
            needs: of the campaign; clusters that leave files behind cannot do without.

        Raises:
            ClusterError: they cannot be started.
        """

    def too_short(self, seconds: Mapping[Pool, float]) -> list[str]:
        """Why tasks that may take so many ``seconds`` [s] could not end here; empty: they can."""
        del seconds
        return []

    def problems(self) -> list[str]:
        """What would keep this cluster from working, seen from this machine; starts nothing."""
        return []

    def scripts(self, needs: Needs) -> dict[str, str]:
        """The job scripts that would be submitted, by pool; empty where there are none."""
        del needs
        return {}


def kinds() -> dict[str, type[Cluster]]:
    """Every kind of cluster by name: the modules of this folder and entry points."""
    return roles.kinds(__name__, Cluster, "aga.clusters")


def build(data: dict[str, Any]) -> Cluster:
    """The cluster that the YAML data describe.

    Raises:
        ValueError: the kind is missing or unknown, or a field is wrong (pydantic).
    """
    cluster: Cluster = roles.build(data, kinds(), "cluster")
    return cluster

"""What the kinds with a batch system share: settings of pools, and job scripts.

The text of a job script is made by dask-jobqueue, which knows the directives of each system; what
is submitted, watched and ended is decided in `_staff`.
"""

import hashlib
import shlex
import shutil
import signal
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from calculators.clusters import Cluster, ClusterError, Crew, Needs
from calculators.clusters._environment import MEMORY, threads
from calculators.task import POOLS, Pool, Work

LEAVE_S = 30.0  # [s] for the last worker of a job to say goodbye before its walltime
USEFUL_S = 270.0  # [s] a job must at least have in which its workers take tasks
TASK_S = 900.0  # [s] kept free at the end of a job where nobody knows how long a task takes
PLACEHOLDER = "tls://SCHEDULER"

# what dask-jobqueue looks up in its own configuration where it is not told
_SETTINGS = (
    "extra env-extra job-extra interface local-directory log-directory queue account project "
    "walltime job-cpu job-mem resource-spec ncpus mem lsf-units use-stdin"
)


class JobPool(BaseModel):
    """The jobs of one pool: all alike, one or more workers in each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_jobs: int = Field(1, ge=1, description="Jobs in the queue at the same time, at most.")
    workers_per_job: int = Field(
        1, ge=1, description="Tasks that run in a job at the same time, e.g. on a whole node."
    )
    queue: str | None = Field(None, description="Queue or partition; none: the system's default.")
    account: str | None = Field(None, description="Account or project that is charged.")
    walltime_min: int = Field(
        1440, ge=1, description="Wall time of a job [min]; workers leave in time and are replaced."
    )
    cores: int = Field(1, ge=1, description="Cores of a job, shared by its workers.")
    job_memory_gb: float = Field(4.0, gt=0, description="Memory that a job asks for [GB].")
    memory_gb: float | None = Field(
        None,
        gt=0,
        description="A worker over it is restarted [GB]; the programs it starts do not count. "
        "None: its share of job_memory_gb.",
    )
    gpus: int = Field(0, ge=0, description="GPUs of a job.")
    prologue: tuple[str, ...] = Field(
        (), description="Shell commands before the worker starts, e.g. module load gcc."
    )
    directives: tuple[str, ...] = Field(
        (), description="Further options of the batch system, e.g. --exclusive."
    )
    interface: str | None = Field(
        None, description="Network of the workers, e.g. ib0; none: that of the cluster."
    )
    drain_min: float | None = Field(
        None,
        ge=0,
        description="Minutes before the walltime at which a worker takes no new task. None: what "
        "one task may take (dft: the deadline of the engine; search and train: 15 minutes).",
    )

    @property
    def workers(self) -> int:
        """Workers of all jobs together, at most."""
        return self.max_jobs * self.workers_per_job

    @property
    def worker_memory(self) -> int:
        """Memory limit of a worker [bytes]."""
        share = self.job_memory_gb / self.workers_per_job
        return int(1e9 * (share if self.memory_gb is None else self.memory_gb))

    def drain_after(self, seconds: float | None) -> float:
        """When the workers of a job take no new task, from its start [s].

        Args:
            seconds: how long a task may take [s], or None.
        """
        longest = TASK_S if seconds is None else seconds
        if self.drain_min is not None:
            longest = 60.0 * self.drain_min
        return 60.0 * self.walltime_min - longest - LEAVE_S


class Batch(Cluster):
    """Jobs of a batch system, one pool for each kind of work, under one scheduler of Dask's.

    The scheduler is a process beside the driver and dies with it. What goes over the network is
    encrypted, and only who holds the certificate in the run folder can take part.
    """

    search: JobPool = Field(
        default_factory=JobPool, description="Jobs that generate and evolve structures."
    )
    dft: JobPool = Field(
        default_factory=lambda: JobPool(max_jobs=4), description="Jobs that compute labels."
    )
    train: JobPool = Field(default_factory=JobPool, description="Jobs that train ensembles.")
    interface: str | None = Field(
        None, description="Network that workers reach this machine by, e.g. ib0; none: the default."
    )
    scheduler_port: int = Field(
        0, ge=0, lt=65536, description="Port that workers connect to; 0: any that is free."
    )
    python: str | None = Field(
        None, description="Python on the compute nodes; none: the one that runs this program."
    )
    scratch: str | None = Field(
        None, description="Folder on the compute nodes for Dask's own files; none: /tmp or TMPDIR."
    )
    idle_min: float = Field(
        10.0, ge=0, description="Jobs that nobody needed for so long are ended [min]."
    )
    poll_s: float = Field(
        15.0, ge=1, description="Shortest time between two looks at the queue [s]."
    )
    connect_s: int = Field(
        300, ge=10, description="A worker that does not find the scheduler gives up after this [s]."
    )
    allowed_failures: int = Field(
        10,
        ge=0,
        description="A task that was running while so many workers died is run once more, then "
        "reported as a transient failure.",
    )

    submit_command: ClassVar[tuple[str, ...]]
    """Takes the path of a script as its last argument, or the script as standard input."""

    from_stdin: ClassVar[bool] = False
    """Whether the script goes to the standard input of `submit_command`."""

    id_pattern: ClassVar[str] = r"(\d+)"
    """Finds the job's id in what `submit_command` says."""

    cancel_command: ClassVar[tuple[str, ...]]
    """Takes ids."""

    nothing_listed: ClassVar[str] = "$^"
    """Finds out that a listing failed only because there is no such job."""

    job_class: ClassVar[tuple[str, str]]
    """Module and class of dask-jobqueue that make the script."""

    @abstractmethod
    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """Arguments of `job_class` that this batch system understands.

        Args:
            pool: what the job asks for.
            log: where its output goes, quoted; without an ending.
        """

    def submit_options(self, script: Path) -> tuple[str, ...]:
        """What `submit_command` is told of a script that does not stand in the script."""
        del script
        return ()

    @abstractmethod
    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The command that lists these jobs; without ids at least all of the user's."""

    @abstractmethod
    def listed(self, text: str) -> dict[str, str]:
        """Ids and names of the jobs in a listing that wait or run."""

    def pools(self) -> dict[Pool, JobPool]:
        """Settings by pool."""
        return {"search": self.search, "dft": self.dft, "train": self.train}

    def too_short(self, seconds: Mapping[Pool, float]) -> list[str]:
        """Walltimes in which the longest task of a pool could not end."""
        return [
            f"{name}.walltime_min: expected at least "
            f"{pool.walltime_min + (USEFUL_S - spare) / 60:.0f}, got {pool.walltime_min}: {why}"
            for name, pool in self.pools().items()
            if (spare := pool.drain_after(seconds.get(name))) < USEFUL_S
            if (why := _why(name, pool, seconds.get(name)))
        ] + [
            f"{name}.drain_min: expected at least {seconds[name] / 60:g}, the engine's deadline_s, "
            f"got {pool.drain_min:g}: a label would be cut off by the walltime"
            for name, pool in self.pools().items()
            if pool.drain_min is not None and 60 * pool.drain_min < seconds.get(name, 0)
        ]

    def problems(self) -> list[str]:
        """Missing commands, packages and interpreters."""
        found = [
            f"cluster {self.kind}: the command {command} is not here: expected a machine that "
            "jobs can be submitted from"
            for command in dict.fromkeys(
                (self.submit_command[0], self.cancel_command[0], self.listing(())[0])
            )
            if shutil.which(command) is None
        ]
        found += [
            f"cluster {self.kind} needs the package {package}: pip install 'aga-search[hpc]'"
            for package in ("dask_jobqueue", "cryptography")
            if find_spec(package) is None
        ]
        if self.python is not None and "/" in self.python and not Path(self.python).exists():
            found.append(f"cluster {self.kind}: python: no such file: {self.python}")
        return found

    def scripts(self, needs: Needs) -> dict[str, str]:
        """The job scripts, with a placeholder for the address of the scheduler."""
        return {
            pool: self.script(pool, self.prefix(needs) + f"{pool[0]}1", PLACEHOLDER, needs)
            for pool in POOLS
        }

    @staticmethod
    def folder(needs: Needs) -> Path:
        """Where scripts, logs and the certificate lie."""
        return needs.folder.absolute() / "jobs"

    @staticmethod
    def prefix(needs: Needs) -> str:
        """What the names of all jobs of a run folder begin with; PBS wants them short."""
        key = hashlib.sha256(str(needs.folder.resolve()).encode()).hexdigest()
        return f"aga-{key[:6]}-"

    def script(self, name: Pool, job: str, address: str, needs: Needs) -> str:
        """The script of one job.

        Args:
            name: its pool.
            job: its name, and that of its worker.
            address: of the scheduler.
            needs: of the campaign.
        """
        pool, folder = self.pools()[name], self.folder(needs)
        certificate = str(folder / "tls.pem")
        environment = {
            "DASK_CONFIG": str(folder / "dask.yaml"),
            "AGA_DRAIN_AFTER_S": f"{pool.drain_after(needs.seconds.get(name)):.0f}",
            **threads(max(1, pool.cores // pool.workers_per_job)),
            **MEMORY,
        }
        exports = [f"export {key}={shlex.quote(value)}" for key, value in environment.items()]
        options = {
            "--resources": f"{name}=1",
            "--preload": "calculators.clusters._batch_worker",
            "--tls-ca-file": certificate,
            "--tls-cert": certificate,
            "--tls-key": certificate,
        }
        words = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        words += [shlex.quote(word) for pair in options.items() for word in pair]
        arguments = {
            "scheduler": address,
            "name": job,
            "job_name": job,
            # threads of Dask's: one task at a time in every worker, whatever cores it has
            "cores": pool.workers_per_job,
            "processes": pool.workers_per_job,
            "memory": f"{pool.worker_memory * pool.workers_per_job} B",
            "python": shlex.quote(self.python or sys.executable),
            "interface": pool.interface or self.interface,
            "death_timeout": self.connect_s,
            "local_directory": None if self.scratch is None else shlex.quote(self.scratch),
            "worker_command": "distributed.cli.dask_worker",
            "worker_extra_args": words,
            "job_script_prologue": [*pool.prologue, *exports],
            "shebang": "#!/usr/bin/env bash",
            **self.header(pool, shlex.quote(str(folder / job))),
        }
        made = _job(self.job_class, arguments)
        text: str = made.job_script()
        return text

    def open(self, work: Work, needs: Needs | None = None) -> Crew:
        """Start the scheduler; jobs are submitted when there is something to do."""
        if needs is None:
            raise ClusterError(
                f"cluster {self.kind}: expected a folder that all hosts see, got none"
            )
        if found := [*self.problems(), *self.too_short(needs.seconds)]:
            raise ClusterError("; ".join(found))
        from calculators.clusters import _dask_batch

        return _dask_batch.start(self, work, needs)


def clock(minutes: int) -> str:
    """Minutes as HH:MM:SS, which every batch system but LSF reads."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"


def megabytes(gigabytes: float) -> int:
    """Memory in whole MB."""
    return max(1, round(1000 * gigabytes))


def _why(name: Pool, pool: JobPool, seconds: float | None) -> str:
    """What the walltime of a pool has to hold."""
    if pool.drain_min is not None:
        return f"its last {pool.drain_min:g} minutes are drain_min"
    if seconds is None:
        return f"a task of {name} may take {TASK_S / 60:.0f} minutes (set drain_min to change it)"
    return f"one label may take {seconds / 60:.0f} minutes (the engine's deadline_s)"


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Importing dask-jobqueue replaces what Ctrl-C does; this puts it back."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)


def _job(job_class: tuple[str, str], arguments: Mapping[str, Any]) -> Any:
    """A job of dask-jobqueue.

    Raises:
        ClusterError: dask-jobqueue is not installed.
    """
    import dask

    module, name = job_class
    try:
        with interrupts_kept():
            made = getattr(import_module(f"dask_jobqueue.{module}"), name)
    except ImportError as error:
        raise ClusterError(
            f"batch systems need dask-jobqueue: pip install 'aga-search[hpc]' ({error})"
        ) from error
    # settings of dask-jobqueue that the user has made for other programs are none of ours
    nothing = dict.fromkeys(_SETTINGS.split())
    with dask.config.set({"jobqueue.aga": {**nothing, "job-directives-skip": ()}}):
        return made(config_name="aga", **arguments)

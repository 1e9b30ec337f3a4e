"""Jobs of HTCondor."""

import shlex
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from calculators.clusters._batch import Batch, JobPool, megabytes


class HTCondorPool(JobPool):
    """Jobs of one pool."""

    disk_gb: float = Field(1.0, gt=0, description="Scratch disk that a job asks for [GB].")

    @model_validator(mode="after")
    def _assignments(self) -> Self:
        for line in self.directives:
            if "=" not in line:
                raise ValueError(f"directives of HTCondor are name = value, got {line!r}")
        return self


class HTCondor(Batch):
    """Jobs of HTCondor (vanilla universe) on a pool whose machines share a file system.

    ``queue`` means nothing to HTCondor; ``account`` is the accounting group.
    """

    kind: Literal["htcondor"] = "htcondor"
    search: HTCondorPool = Field(
        default_factory=HTCondorPool, description="Jobs that generate and evolve structures."
    )
    dft: HTCondorPool = Field(
        default_factory=lambda: HTCondorPool(max_jobs=4), description="Jobs that compute labels."
    )
    train: HTCondorPool = Field(
        default_factory=HTCondorPool, description="Jobs that train ensembles."
    )

    submit_command: ClassVar[tuple[str, ...]] = ("condor_submit",)
    cancel_command: ClassVar[tuple[str, ...]] = ("condor_rm",)
    id_pattern: ClassVar[str] = r"submitted to cluster (\d+)"
    job_class: ClassVar[tuple[str, str]] = ("htcondor", "HTCondorJob")

    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """One machine; a job that lost its machine leaves the queue, and so does one over time."""
        seconds = 60 * pool.walltime_min
        lines = {
            "RequestCpus": str(pool.cores),
            "RequestMemory": str(megabytes(pool.job_memory_gb)),
            "getenv": "True",
            "periodic_remove": f"(JobStatus == 2 && time() - EnteredCurrentStatus > {seconds}) "
            "|| JobStatus == 5 || NumJobStarts > 1",
        }
        # not a macro, and no quotes: the submit file takes the rest of the line
        output = shlex.split(log)[0] + ".log"
        lines |= {"output": output, "error": output, "stream_output": "True"}
        if pool.gpus:
            lines["request_gpus"] = str(pool.gpus)
        if pool.account is not None:
            lines["accounting_group"] = pool.account
        for line in pool.directives:
            key, _, value = line.partition("=")
            lines[key.strip()] = value.strip()
        return {
            "disk": f"{int(1e9 * getattr(pool, 'disk_gb', 1.0))} B",
            "job_extra_directives": lines,
            "submit_command_extra": [],
            "cancel_command_extra": [],
        }

    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Jobs of this user."""
        del ids
        return ("condor_q", "-autoformat", "ClusterId", "JobBatchName", "JobStatus")

    def listed(self, text: str) -> dict[str, str]:
        """Lines of ``id name status``: idle (1) and running (2) jobs, and those that move data."""
        rows = (line.split() for line in text.splitlines())
        return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] in ("1", "2", "6", "7")}

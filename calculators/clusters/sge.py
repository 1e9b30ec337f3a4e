"""Jobs of Grid Engine (SGE, UGE, OGE)."""

import os
import pwd
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from calculators.clusters._batch import Batch, JobPool, clock, megabytes


class SGEPool(JobPool):
    """Jobs of one pool."""

    resources: str | None = Field(
        None,
        description="What a job asks for with -l, in the words of the site; none: "
        "mem_free=<job_memory_gb>[,gpu=<gpus>].",
    )
    parallel_environment: str = Field(
        "smp", description="Where cores > 1: the site's parallel environment on one node."
    )


class SGE(Batch):
    """Jobs of Grid Engine."""

    kind: Literal["sge"] = "sge"
    search: SGEPool = Field(
        default_factory=SGEPool, description="Jobs that generate and evolve structures."
    )
    dft: SGEPool = Field(
        default_factory=lambda: SGEPool(max_jobs=4), description="Jobs that compute labels."
    )
    train: SGEPool = Field(default_factory=SGEPool, description="Jobs that train ensembles.")

    submit_command: ClassVar[tuple[str, ...]] = ("qsub",)
    cancel_command: ClassVar[tuple[str, ...]] = ("qdel",)
    id_pattern: ClassVar[str] = r"[Yy]our job (\d+)"
    job_class: ClassVar[tuple[str, str]] = ("sge", "SGEJob")

    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """One node; not started again by Grid Engine."""
        resources = getattr(pool, "resources", None)
        if resources is None:
            # not h_vmem: it limits the address space, of which Python libraries reserve a lot
            resources = f"mem_free={megabytes(pool.job_memory_gb)}M"
            resources += f",gpu={pool.gpus}" if pool.gpus else ""
        environment = getattr(pool, "parallel_environment", "smp")
        cores = [f"-pe {environment} {pool.cores}"] if pool.cores > 1 else []
        return {
            "queue": pool.queue,
            "project": pool.account,
            "walltime": clock(pool.walltime_min),
            "resource_spec": resources,
            "job_extra_directives": [
                "-S /bin/bash",
                "-r n",
                f"-o {log}.log",
                *cores,
                *pool.directives,
            ],
        }

    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """As XML, because the table cuts names off."""
        del ids
        return ("qstat", "-u", pwd.getpwuid(os.getuid()).pw_name, "-xml")

    def listed(self, text: str) -> dict[str, str]:
        """Elements ``job_list``; jobs in an error state or being deleted do not count."""
        found = {}
        for block in re.findall(r"<job_list.*?</job_list>", text, flags=re.DOTALL):
            values = dict(re.findall(r"<(\w+)>([^<]*)</\1>", block))
            if not set(values.get("state", "")) & set("Ed"):
                found[values.get("JB_job_number", "")] = values.get("JB_name", "")
        return found

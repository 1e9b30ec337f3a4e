"""Jobs of PBS Professional, OpenPBS and Torque."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from calculators.clusters._batch import Batch, JobPool, clock, megabytes


class PBSPool(JobPool):
    """Jobs of one pool."""

    resources: str | None = Field(
        None,
        description="What a job asks for with -l, in the words of the site; none: "
        "select=1:ncpus=<cores>:mem=<job_memory_gb>[:ngpus=<gpus>]. Torque: nodes=1:ppn=4,mem=8gb.",
    )


class PBS(Batch):
    """Jobs of PBS Professional, OpenPBS or, with ``resources``, Torque."""

    kind: Literal["pbs"] = "pbs"
    search: PBSPool = Field(
        default_factory=PBSPool, description="Jobs that generate and evolve structures."
    )
    dft: PBSPool = Field(
        default_factory=lambda: PBSPool(max_jobs=4), description="Jobs that compute labels."
    )
    train: PBSPool = Field(default_factory=PBSPool, description="Jobs that train ensembles.")

    submit_command: ClassVar[tuple[str, ...]] = ("qsub",)
    cancel_command: ClassVar[tuple[str, ...]] = ("qdel",)
    id_pattern: ClassVar[str] = r"^(\d+(?:\.\S+)?)\s*$"
    nothing_listed: ClassVar[str] = r"(?i)unknown job|has finished|: status 153$"
    job_class: ClassVar[tuple[str, str]] = ("pbs", "PBSJob")

    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """One chunk on one node; not started again by PBS."""
        del log
        resources = getattr(pool, "resources", None)
        if resources is None:
            resources = f"select=1:ncpus={pool.cores}:mem={megabytes(pool.job_memory_gb)}mb"
            resources += f":ngpus={pool.gpus}" if pool.gpus else ""
        return {
            "queue": pool.queue,
            "account": pool.account,
            "walltime": clock(pool.walltime_min),
            "resource_spec": resources,
            "job_extra_directives": ["-r n", *pool.directives],
        }

    def submit_options(self, script: Path) -> tuple[str, ...]:
        """Where the output goes: qsub in front of Slurm reads that on its command line only."""
        return ("-j", "oe", "-o", str(script.with_suffix(".log")))

    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The full form, because the short one cuts names off."""
        return ("qstat", "-f", *ids)

    def listed(self, text: str) -> dict[str, str]:
        """Blocks of ``key = value`` after ``Job Id:``; completed and failed jobs do not count."""
        found = {}
        for block in re.split(r"^Job Id:\s*", text, flags=re.MULTILINE)[1:]:
            number = block.split(maxsplit=1)[0]
            values = dict(re.findall(r"^\s+(\w+) = (.*)$", block, flags=re.MULTILINE))
            if values.get("job_state", "").strip() not in ("C", "E", "F", "X"):
                found[number] = values.get("Job_Name", "").strip()
        return found

"""Jobs of IBM Spectrum LSF."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from calculators.clusters._batch import Batch, JobPool


class LSF(Batch):
    """Jobs of LSF; a GPU is ``-gpu num=1``."""

    kind: Literal["lsf"] = "lsf"
    memory_unit: Literal["kb", "mb", "gb", "tb"] | None = Field(
        None, description="Unit of memory limits (LSF_UNIT_FOR_LIMITS); none: read from lsf.conf."
    )

    submit_command: ClassVar[tuple[str, ...]] = ("bsub",)
    from_stdin: ClassVar[bool] = True
    cancel_command: ClassVar[tuple[str, ...]] = ("bkill",)
    id_pattern: ClassVar[str] = r"Job <(\d+)>"
    nothing_listed: ClassVar[str] = r"(?i)no unfinished job found|is not found"
    job_class: ClassVar[tuple[str, str]] = ("lsf", "LSFJob")

    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """One host; not started again by LSF."""
        gpus = [f'-gpu "num={pool.gpus}"'] if pool.gpus else []
        return {
            "queue": pool.queue,
            "project": pool.account,
            "walltime": f"{pool.walltime_min // 60:02d}:{pool.walltime_min % 60:02d}",
            "ncpus": pool.cores,
            "mem": int(pool.job_memory_gb * 1e9),
            "lsf_units": self.memory_unit,
            "use_stdin": True,
            "job_extra_directives": ["-rn", f"-o {log}.log", *gpus, *pool.directives],
        }

    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Jobs of this user that are not finished."""
        del ids
        return ("bjobs", "-noheader", "-o", "jobid job_name delimiter=' '")

    def listed(self, text: str) -> dict[str, str]:
        """Lines of ``id name``."""
        pairs = (line.split(maxsplit=1) for line in text.splitlines() if " " in line.strip())
        return {number: name.strip() for number, name in pairs}

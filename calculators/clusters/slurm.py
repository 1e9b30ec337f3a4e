"""Jobs of Slurm."""

import os
import pwd
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from calculators.clusters._batch import Batch, JobPool, clock, megabytes


class Slurm(Batch):
    """Jobs of Slurm: a partition is a ``queue``, a GPU is ``--gres=gpu:1``."""

    kind: Literal["slurm"] = "slurm"

    submit_command: ClassVar[tuple[str, ...]] = ("sbatch",)
    cancel_command: ClassVar[tuple[str, ...]] = ("scancel",)
    id_pattern: ClassVar[str] = r"Submitted batch job (\d+)"
    job_class: ClassVar[tuple[str, str]] = ("slurm", "SLURMJob")

    def header(self, pool: JobPool, log: str) -> dict[str, Any]:
        """One node; a job that failed is not started again by Slurm: its name has been replaced."""
        gpus = [f"--gres=gpu:{pool.gpus}"] if pool.gpus else []
        return {
            "queue": pool.queue,
            "account": pool.account,
            "walltime": clock(pool.walltime_min),
            "job_cpu": pool.cores,
            "job_mem": f"{megabytes(pool.job_memory_gb)}M",
            "job_extra_directives": [
                "-N 1",
                "--no-requeue",
                f"-o {log}-%j.log",
                *gpus,
                *pool.directives,
            ],
        }

    def listing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Jobs of this user that wait or run; those that are ending do not count."""
        del ids
        user = pwd.getpwuid(os.getuid()).pw_name
        return (
            "squeue",
            "--noheader",
            "--user",
            user,
            "--states",
            "PD,CF,R,S",
            "--format",
            "%i %j",
        )

    def listed(self, text: str) -> dict[str, str]:
        """Lines of ``id name``."""
        pairs = (line.split(maxsplit=1) for line in text.splitlines() if " " in line.strip())
        return {number: name.strip() for number, name in pairs}

"""One small task in every pool of a cluster: do the workers come up, and find what they need?"""

import os
import platform
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from aga.config import CampaignConfig, from_resolved, resolved
from aga.yaml_source import ConfigError
from calculators.clusters import ClusterError, Needs
from calculators.pools import Pools
from calculators.task import POOL_OF, Outcome, Task

KINDS = ("seed", "label", "train")  # one kind of task for every pool
WAIT_S = 1800.0  # [s] a queue may be long; Ctrl-C ends it sooner


def trial(config: CampaignConfig, run_dir: Path) -> None:
    """Start the workers, run one task in every pool, and print what they found.

    Args:
        config: the campaign.
        run_dir: its folder; made if it is not there.

    Raises:
        ConfigError: a worker lacks something, or none came up.
    """
    folder = run_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _say("waiting for a worker in every pool; Ctrl-C gives up")
    work = partial(look, resolved(config), str(folder))
    try:
        with Pools(config.cluster, work, Needs(folder, config.task_seconds)) as pools:
            wrong = _all(pools, folder)
    except ClusterError as error:
        raise ConfigError([str(error)]) from error
    if wrong:
        raise ConfigError(wrong)


def look(data: dict[str, Any], folder: str, task: Task) -> Outcome:
    """What a worker finds around it; that this runs at all shows that it can import the project."""
    config = from_resolved(data)
    wrong = config.engine.problems(config.elements) if task.pool == "dft" else []
    if not os.access(folder, os.W_OK):
        wrong.append(f"the run folder {folder} is not there or cannot be written to")
    about = f"{socket.gethostname()}, Python {platform.python_version()}"
    if task.pool == "train":
        import torch

        about += f", torch {torch.__version__}, {torch.cuda.device_count()} GPUs"
    return {"ok": {"about": about, "wrong": wrong}}


def _all(pools: Pools, folder: Path) -> list[str]:
    """Run a task in every pool; what went wrong.

    Raises:
        ClusterError: a pool has no worker for too long, or never will.
    """
    started, wrong = time.monotonic(), []
    for ordinal, kind in enumerate(KINDS):
        pools.submit(Task(ordinal, kind, f"trial-{kind}"))
    while waiting := pools.in_flight():
        seconds = time.monotonic() - started
        if seconds > WAIT_S:
            names = ", ".join(POOL_OF[KINDS[ordinal]] for ordinal in sorted(waiting))
            raise ClusterError(
                f"no answer from a worker of: {names}, after {seconds:.0f} s. Its job still waits "
                "in the queue, or the worker cannot reach this machine (interface, firewall): ask "
                f"the queue, and see the job's output in {folder / 'jobs'}"
            )
        for task, outcome in pools.completed(1.0):
            found = outcome.get("ok") or {"about": "", "wrong": [outcome["failure"]["reason"]]}
            wrong += [f"pool {task.pool}: {reason}" for reason in found["wrong"]]
            _say(f"{task.pool}: {found['about'] or 'failed'}, after {seconds:.0f} s")
    return wrong


def _say(line: str) -> None:
    print(f"  workers  {line}", file=sys.stderr)  # noqa: T201 - the reader's terminal

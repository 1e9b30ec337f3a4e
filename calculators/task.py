"""Tasks: the pieces of work a campaign hands to its workers, and how one piece is run."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from calculators.outcome import Failure

Pool = Literal["search", "dft", "train"]

POOLS: tuple[Pool, ...] = get_args(Pool)

POOL_OF: dict[str, Pool] = {
    "seed": "search",
    "evolve": "search",
    "polish": "search",
    "label": "dft",
    "relax": "dft",
    "train": "train",
}
"""Which pool of workers does which kind of work."""

#: of so many slots one finds its next task waiting
SLOTS_PER_TASK_AHEAD = 8


def ahead(slots: int) -> int:
    """Tasks that wait behind those that run, so that no slot waits for the driver.

    One is enough for a few slots; of many some become free in every turn of the driver.
    """
    return max(1, slots // SLOTS_PER_TASK_AHEAD)


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work; the same key means the same result.

    Attributes:
        ordinal: number of the task in its campaign, never used twice.
        kind: what is to be done, a key of `POOL_OF`.
        key: content hash of the inputs.
        inputs: plain JSON data.

    Raises:
        ValueError: the kind is unknown.
    """

    ordinal: int
    kind: str
    key: str
    inputs: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse kinds that no pool would ever run."""
        if self.kind not in POOL_OF:
            raise ValueError(f"Task.kind must be one of {', '.join(POOL_OF)}, got {self.kind!r}")

    @property
    def pool(self) -> Pool:
        """The pool whose workers run this task."""
        return POOL_OF[self.kind]


Outcome = dict[str, Any]
"""``{"ok": {...}}`` or ``{"failure": Failure.to_dict()}``, and ``"meta"`` beside it."""

Work = Callable[[Task], Outcome]
"""The function that runs on the workers; it must be picklable."""


def failure(kind: Literal["transient", "permanent"], reason: str) -> Outcome:
    """The outcome of a task that gave no result."""
    return {"failure": Failure(kind, reason).to_dict()}


def with_meta(outcome: Outcome, started: float, worker: str, **more: str) -> Outcome:
    """The outcome with ``meta``: started and finished [s since 1970], worker."""
    meta = {"started": started, "finished": time.time(), "worker": worker, **more}
    return {**outcome, "meta": meta}


def attempt(work: Work, task: Task, worker: str) -> Outcome:
    """Run one task; whatever it raises becomes a permanent failure.

    Failures are values because exceptions do not always survive the way back from a worker. The
    outcome passes through JSON here, so that it is the same on every kind of cluster.
    """
    started = time.time()
    try:
        outcome = _checked(work(task), task)
    except (Exception, SystemExit) as error:  # the border: anything may come from a task
        reason = traceback.format_exception_only(error)[-1].strip()
        text = "".join(traceback.format_exception(error))
        return with_meta(failure("permanent", reason), started, worker, traceback=text)
    return with_meta(outcome, started, worker)


def _checked(outcome: Any, task: Task) -> Outcome:
    """The outcome as plain JSON data, or TypeError."""
    where = f"the work on task {task.ordinal} ({task.kind})"
    if not isinstance(outcome, dict) or len({"ok", "failure"} & outcome.keys()) != 1:
        raise TypeError(f"{where} must return {{'ok': ...}} or {{'failure': ...}}, got {outcome!r}")
    plain: Outcome = json.loads(json.dumps(outcome))
    return plain

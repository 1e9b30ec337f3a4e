"""The campaign: keep the due work in flight until it is finished; every outcome a transaction."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from aga.campaign import policy, requests, tasks
from aga.campaign.record import Record
from aga.campaign.state import State
from aga.campaign.store import Store
from aga.yaml_source import ConfigError
from calculators import disk
from calculators.pools import Pools
from calculators.task import POOL_OF, POOLS, Outcome, Task

#: longest wait for an outcome before the state is looked at again [s]
TICK = 1.0

Watch = Callable[[State, Pools, list[Record]], None]
Held = dict[int, tuple[Task, Outcome]]


class StuckError(RuntimeError):
    """Nothing is due, nothing runs, and the campaign is not finished: a fault of the policy."""

    def __init__(self, state: State) -> None:
        last = [f"{r.ordinal} {r.kind} {r.progress}" for r in state.records[-5:]]
        super().__init__(f"nothing is left to do, but the campaign is not finished; last: {last}")


def run(store: Store, pools: Pools, watch: Watch) -> State:
    """Run a campaign to its end, or until a stop is asked for and what runs is done.

    Args:
        store: its history; the only place where it is written.
        pools: the workers.
        watch: told of the state after every turn, with the records that were closed in it.

    Raises:
        ClusterError: there is nobody to work.
        OSError: a worker found the disk full.
        StuckError: see there.
    """
    held: Held = {}
    while not (state := store.state()).finished and not requests.asked(store.run_dir):
        slots = {pool: pools.slots(pool) for pool in POOLS}
        new = store.plan(policy.due(state, slots), partial(tasks.task_key, state.config))
        submit(state, pools, held)
        if not new and not pools.in_flight():
            raise StuckError(state)
        notes = [record for record in new if record.progress == "done"]
        watch(state, pools, notes + collect(store, pools, held))
    while pools.in_flight() and not state.finished:
        watch(state, pools, collect(store, pools, held))
    return state


def submit(state: State, pools: Pools, held: Held) -> None:
    """Hand over queued tasks as long as their pools take them; nothing twice."""
    flying = {*pools.in_flight(), *held}
    for record in state.outstanding():
        if record.ordinal not in flying and pools.free(POOL_OF[record.kind]):
            pools.submit(Task(record.ordinal, record.kind, record.key, record.inputs))


def collect(store: Store, pools: Pools, held: Held) -> list[Record]:
    """Record what has come back; what must wait for its turn is held."""
    state = store.state()
    for task, outcome in pools.completed(TICK):
        if tasks.DISK_FULL in outcome:
            raise disk.full(store.run_dir)
        if tasks.UNSTARTED not in outcome:
            held[task.ordinal] = task, outcome
    closed = []
    while (ordinal := _turn(state, held)) is not None:
        task, outcome = held.pop(ordinal)
        if store.record(ordinal, complete(store.run_dir, task.kind, task.key, outcome)):
            closed.append(state.records[ordinal])
            after(store.run_dir, task.kind, task.key)
    return closed


def _turn(state: State, held: Held) -> int | None:
    """The next outcome to record: without overlap, arrival must not order the history."""
    if state.config.overlap:
        return min(held, default=None)
    first = next((record.ordinal for record in state.outstanding()), None)
    return first if first in held else None


def complete(run_dir: Path, kind: str, key: str, outcome: Outcome) -> Outcome:
    """The outcome with the result that the worker published."""
    found = tasks.taken_up(run_dir, kind, key)
    if found is None:
        if "failure" in outcome:
            return outcome
        lost = {"kind": "transient", "reason": "the published result cannot be read", "log": ""}
        return {"failure": lost}
    return {**found, "meta": outcome.get("meta", {})}


def adopt(store: Store) -> list[Record]:
    """Record results that were published but not recorded when the driver ended."""
    state = store.state()
    adopted = []
    for record in state.outstanding():
        found = tasks.taken_up(store.run_dir, record.kind, record.key)
        if found is None and not state.config.overlap:
            break  # those behind it are found in their turn
        if found is not None and store.record(record.ordinal, {**found, "meta": {}}):
            adopted.append(record)
            after(store.run_dir, record.kind, record.key)
    return adopted


def repeat(run_dir: Path, pools: Pools, again: list[Task]) -> None:
    """Do finished tasks once more whose results are lost, one after the other.

    Raises:
        ConfigError: one of them does not succeed any more.
        OSError: a worker found the disk full.
    """
    for task in again:
        pools.submit(task)
        while pools.in_flight():
            for _, outcome in pools.completed(TICK):
                if tasks.UNSTARTED in outcome:
                    return  # a stop was asked for: the next start comes here again
                if tasks.DISK_FULL in outcome:
                    raise disk.full(run_dir)
                if "failure" in outcome:
                    reason = outcome["failure"]["reason"]
                    what = f"{run_dir}: {task.kind} (task {task.ordinal}) was done, and now fails"
                    raise ConfigError([f"{what}: {reason}"])


def after(run_dir: Path, kind: str, key: str) -> None:
    """Let ``models/latest`` name the newest ensemble."""
    if kind != "train" or not (tasks.models(run_dir) / key).is_dir():
        return
    link = tasks.models(run_dir) / ".latest"
    link.unlink(missing_ok=True)
    link.symlink_to(key)
    link.replace(tasks.models(run_dir) / "latest")

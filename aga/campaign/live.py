"""The live table of a running campaign in a terminal.

The driver hands over what it knows after each turn; a thread draws it twice a second, so that
clocks go on while a long task runs in the driver itself. Drawing reads a finished `View` only.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from aga.campaign.groups import Group
from aga.campaign.record import Record
from aga.campaign.state import State
from calculators.pools import Pools
from calculators.task import POOL_OF, POOLS

#: structures and events that are shown, pictures per second
STRUCTURES, EVENTS, RATE = 5, 6, 2
BAR = 24
#: running tasks named per pool
NAMED = 3


@dataclass(frozen=True, slots=True)
class Work:
    """A pool: live workers, running tasks with their start, and how many tasks wait.

    ``absent`` says what workers are that should be there and are not.
    """

    pool: str
    workers: int
    slots: int
    running: Sequence[tuple[str, float]]
    waiting: int
    absent: str = "missing"


@dataclass(frozen=True, slots=True)
class View:
    """What the table shows; moments are of `time.monotonic` [s]."""

    title: str = ""
    doing: str = "starting the workers"
    best: Sequence[Sequence[str]] = ()
    done: int = 0
    failed: int = 0
    pending: int = 0
    budget: int = 0
    ensemble: str = ""
    work: Sequence[Work] = ()
    used_s: float = 0.0
    allowed_s: float = 0.0
    taken: float = field(default_factory=time.monotonic)


class Clocks:
    """When each task began: a pool runs its tasks in order, as many at a time as it has slots."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def running(self, records: Sequence[Record], slots: int) -> list[tuple[str, float]]:
        """Name and start of what runs, of the tasks in flight in one pool."""
        now = time.monotonic()
        return [
            (_task_name(record), self._since.setdefault(record.ordinal, now))
            for record in records[:slots]
        ]


def view(state: State, pools: Pools, clocks: Clocks, spacegroup_of: Callable[[Group], str]) -> View:
    """What there is to show of a campaign now."""
    config = state.config
    cell = config.question.split(", ")[0]
    return View(
        title=f"{config.name}: {cell}, {config.engine.description()}",
        doing=_doing(state),
        best=[_structure(state, group, spacegroup_of) for group in state.groups.first(STRUCTURES)],
        done=len(state.labelled),
        failed=len(state.failures),
        pending=len(state.outstanding("label", "relax")),
        budget=config.budget.labels,
        ensemble=_ensemble(state),
        work=_work(state, pools, clocks),
        used_s=3600.0 * state.hours_used,
        allowed_s=3600.0 * config.budget.hours,
    )


def _doing(state: State) -> str:
    if state.finished:
        return "finished"
    if state.search_over:
        return f"confirming the best structures ({state.search_over})"
    if not state.models:
        return "labelling the first structures"
    return f"searching, generation {len(state.generations) + 1}"


def _structure(state: State, group: Group, spacegroup_of: Callable[[Group], str]) -> list[str]:
    lowest = state.lowest.best.height
    shown = state.confirmed(group) or group.best
    several = state.config.compositions is not None
    return [
        f"{shown.formula} {spacegroup_of(group)}" if several else spacegroup_of(group),
        f"{shown.enthalpy:.4f}",
        f"{1e3 * (shown.height - lowest):.1f}",
        f"{shown.fmax:.3f}",
        "yes" if state.confirmed(group) else "no",
        str(len(group.members)),
    ]


def _ensemble(state: State) -> str:
    if not state.models:
        return "none yet"
    model, facts = state.models[-1], state.models[-1].facts
    return (
        f"{len(state.models)}, of {model.labels} labels: "
        f"{facts['energy_rmse_mev_per_atom']:.0f} meV/atom, "
        f"{facts['force_rmse_ev_per_a']:.2f} eV/Å (RMSE)"
    )


def _work(state: State, pools: Pools, clocks: Clocks) -> list[Work]:
    flying = pools.in_flight()
    # `outstanding` is by ordinal, which is the order of submission within a pool
    records = [record for record in state.outstanding() if record.ordinal in flying]
    workers = [worker["pool"] for worker in pools.workers()]
    if state.config.cluster.kind == "serial":  # one process does everything, in order
        return [_pool("serial", records, 1, 1, clocks)]
    found = [
        _pool(
            pool,
            [record for record in records if POOL_OF[record.kind] == pool],
            workers.count(pool),
            pools.slots(pool),
            clocks,
        )
        for pool in POOLS
    ]
    if state.config.cluster.kind == "local":
        return found
    return [replace(work, absent="to come") for work in found]


def _pool(name: str, records: Sequence[Record], workers: int, slots: int, clocks: Clocks) -> Work:
    running = clocks.running(records, min(slots, workers))
    return Work(name, workers, slots, running, len(records) - len(running))


def _task_name(record: Record) -> str:
    inputs: Mapping[str, Any] = record.inputs
    about = inputs.get("candidate", {}).get("id") or inputs.get("chain") or record.ordinal
    return f"{record.kind} {about}"


class Live:
    """Draws the table on a terminal until it is stopped; then the terminal is as before.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live as Screen

        self._view = View()
        self._events: deque[str] = deque(maxlen=EVENTS)
        console = Console(file=stream, highlight=False, markup=False)
        self._screen = Screen(self, console=console, refresh_per_second=RATE, transient=True)

    def start(self) -> None:
        """Show the table."""
        self._screen.start()

    def stop(self) -> None:
        """Take the table away and give the cursor back."""
        self._screen.stop()

    def show(self, shown: View) -> None:
        """Draw this from now on."""
        self._view = shown

    def say(self, line: str) -> None:
        """Add a line to the last events."""
        self._events.append(line)

    def __rich__(self) -> Any:
        from rich.console import Group as Stack
        from rich.text import Text

        shown, now = self._view, time.monotonic()
        lines = [
            (shown.title, "bold"),
            (shown.doing, ""),
            *((line, "") for line in _spent(shown, now)),
        ]
        parts: list[Any] = [_line(text, look) for text, look in lines if text]
        if shown.best:
            parts.append(_structures(shown))
        if shown.work:
            parts.append(_pools(shown, now))
        parts += [Text(), *(_line(event, "dim") for event in tuple(self._events))]
        return Stack(*parts, _line("Ctrl-C stops cleanly; the same command goes on", "dim italic"))


def _line(text: str, look: str) -> Any:
    from rich.text import Text

    return Text(text, style=look, no_wrap=True, overflow="ellipsis")


def _spent(shown: View, now: float) -> list[str]:
    if not shown.budget:
        return []
    full = min(BAR, round(BAR * (shown.done + shown.failed) / shown.budget))
    used = shown.used_s + now - shown.taken
    return [
        f"labels    {'█' * full}{'░' * (BAR - full)} {shown.done} done, {shown.failed} failed, "
        f"{shown.pending} pending of {shown.budget}",
        f"time      {duration(used)} used, {duration(max(0.0, shown.allowed_s - used))} left",
        f"ensemble  {shown.ensemble}",
    ]


def _structures(shown: View) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    headings = ("symmetry", "eV/atom", "above [meV]", "force [eV/Å]", "confirmed", "labels")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in shown.best:
        table.add_row(*row, style="bold" if row[4] == "yes" else None)
    return table


def _pools(shown: View, now: float) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(no_wrap=True, overflow="ellipsis")
    for work in shown.work:
        tasks = [f"{name} ({duration(now - since)})" for name, since in work.running[:NAMED]]
        if len(work.running) > NAMED:
            tasks.append(f"{len(work.running) - NAMED} more")
        if work.waiting:
            tasks.append(f"{work.waiting} waiting")
        lost = "" if work.workers >= work.slots else f", {work.slots - work.workers} {work.absent}"
        count = f"{len(work.running)} of {work.workers} busy{lost}"
        table.add_row(work.pool, count, ", ".join(tasks) or "-")
    return table


def duration(seconds: float) -> str:
    """A time span in the unit that suits it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5940:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"

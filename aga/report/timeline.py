"""Who worked when: intervals of all finished tasks, use of the pools, and their picture."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aga.campaign.live import duration
from aga.campaign.state import State
from aga.report import drawing
from aga.report.drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from calculators.task import POOL_OF, POOLS

#: a time without any task longer than this is a pause of the campaign: it is cut out [s]
PAUSE_S = 60.0
#: rows of the picture at most
ROWS = 48
COLOURS = {
    "seed": SKY,
    "evolve": BLUE,
    "polish": PURPLE,
    "label": GREEN,
    "relax": RED,
    "train": ORANGE,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """One task on one worker, in seconds since 1970; ``failed`` if it gave no result."""

    worker: str
    kind: str
    start: float
    end: float
    failed: bool


def intervals(state: State) -> list[Interval]:
    """All tasks whose worker is known, by start; adopted results have none."""
    found = []
    for record in state.records:
        meta = record.outcome.get("meta") or {}
        if "started" in meta and "finished" in meta:
            worker = str(meta.get("worker") or "lost")
            failed = record.progress == "failed"
            found.append(Interval(worker, record.kind, meta["started"], meta["finished"], failed))
    return sorted(found, key=lambda one: (one.start, one.worker))


def pauses(work: Sequence[Interval]) -> list[tuple[float, float]]:
    """Start and end of every time in which nothing ran for more than `PAUSE_S`."""
    ordered = sorted(work, key=lambda one: one.start)
    found = []
    busy_until = ordered[0].end if ordered else 0.0
    for one in ordered:
        if one.start - busy_until > PAUSE_S:
            found.append((busy_until, one.start))
        busy_until = max(busy_until, one.end)
    return found


def utilisation(work: Sequence[Interval]) -> dict[str, tuple[int, float]]:
    """Workers seen and percentage of the time they worked, by pool; pauses do not count."""
    if not work:
        return {}
    span = max(one.end for one in work) - min(one.start for one in work)
    span -= sum(end - start for start, end in pauses(work))
    found: dict[str, tuple[int, float]] = {}
    for pool in POOLS:
        own = [one for one in work if POOL_OF[one.kind] == pool]
        workers = {one.worker for one in own}
        if own and span > 0:
            busy = sum(one.end - one.start for one in own)
            found[pool] = len(workers), 100 * busy / (span * len(workers))
    return found


def sentence(work: Sequence[Interval]) -> str:
    """The use of every pool in words."""
    parts = [
        f"{pool}: {used:.0f} % of {count} worker{'s' if count > 1 else ''}"
        for pool, (count, used) in utilisation(work).items()
    ]
    return "; ".join(parts)


def picture(state: State) -> Any:
    """A row per worker, a bar per task; None when no task has ended."""
    work = intervals(state)
    if not work:
        return None
    rows = _rows(work)[:ROWS]
    made = drawing.figure((9.0, 1.3 + 0.26 * len(rows)))
    axes = made.subplots()
    clock = _Clock(work)
    for kind, colour in COLOURS.items():
        for failed in (False, True):
            chosen = [
                one
                for one in work
                if one.kind == kind and one.failed is failed and one.worker in rows
            ]
            axes.barh(
                [rows.index(one.worker) for one in chosen],
                [(one.end - one.start) / clock.unit for one in chosen],
                left=[clock(one.start) for one in chosen],
                height=0.7,
                color=colour,
                edgecolor="black" if failed else "white",
                linewidth=0.8 if failed else 0.3,
                hatch="////" if failed else None,
            )
    _mark(axes, clock.breaks, (len(rows) - 0.4, -1.4 if clock.breaks else -0.8))
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"time since the start [{clock.name}]")
    axes.set_title(f"busy: {sentence(work)}")
    _legend(made, {one.kind for one in work}, failed=any(one.failed for one in work))
    return made


def _mark(axes: Any, breaks: Sequence[tuple[float, float]], limits: tuple[float, float]) -> None:
    """A line at every pause and, where there is room, how long it was."""
    axes.set_ylim(limits)
    free, width = float("-inf"), axes.get_xlim()[1]
    for at, length in breaks:
        axes.axvline(at, color=GREY, ls="--", lw=1)
        if at > free:
            note = {"fontsize": 8, "color": GREY, "va": "top"}
            axes.text(at, limits[1] + 0.1, f" stopped {duration(length)}", **note)
            free = at + 0.14 * width


def _rows(work: Sequence[Interval]) -> list[str]:
    """Workers by pool and name."""
    pools: dict[str, int] = {}
    for one in work:
        pools.setdefault(one.worker, POOLS.index(POOL_OF[one.kind]))
    return sorted(pools, key=lambda worker: (pools[worker], _natural(worker)))


def _natural(name: str) -> tuple[str, int]:
    """So that dft-10 comes after dft-9."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


def _legend(made: Any, kinds: set[str], *, failed: bool) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in kinds]
    if failed:
        handles.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="failed"))
    made.legend(handles=handles, loc="outside right upper")


class _Clock:
    """Seconds since 1970 to the time axis: from the first task, pauses cut out."""

    def __init__(self, work: Sequence[Interval]) -> None:
        self._first = min(one.start for one in work)
        self._pauses = pauses(work)
        whole = max(one.end for one in work) - self._first
        whole -= sum(end - start for start, end in self._pauses)
        self.unit, self.name = next(
            (unit, name)
            for limit, unit, name in (
                (300.0, 1.0, "s"),
                (3 * 3600.0, 60.0, "min"),
                (float("inf"), 3600.0, "h"),
            )
            if whole <= limit
        )
        self.breaks = [(self(start), end - start) for start, end in self._pauses]

    def __call__(self, moment: float) -> float:
        gone = sum(min(end, moment) - start for start, end in self._pauses if start < moment)
        return (moment - self._first - gone) / self.unit


def by_origin(state: State) -> dict[str, tuple[int, float]]:
    """Number of labels and lowest height [eV/atom] by the operator that made the structure."""
    found: dict[str, list[float]] = defaultdict(list)
    for one in state.labelled:
        found[one.origin].append(float(one.known.height))
    return {origin: (len(values), min(values)) for origin, values in sorted(found.items())}

"""Where a campaign stands, for programs and for people; it may be running."""

import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aga import __version__
from aga.campaign import requests
from aga.campaign.live import duration
from aga.campaign.lock import described, holder, left_behind
from aga.campaign.state import State
from aga.campaign.store import NAME, Store
from aga.campaign.trouble import DamagedStoreError, damaged
from aga.report import holes, ranking
from aga.report.ranking import Row
from aga.yaml_source import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

#: structures that `aga status` shows
SHOWN = 10
#: columns of a stream that is no terminal, so that no row is broken
WIDE = 200
#: columns that the table takes with ids and full headings
ROOMY = 120
#: headings where there is less room; none: the column is left out
SHORT = {
    "rank": "#",
    "above best [meV/atom]": "above\n[meV/at.]",
    "max force [eV/Å]": "force\n[eV/Å]",
    "stress deviation [GPa]": "stress\n[GPa]",
    "confirmed": "confirmed",  # by whom stands below the table
    "id": "",
}


@dataclass(frozen=True, slots=True)
class Driver:
    """Who runs a campaign.

    Attributes:
        running: the process that does (pid, host, started), or None.
        gone: the process that did and left without an end, or None.
        stopping: whether a stop was asked for.
    """

    running: dict[str, Any] | None = None
    gone: dict[str, Any] | None = None
    stopping: bool = False


def driver(run_dir: Path) -> Driver:
    """Who runs a campaign now."""
    return Driver(holder(run_dir), left_behind(run_dir), requests.asked(run_dir))


def load(run_dir: Path) -> State:
    """The state of a run, read without disturbing whoever runs it.

    Raises:
        ConfigError: the database cannot be read, or another version of aga wrote it.
    """
    try:
        store = Store(run_dir, readonly=True)
    except (
        sqlite3.Error,
        ValueError,
        DamagedStoreError,
    ) as error:  # ValueError: settings this version cannot read
        if message := damaged(error, run_dir):
            raise ConfigError([message]) from error
        why = "; ".join(line.strip() for line in str(error).splitlines()[:3])
        raise ConfigError(
            [
                f"{run_dir / NAME}: cannot be read by aga {__version__}: {why}. Nothing has been "
                "changed. If `aga run` has only just made the folder, try again; if an older "
                "version wrote it, use that version to export it."
            ]
        ) from error
    try:
        return store.state()
    finally:
        store.close()


def labels(state: State) -> dict[str, int]:
    """Single points done, failed and under way."""
    return {
        "done": len(state.labelled),
        "failed": len(state.failures),
        "pending": len(state.outstanding("label", "relax")),
    }


def status_json(run_dir: Path) -> dict[str, Any]:
    """Where a run stands as plain JSON data; keys are only ever added."""
    state = load(run_dir)
    found = holes.holes(state)
    who = driver(run_dir)
    return {
        "name": state.config.name,
        "finished": bool(state.finished),
        "failed": state.failed,
        "reason": state.finished or state.search_over,
        "running": who.running,
        "killed": who.gone,
        "stopping": who.running is not None and who.stopping,
        "last_record": Store.latest(run_dir),
        "engine": state.config.engine.description(),
        "surrogate": state.config.engine.surrogate,
        "best": [
            {
                "formula": row.formula,
                "spacegroup": row.spacegroup,
                "enthalpy_per_atom": row.enthalpy,
                "confirmed": row.confirmed,
                "above_per_atom": row.above if isfinite(row.above) else None,
            }
            for row in ranking.rows(state, SHOWN)
        ],
        "labels": labels(state),
        "oracle_calls": state.oracle_calls,
        "distinct": len(state.groups),
        "generations": len(state.generations),
        "ensembles": len(state.models),
        "holes": len(found),
        "hole_labels": holes.price(found),
        "hours_used": state.hours_used,
        "budget": {"labels": state.config.budget.labels, "hours": state.config.budget.hours},
    }


def print_status(
    run_dir: Path, stream: TextIO | None = None, clock: Callable[[], float] = time.time
) -> None:
    """A table for people.

    Args:
        run_dir: the run folder.
        stream: where to; standard output if None.
        clock: seconds since 1970.
    """
    state = load(run_dir)
    out = console(stream or sys.stdout)
    for line in (f"{state.config.name}: {headline(state, driver(run_dir))}", *facts(state)):
        out.print(line)
    latest = Store.latest(run_dir)
    if latest is not None and not state.finished:
        out.print(f"last news: {duration(max(0.0, clock() - latest))} ago")
    show_rows(out, state, ranking.rows(state, SHOWN))


def headline(state: State, who: Driver) -> str:
    """Finished, running, stopped or killed, and why."""
    if state.finished:
        return f"{'ended without a result' if state.failed else 'finished'}: {state.finished}"
    doing = f"confirming the best structures ({state.search_over})" if state.search_over else ""
    if who.running is not None:
        ending = ", to stop when what runs is finished" if who.stopping else ""
        return f"running ({described(who.running)}), {doing or 'searching'}{ending}"
    if who.gone is not None:
        return (
            f"not running: {described(who.gone)}, is gone without an end (killed?){_while(doing)}; "
            "nothing finished is lost, the same `aga run` goes on with it"
        )
    return f"stopped{_while(doing)}; the same `aga run` goes on with it"


def _while(doing: str) -> str:
    return f" while {doing}" if doing else ""


def facts(state: State) -> list[str]:
    """What has been spent, and how good the ensemble is."""
    count, budget = labels(state), state.config.budget
    lines = [
        f"engine: {state.config.engine.description()}",
        f"single points: {count['done']} done, {count['failed']} failed, {count['pending']} "
        f"pending of {budget.labels}; time: {duration(3600 * state.hours_used)} of "
        f"{duration(3600 * budget.hours)}",
        f"generations: {len(state.generations)}; distinct structures: {len(state.groups)}",
    ]
    if told := ranking.hull(state):
        lines.append(told)
    if state.models:
        lines.append(f"ensemble {len(state.models)}: {errors(state)}")
        lines.append(holes.sentence(holes.holes(state)))
    return lines


def errors(state: State) -> str:
    """Errors of the newest ensemble on its own labels."""
    found = state.models[-1].facts
    return (
        f"{found['energy_rmse_mev_per_atom']:.0f} meV/atom, "
        f"{found['force_rmse_ev_per_a']:.2f} eV/Å (RMSE on its {state.models[-1].labels} labels)"
    )


def console(stream: TextIO) -> Any:
    """A console that colours terminals only and breaks no row elsewhere."""
    from rich.console import Console

    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, soft_wrap=False)


def show_rows(out: Any, state: State, shown: Sequence[Row]) -> None:
    """Print the ranked table, or that there is nothing yet."""
    if not shown:
        out.print("no structure has been labelled yet")
        return
    out.print(table(state, shown, narrow=out.width < ROOMY))
    rest = len(state.groups) - len(shown)
    out.print(ranking.thresholds(state) + (f"; {rest} more structures lie higher" if rest else ""))


def table(state: State, shown: Sequence[Row], *, narrow: bool) -> "Table":
    """The ranked structures for a terminal; ``narrow`` fits 80 columns, without the ids."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=narrow)
    for name, heading in zip(ranking.COLUMNS, ranking.columns(state), strict=True):
        text = heading.replace(" [", "\n[").replace("confirmed by ", "confirmed\nby ")
        if narrow:
            text = SHORT.get(name, text)
        if text:
            left = name in ("formula", "space group", "id")
            made.add_column(text, justify="left" if left else "right", overflow="fold")
    for row in shown:
        cells = row.cells()[: len(made.columns)]  # the id is the last column
        made.add_row(*cells, style="bold" if row.confirmed else None)
    return made

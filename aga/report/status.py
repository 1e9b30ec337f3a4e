"""Where a campaign stands, for programs and for people; it may be running."""

import sqlite3
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aga import __version__
from aga.campaign.live import duration
from aga.campaign.lock import holder
from aga.campaign.state import State
from aga.campaign.store import NAME, Store
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


def load(run_dir: Path) -> State:
    """The state of a run, read without disturbing whoever runs it.

    Raises:
        ConfigError: the database cannot be read, or another version of aga wrote it.
    """
    try:
        store = Store(run_dir, readonly=True)
    except (sqlite3.Error, ValueError) as error:  # ValueError: settings this version cannot read
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
    return {
        "name": state.config.name,
        "finished": bool(state.finished),
        "failed": state.failed,
        "reason": state.finished or state.search_over,
        "running": holder(run_dir),
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


def print_status(run_dir: Path, stream: TextIO | None = None) -> None:
    """A table for people.

    Args:
        run_dir: the run folder.
        stream: where to; standard output if None.
    """
    state = load(run_dir)
    out = console(stream or sys.stdout)
    for line in (f"{state.config.name}: {headline(state, holder(run_dir))}", *facts(state)):
        out.print(line)
    show_rows(out, state, ranking.rows(state, SHOWN))


def headline(state: State, running: dict[str, Any] | None) -> str:
    """Finished, running or stopped, and why."""
    if state.finished:
        return f"{'ended without a result' if state.failed else 'finished'}: {state.finished}"
    doing = f"confirming the best structures ({state.search_over})" if state.search_over else ""
    if running is not None:
        who = f"running (process {running.get('pid', '?')} on {running.get('host', '?')})"
        return f"{who}, {doing or 'searching'}"
    return f"stopped{f' while {doing}' if doing else ''}; the same `aga run` goes on with it"


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

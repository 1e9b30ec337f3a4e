"""What a campaign leaves behind when `aga run` ends: the table, the structures, the report."""

import csv
import sys
from pathlib import Path
from typing import TextIO

from aga.campaign.live import duration
from aga.campaign.state import State
from aga.campaign.store import Store
from aga.report import ranking, status
from aga.report.cif import suffix, write_structures
from aga.report.files import published
from aga.report.html import write_report

#: structures in the table and in ``best/``
SHOWN = 10


def finish(run_dir: Path, stream: TextIO | None = None) -> None:
    """Print the result of a run, finished or not, then write ``best/`` and ``report/``.

    The table comes first: whatever goes wrong with files and pictures afterwards, and Ctrl-C, is
    told in a line, and the result is not lost.

    Args:
        run_dir: the run folder.
        stream: where the table goes; standard output if None.
    """
    if Store.configuration(run_dir) is None:  # stopped before it began
        return
    state = status.load(run_dir)
    out = status.console(stream or sys.stdout)
    rows = ranking.rows(state, max(SHOWN, len(state.answer)))
    out.print()
    status.show_rows(out, state, rows)
    for line in summary(state, run_dir):
        out.print(line)
    if not rows:
        return
    try:
        write_best(state, run_dir / "best")
        out.print(f"structures: {run_dir / 'best'}/*.{suffix(state)}, ranking.csv")
        out.print(f"report: {write_report(run_dir)}")
    except KeyboardInterrupt:
        out.print(f"report: stopped; `aga report {run_dir}` writes it")
    except Exception as error:  # the border: no picture may cost the result
        out.print(f"report: failed ({type(error).__name__}: {error})")
        out.print(f"  the campaign itself is safe in {run_dir}; try `aga report {run_dir}`")


def summary(state: State, run_dir: Path) -> list[str]:
    """What it cost and why it ended."""
    count, engine = status.labels(state), state.config.engine
    points = "DFT single points" if not engine.surrogate else f"single points by {engine.kind}"
    spent = len(state.labelled) + count["failed"]
    hull = ranking.hull(state)
    return [
        *([hull] if hull else []),
        f"{points}: {spent} spent, {count['failed']} of them failed; wall time "
        f"{duration(3600 * state.hours_used)}",
        status.headline(state, status.driver(run_dir)),
        f"run folder: {run_dir}",
    ]


def write_best(state: State, folder: Path) -> None:
    """The lowest structures as CIF or XYZ and their table as CSV."""
    write_structures(state, folder, max(SHOWN, len(state.answer)))
    path = folder / "ranking.csv"
    with published(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(ranking.columns(state))
        writer.writerows(row.cells() for row in ranking.rows(state))

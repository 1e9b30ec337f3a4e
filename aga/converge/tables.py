"""What was computed, as a table for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from aga.converge.ladder import Converged, Errors, Tolerance, errors
from calculators.outcome import Failure

if TYPE_CHECKING:
    from aga.converge.walk import Climb

#: narrower than this the table would lose its columns, so it is as wide where nobody looks
WIDTH = 120


def show(stream: TextIO, climbs: Sequence["Climb"], tolerance: Tolerance) -> None:
    """A table for each setting: differences from its most accurate point, and what it cost."""
    from rich.console import Console
    from rich.table import Table

    width = None if stream.isatty() else WIDTH
    console = Console(file=stream, highlight=False, markup=False, width=width)
    for climb in climbs:
        fixed, value = climb.fixed
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column(climb.name, justify="right")
        for name, limit in (
            ("energy [meV/atom]", tolerance.energy),
            ("force [eV/Å]", tolerance.force),
            ("stress [GPa]", tolerance.stress),
        ):
            table.add_column(f"{name} ≤ {limit:g}", justify="right")
        table.add_column("time [s]", justify="right")
        table.add_column("")
        chosen = climb.end.value if isinstance(climb.end, Converged) else None
        found = list(zip(climb.points, errors(climb.points), strict=True))
        reference = [point.value for point, error in found if error is not None][-1:]
        for point, error in found:
            last = point.value in reference
            mark = "enough" if point.value == chosen else "reference" if last else ""
            seconds = "-" if isinstance(point.answer, Failure) else f"{point.answer.seconds:.1f}"
            cells = ["failed", "-", "-"] if error is None else _cells(error)
            table.add_row(f"{point.value:g}", *cells, seconds, mark)
        console.print()
        console.print(f"{climb.name}, with {fixed} {value:g}")
        console.print(table)
    console.print()


def _cells(error: Errors) -> list[str]:
    stress = "-" if error.stress is None else f"{error.stress:.3f}"
    return [f"{error.energy:.2f}", f"{error.force:.4f}", stress]

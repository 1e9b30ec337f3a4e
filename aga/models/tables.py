"""Tables of errors for people."""

from collections.abc import Mapping
from typing import TextIO

from ase import units
from rich.console import Console
from rich.table import Table

from aga.models.errors import Compared, Evaluation

#: narrower than this the table would lose its columns, so it is as wide where nobody looks
WIDTH = 130


def show_errors(stream: TextIO, found: Mapping[str, Evaluation]) -> None:
    """A row for every quantity of every set.

    Args:
        stream: where to.
        found: evaluations by the name of the set, e.g. train and test.
    """
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("set")
    table.add_column("quantity")
    for name in ("RMSE", "MAE", "largest", "rank corr.", "within 1 spread", "within 2"):
        table.add_column(name, justify="right")
    for name, one in found.items():
        table.add_row(f"{name} ({one.n_structures})", "energy [meV/atom]", *_cells(one.energy, 1e3))
        table.add_row("", "forces [eV/Å]", *_cells(one.forces, 1.0, digits=4))
        if one.stress is None:
            table.add_row("", "stress [GPa]", "no labels")
        else:
            table.add_row("", "stress [GPa]", *_cells(one.stress, 1.0 / units.GPa, digits=3))
    console = Console(
        file=stream, highlight=False, markup=False, width=None if stream.isatty() else WIDTH
    )
    console.print(table)
    console.print(
        "rank corr.: Spearman, of the members' spread with the error; forces by atom, as vectors, "
        "without those that symmetry forbids"
    )
    for name, one in found.items():
        if one.extrapolating:
            console.print(
                f"{name}: {one.extrapolating} of {one.n_structures} structures are beyond the "
                "range of the training data"
            )


def _cells(compared: Compared, factor: float, digits: int = 2) -> list[str]:
    """Errors in the unit of the row, then what the spread is worth."""
    errors = (compared.rmse, compared.mae, compared.largest)
    cells = [f"{factor * value:.{digits}f}" for value in errors]
    rank = compared.rank_correlation()
    cells.append("-" if rank is None else f"{rank:.2f}")
    for spreads in (1.0, 2.0):
        share = compared.coverage(spreads)
        cells.append("-" if share is None else f"{100 * share:.0f} %")
    return cells

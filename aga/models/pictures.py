"""Pictures of an evaluation: predicted against computed, and spread against error."""

from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from aga.models.errors import Compared, Evaluation
from aga.report import drawing
from aga.report.drawing import BLUE, GREY
from aga.report.files import published
from potentials.structures import FloatArray

#: more points than this are drawn as a map of their density
DOTS = 1500
DPI = 150
#: of the smallest errors and spreads this share is drawn at the edge, not further out
EDGE = 0.005
#: and so are all below this share of the largest
SMALLEST = 1e-4


def write_pictures(found: Evaluation, folder: Path) -> list[Path]:
    """Write ``energy``, ``forces``, ``stress`` and ``spread`` (.png) of what there is.

    Returns:
        the files, in this order.
    """
    pictures = {}
    with drawing.style():
        pictures["energy"] = parity(found.energy, "energy", "eV/atom", (1e3, "meV/atom"))
        pictures["forces"] = parity(found.forces, "force component", "eV/Å", (1.0, "eV/Å"))
        if found.stress is not None:
            stress = _scaled(found.stress, 1.0 / units.GPa)
            pictures["stress"] = parity(stress, "stress component", "GPa", (1.0, "GPa"))
        if found.energy.free() is not None:
            pictures["spread"] = spreads(found)
        return [_save(picture, folder / f"{name}.png") for name, picture in pictures.items()]


def _save(picture: Any, path: Path) -> Path:
    with published(path) as temporary:
        picture.savefig(temporary, format="png", dpi=DPI)
    return path


def _scaled(compared: Compared, factor: float) -> Compared:
    return Compared(factor * compared.computed, factor * compared.predicted)


def parity(compared: Compared, name: str, unit: str, errors: tuple[float, str]) -> Any:
    """Predicted against computed, with the line where they should be.

    Args:
        compared: the numbers, in ``unit``.
        name: what they are.
        unit: of the axes.
        errors: factor from ``unit`` to the unit of the errors, and that unit.
    """
    computed, predicted = compared.computed.ravel(), compared.predicted.ravel()
    both = np.concatenate([computed, predicted])
    margin = 0.04 * np.ptp(both) + 1e-6
    ends = (float(both.min() - margin), float(both.max() + margin))
    picture = drawing.figure((5.2, 5.0))
    axes = picture.subplots()
    axes.plot(ends, ends, color=GREY, lw=1, zorder=1)
    _points(picture, axes, computed, predicted, (*ends, *ends))
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel(f"computed {name} [{unit}]")
    axes.set_ylabel(f"predicted {name} [{unit}]")
    factor, small = errors
    rmse, mae = factor * compared.rmse, factor * compared.mae
    axes.set_title(f"RMSE {rmse:.3g}, MAE {mae:.3g} {small}")
    return picture


def _points(
    picture: Any, axes: Any, x: FloatArray, y: FloatArray, extent: tuple[float, ...]
) -> None:
    """Dots, or a map of how many there are; ``extent`` in the axes' own scale."""
    if len(x) <= DOTS:
        axes.scatter(x, y, s=14, color=BLUE, alpha=0.6, lw=0, zorder=2)
        return
    scale = axes.get_xscale()
    dots = axes.hexbin(
        x,
        y,
        gridsize=70,
        bins="log",
        mincnt=1,
        cmap="viridis",
        xscale=scale,
        yscale=scale,
        extent=extent,
        lw=0,
        zorder=2,
    )
    picture.colorbar(dots, ax=axes, label="number of points", shrink=0.8)


def spreads(found: Evaluation) -> Any:
    """Spread against error, both logarithmic, of the energies and of the forces of atoms."""
    panels = [(_scaled_spread(found.energy, 1e3), "energy", "meV/atom")]
    if found.forces.free() is not None:
        panels.append((found.forces, "force on an atom", "eV/Å"))
    picture = drawing.figure((5.4 * len(panels), 5.0))
    for number, (compared, name, unit) in enumerate(panels, 1):
        _spread(picture, picture.add_subplot(1, len(panels), number), compared, (name, unit))
    return picture


def _scaled_spread(compared: Compared, factor: float) -> Compared:
    spread = None if compared.spread is None else factor * compared.spread
    return Compared(factor * compared.computed, factor * compared.predicted, spread)


def _spread(picture: Any, axes: Any, compared: Compared, names: tuple[str, str]) -> None:
    """One panel; the band is where error and spread agree within a factor of two."""
    from matplotlib.ticker import FuncFormatter

    name, unit = names
    spread, error = compared.free() or (np.ones(1), np.ones(1))
    high = max(error.max(), spread.max(), 1e-9)
    low = max(min(np.quantile(error, EDGE), np.quantile(spread, EDGE)), SMALLEST * high)
    ends = np.array([0.7 * low, 1.5 * high])
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.fill_between(ends, ends / 2, ends * 2, color=GREY, alpha=0.15, lw=0, label="within 2 x")
    axes.plot(ends, ends, color=GREY, lw=1, label="error = spread")
    extent = tuple(np.log10([*ends, *ends]))
    _points(picture, axes, np.maximum(spread, ends[0]), np.maximum(error, ends[0]), extent)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel(f"spread of the {name} [{unit}]")
    axes.set_ylabel(f"|computed - predicted| [{unit}]")
    inside = [100 * (compared.coverage(k) or 0.0) for k in (1.0, 2.0)]
    rank = compared.rank_correlation()
    shown = "" if rank is None else f"; rank correlation {rank:.2f}"
    axes.set_title(f"{inside[0]:.0f} % within one spread, {inside[1]:.0f} % within two{shown}")
    axes.legend(loc="upper left")

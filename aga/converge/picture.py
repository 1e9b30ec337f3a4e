"""Differences from the most accurate point, and what each point costs, against the setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aga.converge.ladder import Converged, Errors, Tolerance, errors
from aga.report import drawing
from aga.report.drawing import BLUE, GREEN, GREY, ORANGE
from aga.report.files import published
from potentials.structures import Label

if TYPE_CHECKING:
    from aga.converge.walk import Climb

DPI = 150
#: smaller differences are drawn at this part of the tolerance
SMALLEST = 1e-3


def draw(climbs: Sequence["Climb"], tolerance: Tolerance, path: Path) -> None:
    """Write a picture (.png) with two panels for each setting."""
    with drawing.style():
        picture = drawing.figure((5.0 * len(climbs), 5.4))
        panels = picture.subplots(2, len(climbs), squeeze=False, sharex="col", height_ratios=(3, 1))
        for column, climb in enumerate(climbs):
            _differences(panels[0][column], climb, tolerance)
            _costs(panels[1][column], climb)
        with published(path) as temporary:
            picture.savefig(temporary, format="png", dpi=DPI)


def _differences(axes: Any, climb: "Climb", tolerance: Tolerance) -> None:
    """All three in units of their tolerances, so that one line is the limit of all."""
    found = [
        (point.value, error)
        for point, error in zip(climb.points, errors(climb.points), strict=True)
        if error is not None
    ][:-1]  # the reference itself has no difference
    for name, colour in (("energy", BLUE), ("force", ORANGE), ("stress", GREEN)):
        limit = getattr(tolerance, name)
        unit = {"energy": "meV/atom", "force": "eV/Å", "stress": "GPa"}[name]
        shown = [(value, _ratio(error, name, limit)) for value, error in found]
        known = [(value, ratio) for value, ratio in shown if ratio is not None]
        if known:
            label = f"{name}, of {limit:g} {unit}"
            axes.plot(*zip(*known, strict=True), "o-", color=colour, label=label)
    axes.axhline(1.0, color=GREY, lw=1)
    if isinstance(climb.end, Converged):
        axes.axvline(climb.end.value, color=GREY, lw=1, ls=":")
    axes.set_yscale("log")
    axes.set_ylabel("difference over tolerance")
    axes.set_title(f"{climb.name}, with {climb.fixed[0]} {climb.fixed[1]:g}")
    if found:
        axes.legend()


def _ratio(error: Errors, name: str, limit: float) -> float | None:
    value = getattr(error, name)
    return None if value is None else max(value / limit, SMALLEST)


def _costs(axes: Any, climb: "Climb") -> None:
    cost = [
        (point.value, point.answer.seconds)
        for point in climb.points
        if isinstance(point.answer, Label)
    ]
    if cost:
        axes.plot(*zip(*cost, strict=True), "s-", color=GREY)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("time [s]")
    axes.set_xlabel(climb.name)

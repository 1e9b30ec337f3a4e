"""Differences from the most accurate point, and what each point costs, against the setting."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aga.converge.ladder import Converged, Errors, Tolerance, errors
from aga.report import drawing
from aga.report.drawing import BLUE, GREEN, GREY, ORANGE, RED
from aga.report.files import published
from potentials.structures import Label

if TYPE_CHECKING:
    from aga.converge.walk import Climb

DPI = 150
#: smaller differences are drawn at this part of the tolerance
SMALLEST = 1e-3
#: name, unit, colour and mark: colours alone are not told apart by all
_CURVES = (
    ("energy", "meV/atom", BLUE, "o"),
    ("force", "eV/Å", ORANGE, "^"),
    ("stress", "GPa", GREEN, "s"),
)
_LEGEND = {"loc": "outside upper center", "ncols": 3}
_NOTE = {"color": GREY, "fontsize": 9.0, "textcoords": "offset points"}


def draw(climbs: Sequence["Climb"], tolerance: Tolerance, path: Path) -> None:
    """Write a picture (.png) with two panels for each setting."""
    with drawing.style():
        picture = drawing.figure((max(5.0 * len(climbs), 7.2), 5.8))
        panels = picture.subplots(
            2, len(climbs), squeeze=False, sharex="col", sharey="row", height_ratios=(3, 1)
        )
        for column, climb in enumerate(climbs):
            _differences(panels[0][column], climb, tolerance)
            _costs(panels[1][column], climb)
        panels[0][0].set_ylabel("difference from the last point / tolerance")
        panels[1][0].set_ylabel("time [s]")
        panels[1][0].set_ylim(bottom=0)
        handles, labels = panels[0][0].get_legend_handles_labels()
        if handles:
            picture.legend(handles, labels, **_LEGEND)
        with published(path) as temporary:
            picture.savefig(temporary, format="png", dpi=DPI)


def _differences(axes: Any, climb: "Climb", tolerance: Tolerance) -> None:
    """All three in units of their tolerances, so that one line is the limit of all."""
    found = [
        (point.value, error)
        for point, error in zip(climb.points, errors(climb.points), strict=True)
        if error is not None
    ][:-1]  # the reference itself has no difference
    for name, unit, colour, mark in _CURVES:
        limit = getattr(tolerance, name)
        shown = [(value, _ratio(error, name, limit)) for value, error in found]
        known = [(value, ratio) for value, ratio in shown if ratio is not None]
        if known:
            label = f"{name} (tolerance {limit:g} {unit})"
            axes.plot(*zip(*known, strict=True), f"{mark}-", color=colour, label=label)
    axes.set_yscale("log")
    axes.axhline(1.0, color=GREY, lw=1)
    along, up = axes.get_yaxis_transform(), axes.get_xaxis_transform()
    axes.annotate("tolerance", (1.0, 1.0), xycoords=along, xytext=(-2, 3), ha="right", **_NOTE)
    if isinstance(climb.end, Converged):
        chosen = climb.end.value
        axes.axvline(chosen, color=GREY, lw=1, ls=":")
        axes.annotate(f"enough: {chosen:g}", (chosen, 1.0), xycoords=up, xytext=(4, -10), **_NOTE)
    axes.set_title(f"{climb.name}, with {climb.fixed[0]} {climb.fixed[1]:g}")


def _ratio(error: Errors, name: str, limit: float) -> float | None:
    value = getattr(error, name)
    return None if value is None else max(value / limit, SMALLEST)


def _costs(axes: Any, climb: "Climb") -> None:
    """What a point took; crosses on the axis are points that failed."""
    cost = [
        (point.value, point.answer.seconds)
        for point in climb.points
        if isinstance(point.answer, Label)
    ]
    if cost:
        axes.plot(*zip(*cost, strict=True), "D-", color=GREY, clip_on=False)
    failed = [point.value for point in climb.points if not isinstance(point.answer, Label)]
    if failed:
        crosses = {"color": RED, "ls": "", "clip_on": False, "label": "failed"}
        axes.plot(failed, [0.0] * len(failed), "x", **crosses)
        axes.legend()
    axes.set_xlabel(climb.name + _unit(climb.name))


def _unit(name: str) -> str:
    """Of a setting, where its name tells."""
    if name.endswith("_ev"):
        return " [eV]"
    return " [Å], k-points per 1/Å" if name.startswith("kpts") else ""

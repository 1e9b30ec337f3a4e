"""Pictures of what was labelled: convergence, predictions, operators, ensembles."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aga.campaign.state import Labelled, State
from aga.report import drawing, hull
from aga.report.drawing import BLUE, GREEN, GREY, ORANGE, RED

#: errors are drawn linearly below this, by orders of magnitude above [meV/atom]
LINEAR_BELOW = 10.0
#: structures this close to the best are shown in a panel of their own [eV/atom]
NEAR = 0.1
#: errors below this are drawn at it, spreads below it not at all [meV/atom]
SMALLEST_MEV = 0.1
#: labels over which the error on new structures is averaged
RECENT = 10
MARKERS = {"seed": "o", "search": "s", "audit": "^", "confirm": "D"}

Drawing = Callable[[State], Any]


def convergence(state: State) -> Any:
    """Best enthalpy against the number of labels, and every label; None without labels."""
    if not state.labelled:
        return None
    values = np.array([one.known.height for one in state.labelled])
    lowest = float(values.min())
    above = 1e3 * (values - lowest)
    several = state.config.compositions is not None
    count = np.arange(1, len(values) + 1)
    picture = drawing.figure((7.2, 4.6))
    axes = picture.subplots()
    line = 1e3 * hull.distances(state) if several else np.minimum.accumulate(above)
    axes.step(count, line, where="post", color="black", lw=1.6)
    looks = _looks(state)
    for origin in sorted({one.origin for one in state.labelled}):
        for purpose, marker in MARKERS.items():
            chosen = [
                i
                for i, one in enumerate(state.labelled)
                if one.origin == origin and one.purpose == purpose
            ]
            dots = {"marker": marker, "ms": 5.5, "alpha": 0.85, **looks[origin].dots}
            axes.plot(count[chosen], above[chosen], **dots)
    axes.set_yscale("symlog", linthresh=LINEAR_BELOW)
    axes.set_ylim(bottom=-1.0)
    axes.set_xlim(0, len(values) + 1)
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("labels")
    axes.set_ylabel(f"enthalpy above the {'hull' if several else 'best'} [meV/atom]")
    best = "hull as it is now" if several else f"best: {lowest:.4f} eV/atom"
    axes.set_title(f"{best}; linear below {LINEAR_BELOW:g} meV/atom")
    name = "hull so far, at its highest" if several else "best so far"
    _legend(picture, state, name)
    return picture


def _looks(state: State) -> dict[str, drawing.Look]:
    """Of all that made structures: the same in every picture."""
    weighed = (name for record in state.of_kind("evolve") for name in record.inputs["weights"])
    return drawing.looks([*weighed, *(one.origin for one in state.labelled)])


def _plain_ticks(axis: Any) -> None:
    """Numbers as they are, not as powers of ten."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(picture: Any, state: State, line: str) -> None:
    """Colours by operator, shapes by purpose, beside the picture."""
    from matplotlib.lines import Line2D

    def handle(label: str, **look: Any) -> Any:
        return Line2D([], [], label=label, **look)

    handles = [handle(line, color="black", lw=1.6)]
    purposes = {one.purpose for one in state.labelled}
    for purpose, marker in MARKERS.items():
        if purpose in purposes:
            handles.append(handle(purpose, marker=marker, ls="", mfc="none", color="black"))
    looks = _looks(state)
    handles += [
        handle(origin.replace("_", " "), marker="o", **looks[origin].dots)
        for origin in sorted({one.origin for one in state.labelled})
    ]
    picture.legend(handles=handles, loc="outside right upper")


def _predicted(state: State) -> list[Labelled]:
    """Labels that were predicted before they were computed."""
    return [one for one in state.labelled if one.predicted is not None]


def _errors(labels: Sequence[Labelled]) -> Any:
    """Computed minus predicted enthalpies [meV/atom] (n,)."""
    return 1e3 * np.array([one.known.enthalpy - (one.predicted or 0.0) for one in labels])


def parity(state: State) -> Any:
    """Predicted against computed enthalpy, all and near the best; None without predictions."""
    labels = _predicted(state)
    if not labels:
        return None
    lowest = min(one.known.height for one in state.labelled)
    near = [one for one in labels if one.known.height <= lowest + NEAR]
    panels = [("all", labels), (f"within {NEAR:g} eV/atom of the best", near)]
    if len(near) == len(labels):
        panels = panels[1:]
    picture = drawing.figure((4.3 * len(panels), 4.6))
    for number, (name, shown) in enumerate(panels, 1):
        axes = picture.add_subplot(1, len(panels), number)
        axes.set_xlabel("computed enthalpy [eV/atom]")
        if shown:
            _parity(axes, shown)
            error = _errors(shown)
            rmse, mae = np.sqrt(np.mean(error**2)), np.abs(error).mean()
            name_and_errors = f"{name}\nRMSE {rmse:.0f}, MAE {mae:.0f} meV/atom"
            axes.set_title(name_and_errors)
        else:
            axes.set_title(f"{name}: none yet")
    first = picture.axes[0]
    first.set_ylabel("predicted enthalpy [eV/atom]")
    first.legend(loc="upper left")
    return picture


def _parity(axes: Any, labels: Sequence[Labelled]) -> None:
    """Dots with the calibrated spread as error bars, and the line where they should be."""
    computed = np.array([one.known.enthalpy for one in labels])
    predicted = np.array([one.predicted for one in labels], dtype=np.float64)
    spread = np.array([one.spread or 0.0 for one in labels])
    ends = [min(computed.min(), predicted.min()), max(computed.max(), predicted.max())]
    margin = 0.05 * (ends[1] - ends[0]) + 1e-3
    ends = [ends[0] - margin, ends[1] + margin]
    axes.plot(ends, ends, color=GREY, lw=1, zorder=1)
    for colour, purpose in ((BLUE, "search"), (GREEN, "audit"), (ORANGE, "confirm")):
        own = np.array([one.purpose == purpose for one in labels])
        if own.any():
            look = {"fmt": "o", "ms": 4.5, "lw": 0.9, "color": colour}
            axes.errorbar(computed[own], predicted[own], yerr=spread[own], label=purpose, **look)
    axes.set(xlim=ends, ylim=ends, aspect="equal")


def calibration(state: State) -> Any:
    """Spread against the error that was found, both logarithmic; None without predictions."""
    from matplotlib.ticker import MaxNLocator

    # the sharp fit before a confirmation has members that are all the same: no spread
    labels = [one for one in _predicted(state) if 1e3 * (one.spread or 0.0) > SMALLEST_MEV]
    if not labels:
        return None
    error = np.maximum(np.abs(_errors(labels)), SMALLEST_MEV)
    spread = np.array([1e3 * (one.spread or 0.0) for one in labels])
    picture = drawing.figure((5.6, 5.0))
    axes = picture.subplots()
    ends = np.array([0.6 * min(error.min(), spread.min()), 1.7 * max(error.max(), spread.max())])
    axes.fill_between(ends, ends / 2, ends * 2, color=GREY, alpha=0.15, lw=0, label="within 2 x")
    axes.plot(ends, ends, color=GREY, lw=1, label="error = spread")
    order = np.arange(1, len(labels) + 1)
    dots = axes.scatter(spread, error, c=order, cmap="viridis", s=24)
    if len(labels) > 1:
        bar = picture.colorbar(dots, ax=axes, label="order of labelling", shrink=0.8)
        bar.locator = MaxNLocator(integer=True)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        _plain_ticks(axis)
    axes.set_xlabel("calibrated spread before labelling [meV/atom]")
    axes.set_ylabel("|computed - predicted| [meV/atom]")
    inside = [100 * np.mean(error <= k * spread) for k in (1, 2)]
    axes.set_title(f"{inside[0]:.0f} % within one spread, {inside[1]:.0f} % within two")
    axes.legend(loc="upper left")
    return picture


def ensembles(state: State) -> Any:
    """Errors of every ensemble against the number of its labels; None without ensembles."""
    if not state.models:
        return None
    from matplotlib.ticker import LogLocator

    picture = drawing.figure((7.2, 5.0))
    upper, lower = picture.subplots(2, 1, sharex=True)
    count = np.array([model.labels for model in state.models])
    own = {"color": BLUE, "label": "on its own labels"}
    for axes, key in ((upper, "energy_rmse_mev_per_atom"), (lower, "force_rmse_ev_per_a")):
        values = np.array([model.facts[key] for model in state.models])
        axes.plot(count, values, "o-", ms=4, lw=1.2, **own)
        networks = np.array([bool(model.facts.get("networks")) for model in state.models])
        if networks.any():
            look = {"s": 70, "facecolors": "none", "edgecolors": GREEN, "label": "with networks"}
            axes.scatter(count[networks], values[networks], **look)
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter("")
    new = recent_errors(state)
    if new:
        upper.plot(
            *zip(*new, strict=True), color=RED, lw=1.4, label=f"on new labels (last {RECENT})"
        )
    upper.set_ylabel("energy RMSE\n[meV/atom]")
    lower.set_ylabel("force RMSE\n[eV/Å]")
    lower.set_xlabel("labels")
    picture.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return picture


def recent_errors(state: State) -> list[tuple[int, float]]:
    """Number of labels, and RMSE of the last predictions made before they were computed."""
    found, errors = [], []
    for number, one in enumerate(state.labelled, 1):
        if one.predicted is None:
            continue
        errors.append(1e3 * (one.known.enthalpy - one.predicted))
        if len(errors) >= RECENT:
            found.append((number, float(np.sqrt(np.mean(np.square(errors[-RECENT:]))))))
    return found


def operators(state: State) -> Any:
    """Share of the proposals that each operator makes, by generation; None before the first."""
    runs = state.of_kind("evolve")
    if not runs:
        return None
    names = sorted({name for record in runs for name in record.inputs["weights"]})
    picture = drawing.figure((7.2, 3.6))
    axes = picture.subplots()
    number = np.arange(1, len(runs) + 1)
    looks = _looks(state)
    for name in names:
        share = [100 * record.inputs["weights"].get(name, 0.0) for record in runs]
        look = {"marker": "o", "ms": 4, "lw": 1.4, **looks[name].line}
        axes.plot(number, share, label=name.replace("_", " "), **look)
    axes.set_xlim(0.5, len(runs) + 0.5)
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("generation")
    axes.set_ylabel("share of the proposals [%]")
    picture.legend(loc="outside right upper")
    return picture

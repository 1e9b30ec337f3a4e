"""What `focal.py` makes of its rows: epochs to each target loss, and the curves."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from potentials.spec import LossWeights

#: of the training, and of what is called loss here: energy^2 + 0.1 force^2
LOSS = LossWeights(energy=1.0, forces=0.1, virial=0.1)
#: shares of the way from the first to the lowest loss of gamma 0, on a logarithmic scale
DEPTHS = (0.25, 0.5, 0.7, 0.85, 0.95)


def curves(rows: Iterable[dict[str, Any]], kind: str) -> np.ndarray:
    """Losses on new or old structures (runs, epochs)."""
    return np.array(
        [
            np.square(energy) * LOSS.energy + np.square(force) * LOSS.forces
            for found in rows
            for energy, force in zip(found[f"{kind}_energy"], found[f"{kind}_force"], strict=True)
        ]
    )


def targets_of(plain: np.ndarray) -> list[float]:
    """Losses on the way of the plain training, from shallow to deep."""
    middle = np.median(plain, axis=0)
    first, last = np.log(middle[0]), np.log(middle.min())
    return [float(f"{np.exp(first + depth * (last - first)):.2g}") for depth in DEPTHS]


def reached(curve: np.ndarray, target: float) -> int | None:
    """The first epoch whose loss is not above the target."""
    below = np.nonzero(curve <= target)[0]
    return int(below[0]) if len(below) else None


def summary(
    rows: Sequence[dict[str, Any]], targets: Sequence[float] | None
) -> list[dict[str, Any]]:
    """One row for each setting: medians and ranges over runs.

    Args:
        rows: of one number of new structures.
        targets: losses on new structures; by the runs of gamma 0 where not given.
    """
    settings = list(dict.fromkeys(found["setting"] for found in rows))
    own = {name: [found for found in rows if found["setting"] == name] for name in settings}
    if not targets:
        targets = targets_of(curves(own.get("gamma 0", rows), "new"))
    return [_summed(name, own[name], targets) for name in settings]


def _summed(name: str, rows: Sequence[dict[str, Any]], targets: Sequence[float]) -> dict[str, Any]:
    new, old = curves(rows, "new"), curves(rows, "old")
    best = new.argmin(axis=1)
    runs = np.arange(len(new))
    steps = [[reached(curve, target) for curve in new] for target in targets]
    solved = new.shape[1] == 1
    return {
        "setting": name,
        "new": rows[0]["new"],
        "runs": len(new),
        "epochs": None
        if solved
        else dict(zip(map(str, targets), map(_spanned, steps), strict=True)),
        "seconds": statistics.median(found["seconds"] for found in rows),
        "new_loss": [float(np.median(new[:, 0])), float(np.median(new[:, -1]))],
        "old_loss": [float(np.median(old[:, 0])), float(np.median(old[:, -1]))],
        "best_new_loss": _range(new[runs, best]),
        "old_loss_at_best": _range(old[runs, best]),
        "new_mev_per_atom": 1e3 * float(np.median(_last(rows, "new_energy"))),
        "new_ev_per_a": float(np.median(_last(rows, "new_force"))),
        "old_mev_per_atom": 1e3 * float(np.median(_last(rows, "old_energy"))),
        "old_ev_per_a": float(np.median(_last(rows, "old_force"))),
    }


def _last(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [curve[-1] for found in rows for curve in found[name]]


def _range(values: np.ndarray) -> list[float]:
    """Median, lowest, highest."""
    return [float(np.median(values)), float(values.min()), float(values.max())]


def _spanned(steps: Sequence[int | None]) -> dict[str, Any]:
    """Lower median and range of epochs; runs that never arrive count as later than all others."""
    ordered = sorted(step for step in steps if step is not None)
    middle = (len(steps) - 1) // 2
    return {
        "median": ordered[middle] if len(ordered) > middle else None,
        "range": [ordered[0], ordered[-1]] if ordered else None,
        "reached": len(ordered),
    }


def table(rows: Sequence[dict[str, Any]], new: int, *, as_json: bool) -> None:
    """Print what was summed up."""
    if as_json:
        for found in rows:
            print(json.dumps(found), flush=True)
        return
    targets = next((list(found["epochs"]) for found in rows if found["epochs"]), [])
    made = Table(title=f"epochs to a loss on unseen structures of the region, {new} new ones added")
    for head in ("setting", *targets, "new: start, end", "old: start, end", "CPU s", "runs"):
        made.add_column(head)
    for found in rows:
        cells = [_cell(found["epochs"][t], found["runs"]) for t in targets if found["epochs"]]
        made.add_row(
            found["setting"],
            *(cells or [""] * len(targets)),
            *(
                ", ".join(f"{loss:.4f}" for loss in found[f"{kind}_loss"])
                for kind in ("new", "old")
            ),
            f"{found['seconds']:.0f}",
            str(found["runs"]),
        )
    Console(width=200).print(made)


def _cell(steps: dict[str, Any], runs: int) -> str:
    if steps["range"] is None:
        return "-"
    first, last = steps["range"]
    share = "" if steps["reached"] == runs else f" {steps['reached']}/{runs}"
    return f"{steps['median'] or '-'} [{first}..{last}]{share}"


def draw(rows: Sequence[dict[str, Any]], numbers: Sequence[int], path: Path) -> None:
    """Loss on new and on old structures against epochs: medians and ranges over runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6 * len(numbers)), layout="constrained")
    axes = figure.subplots(len(numbers), 2, squeeze=False)
    for new, pair in zip(numbers, axes, strict=True):
        own = [found for found in rows if found["new"] == new]
        for axis, kind in zip(pair, ("new", "old"), strict=True):
            _curves(axis, own, kind)
            axis.set_title(f"unseen {kind} structures, {new} new ones added", fontsize=10)
        pair[1].legend(fontsize=7, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _curves(axis: Any, rows: Sequence[dict[str, Any]], kind: str) -> None:
    """One panel."""
    for place, name in enumerate(dict.fromkeys(found["setting"] for found in rows)):
        found = curves([r for r in rows if r["setting"] == name], kind)
        colour = f"C{place}"
        if found.shape[1] == 1:
            axis.axhline(
                float(np.median(found)), color=colour, ls=":", lw=1, label=f"{name} (solved)"
            )
            continue
        epochs = np.arange(found.shape[1])
        axis.fill_between(
            epochs, found.min(axis=0), found.max(axis=0), color=colour, alpha=0.12, lw=0
        )
        axis.plot(epochs, np.median(found, axis=0), color=colour, lw=1.3, label=name)
    axis.set(yscale="log", xlabel="epochs", ylabel=r"loss (eV/atom)$^2$ + 0.1 (eV/Å)$^2$")
    axis.spines[["top", "right"]].set_visible(False)

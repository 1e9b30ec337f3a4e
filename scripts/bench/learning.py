"""Learning curves: the linear term, networks, and both, on growing parts of one training set.

    AGA_REFERENCE_DATA=... python scripts/bench/learning.py --results learning.jsonl --plot all.png

`linear`: the linear term alone; `networks`: networks alone, on any number of labels; `both`: the
default, which leaves networks out on few labels and where they do not help. All else is default,
with all labels counting alike as in `aga train`. A smaller training set is a part of a
larger one; the test structures are always the same. `both` should be the lower envelope of the
others at every size: `envelope` of its rows is its error by the lower one of theirs (energy,
forces). `--results` keeps every fit, and one found there is not repeated.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from published import DataSet, load
from rich.console import Console
from rich.table import Table
from rows import Rows

from aga.models.errors import evaluate
from aga.models.settings import ALIKE
from potentials.spec import EnsembleSpec
from potentials.training import fit

MODELS: dict[str, dict[str, Any]] = {
    "linear": {"network": {"enabled": False}},
    "networks": {"linear": {"enabled": False}, "network": {"min_labels": 8}},
    "both": {},
}
SIZES = (10, 30, 100, 300, 1000, 3000, 10000)
ERRORS = {"energy_rmse_mev_per_atom": "energy (meV/atom)", "force_rmse_ev_per_a": "forces (eV/Å)"}
KEYS = ("data", "model", "size", "seed")


def settings(model: str, change: dict[str, Any]) -> EnsembleSpec:
    """Default settings without one of the two terms, or with both.

    Args:
        model: one of `MODELS`.
        change: further settings, as in a file, section by section.
    """
    own = {"labels": ALIKE.model_dump()}
    for more in (change, MODELS[model]):
        for key, value in more.items():
            own[key] = {**own.get(key, {}), **value} if isinstance(value, dict) else value
    return EnsembleSpec.model_validate(own)


def sizes_of(asked: Sequence[int], most: int) -> list[int]:
    """Sizes that the data have, and all of it."""
    return sorted({size for size in asked if size < most} | {most})


def measured(
    data: DataSet, model: str, size: int, seed: int, change: dict[str, Any]
) -> dict[str, Any]:
    """Fit on a part of the training structures and evaluate on all test structures."""
    order = np.random.default_rng(seed).permutation(len(data.train))
    spec = settings(model, change)
    began = time.process_time()
    ensemble = fit(spec, [data.train[i] for i in order[:size]], np.random.default_rng(seed))
    seconds = time.process_time() - began
    found = evaluate(ensemble, data.test, spread=False).summary()
    facts = ensemble.facts
    return {
        "data": data.name,
        "model": model,
        "size": size,
        "seed": seed,
        **{name: found[name] for name in ERRORS},
        "train": {name: facts[name] for name in ERRORS},
        "fit_cpu_seconds": seconds,
        "components": facts["components"],
        "networks": facts["networks"],
    }


def medians(rows: Rows, data: str) -> list[dict[str, Any]]:
    """One row per model and size: medians and ranges over seeds, and the envelope."""
    found = []
    own = [row for row in rows if row["data"] == data]
    for size in sorted({row["size"] for row in own}):
        for model in MODELS:
            runs = [row for row in own if row["size"] == size and row["model"] == model]
            if runs:
                found.append(_median(runs))
    return [row | {"envelope": _envelope(row, found)} for row in found]


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    median = {name: float(np.median([run[name] for run in runs])) for name in ERRORS}
    spans = {f"{n}_range": [min(r[n] for r in runs), max(r[n] for r in runs)] for n in ERRORS}
    seconds = float(np.median([run["fit_cpu_seconds"] for run in runs]))
    about = {name: runs[0][name] for name in ("data", "model", "size")}
    return {**about, "seeds": len(runs), **median, **spans, "fit_cpu_seconds": seconds}


def _envelope(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[float] | None:
    """Error of both terms by the lower one of either alone: energy, forces."""
    others = [o for o in rows if o["size"] == row["size"] and o["model"] != "both"]
    if row["model"] != "both" or len(others) < 2:
        return None
    return [row[name] / min(other[name] for other in others) for name in ERRORS]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The table for people."""
    table = Table(title=f"errors on test structures: {rows[0]['data']}")
    for head in ("labels", "model", "meV/atom", "eV/Å", "CPU s", "by the envelope: E, F"):
        table.add_column(head)
    for row in rows:
        table.add_row(
            str(row["size"]),
            row["model"],
            f"{row['energy_rmse_mev_per_atom']:.1f}",
            f"{row['force_rmse_ev_per_a']:.3f}",
            f"{row['fit_cpu_seconds']:.0f}",
            "" if row["envelope"] is None else ", ".join(f"{r:.2f}" for r in row["envelope"]),
        )
    Console(width=120).print(table)


def draw(tables: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Errors against the number of labels, a row of panels for each data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.4 * len(tables)), layout="constrained")
    axes = figure.subplots(len(tables), 2, squeeze=False)
    for (name, rows), pair in zip(tables.items(), axes, strict=True):
        for axis, (error, label) in zip(pair, ERRORS.items(), strict=True):
            for place, model in enumerate(MODELS):
                own = [row for row in rows if row["model"] == model]
                sizes = [row["size"] for row in own]
                spans = np.array([row[f"{error}_range"] for row in own]).reshape(-1, 2)
                axis.plot(
                    sizes, [row[error] for row in own], "o-", ms=3, c=f"C{place}", label=model
                )
                axis.fill_between(sizes, *spans.T, color=f"C{place}", alpha=0.15, lw=0)
            axis.set(xscale="log", yscale="log", xlabel="labels", ylabel=label)
            axis.set_title(name, fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
        pair[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=["random Si", "TiO2"], help="data sets")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=MODELS)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--largest", type=int, default=10**9, help="use no more labels than these")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--change", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="file of all fits, read and added to")
    parser.add_argument("--plot", type=Path, help="PNG of the curves")
    parser.add_argument("--json", action="store_true", help="one object per row of the table")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    asked = options(words)
    torch.set_num_threads(asked.threads)
    rows = Rows(asked.results, KEYS)
    tables = {}
    for name in asked.only:
        data = load(name)
        for size in sizes_of(asked.sizes, min(len(data.train), asked.largest)):
            for seed in range(asked.seeds):
                for model in asked.models:
                    if not rows.has(data=name, model=model, size=size, seed=seed):
                        rows.add(measured(data, model, size, seed, asked.change))
        tables[name] = medians(rows, name)
        for row in tables[name] if asked.json else ():
            print(json.dumps(row), flush=True)
        if not asked.json:
            show(tables[name])
    if asked.plot:
        draw(tables, asked.plot)


if __name__ == "__main__":
    main()

"""Errors on published data sets with default settings, beside what others publish.

    AGA_REFERENCE_DATA=... python scripts/bench/accuracy.py [--json] [--only Si Cu] [--threads 2]
        [--plot parity.png]

Root mean square errors of the ensemble mean (K = 4) on the authors' test structures; `time` is the
whole fit, descriptors included. Spread against error: Spearman's rank correlation and the share of
errors within one and two predicted standard deviations.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from published import PUBLISHED, load
from rich.console import Console
from rich.table import Table

from aga.models.errors import evaluate
from aga.models.settings import load_spec
from aga.report import drawing
from potentials.descriptors import build
from potentials.training import fit


def measured(name, *, seed, descriptor, change):
    """Fit and evaluate one data set: the row of the table, and the comparison it sums up."""
    data = load(name)
    spec = load_spec(None)
    spec = spec.model_copy(update={"descriptor": descriptor} if descriptor else {})
    spec = type(spec).model_validate(spec.model_dump() | change)
    wall, cpu = time.perf_counter(), time.process_time()
    ensemble = fit(spec, data.train, np.random.default_rng(seed))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = evaluate(ensemble, data.test, spread=True)
    facts = ensemble.facts
    return found, {
        "data": name,
        "descriptor": spec.descriptor.kind,
        "train": len(data.train),
        **found.summary(),
        "fit_seconds": wall,
        "fit_cpu_seconds": cpu,
        "components": facts["components"],
        "energy_weight": facts["energy_weight"],
        "networks": facts["networks"],
        "energy_rank": found.energy.rank_correlation(),
        "energy_coverage": [found.energy.coverage(1.0), found.energy.coverage(2.0)],
        "force_rank": found.forces.rank_correlation(),
        "force_coverage": [found.forces.coverage(1.0), found.forces.coverage(2.0)],
        "published": data.published,
    }


def show(rows):
    """The table for people."""
    table = Table(title="errors on test structures")
    for head in ("data", "descriptor", "meV/atom", "eV/Å", "GPa", "time", "spread: rank E, F"):
        table.add_column(head)
    table.add_column("within 1, 2 spreads: E; F")
    table.add_column("published")
    for row in rows:
        stress = row["stress_rmse_gpa"]
        shares = [f"{100 * s:.0f}" for s in (*row["energy_coverage"], *row["force_coverage"])]
        table.add_row(
            row["data"],
            row["descriptor"],
            f"{row['energy_rmse_mev_per_atom']:.2f}",
            f"{row['force_rmse_ev_per_a']:.3f}",
            "" if stress is None else f"{stress:.2f}",
            f"{row['fit_seconds']:.0f} s",
            f"{row['energy_rank']:.2f}, {row['force_rank']:.2f}",
            f"{shares[0]}, {shares[1]}; {shares[2]}, {shares[3]} %",
            "; ".join(f"{who} {e:.2f}, {f:.3f}" for who, (e, f) in row["published"].items()),
        )
    Console(width=180).print(table)


def draw(found, path):
    """Predicted against computed energies and forces, a column for each data set."""
    with drawing.style():
        picture = drawing.figure((3.2 * len(found), 6.2))
        panels = picture.subplots(2, len(found), squeeze=False)
        for (name, one), (above, below) in zip(found.items(), panels.T, strict=True):
            _parity(above, one.energy, "energy [eV/atom]", name)
            _parity(below, one.forces, "force [eV/Å]", "")
        picture.savefig(path, dpi=130)


def _parity(axes, compared, what, title):
    computed, predicted = compared.computed.ravel(), compared.predicted.ravel()
    ends = np.array([computed.min(), computed.max()]) + 0.04 * np.ptp(computed) * np.array([-1, 1])
    axes.plot(ends, ends, color=drawing.GREY, lw=1, zorder=1)
    axes.scatter(computed, predicted, s=4, color=drawing.BLUE, alpha=0.4, lw=0, zorder=2)
    axes.set(xlim=ends, ylim=ends, aspect="equal", title=title)
    axes.set_xlabel(f"computed {what}")
    axes.set_ylabel(f"predicted {what}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(PUBLISHED), help="data sets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--descriptor", type=json.loads, help='as JSON, e.g. {"kind": "acsf"}')
    parser.add_argument("--change", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--json", action="store_true", help="one object per row")
    parser.add_argument("--plot", type=Path, help="PNG: predicted against computed")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    descriptor = build(asked.descriptor) if asked.descriptor else None
    rows, found = [], {}
    for name in asked.only:
        found[name], row = measured(
            name, seed=asked.seed, descriptor=descriptor, change=asked.change
        )
        rows.append(row)
        if asked.json:
            print(json.dumps(row), flush=True)
    if not asked.json:
        show(rows)
    if asked.plot:
        draw(found, asked.plot)


if __name__ == "__main__":
    main()

"""Is the predicted error true? Spread against error, and the test for structures unlike the data.

    AGA_REFERENCE_DATA=... python scripts/bench/uncertainty.py --results u.jsonl --plot u.png

`spread` rows: coverage (share of errors within one and two predicted standard deviations; a normal
distribution has 68 and 95 % of the energies, and of the force vectors 61 and 99 %) and Spearman's
rank correlation of spread against error, on the test structures. Heads: `shallow`: members are
linear terms on shared descriptors, each fitted to resampled labels in closed form; `full`: members
are networks of their own. Shallow members are so cheap that `--shallow` of them cost no more than
four full ones; `fit_cpu_seconds` says what each did. Both are calibrated alike, on a tenth of the
training structures that is left out for it (`calibration`, energies and forces); `own` is the
calibration that the fit found itself by cross-validation and the coverage with that.

`unseen` rows: fitted without the structures of the largest volume per atom, then asked about them
and about the usual test structures. An alarm is `Prediction.extrapolation` > 0: `true_alarms` is
its share in the unseen region, `false_alarms` among the other test structures; `area` is the area
under the curve of both rates over all thresholds (1: perfect, 0.5: chance), for the test itself and
for the spread of energies; mean absolute errors with and without alarm [meV/atom].
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from published import DataSet, load
from rich.console import Console
from rich.table import Table
from rows import Rows

from aga.models.errors import Compared, Evaluation, evaluate
from aga.models.settings import ALIKE
from potentials.calibration import calibration
from potentials.ensemble import Ensemble
from potentials.spec import EnsembleSpec
from potentials.structures import FloatArray, Frame
from potentials.training import fit

KEYS = ("kind", "data", "heads", "members", "size", "seed")
#: share of the training structures that calibrates
SET_ASIDE = 0.1
#: share of all structures that are the unseen region
REGION = 0.15
#: points in a picture
DOTS = 800


def settings(heads: str, members: int, change: dict[str, Any]) -> EnsembleSpec:
    """Members that are linear terms only, or networks only."""
    off = {"shallow": "network", "full": "linear"}[heads]
    own = {"labels": ALIKE.model_dump(), "members": members} | change
    return EnsembleSpec.model_validate(own | {off: {**own.get(off, {}), "enabled": False}})


def fitted(spec: EnsembleSpec, frames: Sequence[Frame], seed: int) -> tuple[Ensemble, float]:
    """The ensemble and the CPU time it took [s]."""
    began = time.process_time()
    ensemble = fit(spec, frames, np.random.default_rng(seed))
    return ensemble, time.process_time() - began


def uncalibrated(ensemble: Ensemble) -> Ensemble:
    """The same with the members' bare spread."""
    return replace(ensemble, calibration=1.0, force_calibration=1.0)


def factors(found: Evaluation) -> tuple[float, float]:
    """Calibration of energies and forces by structures that the members have not seen."""
    forces = found.forces.free()
    if found.energy.spread is None or forces is None:
        raise ValueError("a calibration needs at least two members that differ")
    signed = found.energy.predicted - found.energy.computed
    # the rule of the fit: mean squares, so that rounding counts for nothing
    of_forces = float(np.sqrt(np.mean(forces[1] ** 2) / np.mean(forces[0] ** 2)))
    return calibration(signed.tolist(), found.energy.spread.tolist()), of_forces


def scaled(found: Compared, factor: float) -> Compared:
    """With spreads multiplied."""
    return replace(found, spread=None if found.spread is None else found.spread * factor)


def coverage(found: Compared) -> list[float | None]:
    """Shares of errors within one and two spreads."""
    return [found.coverage(1.0), found.coverage(2.0)]


def pairs(found: Compared, rng: np.random.Generator) -> list[list[float]]:
    """Some spreads and errors, for a picture."""
    free = found.free()
    if free is None:
        return []
    some = rng.permutation(len(free[0]))[:DOTS]
    return [[float(f"{value:.3g}") for value in values[some]] for values in free]


def spread_row(
    data: DataSet, spec: EnsembleSpec, size: int, seed: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Coverage and rank correlation on the test structures."""
    rng = np.random.default_rng(seed)
    chosen = [data.train[i] for i in rng.permutation(len(data.train))[:size]]
    aside = max(10, int(SET_ASIDE * len(chosen)))
    ensemble, seconds = fitted(spec, chosen[aside:], seed)
    bare = uncalibrated(ensemble)
    energy, force = factors(evaluate(bare, chosen[:aside], spread=True))
    test = evaluate(bare, data.test, spread=True)
    of_energy, of_forces = scaled(test.energy, energy), scaled(test.forces, force)
    own = ensemble.calibration, ensemble.force_calibration
    return {
        **about,
        "fit_cpu_seconds": seconds,
        "energy_rmse_mev_per_atom": 1e3 * test.energy.rmse,
        "force_rmse_ev_per_a": test.forces.rmse,
        "energy_rank": test.energy.rank_correlation(),
        "force_rank": test.forces.rank_correlation(),
        "calibration": [energy, force],
        "energy_coverage": coverage(of_energy),
        "force_coverage": coverage(of_forces),
        "own": {
            "calibration": own,
            "energy_coverage": coverage(scaled(test.energy, own[0])),
            "force_coverage": coverage(scaled(test.forces, own[1])),
        },
        "energy_pairs": pairs(of_energy, rng),
        "force_pairs": pairs(of_forces, rng),
    }


def volume(frame: Frame) -> float:
    """[Å^3/atom]."""
    return float(frame.atoms.get_volume() / len(frame.atoms))


def area(inside: FloatArray, outside: FloatArray) -> float:
    """Chance that a structure of the region scores higher than one of the others."""
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(inside, outside).statistic / (len(inside) * len(outside))
    return float(found)


def scores(ensemble: Ensemble, frames: Sequence[Frame]) -> dict[str, FloatArray]:
    """Extrapolation, spread of the energy and absolute error [eV/atom] of each structure."""
    found: dict[str, list[FloatArray]] = {"extrapolation": [], "spread": [], "error": []}
    for start in range(0, len(frames), 64):
        part = frames[start : start + 64]
        predicted = ensemble.predict([frame.atoms for frame in part])
        size = np.array([len(frame.atoms) for frame in part])
        labels = np.array([frame.label.energy for frame in part])
        found["extrapolation"].append(predicted.extrapolation.numpy())
        found["spread"].append(predicted.energy_std.numpy())
        found["error"].append(np.abs(predicted.energy.numpy() - labels) / size)
    return {name: np.concatenate(values) for name, values in found.items()}


def unseen_row(
    data: DataSet, spec: EnsembleSpec, size: int, seed: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Alarms in a region without labels and elsewhere."""
    order = np.random.default_rng(seed).permutation(len(data.train))
    chosen = [data.train[i] for i in order[:size]]
    limit = float(np.quantile([volume(f) for f in chosen], 1.0 - REGION))
    ensemble, _ = fitted(spec, [f for f in chosen if volume(f) <= limit], seed)
    everything = [*data.test, *(f for f in chosen if volume(f) > limit)]
    region = scores(ensemble, [f for f in everything if volume(f) > limit])
    others = scores(ensemble, [f for f in everything if volume(f) <= limit])
    alarm = {name: own["extrapolation"] > 0.0 for name, own in (("in", region), ("out", others))}
    both = np.concatenate([alarm["in"], alarm["out"]])
    error = 1e3 * np.concatenate([region["error"], others["error"]])

    def mean(values: FloatArray) -> float | None:
        return float(values.mean()) if len(values) else None

    return {
        **about,
        "volume_above": limit,
        "unseen": len(region["error"]),
        "others": len(others["error"]),
        "true_alarms": mean(alarm["in"]),
        "false_alarms": mean(alarm["out"]),
        "area": {n: area(region[n], others[n]) for n in ("extrapolation", "spread")},
        "mae_mev_per_atom": {
            "alarm": mean(error[both]),
            "no alarm": mean(error[~both]),
            "unseen region": 1e3 * float(region["error"].mean()),
            "elsewhere": 1e3 * float(others["error"].mean()),
        },
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    """The tables for people."""
    _show_spreads([row for row in rows if row["kind"] == "spread"])
    _show_unseen([row for row in rows if row["kind"] == "unseen"])


def _show_spreads(rows: Sequence[dict[str, Any]]) -> None:
    heads = ("data", "heads", "K", "labels", "meV/atom", "eV/Å", "fit CPU s", "rank E, F")
    table = Table(*heads, "within 1, 2 spreads: E; F", "by its own calibration", title="spread")
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("data", "heads", "members", "size")),
            f"{row['energy_rmse_mev_per_atom']:.1f}",
            f"{row['force_rmse_ev_per_a']:.3f}",
            f"{row['fit_cpu_seconds']:.0f}",
            f"{row['energy_rank'] or 0:.2f}, {row['force_rank'] or 0:.2f}",
            _shares(row),
            _shares(row["own"]),
        )
    Console(width=160).print(table)


def _shares(row: dict[str, Any]) -> str:
    parts = [row["energy_coverage"], row["force_coverage"]]
    return "; ".join(", ".join(f"{100 * (share or 0):.0f}" for share in part) for part in parts)


def _show_unseen(rows: Sequence[dict[str, Any]]) -> None:
    heads = ("data", "heads", "labels", "true alarms", "false alarms", "area: test, spread")
    table = Table(*heads, "error with, without alarm", "unseen, elsewhere", title="unseen region")
    for row in rows:
        error, found = row["mae_mev_per_atom"], row["area"]
        table.add_row(
            *(str(row[name]) for name in ("data", "heads", "size")),
            f"{100 * row['true_alarms']:.0f} %",
            f"{100 * row['false_alarms']:.0f} %",
            f"{found['extrapolation']:.2f}, {found['spread']:.2f}",
            ", ".join("-" if e is None else f"{e:.0f}" for e in list(error.values())[:2]),
            ", ".join(f"{e:.0f}" for e in list(error.values())[2:]),
        )
    Console(width=160).print(table)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Error against spread, energies and forces, a row of panels for each ensemble."""
    from matplotlib.figure import Figure

    rows = [row for row in rows if row["kind"] == "spread" and row["energy_pairs"]]
    figure = Figure(figsize=(8.0, 3.4 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 2, squeeze=False)
    units = {"energy": "eV/atom", "force": "eV/Å"}
    for row, pair in zip(rows, axes, strict=True):
        for axis, (kind, unit) in zip(pair, units.items(), strict=True):
            spread, error = np.array(row[f"{kind}_pairs"])
            axis.plot(spread, error, ".", ms=2, alpha=0.5, c="C0")
            ends = np.array([spread.min(), spread.max()])
            axis.plot(ends, ends, c="C3", lw=1)
            axis.plot(ends, 2 * ends, c="C3", lw=1, ls="--")
            floor = max(float(np.quantile(error, 0.01)), 1e-6)
            axis.set(xscale="log", yscale="log", ylim=(floor, None))
            axis.set(xlabel=f"predicted {kind} spread ({unit})", ylabel=f"error ({unit})")
            axis.set_title(f"{row['data']}, {row['heads']}, K = {row['members']}", fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=["random Si", "TiO2"], help="data sets")
    parser.add_argument(
        "--shallow", type=int, nargs="*", default=[4, 16], help="numbers of members"
    )
    parser.add_argument("--full", type=int, nargs="*", default=[4], help="numbers of members")
    parser.add_argument("--labels", type=int, default=1000, help="training structures, at most")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--change", type=json.loads, default={}, help="settings as JSON")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="file of all rows, read and added to")
    parser.add_argument("--plot", type=Path, help="PNG of errors against spreads")
    parser.add_argument("--json", action="store_true", help="one object per row")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    asked = options(words)
    torch.set_num_threads(asked.threads)
    rows, wanted = Rows(asked.results, KEYS), []
    ensembles = [("shallow", k) for k in asked.shallow] + [("full", k) for k in asked.full]
    for name in asked.only:
        data = load(name)
        size = min(asked.labels, len(data.train))
        for kind, row in (("spread", spread_row), ("unseen", unseen_row)):
            for heads, members in ensembles:
                for seed in range(asked.seeds):
                    values = (kind, name, heads, members, size, seed)
                    about = dict(zip(KEYS, values, strict=True))
                    wanted.append(about)
                    if not rows.has(**about):
                        spec = settings(heads, members, asked.change)
                        rows.add(row(data, spec, size, seed, about))
    found = [row for about in wanted for row in rows if {k: row[k] for k in KEYS} == about]
    for row in found if asked.json else ():
        print(json.dumps({k: v for k, v in row.items() if not k.endswith("_pairs")}), flush=True)
    if not asked.json:
        show(found)
    if asked.plot:
        draw(found, asked.plot)


if __name__ == "__main__":
    main()

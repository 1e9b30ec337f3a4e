"""Is the predicted error true? Spread against error, and the test for structures unlike the data.

    AGA_REFERENCE_DATA=... python scripts/bench/uncertainty.py --results u.jsonl --plot u.png

`spread` rows, on the test structures, with the calibration that the fit found itself: coverage
(share of errors within one and two predicted standard deviations; a normal distribution has 68 and
95 % of the energies, and of the force vectors 61 and 99 %), Spearman's rank correlation of spread
and error, and the mean negative logarithm of the likelihood if errors were normal (lower is better,
of energies in eV/atom and of force vectors in eV/Å). Heads: `default`: the linear term, and
networks where they help; `shallow`: members are linear terms on shared descriptors, each fitted to
resampled labels in closed form; `full`: members are networks of their own. `fit_cpu_seconds` says
what each cost, calibration included.

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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from published import DataSet, load
from rich.console import Console
from rich.table import Table
from rows import Rows

from aga.models.errors import Compared, evaluate
from aga.models.settings import ALIKE
from potentials.ensemble import Ensemble
from potentials.spec import EnsembleSpec
from potentials.structures import FloatArray, Frame
from potentials.training import fit

KEYS = ("kind", "data", "heads", "members", "size", "seed")
#: data sets, and those that have a region to leave out
DATA = ("Si", "Cu", "Mo", "TiO2", "random Si")
REGIONS = ("random Si", "TiO2")
#: labels of large cells that are used at most
MOST = {"TiO2": 500}
#: share of all structures that are the unseen region
REGION = 0.15
#: points in a picture
DOTS = 800


def settings(heads: str, members: int, change: dict[str, Any]) -> EnsembleSpec:
    """Default settings, or members that are linear terms only, or networks only."""
    own: dict[str, Any] = {"labels": ALIKE.model_dump(), "members": members} | change
    off = {"shallow": "network", "full": "linear"}.get(heads)
    return EnsembleSpec.model_validate(
        own if off is None else own | {off: {**own.get(off, {}), "enabled": False}}
    )


def fitted(spec: EnsembleSpec, frames: Sequence[Frame], seed: int) -> tuple[Ensemble, float]:
    """The ensemble and the CPU time it took [s]."""
    began = time.process_time()
    ensemble = fit(spec, frames, np.random.default_rng(seed))
    return ensemble, time.process_time() - began


def coverage(found: Compared) -> list[float | None]:
    """Shares of errors within one and two spreads."""
    return [found.coverage(1.0), found.coverage(2.0)]


def surprise(found: Compared) -> float | None:
    """Mean negative logarithm of the likelihood of errors that are normal with these spreads."""
    free = found.free()
    if free is None:
        return None
    dimensions = 1 if found.computed.ndim == 1 else found.computed.shape[1]
    variance = free[0] ** 2 / dimensions
    each = dimensions * np.log(2.0 * np.pi * variance) + free[1] ** 2 / variance
    return float(0.5 * np.mean(each))


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
    ensemble, seconds = fitted(spec, chosen, seed)
    test = evaluate(ensemble, data.test, spread=True)
    kinds = {"energy": test.energy, "force": test.forces}
    return {
        **about,
        "networks": ensemble.networks is not None,
        "fit_cpu_seconds": seconds,
        "energy_rmse_mev_per_atom": 1e3 * test.energy.rmse,
        "force_rmse_ev_per_a": test.forces.rmse,
        "calibration": [ensemble.calibration, ensemble.force_calibration],
        "floor": [ensemble.energy_floor, ensemble.force_floor],
        **{f"{kind}_rank": found.rank_correlation() for kind, found in kinds.items()},
        **{f"{kind}_coverage": coverage(found) for kind, found in kinds.items()},
        **{f"{kind}_surprise": surprise(found) for kind, found in kinds.items()},
        **{f"{kind}_pairs": pairs(found, rng) for kind, found in kinds.items()},
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

    def mean(values: NDArray[Any]) -> float | None:
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
    heads = ("data", "heads", "K", "labels", "meV/atom", "eV/Å", "fit CPU s", "factor", "floor")
    table = Table(*heads, "within 1, 2: E; F", "rank E, F", "surprise E, F", title="spread")
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in ("data", "heads", "members", "size")),
            f"{row['energy_rmse_mev_per_atom']:.1f}",
            f"{row['force_rmse_ev_per_a']:.3f}",
            f"{row['fit_cpu_seconds']:.0f}",
            ", ".join(f"{factor:.2f}" for factor in row["calibration"]),
            ", ".join(f"{floor:.2g}" for floor in row["floor"]),
            _shares(row),
            *(
                ", ".join(f"{row[f'{kind}_{name}'] or 0:.2f}" for kind in ("energy", "force"))
                for name in ("rank", "surprise")
            ),
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
    from matplotlib.ticker import NullFormatter

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
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set(xlabel=f"predicted {kind} spread ({unit})", ylabel=f"error ({unit})")
            axis.set_title(f"{row['data']}, {row['heads']}, K = {row['members']}", fontsize=10)
            axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=DATA, help="data sets")
    parser.add_argument("--regions", nargs="*", default=REGIONS, help="data sets with a region")
    parser.add_argument("--default", type=int, nargs="*", default=[4], help="numbers of members")
    parser.add_argument("--shallow", type=int, nargs="*", default=[], help="numbers of members")
    parser.add_argument("--full", type=int, nargs="*", default=[], help="numbers of members")
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
    ensembles = [(h, k) for h in ("default", "shallow", "full") for k in getattr(asked, h)]
    for name in [*asked.only, *(name for name in asked.regions if name not in asked.only)]:
        data = load(name)
        size = min(asked.labels, MOST.get(name, asked.labels), len(data.train))
        kinds = {"spread": (spread_row, asked.only), "unseen": (unseen_row, asked.regions)}
        for kind, make in [(k, make) for k, (make, names) in kinds.items() if name in names]:
            for heads, members in ensembles:
                for seed in range(asked.seeds):
                    values = (kind, name, heads, members, size, seed)
                    about = dict(zip(KEYS, values, strict=True))
                    wanted.append(about)
                    if not rows.has(**about):
                        spec = settings(heads, members, asked.change)
                        rows.add(make(data, spec, size, seed, about))
    found = [row for about in wanted for row in rows if {k: row[k] for k in KEYS} == about]
    for row in found if asked.json else ():
        print(json.dumps({k: v for k, v in row.items() if not k.endswith("_pairs")}), flush=True)
    if not asked.json:
        show(found)
    if asked.plot:
        draw(found, asked.plot)


if __name__ == "__main__":
    main()

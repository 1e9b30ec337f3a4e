"""Replay in a real fit: an ensemble goes on from an earlier one with labels of an unseen region.

    AGA_REFERENCE_DATA=... python scripts/bench/replay.py --results replay.jsonl

An ensemble is fitted to some of the TiO2 structures of aenet, with the default settings. Then
structures of a region it has not seen come in, those of the largest volume per atom, and `fit` goes
on from it on old and new together, as in a campaign. Settings: a number is `network.replay`, the
share of an epoch that new structures make up; `anew` begins with new networks; `linear` has none.

Keys of a row: `setting`, `bare` (no linear term), `old`, `new` (structures), `limit` (most
epochs), `seed`; `seconds` (CPU, whole fit), `training` (CPU, networks alone); `epochs` made, of
which the `best` was the last to gain; `steps` of an epoch; `curve` of epochs and lowest held-out
error so far; `warm`, `kept`: whether there were networks to go on from, and whether those it ends
with were kept. `errors`: root mean squares of energies over structures [meV/atom] and of force
components [eV/A], of the ensemble `before`, of the `final` one, and of its `networks` on the linear
term they were trained beside; by group: `new`, structures of the region that are not trained on,
and `old`, others; `way`: those of the networks at each epoch of the curve, best so far or not.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from focal_problem import Plan, Sides, sides
from published import load
from rich.console import Console
from rich.table import Table
from rows import Rows

from aga.models.settings import load_spec
from potentials import training
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.network_training import Trained, Training, train_networks
from potentials.progress import NO_HOOKS, Hooks, Progress
from potentials.residual import Residual, Whitening
from potentials.spec import EnsembleSpec
from potentials.structures import Frame
from potentials.training import fit, training_errors

SETTINGS = ("0", "0.3", "0.5", "0.7", "anew", "linear")
ERRORS = ("energy_rmse_mev_per_atom", "force_rmse_ev_per_a")


class Watch:
    """What a fit does with its networks, seen from outside."""

    def __init__(self) -> None:
        self.work: Training | None = None
        self.seconds, self.best = 0.0, 0
        self.curve: list[tuple[int, float]] = []
        self.passed: list[Networks] = []
        self.trained: Networks | None = None
        self.beside: dict[str, Any] = {}
        self.whitening: Whitening | None = None

    @contextmanager
    def on(self) -> Iterator[None]:
        """While this is open, `fit` is watched."""

        def made(
            found: Any, targets: Any, linear: Any, constants: Any, scaling: Any, rarity: Any
        ) -> Residual:
            self.beside = {"linear": linear, "constants": constants, "scaling": scaling}
            residual = Residual(found, targets, linear, constants, scaling, rarity)
            self.whitening = residual.whitening
            return residual

        with (
            patch.object(training, "train_networks", self._train),
            patch.object(training, "Residual", made),
        ):
            yield

    def _train(self, work: Training, hooks: Hooks = NO_HOOKS) -> Trained:
        self.work, began = work, time.process_time()
        self._look(Progress("networks", 0, work.epochs, held_out=work.error))
        trained = train_networks(work, replace(hooks, progress=self._look))
        self.seconds, self.best = time.process_time() - began, work.best.last_gain
        self.trained = copy.deepcopy(trained.networks) if trained.gained else None
        return trained

    def _look(self, progress: Progress) -> None:
        self.curve.append((progress.step, progress.held_out))
        if self.work is not None:
            self.passed.append(copy.deepcopy(self.work.networks))

    def alone(self, made: Ensemble, networks: Networks | None) -> Ensemble | None:
        """Networks on the linear term that they were trained beside."""
        if networks is None or self.whitening is None:
            return None
        folded = self.whitening.folded(networks.to("cpu", torch.float64))
        return replace(made, networks=folded, **self.beside)


class Bench:
    """Fits of one seed: before the new structures, then after by setting."""

    def __init__(
        self, frames: Sequence[Frame], spec: EnsembleSpec, plan: Plan, n_old: int, seed: int
    ) -> None:
        self.frames, self.spec, self.seed = frames, spec, seed
        own = sides(frames, plan, seed)
        self.own = Sides(own.old[:n_old], own.old_test, own.new, own.unseen)
        self._before: Ensemble | None = None

    def some(self, places: Sequence[int]) -> list[Frame]:
        """The structures at these places."""
        return [self.frames[i] for i in places]

    def before(self) -> Ensemble:
        """Fitted to the old structures alone."""
        if self._before is None:
            rng = np.random.default_rng(self.seed)
            self._before = fit(self.spec, self.some(self.own.old), rng)
        return self._before

    def errors(self, made: Ensemble | None) -> dict[str, list[float]] | None:
        """Energies and forces by group."""
        if made is None:
            return None
        groups = {"new": self.own.unseen, "old": self.own.old_test}
        found = {name: training_errors(made, self.some(own)) for name, own in groups.items()}
        return {name: [one[key] for key in ERRORS] for name, one in found.items()}

    def run(self, setting: str, new: int, limit: int) -> dict[str, Any]:
        """The row of a setting."""
        before, watch = self.before(), Watch()
        change: dict[str, Any] = {"epochs": limit, "enabled": setting != "linear"}
        if setting not in ("linear", "anew"):
            change["replay"] = float(setting)
        network = self.spec.network.model_copy(update=change)
        frames = self.some(self.own.old + self.own.new[:new])
        began = time.process_time()
        with watch.on():
            made = fit(
                self.spec.model_copy(update={"network": network}),
                frames,
                np.random.default_rng(self.seed + 1000),
                warm=None if setting == "anew" else before,
            )
        seconds = time.process_time() - began
        work = watch.work
        return {
            "setting": setting,
            "bare": not self.spec.linear.enabled,
            "old": len(self.own.old),
            "new": new,
            "limit": limit,
            "seed": self.seed,
            "seconds": seconds,
            "training": watch.seconds,
            "epochs": 0 if work is None else work.epoch,
            "best": watch.best,
            "steps": 0 if work is None else work.per_epoch,
            "curve": watch.curve,
            "kept": made.networks is not None,
            "warm": before.networks is not None,
            "errors": {
                "before": self.errors(before),
                "networks": self.errors(watch.alone(made, watch.trained)),
                "final": self.errors(made),
            },
            "way": [self.errors(watch.alone(made, one)) for one in watch.passed],
        }


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each setting: medians over seeds.

    `reached` is the number of epochs to the held-out error that plain retraining ends with.
    """
    plain = {row["seed"]: row["curve"][-1][1] for row in rows if row["setting"] == "0"}
    found = []
    for name in dict.fromkeys(row["setting"] for row in rows):
        own = [row for row in rows if row["setting"] == name]
        about: dict[str, Any] = {"setting": name, "runs": len(own)}
        for key in ("seconds", "training", "epochs", "best"):
            about[key] = statistics.median(row[key] for row in own)
        reached = [_reached(row["curve"], plain.get(row["seed"])) for row in own]
        about["reached"] = statistics.median_low(reached)
        about["kept"] = sum(row["kept"] for row in own)
        for kind in ("before", "networks", "final"):
            for group in ("new", "old"):
                pairs = [row["errors"][kind][group] for row in own if row["errors"][kind]]
                about[f"{kind}_{group}"] = np.median(pairs, axis=0).tolist() if pairs else None
        found.append(about)
    return found


def _reached(curve: Sequence[Sequence[float]], goal: float | None) -> float:
    """The first epoch with no larger error than the goal; infinite where there is none."""
    within = [epoch for epoch, error in curve if goal is not None and error <= goal]
    return within[0] if within else float("inf")


def table(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print the summary."""
    if as_json:
        for row in rows:
            print(json.dumps(row), flush=True)
        return
    made = Table(title="retraining with structures of a new region: meV/atom, eV/Å")
    for head in ("setting", "CPU s", "networks s", "epochs", "best", "as plain at", "kept"):
        made.add_column(head)
    for kind in ("before", "networks", "final"):
        for group in ("new", "old"):
            made.add_column(f"{kind}: {group}")
    for row in rows:
        cells = [row["setting"], f"{row['seconds']:.0f}", f"{row['training']:.0f}"]
        cells += [f"{row[key]:g}" for key in ("epochs", "best", "reached")]
        cells.append(f"{row['kept']}/{row['runs']}")
        for kind in ("before", "networks", "final"):
            for group in ("new", "old"):
                pair = row[f"{kind}_{group}"]
                cells.append("" if pair is None else f"{pair[0]:.2f}, {pair[1]:.3f}")
        made.add_row(*cells)
    Console(width=200).print(made)


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=int, default=300, help="structures fitted before")
    parser.add_argument("--new", type=int, default=40, help="structures added")
    parser.add_argument("--bare", action="store_true", help="networks without a linear term")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), help="shares, or a name")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=200, help="most epochs of the retraining")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="file of all runs, read and added to")
    parser.add_argument("--json", action="store_true", help="one object per row of the table")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    asked = options(words)
    torch.set_num_threads(asked.threads)
    rows = Rows(asked.results, ("setting", "bare", "old", "new", "limit", "seed"))
    source, spec = load("TiO2"), load_spec(None)
    linear = spec.linear.model_copy(update={"enabled": not asked.bare})
    spec = spec.model_copy(update={"linear": linear})
    frames = [*source.train, *source.test]
    about = {"bare": asked.bare, "old": asked.old, "new": asked.new, "limit": asked.epochs}
    for seed in asked.seeds:
        bench: Bench | None = None
        for setting in asked.settings:
            if rows.has(setting=setting, seed=seed, **about):
                continue
            bench = bench or Bench(frames, spec, Plan(), asked.old, seed)
            rows.add(bench.run(setting, asked.new, asked.epochs))
    wanted = [r for r in rows if about.items() <= r.items() and r["setting"] in asked.settings]
    table(summary(wanted), as_json=asked.json)


if __name__ == "__main__":
    main()

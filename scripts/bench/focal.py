"""Focal weights where they are meant to help: few new labels beside many that are fitted already.

    AGA_REFERENCE_DATA=... python scripts/bench/focal.py --results focal.jsonl --plot focal.png

Bare networks (no linear term) are trained on 800 of the TiO2 structures of aenet. Then structures
of a region they have not seen come in, those of the largest volume per atom, and training goes on
from the old networks on old and new. After every epoch the loss is taken on structures of that
region that are never trained on, and on old ones that are not either. An epoch has as many steps in
all settings.

Settings: focal weights of five exponents; `energy`: labels weighted by exp(-(E - Emin)/0.3 eV/atom)
+ 0.01 with E above the energies of the elements; `replay`: new structures repeated so that
they are half of every epoch. `linear`: this program's usual path, the linear term solved anew on
old and new; its row has seconds, no epochs.

A run is a seed (choice of the new structures, order) and a member (initial networks); medians and
ranges are over runs. `--results` keeps every run, and a run found there is not repeated.

Keys of a row: `setting`, `new` (structures added), `seed`, `seconds` (CPU), and by epoch, the
first before any training on new data, one list for each member: `new_energy` [eV/atom], `new_force`
[eV/A] (root mean squares over unseen structures of the region, each structure counting alike) and
`old_energy`, `old_force`.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from focal_problem import Data, Plan, blocks, errors, split, weights
from focal_tables import LOSS, draw, summary, table
from published import load
from rows import Rows

from potentials.basis import most_components
from potentials.descriptors import build
from potentials.linear import Variant, equations, row, solve, used_columns
from potentials.network import Networks
from potentials.network_training import Problem, Training
from potentials.residual import Block
from potentials.spec import NetworkSpec

SETTINGS = ("gamma 0", "gamma 0.5", "gamma 1", "gamma 2", "gamma 3", "energy", "replay", "linear")
#: share of an epoch that new structures make up in the setting `replay`
REPLAY = 0.5
#: ridge of the linear term, and its most coefficients, all elements together
RIDGE, COEFFICIENTS = 1e-4, 1900


def training(
    plan: Plan,
    parts: Sequence[Block],
    counted: torch.Tensor,
    start: Networks,
    change: dict[str, Any],
    rng: np.random.Generator,
    new: torch.Tensor | None = None,
) -> Training:
    """A training on some parts that is stepped by hand and never looks at held-out labels."""
    spec = NetworkSpec.model_validate(
        {
            "batch": plan.batch,
            "prefactor_start": LOSS,
            "steps": 10**9,
            "focal_gamma": 0.0,
            "replay": 0.0,
            **change,
        }
    )
    train = counted.expand(plan.members, -1).clone()
    problem = Problem(parts, train, torch.zeros_like(train), LOSS, new)
    return Training(spec, problem, start, rng)


class Bench:
    """Runs of one seed: the potential before the new structures, then what follows by setting."""

    def __init__(self, data: Data, plan: Plan, seed: int) -> None:
        self.data, self.plan, self.seed = data, plan, seed
        self.own = split(data, plan, seed)
        self.old = blocks(self.own, self.own.old, plan.batch)
        self.checks = [
            blocks(self.own, own, len(own)) for own in (self.own.unseen, self.own.old_test)
        ]
        self._before: Networks | None = None

    def before(self) -> Networks:
        """Networks trained on the old structures alone."""
        if self._before is None:
            n_elements, size = self.own.scaling.mean.shape
            generator = torch.Generator().manual_seed(self.seed)
            new = Networks(self.plan.members, n_elements, size, (30, 30), generator)
            counted = weights(self.data, self.own, self.own.old, "plain")
            epochs = self.plan.first_epochs
            rng = np.random.default_rng(self.seed)
            rates = {"learning_rate": self.plan.first_rate, "learning_rate_end": self.plan.rate_end}
            change = {"epochs": epochs, **rates}
            first = training(self.plan, self.old, counted, new.to(torch.float32), change, rng)
            for _ in range(epochs):
                first.run_epoch()
            self._before = first.networks
        return self._before

    def measured(self, networks: Networks) -> list[list[float]]:
        """Errors on the region and outside it: energy, forces, energy, forces by member."""
        return [found for parts in self.checks for found in errors(parts, networks)]

    def run(self, setting: str, new: int) -> dict[str, Any]:
        """The row of a setting."""
        start = self.before()
        began = time.process_time()
        if setting == "linear":
            curves = [[[float(found)] * self.plan.members] for found in self.linear(new)]
        else:
            curves = self.networks(setting, new, start)
        names = ("new_energy", "new_force", "old_energy", "old_force")
        lists = [np.round(np.transpose(curve), 6).tolist() for curve in curves]
        row = {"setting": setting, "new": new, "seed": self.seed}
        return row | {"seconds": time.process_time() - began} | dict(zip(names, lists, strict=True))

    def networks(self, setting: str, new: int, start: Networks) -> list[list[list[float]]]:
        """Errors after each epoch, of the four kinds."""
        plan, added = self.plan, self.own.new[:new]
        fresh = blocks(self.own, added, plan.batch)
        counted = weights(self.data, self.own, self.own.old + added, setting)
        gamma = float(setting.split()[1]) if setting.startswith("gamma") else 0.0
        parts = self.old + fresh
        rng = np.random.default_rng(self.seed)
        rates = {"learning_rate": plan.rate, "learning_rate_end": plan.rate_end}
        replay = REPLAY if setting == "replay" else 0.0
        change = {"epochs": plan.epochs, "focal_gamma": gamma, "replay": replay, **rates}
        unknown = torch.zeros(len(self.data.frames), dtype=torch.bool)
        unknown[added] = True
        after = training(plan, parts, counted, start, change, rng, unknown)
        curve = [self.measured(start)]
        for _ in range(plan.epochs):
            after.run_epoch()
            curve.append(self.measured(after.networks))
        return [list(kind) for kind in zip(*curve, strict=True)]

    def linear(self, new: int) -> list[float]:
        """The four errors of the linear term, solved in closed form on old and new."""
        own, data = self.own, self.data
        trained = own.old + own.new[:new]
        n_elements, size = own.scaling.mean.shape
        scaling = own.scaling.leading(most_components(size, COEFFICIENTS // n_elements))
        rows = (row(data.found[i], scaling) for i in trained)
        one = torch.ones(len(trained), dtype=torch.float64)
        goals = [own.targets[i] for i in trained]
        sums = equations(rows, goals, one, torch.zeros(len(trained), dtype=torch.int64))
        used = used_columns(
            n_elements, size, scaling.components.shape[2], scaling.components.shape[2]
        )
        times = torch.ones(1, 1, dtype=torch.float64)
        solution = solve(sums, times, [Variant(LOSS, RIDGE, used)], n_elements)[0]
        found = []
        for group in (own.unseen, own.old_test):
            energy, forces = [], []
            for i in group:
                columns, goal = row(data.found[i], scaling), own.targets[i]
                off = columns.energy @ solution - goal.energy
                energy.append(float(off / data.counts[i].sum()) ** 2)
                forces.append(float((columns.forces @ solution - goal.forces).square().mean()))
            found += [np.mean(energy) ** 0.5, np.mean(forces) ** 0.5]
        return found


def measure(data: Data, plan: Plan, rows: Rows, asked: argparse.Namespace) -> None:
    """All runs that are not known yet, a seed after the other."""
    for seed in range(asked.seeds):
        bench: Bench | None = None
        for new in asked.new:
            for setting in asked.settings:
                if rows.has(setting=setting, new=new, seed=seed):
                    continue
                bench = bench or Bench(data, plan, seed)
                rows.add(bench.run(setting, new))


def options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--new", type=int, nargs="*", default=[40], help="structures added")
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="learning rate at the start")
    parser.add_argument("--targets", type=float, nargs="*", help="losses; by gamma 0 if not given")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, help="file of all runs, read and added to")
    parser.add_argument("--plot", type=Path, help="PNG of the curves")
    parser.add_argument("--json", action="store_true", help="one object per row of the table")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    asked = options(words)
    torch.set_num_threads(asked.threads)
    rows = Rows(asked.results, ("setting", "new", "seed"))
    known = [
        rows.has(setting=s, new=n, seed=k)
        for s in asked.settings
        for n in asked.new
        for k in range(asked.seeds)
    ]
    if not all(known):
        source = load("TiO2")
        data = Data.of([*source.train, *source.test], build({"kind": "moments"}))
        measure(data, Plan(epochs=asked.epochs, rate=asked.rate), rows, asked)
    for new in asked.new:
        found = [r for r in rows if r["new"] == new and r["setting"] in asked.settings]
        table(summary(found, asked.targets), new, as_json=asked.json)
    if asked.plot:
        draw([r for r in rows if r["setting"] in asked.settings], asked.new, asked.plot)


if __name__ == "__main__":
    main()

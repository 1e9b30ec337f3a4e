"""Labels to the ground state of silicon: this program against symmetric random search.

Both ask the same oracle (CHGNet, a surrogate of PBE) in the same process, and every single point
counts. The campaign is the real one, with the settings of the shipped file, in strict generations
(`overlap: false`); only the child process around each label is left out, because loading CHGNet
a hundred times would measure nothing but that. Random search relaxes symmetric random crystals
one after another with BFGS on the FrechetCellFilter.

    python scripts/bench/silicon.py --seeds 20 --json results.json
"""

import argparse
import json
import sys
import tempfile
import time
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from aga.campaign import loop, tasks
from aga.campaign.store import Store
from aga.config import load, resolved
from aga.search.seeds import random_crystal
from aga.search.similarity import same_form
from calculators.clusters import build as build_cluster
from calculators.pools import Pools
from calculators.publish import publish_json
from calculators.results import document, publish_result, result_folder
from potentials.structures import Label, atoms_from_dict

ROOT = Path(__file__).parents[2]
CAMPAIGN = ROOT / "configs" / "campaigns" / "silicon_chgnet.yaml"
#: within this of the ground state counts as found [eV/atom]
NEAR = 0.005


@lru_cache(maxsize=1)
def oracle():
    """CHGNet, loaded once."""
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu", verbose=False)


def label(atoms, engine):
    """One single point."""
    copy = atoms.copy()
    copy.calc = oracle()
    started = time.perf_counter()
    energy = float(copy.get_potential_energy())
    forces, stress = copy.get_forces(), copy.get_stress()
    seconds = time.perf_counter() - started
    return Label(energy, np.asarray(forces, float), np.asarray(stress, float), engine, seconds)


def work(run_dir, config, task):
    """A task of the campaign; labels in this process."""
    folder = Path(run_dir)
    if task.kind != "label" or tasks.published(folder, "label", task.key) is not None:
        return tasks.run(run_dir, task)
    atoms = atoms_from_dict(task.inputs["candidate"]["atoms"])
    found = label(atoms, config.engine.key())
    where = result_folder(tasks.labels(folder), task.key)
    where.mkdir(parents=True, exist_ok=True)
    about = document("label", atoms, config.engine, time.time(), [])
    publish_result(where, about, label=found.to_dict())
    return {"ok": {"key": task.key}}


def diamond():
    """The ground state under the oracle: its energy [eV/atom] and structure."""
    atoms = bulk("Si", "diamond", 5.43)
    atoms.calc = oracle()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=100)
    return atoms.get_potential_energy() / 2, atoms


def campaign(seed, goal):
    """One campaign: labels to the ground state, labels in all, seconds."""
    shipped = load(CAMPAIGN)
    serial = build_cluster({"kind": "serial"})
    config = shipped.model_copy(update={"seed": seed, "cluster": serial, "overlap": False})
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        publish_json(run_dir / tasks.CONFIG, resolved(config))
        store = Store(run_dir, config)
        with Pools(config.cluster, partial(work, folder, config)) as pools:
            state = loop.run(store, pools, lambda *_: None)
        spent = state.oracle_calls
        hits = [i + 1 for i, one in enumerate(state.labelled) if is_hit(one.known, goal)]
        best = state.ranking[0]
        end = state.confirmed(best)
        # under CHGNet hexagonal diamond is as low as diamond: either may be first in the end
        confirmed = end is not None and bool(end.enthalpy <= goal[0] + NEAR)
        store.close()
    return {
        "method": "aga",
        "seed": seed,
        "found": bool(hits),
        "oracle_calls": hits[0] if hits else None,
        "oracle_calls_in_all": spent,
        "confirmed": confirmed,
        "reason": state.finished,
        "seconds": round(time.perf_counter() - started, 1),
    }


def is_hit(known, goal):
    """Whether a label is the ground state: its form, and its energy within 5 meV/atom."""
    energy, atoms = goal
    return bool(known.enthalpy <= energy + NEAR) and same_form(atoms, known.atoms)


def random_search(seed, goal, budget):
    """Relax random crystals until the ground state is met or the budget is spent."""
    energy, _ = goal
    space = tasks.space_of(load(CAMPAIGN))
    rng = np.random.default_rng([seed, 77])
    started, calls, relaxations = time.perf_counter(), 0, 0
    while calls < budget:
        atoms = random_crystal(space, rng)
        atoms.calc = oracle()
        relaxations += 1
        try:
            steps = BFGS(FrechetCellFilter(atoms), logfile=None)
            for _ in steps.irun(fmax=0.05, steps=200):
                calls += 1
                low = atoms.get_potential_energy() / len(atoms) <= energy + NEAR
                if low or calls >= budget or atoms.get_volume() > 60 * len(atoms):
                    break
        except (np.linalg.LinAlgError, ValueError) as error:  # a cell that collapsed
            print(f"random search: {error}", file=sys.stderr)
            continue
        if low:
            break
    return {
        "method": "random",
        "seed": seed,
        "found": bool(low),
        "oracle_calls": calls if low else None,
        "oracle_calls_in_all": calls,
        "relaxations": relaxations,
        "seconds": round(time.perf_counter() - started, 1),
    }


def summary(rows, method):
    """One line: success and median of the calls, a failure counting as the whole budget."""
    own = [row for row in rows if row["method"] == method]
    calls = [row["oracle_calls"] or row["oracle_calls_in_all"] for row in own]
    found = sum(row["found"] for row in own)
    low, mid, high = np.percentile(calls, [10, 50, 90])
    return (
        f"{method}: found {found}/{len(own)}; oracle calls to diamond median {mid:.0f} "
        f"(10-90 %: {low:.0f}-{high:.0f}); "
        f"all calls {np.median([row['oracle_calls_in_all'] for row in own]):.0f}; "
        f"{np.median([row['seconds'] for row in own]):.0f} s"
    )


def main():
    """Run both methods and print one JSON object per seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="number of seeds")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--method", choices=["aga", "random", "both"], default="both")
    parser.add_argument("--budget", type=int, default=1500, help="oracle calls of random search")
    parser.add_argument("--json", type=Path, help="also write all rows to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    goal, rows = diamond(), []
    for seed in range(options.first, options.first + options.seeds):
        if options.method != "random":
            rows.append(campaign(seed, goal))
            print(json.dumps(rows[-1]), flush=True)
        if options.method != "aga":
            rows.append(random_search(seed, goal, options.budget))
            print(json.dumps(rows[-1]), flush=True)
    for method in sorted({row["method"] for row in rows}):
        print(summary(rows, method), file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

"""How the driver's own work grows with the structures that it knows: times, memory, exponents.

For every size one campaign is written into a database: real random crystals, shaken and strained
until they are distinct, all of one composition, so that every one has to be compared with all the
others. Nothing is computed of them but fingerprints; labels and predictions are invented. Two
histories hold so many structures: `labelled`, where every one is a label, and `proposed`, where a
generation of 60 is proposed for every 4 labels, and each ensemble names the labels it is made of.

Each history is opened in a process of its own, and timed by the CPU, the best of some turns
(transactions, which wait for the disk, by the clock).

    python scripts/bench/bookkeeping.py --structures 1000,10000,100000
"""

import argparse
import json
import math
import multiprocessing
import sqlite3
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from aga.campaign import policy
from aga.campaign.state import Decision
from aga.campaign.store import NAME, Store
from aga.campaign.tasks import task_key
from aga.config import CampaignConfig
from aga.report.status import status_json
from aga.search import seeds
from aga.search.candidate import Candidate
from aga.search.space import Space
from potentials.structures import Label

CELL = {"Cu": 4, "Au": 4}
SLOTS = {"search": 1, "dft": 2, "train": 1}
#: structures of a generation, and how many of them are labelled
PROPOSALS, BATCH = 60, 4
#: random crystals that all others are made of by shaking [Å] and straining them
BASES, SHAKE, STRAIN = 150, 0.3, 0.04
HISTORIES = ("labelled", "proposed")
#: turns of which the best counts
TURNS = 7


def config(labels):
    """A campaign on the cell above that never runs out of labels."""
    return CampaignConfig.model_validate(
        {
            "name": "bookkeeping",
            "composition": CELL,
            "engine": {"kind": "emt"},
            "cluster": {"kind": "serial"},
            "search": {"batch": BATCH},
            "budget": {"labels": 10 * labels + 100, "hours": 1000.0},
            "stop": {"patience_labels": 10 * labels + 100},
        }
    )


def made_of():
    """The random crystals that all others are made of."""
    return seeds.many(Space(CELL), BASES, np.random.default_rng(0))


class Crystals:
    """Distinct crystals of one composition, by number."""

    def __init__(self, bases):
        self._bases = bases

    def atoms(self, number):
        """One of them."""
        rng = np.random.default_rng([7, number])
        atoms = self._bases[number % len(self._bases)].copy()
        atoms.set_cell(
            atoms.cell.array @ (np.eye(3) + rng.normal(0, STRAIN, (3, 3))), scale_atoms=True
        )
        atoms.rattle(SHAKE, rng=rng)
        return atoms

    def candidate(self, name, number):
        """One of them with an invented prediction."""
        atoms, rng = self.atoms(number), np.random.default_rng([8, number])
        enthalpy = -3.5 + float(rng.gamma(2.0, 0.05))
        return Candidate(name, atoms, "strain", (), enthalpy, 0.02, 0.01)


def label(one, number):
    """An invented label near its prediction, and not relaxed."""
    rng = np.random.default_rng([9, number])
    n = len(one.atoms)
    energy = n * (one.enthalpy + float(rng.normal(0, 0.02)))
    return Label(energy, rng.normal(0, 0.3, (n, 3)), rng.normal(0, 0.01, 6), "invented", 0.1)


class History:
    """Records of a campaign, written without deciding anything."""

    def __init__(self, crystals):
        self._crystals = crystals
        self.rows = []
        self.references = []
        self.made = 0

    def task(self, kind, key, inputs, ok, **outcome):
        """One that is done."""
        ordinal = len(self.rows)
        full = {"ok": ok, "meta": {}, "order": ordinal + 1, "groups": [], **outcome}
        self.rows.append((ordinal, kind, key, json.dumps(inputs), "done", json.dumps(full)))

    def seed(self):
        """What every campaign begins with."""
        self.task("seed", "seed", {"count": 0}, {"candidates": [], "pool": []})

    def proposals(self, n):
        """So many new structures, by number."""
        made = range(self.made, self.made + n)
        self.made += n
        return [(i, self._crystals.candidate(f"e{i:07d}", i)) for i in made]

    def labels(self, chosen):
        """Labels of some of them, each in a group of its own."""
        for number, one in chosen:
            key = f"{number:020d}"
            inputs = {"candidate": one.to_dict(), "purpose": "search", "raw_spread": 0.02}
            ok = {"label": label(one, number).to_dict()}
            self.task("label", key, inputs, ok, groups=[one.id])
            self.references.append([one.id, key])

    def train(self):
        """An ensemble of all labels so far."""
        inputs = {"labels": sorted(self.references), "warm": None, "pool": "", "calibration": []}
        facts = {"calibration": 1.0, "energy_rmse_mev_per_atom": 9.0, "force_rmse_ev_per_a": 0.1}
        self.task("train", f"model{len(self.rows)}", inputs, {"facts": facts})

    def evolve(self, proposed):
        """A generation on the newest ensemble."""
        model = f"model{len(self.rows) - 1}"
        inputs = {"model": model, "labels": sorted(self.references), "weights": {"strain": 1.0}}
        found = [one.to_dict() for _, one in proposed]
        ok = {"candidates": found, "record": {"strain": [len(found), 1]}, "rejected": {}}
        self.task("evolve", f"evolve{len(self.rows)}", inputs, ok)


def write(folder, history, structures, bases):
    """A run folder with so many structures."""
    made = History(Crystals(bases))
    made.seed()
    if history == "labelled":
        made.labels(made.proposals(structures - PROPOSALS))
        made.train()
        made.evolve(made.proposals(PROPOSALS))
    else:
        made.labels(made.proposals(2 * BATCH))
        while made.made < structures:
            made.train()
            proposed = made.proposals(PROPOSALS)
            made.evolve(proposed)
            made.labels(proposed[:BATCH])
    Store(folder, config(structures)).close()
    with sqlite3.connect(folder / NAME) as database:
        database.executemany("insert into task values (?, ?, ?, ?, ?, ?, 1, 0, 0)", made.rows)
    database.close()


def seconds(work, turns=TURNS, clock=time.process_time):
    """The shortest of some turns [s]."""
    found = []
    for _ in range(turns):
        start = clock()
        work()
        found.append(clock() - start)
    return min(found)


def measure(folder, history, structures, bases):
    """Times [s] and memory [MB] of the driver of one history."""
    found = {"history": history, "structures": structures}
    opened = []
    found["start"] = seconds(lambda: opened.append(Store(folder)), 1)
    (store,) = opened
    state = store.state()
    found["labels"] = len(state.labelled)
    crystals = Crystals(bases)
    new = [crystals.candidate(f"n{i:03d}", 10_000_000 + i) for i in range(PROPOSALS)]
    # fingerprints of the new ones are no part of a check
    for one in new:
        len(one.fingerprint)
    # the first question of all makes the index
    found["index"] = seconds(lambda: state.known.distance(new[0]), 1)
    found["is it known"] = seconds(lambda: state.known.within(new[1]))
    found["how far is it"] = seconds(lambda: state.known.distance(new[1]))
    rule = state.config.search.acquisition
    found["choose"] = seconds(lambda: rule.choose(new, state.known, [], BATCH), 3)
    found["due"] = seconds(lambda: policy.due(state, SLOTS), 3)
    found.update(folded(store, crystals))
    store.close()
    found["driver [MB]"] = memory()
    found["database [MB]"] = round((folder / NAME).stat().st_size / 1e6)
    return found


def folded(store, crystals):
    """What a label costs: its place among the distinct ones, and all that is recorded of it."""
    state, times = store.state(), []
    for i in range(4):
        one = crystals.candidate(f"x{i}", 20_000_000 + i)
        inputs = {"candidate": one.to_dict(), "purpose": "search", "raw_spread": 0.02}
        outcome = {"ok": {"label": label(one, i).to_dict()}, "meta": {}}
        key, decision = partial(task_key, state.config), Decision("label", inputs)
        planned = seconds(lambda d=decision, k=key: store.plan([d], k), 1, time.perf_counter)
        home = seconds(lambda o=outcome: state.homes(state.records[-1].ordinal, o), 1)
        record = seconds(
            lambda o=outcome: store.record(state.records[-1].ordinal, o), 1, time.perf_counter
        )
        times.append((home, record, planned))
    first, rest = times[0], times[1:]
    return {
        "forms": first[0],
        "its group": min(row[0] for row in rest),
        "record": min(row[1] for row in rest),
        "plan": min(row[2] for row in rest),
    }


def reported(folder):
    """Time [s] and memory [MB] of a report's process."""
    spent = seconds(lambda: status_json(folder), 1)
    return {"status": spent, "status [MB]": memory()}


def memory():
    """The most that this process has held [MB]; that of Linux itself, which exec sets back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return round(int(peak) / 1024)


def alone(work, *inputs):
    """In a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *inputs).result()


def exponents(first, last):
    """How each number grows from the smallest size to the largest."""
    ratio = math.log(last["structures"] / first["structures"])
    return {
        name: math.log(last[name] / first[name]) / ratio
        for name in first
        if name not in ("history", "structures") and min(first[name], last[name]) > 0
    }


def table(rows):
    """A line per quantity, a column per size, and the exponent."""
    names = [name for name in rows[0] if name not in ("history", "structures")]
    head = ["", *(f"{row['structures']:,}" for row in rows), "exponent"]
    print(f"\n{rows[0]['history']}: [ms] unless another unit stands there")
    print("".join(f"{cell:>16}" for cell in head))
    grown = exponents(rows[0], rows[-1]) if len(rows) > 1 else {}
    for name in names:
        plain = name == "labels" or "[" in name
        cells = [f"{row[name]:,}" if plain else f"{1e3 * row[name]:,.2f}" for row in rows]
        power = f"{grown[name]:.2f}" if name in grown else "-"
        print("".join(f"{cell:>16}" for cell in [name, *cells, power]))


def main():
    """Write and measure every size; print tables or one JSON object per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", default="1000,10000,100000")
    parser.add_argument("--histories", default=",".join(HISTORIES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = [int(size) for size in options.structures.split(",")]
    bases = made_of()
    for history in options.histories.split(","):
        rows = []
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                alone(write, Path(folder), history, size, bases)
                about = alone(reported, Path(folder))
                rows.append(alone(measure, Path(folder), history, size, bases) | about)
            if options.json:
                print(json.dumps(rows[-1]), flush=True)
        if not options.json:
            table(rows)


if __name__ == "__main__":
    main()

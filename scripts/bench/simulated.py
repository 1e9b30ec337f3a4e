"""Workers that sleep: many slots in few processes, and work that lasts as long as the real work.

Durations are given in those of a label, so that an hour of DFT may be compressed into seconds. What
the workers say is invented, or, where the search is ``real``, all but the labels' time is real.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from math import exp
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import dask
from bookkeeping import Crystals, label, made_of
from distributed import Client, Scheduler, SpecCluster

from aga.campaign import requests, tasks
from aga.search.candidate import Candidate
from calculators.clusters import Cluster
from calculators.clusters._dask_crew import SETTINGS, DaskCrew, Fixed, interrupts_held
from calculators.clusters._dask_local import CLOSE_LIMIT_S, HOST, LocalNanny
from calculators.gates import LabelGates
from calculators.publish import publish_json
from calculators.results import document, publish_result, result_folder
from calculators.single_point import calculate
from potentials.structures import bare

#: slots of one process: they sleep, and share its interpreter
CROWD = 64
#: enthalpy of structures that nobody has predicted [eV/atom]
UNPREDICTED = -3.2
#: of the sequence that spreads durations evenly however few there are
GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Durations:
    """How long work takes.

    Attributes:
        label: mean of a label [s].
        spread: standard deviation of its logarithm.
        evolve: the search, for every new candidate that is relaxed [labels].
        train: a training [labels].
        real: seed, search and training are real and take what they take; so are the labels, by the
            engine of the campaign, but for their time.
    """

    label: float
    spread: float = 0.5
    evolve: float = 0.00025
    train: float = 0.2
    real: bool = False

    def of_label(self, ordinal):
        """Of one task [s]: log-normal, and evenly spread over the quantiles."""
        deviation = NormalDist().inv_cdf((0.5 + ordinal * GOLDEN) % 1.0 or 0.5)
        return self.label * exp(self.spread * deviation - 0.5 * self.spread**2)


class Sleepers(Cluster):
    """Slots on this machine, `CROWD` of them in a process, with a real scheduler of Dask's.

    As with `local`, the scheduler runs in the driver's process.

    Attributes:
        dft_workers: slots for labels.
    """

    kind: Literal["sleepers"] = "sleepers"
    dft_workers: int

    def slots(self):
        """Per pool."""
        return {"search": 1, "dft": self.dft_workers, "train": 1}

    def processes(self):
        """Pool and slots of every process, by name."""
        found = {"search-0": ("search", 1), "train-0": ("train", 1)}
        for number, start in enumerate(range(0, self.dft_workers, CROWD)):
            found[f"dft-{number}"] = ("dft", min(CROWD, self.dft_workers - start))
        return found

    def open(self, work, needs=None):
        """Start the scheduler and the processes."""
        del needs
        with ExitStack() as stack:
            stack.enter_context(dask.config.set(SETTINGS))
            with interrupts_held():
                scheduler = {"cls": Scheduler, "options": {"host": HOST, "dashboard": False}}
                cluster = SpecCluster(workers=self._specification(), scheduler=scheduler)
                stack.callback(cluster.close, timeout=CLOSE_LIMIT_S)
                client = Client(cluster, set_as_default=False)
                stack.callback(client.close, timeout=CLOSE_LIMIT_S)
            return DaskCrew(client, Fixed(self.slots(), lambda: None), work, stack.pop_all())

    def _specification(self):
        common = {
            "host": HOST,
            "threads": {"OMP_NUM_THREADS": "1"},
            "memory_limit": 0,
            "preload": ["calculators.clusters._dask_worker"],
            "dashboard": False,
        }
        return {
            name: {
                "cls": LocalNanny,
                "options": {**common, "nthreads": slots, "resources": {pool: slots}},
            }
            for name, (pool, slots) in self.processes().items()
        }


def work(folder, durations, task):
    """What the workers do."""
    run_dir = Path(folder)
    if tasks.published(run_dir, task.kind, task.key) is not None:
        return {"ok": {"key": task.key}}
    if requests.asked(run_dir):
        failure = {"kind": "transient", "reason": "a stop was asked for", "log": ""}
        return {"failure": failure, tasks.UNSTARTED: True}
    if durations.real and task.kind != "label":
        return tasks.run(folder, task)
    _WORK[task.kind](run_dir, durations, task)
    return {"ok": {"key": task.key}}


def _seed(run_dir, durations, task):
    del durations
    found = [one.to_dict() for one in _invented(task, task.inputs["count"], predicted=False)]
    publish_json(tasks._proposal(run_dir, task.key), {"candidates": found, "pool": []})


def _evolve(run_dir, durations, task):
    """What the real search would give at best: as many distinct structures as it keeps."""
    config = tasks._config(run_dir)
    inputs = task.inputs
    settings = config.search.evolution.times(inputs["effort"], 1, inputs.get("batch", 0))
    time.sleep(durations.label * durations.evolve * settings.candidates)
    found = _invented(task, min(settings.candidates, settings.keep), predicted=True)
    found.sort(key=lambda one: one.enthalpy)
    publish_json(
        tasks._proposal(run_dir, task.key),
        {
            "candidates": [one.to_dict() for one in found],
            "record": {"strain": [settings.candidates, len(found)]},
            "statistics": [],
            "rejected": {},
        },
    )


def _train(run_dir, durations, task):
    time.sleep(durations.label * durations.train)
    facts = {
        "labels": len(task.inputs["labels"]),
        "networks": False,
        "energy_rmse_mev_per_atom": 9.0,
        "force_rmse_ev_per_a": 0.1,
        "seconds": durations.label * durations.train,
    }
    path = tasks.models(run_dir) / task.key / "ensemble.json"
    publish_json(path, {"facts": facts, "calibration": 1.0})


def _label(run_dir, durations, task):
    started, seconds = time.time(), durations.of_label(task.ordinal)
    config = tasks._config(run_dir)
    one = Candidate.from_dict(task.inputs["candidate"])
    found = _computed(one, config.engine) if durations.real else _supposed(one, task)
    time.sleep(max(0.0, started + seconds - time.time()))
    told = {**found.to_dict(), "seconds": time.time() - started}
    about = document("label", one.atoms, config.engine, started, [])
    publish_result(result_folder(tasks.labels(run_dir), task.key), about, label=told)


def _supposed(one, task):
    """A label near its prediction; of structures to begin with above most."""
    if one.enthalpy is None:
        one = Candidate(one.id, one.atoms, one.origin, (), UNPREDICTED)
    return label(one, task.ordinal)


def _computed(one, engine):
    """By the engine, without a process of its own: hundreds of them do not fit on one machine."""
    atoms = bare(one.atoms)
    return calculate(atoms, engine.calculator(atoms, Path()), engine, LabelGates())


def _invented(task, count, *, predicted):
    """Crystals that no other task has made."""
    made = Crystals(_bases())
    found = []
    for place in range(count):
        one = made.candidate(f"{task.kind[0]}{task.ordinal:06d}-{place:04d}", _number(task, place))
        if not predicted:
            one = Candidate(one.id, one.atoms, one.origin, (), None)
        found.append(one)
    return found


def _number(task, place):
    return 100_000_000 + 10_000 * task.ordinal + place


@lru_cache(maxsize=1)
def _bases():
    return made_of()


_WORK = {"seed": _seed, "evolve": _evolve, "label": _label, "train": _train}

"""Workers that sleep: many slots in few processes, and work that lasts as long as the real work.

Durations are given in those of a label, so that an hour of DFT may be compressed into seconds. What
workers say is invented or, where the search is ``real``, all but the time of the labels is real.
"""

import heapq
import logging
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import dask
from bookkeeping import Crystals, label, made_of
from distributed import Client, Scheduler, SpecCluster

from aga.campaign import requests, tasks
from aga.search.candidate import Candidate
from calculators.clusters import Cluster, Crew
from calculators.clusters._dask_crew import SETTINGS, DaskCrew, Fixed, interrupts_held
from calculators.clusters._dask_local import CLOSE_LIMIT_S, HOST, LocalNanny
from calculators.gates import LabelGates
from calculators.publish import publish_json
from calculators.results import document, publish_result, record_start, result_folder
from calculators.single_point import calculate
from calculators.task import POOLS
from potentials.saved import WEIGHTS, write_about
from potentials.structures import bare

#: slots of one process: they sleep, and share its interpreter
CROWD = 256
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

    def of(self, task, run_dir):
        """Of one task [s]; labels are log-normal, and evenly spread over the quantiles."""
        if task.kind == "evolve":
            return self.label * self.evolve * _sizes(task, run_dir).candidates
        if task.kind == "train":
            return self.label * self.train
        if task.kind == "seed":
            return 0.0
        deviation = NormalDist().inv_cdf((0.5 + task.ordinal * GOLDEN) % 1.0 or 0.5)
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
        """Slots by pool of every process, by name."""
        found = {"others": {"search": 1, "train": 1}}
        for number, start in enumerate(range(0, self.dft_workers, CROWD)):
            found[f"dft-{number}"] = {"dft": min(CROWD, self.dft_workers - start)}
        return found

    def open(self, work, needs=None):
        """Start the scheduler and the processes."""
        del needs
        with ExitStack() as stack:
            stack.enter_context(dask.config.set(SETTINGS))
            with interrupts_held():
                scheduler = {"cls": Scheduler, "options": {"host": HOST, "dashboard": False}}
                cluster = SpecCluster(
                    workers=self._specification(), scheduler=scheduler, silence_logs=logging.ERROR
                )
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
            "silence_logs": logging.ERROR,
        }
        return {
            name: {
                "cls": LocalNanny,
                "options": {**common, "nthreads": sum(slots.values()), "resources": slots},
            }
            for name, slots in self.processes().items()
        }


@dataclass
class Dream:
    """A time that passes while nobody waits.

    Attributes:
        now: seconds since it began.
        started: when each task began, by ordinal.
    """

    now: float = 0.0
    started: dict[int, float] = field(default_factory=dict)


class Dreamers(Sleepers):
    """The same slots in a time of their own, without Dask.

    Attributes:
        dream: their time.
    """

    dream: Any

    def open(self, work, needs=None):
        """Nothing to start."""
        del needs
        return DreamingCrew(work, self.slots(), self.dream)


class DreamingCrew(Crew):
    """Ends the task that is next to end whenever it is asked for outcomes."""

    def __init__(self, work, slots, dream):
        self._work, self._slots, self._dream = work, slots, dream
        self._waiting = {pool: deque() for pool in POOLS}
        self._running = []
        self._free = dict(slots)

    def slots(self, pool):
        """Per pool."""
        return self._slots[pool]

    def start(self, task):
        """Run a task, or let it wait."""
        self._waiting[task.pool].append(task)
        self._fill(task.pool)

    def _fill(self, pool):
        while self._waiting[pool] and self._free[pool]:
            task = self._waiting[pool].popleft()
            self._free[pool] -= 1
            now, slept = self._dream.now, []
            self._dream.started[task.ordinal] = now
            outcome = self._work(task, sleep=slept.append)
            meta = {"started": now, "finished": now + sum(slept), "worker": pool}
            row = (meta["finished"], task.ordinal, task, {**outcome, "meta": meta})
            heapq.heappush(self._running, row)

    def finished(self, timeout):
        """The next one, if it ends in time."""
        if not self._running or self._running[0][0] > self._dream.now + timeout:
            self._dream.now += timeout
            return []
        self._dream.now, _, task, outcome = heapq.heappop(self._running)
        self._free[task.pool] += 1
        self._fill(task.pool)
        return [(task, outcome)]

    def workers(self):
        """None that could be looked at."""
        return []

    def close(self):
        """Forget everything."""
        self._running.clear()


def work(task, *, run_dir, durations, sleep=time.sleep):
    """What the workers do."""
    if tasks.published(run_dir, task.kind, task.key) is not None:
        return {"ok": {"key": task.key}}
    if requests.asked(run_dir):
        failure = {"kind": "transient", "reason": "a stop was asked for", "log": ""}
        return {"failure": failure, tasks.UNSTARTED: True}
    if durations.real and task.kind != "label":
        return tasks.run(str(run_dir), task)
    seconds = durations.of(task, run_dir)
    publish = _WORK[task.kind](run_dir, durations, task)
    if task.kind == "label":
        record_start(result_folder(tasks.labels(run_dir), task.key))
    sleep(seconds)
    publish(seconds)
    return {"ok": {"key": task.key}}


def _seed(run_dir, durations, task):
    del durations
    found = [one.to_dict() for one in _invented(task, task.inputs["count"], predicted=False)]
    document = {"candidates": found, "pool": []}
    return lambda _: publish_json(tasks.proposal_path(run_dir, task.key), document)


def _evolve(run_dir, durations, task):
    """What the real search would give at best: as many distinct structures as it keeps."""
    del durations
    sizes = _sizes(task, run_dir)
    found = _invented(task, min(sizes.candidates, sizes.keep), predicted=True)
    found.sort(key=lambda one: one.enthalpy)
    document = {
        "candidates": [one.to_dict() for one in found],
        "record": {"strain": [sizes.candidates, len(found)]},
        "statistics": [],
        "rejected": {},
    }
    return lambda _: publish_json(tasks.proposal_path(run_dir, task.key), document)


def _sizes(task, run_dir):
    """Of the search that is asked for."""
    settings = tasks.settings(run_dir).search.evolution
    return settings.times(task.inputs["effort"], 1, task.inputs.get("batch", 0))


def _train(run_dir, durations, task):
    del durations
    facts = {
        "labels": len(task.inputs["labels"]),
        "networks": False,
        "energy_rmse_mev_per_atom": 9.0,
        "force_rmse_ev_per_a": 0.1,
    }
    folder = tasks.models(run_dir) / task.key

    def publish(seconds):
        folder.mkdir(parents=True)
        (folder / WEIGHTS).touch()
        write_about(folder, {"facts": {**facts, "seconds": seconds}, "calibration": 1.0})

    return publish


def _label(run_dir, durations, task):
    config = tasks.settings(run_dir)
    one = Candidate.from_dict(task.inputs["candidate"])
    found = _computed(one, config.engine) if durations.real else _supposed(one, task)
    about = document("label", one.atoms, config.engine, time.time(), [])
    folder = result_folder(tasks.labels(run_dir), task.key)

    def publish(seconds):
        publish_result(folder, about, label={**found.to_dict(), "seconds": seconds})

    return publish


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
        number = 100_000_000 + 10_000 * task.ordinal + place
        one = made.candidate(f"{task.kind[0]}{task.ordinal:06d}-{place:04d}", number)
        if not predicted:
            one = Candidate(one.id, one.atoms, one.origin, (), None)
        found.append(one)
    return found


@lru_cache(maxsize=1)
def _bases():
    return made_of()


_WORK = {"seed": _seed, "evolve": _evolve, "label": _label, "train": _train}

"""Small configurations, crystals that differ by their volume, and states made without workers."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import GPa

from aga.campaign import policy
from aga.campaign.state import Decision, Progress, Record, State
from aga.campaign.store import Store
from aga.campaign.tasks import task_key
from aga.config import CampaignConfig
from aga.search.candidate import Candidate
from potentials.structures import Label

SLOTS = {"search": 1, "dft": 2, "train": 1}

# small, for speed; few keys, so that what the descriptors are called may change
POTENTIAL = {
    "descriptor": {"kind": "moments", "cutoff": 4.5},
    "members": 3,
    "network": {"enabled": False},
}


def patient(labels: int) -> dict[str, int]:
    """A stop rule that counts labels only."""
    return {"patience_labels": labels, "patience_proposals": 0}


def config(**changes: Any) -> CampaignConfig:
    """Copper-gold with EMT, a few labels; mappings are merged key by key."""
    data: dict[str, Any] = {
        "name": "small",
        "composition": {"Cu": 1, "Au": 1},
        "engine": {"kind": "emt"},
        "cluster": {"kind": "serial"},
        "search": {
            "initial_labels": 4,
            "batch": 3,
            # lowest first, so that a test can say what comes next
            "acquisition": {"kind": "lower_confidence_bound", "explore": 0.0},
            "evolution": {"candidates": 12, "keep": 20, "carried": 6, "archive_parents": 4},
        },
        "potential": POTENTIAL,
        "relaxation": {"max_steps": 60},
        "budget": {"labels": 20, "hours": 1.0, "confirm_reserve": 4},
        "stop": patient(5),
    }
    return CampaignConfig.model_validate(_merged(data, changes))


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def crystal(number: int) -> Atoms:
    """CuAu; another number is another form (its c/a differs) at another volume (by 4 %)."""
    stretch = 1.0 + 0.14 * number
    cell = np.array([2.8, 2.8, 3.6 * stretch]) * (1.04**number / stretch) ** (1 / 3)
    positions = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Atoms("CuAu", scaled_positions=positions, cell=cell, pbc=True)


def candidate(
    identity: str,
    number: int,
    enthalpy: float | None = None,
    spread: float | None = 0.01,
    *,
    shift: float = 0.0,
) -> Candidate:
    """Crystal ``number``, its first atom shifted [Å]: another geometry of the same structure."""
    atoms = crystal(number)
    atoms.positions[0, 0] += shift
    return Candidate(
        identity, atoms, "strain", (), enthalpy, None if enthalpy is None else spread, 0.0
    )


def label(energy: float, fmax: float = 1.0, stress_gpa: float = 0.0) -> Label:
    """A label of two atoms; ``energy`` [eV/atom], ``fmax`` [eV/Å]."""
    forces = np.array([[fmax, 0.0, 0.0], [-fmax, 0.0, 0.0]])
    stress = np.array([stress_gpa * GPa, 0, 0, 0, 0, 0])
    return Label(2 * energy, forces, stress, "emt", 0.1)


def stored(run_dir: Path) -> State:
    """What the database of a run tells."""
    store = Store(run_dir, readonly=True)
    state = store.state()
    store.close()
    return state


RELAXED = 1e-3  # [eV/Å]


class History:
    """A state that grows by hand."""

    def __init__(self, settings: CampaignConfig | None = None) -> None:
        self.state = State(settings or config())
        self._key = partial(task_key, self.state.config)
        self._order = 0

    def due(self) -> list[Decision]:
        """What the policy wants now; not taken in."""
        return policy.due(self.state, SLOTS)

    def kinds(self) -> list[str]:
        """Kinds of what is due."""
        return [decision.kind for decision in self.due()]

    def take(self, *decisions: Decision) -> list[Record]:
        """Take decisions in: these, or all that are due."""
        made = []
        for decision in decisions or self.due():
            ordinal = len(self.state.records)
            key = self._key(ordinal, decision)
            note = decision.kind in ("stop_search", "finish", "resume")
            progress: Progress = "done" if note else "queued"
            made.append(Record(ordinal, decision.kind, key, decision.inputs, progress))
            self.state.add(made[-1])
        return made

    def close(self, record: Record, ok: Mapping[str, Any]) -> None:
        """A task has succeeded."""
        outcome = {"ok": dict(ok), "meta": {}}
        homes = self.state.homes(record.ordinal, outcome)
        self._close(record, "done", {**outcome, "groups": homes})

    def fail(self, record: Record, reason: str = "it broke") -> None:
        """A task has failed for good."""
        failure = {"kind": "permanent", "reason": reason, "log": ""}
        self._close(record, "failed", {"failure": failure})

    def _close(self, record: Record, progress: Progress, outcome: dict[str, Any]) -> None:
        self._order += 1
        self.state.close(record.ordinal, progress, {**outcome, "order": self._order})

    # what a campaign goes through

    def seed(self, seeds: Sequence[Candidate] = ()) -> None:
        """The first task, and what it gave."""
        (record,) = self.take()
        assert record.kind == "seed"
        given = seeds or [candidate(f"s{record.ordinal}-{i}", i) for i in range(4)]
        self.close(record, {"candidates": [one.to_dict() for one in given], "pool": []})

    def labels(self, *labels: Label | None) -> list[Record]:
        """Label what is due, in order; None fails. The last one is used for all that follow."""
        records = [record for record in self.take() if record.kind == "label"]
        for number, record in enumerate(records):
            found = labels[min(number, len(labels) - 1)]
            if found is None:
                self.fail(record)
            else:
                self.close(record, {"label": found.to_dict()})
        return records

    def train(self, calibration: float = 1.0) -> Record:
        """The training that is due."""
        record = self._one("train")
        self.close(record, {"facts": {"calibration": calibration, "labels": 0}})
        return record

    def evolve(self, *candidates: Candidate) -> Record:
        """The generation that is due."""
        record = self._one("evolve")
        self.close(record, generation(*candidates))
        return record

    def _one(self, kind: str) -> Record:
        waiting = self.state.outstanding(kind)
        if waiting:
            return waiting[0]
        taken = self.take()
        assert [record.kind for record in taken] == [kind]
        return taken[0]

    def begun(self, *energies: float) -> "History":
        """Four labels, a model."""
        self.seed()
        self.labels(*(label(energy) for energy in energies or (1.0, 1.1, 1.2, 1.3)))
        self.train()
        return self


def generation(*candidates: Candidate) -> dict[str, Any]:
    """What an evolve task gives."""
    return {
        "candidates": [one.to_dict() for one in candidates],
        "record": {"strain": [len(candidates), 0]},
        "statistics": [],
        "rejected": {},
    }


def view(state: State) -> dict[str, Any]:
    """Everything a state knows, as plain data to compare."""
    return {
        "records": [
            (r.ordinal, r.kind, r.key, r.inputs, r.progress, r.outcome, r.attempts)
            for r in state.records
        ],
        "seeds": [one.to_dict() for one in state.seeds],
        "labelled": [
            (
                one.known.to_dict(),
                one.label.to_dict(),
                one.key,
                one.purpose,
                one.origin,
                one.predicted,
                one.spread,
                one.raw_spread,
                one.ordinal,
            )
            for one in state.labelled
        ],
        "groups": [(group.id, [one.id for one in group.members]) for group in state.groups],
        "models": [(one.key, one.ordinal, one.labels, one.facts) for one in state.models],
        "generations": [
            (one.ordinal, one.key, one.model, [c.to_dict() for c in one.candidates])
            for one in state.generations
        ],
        "operators": state.operators,
        "polished": {
            chain: [one.to_dict() for one in found] for chain, found in state.polished.items()
        },
        "counts": (state.best_since, state.relaxation_points, state.resumed, state.asked),
        "end": (state.search_over, state.finished, state.failed),
    }


def without_times(data: Any) -> Any:
    """The same data without what a clock, the order of arrival or an interruption has put in."""
    if isinstance(data, dict):
        skip = ("meta", "order", "seconds", "found")
        return {name: without_times(value) for name, value in data.items() if name not in skip}
    if isinstance(data, list | tuple):
        return [without_times(value) for value in data]
    return data


def strict(**changes):
    return config(overlap=False, **changes)


def promising(*numbers, prefix="e", enthalpy=0.9, spread=0.01):
    """Candidates worth a label."""
    return [
        candidate(f"{prefix}{number}", number, enthalpy + 0.001 * number, spread)
        for number in numbers
    ]


RANGE = {"elements": ["Cu", "Au"], "atoms": [2, 4]}


def several(**changes):
    compositions = {**RANGE, **changes.pop("compositions", {})}
    return config(composition=None, compositions=compositions, **changes)

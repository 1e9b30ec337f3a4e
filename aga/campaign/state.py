"""What a campaign knows: folded from its records in their order, so that a replay gives the same.

Nothing here looks at a clock, a file or a worker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase.units import GPa

from aga.config import CampaignConfig
from aga.search.adaptation import updated
from aga.search.candidate import Candidate, Known
from aga.search.similarity import same
from potentials.structures import Label

#: a member confirms its structure when it lies at most this far above the lowest one [eV/atom]
TIE = 0.002

Progress = Literal["queued", "done", "failed"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Something to do, or to note down, that follows from the state.

    Attributes:
        kind: a kind of task, or ``stop_search``, ``finish`` or ``resume``, which need no worker.
        inputs: plain JSON data; what it refers to is named by id or key.
    """

    kind: str
    inputs: dict[str, Any]


@dataclass(slots=True)
class Record:
    """A decision in the campaign's history and what came of it."""

    ordinal: int
    kind: str
    key: str
    inputs: dict[str, Any]
    progress: Progress = "queued"
    outcome: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0

    @property
    def ok(self) -> dict[str, Any]:
        """What a finished task gave."""
        found: dict[str, Any] = self.outcome["ok"]
        return found


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """A label with what was predicted for it.

    Attributes:
        known: the structure as the search sees it.
        label: what the engine said.
        key: its content key in the label store.
        purpose: why it was labelled: seed, search or confirm.
        origin: the operator that made the structure.
        predicted: enthalpy [eV/atom], or None for seeds.
        spread: calibrated spread of the prediction [eV/atom], or None.
        raw_spread: the same before calibration.
        ordinal: number of its task.
    """

    known: Known
    label: Label
    key: str
    purpose: str
    origin: str
    predicted: float | None
    spread: float | None
    raw_spread: float | None
    ordinal: int


@dataclass(eq=False, slots=True)
class Group:
    """Labels of one distinct structure; the lowest represents it."""

    id: str
    members: list[Known]

    @property
    def best(self) -> Known:
        """The member of lowest enthalpy."""
        return min(self.members, key=lambda one: (one.enthalpy, one.id))

    def confirmed(self, fmax: float, stress: float) -> Known | None:
        """The lowest member that the engine itself finds relaxed, if it is as low as the best.

        Args:
            fmax: largest force [eV/Å].
            stress: largest deviation from the pressure [eV/Å^3].
        """
        limit = self.best.enthalpy + TIE
        relaxed = [m for m in self.members if m.at_minimum(fmax, stress) and m.enthalpy <= limit]
        return min(relaxed, key=lambda one: (one.enthalpy, one.id), default=None)


@dataclass(frozen=True, slots=True)
class Model:
    """A trained ensemble."""

    key: str
    ordinal: int
    labels: int
    facts: dict[str, Any]

    @property
    def calibration(self) -> float:
        """Factor from raw to calibrated spread."""
        return float(self.facts["calibration"])


@dataclass(frozen=True, eq=False, slots=True)
class Generation:
    """What one run of the genetic algorithm proposed, lowest enthalpy first."""

    ordinal: int
    key: str
    model: str
    candidates: list[Candidate]


@dataclass(eq=False)
class State:
    """The campaign as its records tell it."""

    config: CampaignConfig
    hours_used: float = 0.0
    records: list[Record] = field(default_factory=list)
    seeds: list[Candidate] = field(default_factory=list)
    labelled: list[Labelled] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    models: list[Model] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    operators: dict[str, tuple[float, float]] = field(default_factory=dict)
    polished: dict[str, list[Candidate]] = field(default_factory=dict)
    best_since: int = 0
    search_over: str = ""
    finished: str = ""
    failed: bool = False

    def outstanding(self, *kinds: str) -> list[Record]:
        """Records of these kinds (of all, if none is named) without an outcome."""
        return [
            record
            for record in self.records
            if record.progress == "queued" and (not kinds or record.kind in kinds)
        ]

    def of_kind(self, kind: str) -> list[Record]:
        """All records of a kind."""
        return [record for record in self.records if record.kind == kind]

    @property
    def pressure(self) -> float:
        """External pressure [eV/Å^3]."""
        return float(self.config.pressure_gpa * GPa)

    @property
    def known(self) -> list[Known]:
        """All labelled structures."""
        return [one.known for one in self.labelled]

    @property
    def ranking(self) -> list[Group]:
        """Distinct structures, lowest enthalpy first."""
        return sorted(self.groups, key=lambda group: (group.best.enthalpy, group.id))

    def confirmed(self, group: Group) -> Known | None:
        """The member that confirms a structure by the campaign's own thresholds."""
        limits = self.config.confirm
        return group.confirmed(limits.fmax_ev_per_a, limits.stress_gpa * GPa)

    @property
    def oracle_calls(self) -> int:
        """Single points asked of the engine and answered, failures included."""
        return len(self.labelled) + len(self.failures)

    @property
    def failures(self) -> list[Record]:
        """Label tasks that gave no label."""
        return [r for r in self.records if r.kind == "label" and r.progress == "failed"]

    def add(self, record: Record) -> None:
        """Take in a decision."""
        self.records.append(record)
        if record.kind == "stop_search":
            self.search_over = record.inputs["reason"]
        elif record.kind == "finish":
            self.finished = record.inputs["reason"]
            self.failed = bool(record.inputs["failed"])
        elif record.kind == "resume":
            self.search_over, self.finished, self.failed = "", "", False

    def close(self, ordinal: int, progress: Progress, outcome: dict[str, Any]) -> None:
        """Take in the outcome of a task."""
        record = self.records[ordinal]
        record.progress, record.outcome = progress, outcome
        if progress == "done":
            _TAKE[record.kind](self, record)

    def _take_seed(self, record: Record) -> None:
        self.seeds += [Candidate.from_dict(data) for data in record.ok["candidates"]]

    def _take_generation(self, record: Record) -> None:
        candidates = [Candidate.from_dict(data) for data in record.ok["candidates"]]
        model = record.inputs["model"]
        self.generations.append(Generation(record.ordinal, record.key, model, candidates))
        self.operators = updated(self.operators, record.ok["record"])

    def _take_label(self, record: Record) -> None:
        asked = record.inputs["candidate"]
        label = Label.from_dict(record.ok["label"])
        self._add_label(record, Candidate.from_dict(asked), label, record.key)

    def _take_model(self, record: Record) -> None:
        labels = len(record.inputs["labels"])
        self.models.append(Model(record.key, record.ordinal, labels, record.ok["facts"]))

    def _take_polish(self, record: Record) -> None:
        candidate = Candidate.from_dict(record.ok["candidate"])
        self.polished.setdefault(record.inputs["chain"], []).append(candidate)

    def _take_relaxation(self, record: Record) -> None:
        for data in record.ok["points"]:
            candidate = Candidate.from_dict(data["candidate"])
            self._add_label(record, candidate, Label.from_dict(data["label"]), data["key"])

    def _add_label(self, record: Record, candidate: Candidate, label: Label, key: str) -> None:
        known = known_of(candidate, label, self.pressure)
        raw = record.inputs.get("raw_spread")
        self.labelled.append(
            Labelled(
                known=known,
                label=label,
                key=key,
                purpose=record.inputs.get("purpose", "confirm"),
                origin=candidate.origin,
                predicted=candidate.enthalpy,
                spread=candidate.spread,
                raw_spread=raw,
                ordinal=record.ordinal,
            )
        )
        self._group(known)

    def _group(self, known: Known) -> None:
        """Put a label with its like; note when another structure becomes the best."""
        before = self.ranking[0].id if self.groups else ""
        home = next((g for g in self.ranking if same(known.atoms, g.best.atoms)), None)
        if home is None:
            self.groups.append(Group(known.id, [known]))
        else:
            home.members.append(known)
        if self.ranking[0].id != before:
            self.best_since = len(self.labelled)


_TAKE = {
    "seed": State._take_seed,  # noqa: SLF001 - a table of this class's own methods
    "evolve": State._take_generation,  # noqa: SLF001
    "label": State._take_label,  # noqa: SLF001
    "train": State._take_model,  # noqa: SLF001
    "polish": State._take_polish,  # noqa: SLF001
    "relax": State._take_relaxation,  # noqa: SLF001
}


def known_of(candidate: Candidate, label: Label, pressure: float) -> Known:
    """A labelled structure as the search sees it; ``pressure`` [eV/Å^3]."""
    atoms = candidate.atoms
    error = None
    if label.stress is not None:
        beyond = label.stress + pressure * np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
        error = float(np.abs(beyond).max())
    enthalpy = (label.energy + pressure * atoms.get_volume()) / len(atoms)
    return Known(candidate.id, atoms, enthalpy, label.fmax, error)


def label_references(state: State) -> list[list[str]]:
    """Id and content key of every distinct label, by id: what a fit depends on has one order."""
    first: dict[str, str] = {}
    for one in state.labelled:
        first.setdefault(one.key, one.known.id)
    return sorted([identity, key] for key, identity in first.items())


def replay(config: CampaignConfig, records: Sequence[Record]) -> State:
    """The state after all records, each with its progress and outcome as stored.

    Outcomes are taken in the order in which they were recorded, given by ``outcome["order"]``.
    """
    state = State(config)
    for record in records:
        state.add(
            Record(record.ordinal, record.kind, record.key, record.inputs, attempts=record.attempts)
        )
    # notes have no outcome: adding them is all there is to them
    closed = [r for r in records if r.progress != "queued" and r.outcome]
    for record in sorted(closed, key=lambda r: r.outcome["order"]):
        state.close(record.ordinal, record.progress, record.outcome)
    return state

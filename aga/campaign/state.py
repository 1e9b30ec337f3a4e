"""What a campaign knows: folded from its records in their order, so that a replay gives the same.

Nothing here looks at a clock, a file or a worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from ase.units import GPa

from aga.campaign.groups import Group, home_of, put, ranked
from aga.campaign.spaces import hull_of, stand
from aga.config import CampaignConfig
from aga.search.adaptation import updated
from aga.search.candidate import Candidate, Known
from aga.search.hull import ON_HULL, Hull
from potentials.structures import Label

#: a drop of the best by more than this is news, whatever its form [eV/atom]
IMPROVEMENT = 0.05

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
    hull: Hull | None = None
    polished: dict[str, list[Candidate]] = field(default_factory=dict)
    best_since: int = 0
    best_was: float = float("inf")
    proposals: int = 0
    proposals_before_best: int = 0
    relaxation_points: int = 0
    resumed: int = 0
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
        return self.config.pressure

    @property
    def known(self) -> list[Known]:
        """All labelled structures."""
        return [one.known for one in self.labelled]

    @property
    def ranking(self) -> list[Group]:
        """Distinct structures, lowest enthalpy first; of several compositions above the hull."""
        return ranked(self.groups)

    @property
    def answer(self) -> list[Group]:
        """What the search is for: the lowest structure, or all that are on the hull."""
        ranked = self.ranking
        if self.config.compositions is None:
            return ranked[:1]
        return [group for group in ranked if group.best.height <= ON_HULL]

    def confirmed(self, group: Group) -> Known | None:
        """The member that confirms a structure by the campaign's own thresholds."""
        limits = self.config.confirm
        return group.confirmed(limits.fmax_ev_per_a, limits.stress_gpa * GPa)

    @property
    def oracle_calls(self) -> int:
        """Single points asked of the engine and answered, failures included."""
        return len(self.labelled) + len(self.failures)

    @property
    def asked(self) -> int:
        """Single points that the budget has paid for, those that are not answered yet included."""
        running = sum(record.inputs["points"] for record in self.outstanding("relax"))
        return len(self.of_kind("label")) + self.relaxation_points + int(running)

    @property
    def distinct_labels(self) -> int:
        """Labels that differ: the same geometry may have been asked for twice."""
        return len({one.key for one in self.labelled})

    @property
    def since_resumed(self) -> list[Record]:
        """Records since the user last started a campaign that had ended."""
        return self.records[self.resumed :]

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
            self.resumed = record.ordinal

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
        stand(candidates, self.hull)
        model = record.inputs["model"]
        self.generations.append(Generation(record.ordinal, record.key, model, candidates))
        self.operators = updated(self.operators, record.ok["record"])
        self.proposals += sum(tried for tried, _ in record.ok["record"].values())

    def homes(self, ordinal: int, outcome: Mapping[str, Any]) -> list[str]:
        """Ids of the groups that the labels of a finished task belong to, in their order.

        Structures are compared here only, once per label: the answer is stored with the outcome,
        so that a replay needs no comparison and cannot come out differently.
        """
        if "ok" not in outcome or self.records[ordinal].kind not in ("label", "relax"):
            return []
        groups = [Group(group.id, [*group.members]) for group in self.groups]
        found = []
        for candidate, label, _ in self._new_labels(self.records[ordinal], outcome["ok"]):
            known = known_of(candidate, label, self.pressure)
            found.append(home_of(groups, known))
            put(groups, found[-1], known)
        return found

    def _take_model(self, record: Record) -> None:
        labels = len(record.inputs["labels"])
        self.models.append(Model(record.key, record.ordinal, labels, record.ok["facts"]))

    def _take_polish(self, record: Record) -> None:
        candidate = Candidate.from_dict(record.ok["candidate"])
        self.polished.setdefault(record.inputs["chain"], []).append(candidate)

    def _take_labels(self, record: Record) -> None:
        homes = record.outcome.get("groups") or self.homes(record.ordinal, record.outcome)
        for (candidate, label, key), home in zip(
            self._new_labels(record, record.ok), homes, strict=True
        ):
            before = {group.id for group in self.answer}
            known = self._add_label(record, candidate, label, key)
            self.relaxation_points += record.kind == "relax"
            was = self._stand(known)
            put(self.groups, home, known)
            if {group.id for group in self.answer} != before or known.enthalpy < was - IMPROVEMENT:
                self.best_since, self.best_was = len(self.labelled), self.ranking[0].best.enthalpy
                self.proposals_before_best = self.proposals

    def _stand(self, known: Known) -> float:
        """Measure a new label; where it lowers the hull, everything anew.

        Returns:
            What it was expected to reach at most [eV/atom]: the hull before it, or of one
            composition the best at the last news.
        """
        if self.config.compositions is None:
            return self.best_was
        ground = -np.inf if self.hull is None else self.hull.ground(known.counts)
        known.stand_on(ground)
        if not (np.isfinite(ground) and known.enthalpy >= ground):
            self.hull = hull_of(self.config, self.known)
            stand(self.known, self.hull)
            stand(self.generations[-1].candidates if self.generations else (), self.hull)
        return ground

    def _add_label(self, record: Record, candidate: Candidate, label: Label, key: str) -> Known:
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
        return known

    def _new_labels(
        self, record: Record, ok: Mapping[str, Any]
    ) -> list[tuple[Candidate, Label, str]]:
        """Structure, label and content key of every single point that a task has added."""
        if record.kind == "label":
            asked = Candidate.from_dict(record.inputs["candidate"])
            return [(asked, Label.from_dict(ok["label"]), record.key)]
        # a relaxation that is tried again passes through the points of the first
        have = {one.key for one in self.labelled}
        return [
            (Candidate.from_dict(data["candidate"]), Label.from_dict(data["label"]), data["key"])
            for data in ok["points"]
            if data["key"] not in have
        ]


_TAKE = {
    "seed": State._take_seed,  # noqa: SLF001 - a table of this class's own methods
    "evolve": State._take_generation,  # noqa: SLF001
    "label": State._take_labels,  # noqa: SLF001
    "train": State._take_model,  # noqa: SLF001
    "polish": State._take_polish,  # noqa: SLF001
    "relax": State._take_labels,  # noqa: SLF001
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
        # notes are done when they are made: adding them is all there is to them
        progress: Progress = "queued" if record.kind in _TAKE else "done"
        state.add(
            Record(
                record.ordinal,
                record.kind,
                record.key,
                record.inputs,
                progress,
                attempts=record.attempts,
            )
        )
    closed = [r for r in records if r.progress != "queued" and r.outcome]
    for record in sorted(closed, key=lambda r: r.outcome["order"]):
        state.close(record.ordinal, record.progress, record.outcome)
    return state

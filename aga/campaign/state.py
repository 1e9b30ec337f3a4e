"""What a campaign knows: folded from its records in their order, so that a replay gives the same.

Nothing here looks at a clock, a file or a worker.
"""

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase.units import GPa

from aga.campaign.groups import Group, Groups
from aga.campaign.record import Progress, Record
from aga.campaign.spaces import hull_of, stand
from aga.config import CampaignConfig
from aga.search.adaptation import updated
from aga.search.archive import Archive
from aga.search.candidate import Candidate, Known
from aga.search.hull import ON_HULL, Hull
from potentials.structures import Label, volume_of

#: kinds of tasks without which there is no campaign
VITAL = ("seed", "evolve", "train")
#: a drop of the best by more than this is news, whatever its form [eV/atom]
IMPROVEMENT = 0.05


@dataclass(frozen=True, slots=True)
class Decision:
    """Something to do, or to note down, that follows from the state.

    Attributes:
        kind: a kind of task, or ``stop_search``, ``finish`` or ``resume``, which need no worker.
        inputs: plain JSON data; what it refers to is named by id or key.
    """

    kind: str
    inputs: dict[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Labelled:
    """A label with what was predicted for it.

    Attributes:
        known: the structure as the search sees it.
        label: what the engine said.
        key: its content key in the label store.
        purpose: why it was labelled: seed, search, audit (before the end, because nothing labelled
            is like it) or confirm.
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
    """What one run of the genetic algorithm proposed, lowest enthalpy first.

    Of one that is over only the ``ids`` are kept.
    """

    ordinal: int
    key: str
    model: str
    candidates: list[Candidate]
    over: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """Of its structures."""
        return self.over or tuple(one.id for one in self.candidates)


@dataclass(eq=False)
class State:
    """The campaign as its records tell it.

    What is asked of it every turn is kept up to date by every record, not found among all of them.
    """

    config: CampaignConfig
    hours_used: float = 0.0
    records: list[Record] = field(default_factory=list)
    seeds: list[Candidate] = field(default_factory=list)
    labelled: list[Labelled] = field(default_factory=list)
    known: Archive = field(default_factory=Archive)
    groups: Groups = field(default_factory=Groups)
    models: list[Model] = field(default_factory=list)
    generations: list[Generation] = field(default_factory=list)
    operators: dict[str, tuple[float, float]] = field(default_factory=dict)
    hull: Hull | None = None
    polished: dict[str, list[Candidate]] = field(default_factory=dict)
    best_since: int = 0
    best_was: float = float("inf")
    seeded: int = 0
    proposals: int = 0
    proposals_before_best: int = 0
    relaxation_points: int = 0
    resumed: int = 0
    search_over: str = ""
    finished: str = ""
    failed: bool = False
    order: int = 0
    failures: list[Record] = field(default_factory=list)
    broken: list[Record] = field(default_factory=list)
    asked_ids: set[str] = field(default_factory=set)
    chains: dict[str, list[Record]] = field(default_factory=dict)
    references: list[list[str]] = field(default_factory=list)
    _kinds: dict[str, list[Record]] = field(default_factory=dict)
    _open: dict[int, Record] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)
    _asked: dict[int, Candidate] = field(default_factory=dict)

    def outstanding(self, *kinds: str) -> list[Record]:
        """Records of these kinds (of all, if none is named) without an outcome."""
        return [one for one in self._open.values() if not kinds or one.kind in kinds]

    def of_kind(self, kind: str) -> list[Record]:
        """All records of a kind."""
        return [*self._kinds.get(kind, ())]

    def asked_for(self, record: Record) -> Candidate:
        """The structure of a label task that waits or has failed."""
        if record.ordinal not in self._asked:
            self._asked[record.ordinal] = Candidate.from_dict(record.inputs["candidate"])
        return self._asked[record.ordinal]

    @property
    def pressure(self) -> float:
        """External pressure [eV/Å^3]."""
        return self.config.pressure

    @property
    def ranking(self) -> list[Group]:
        """Distinct structures, lowest enthalpy first; of several compositions above the hull."""
        return self.groups.ranking

    @property
    def lowest(self) -> Group:
        """The first of the ranking; there must be a label."""
        return self.groups.first(1)[0]

    @property
    def answer(self) -> list[Group]:
        """What the search is for: the lowest structure, or all that are on the hull."""
        if self.config.compositions is None:
            return self.groups.first(1)
        return self.groups.lowest(ON_HULL)

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
        return len(self._kinds.get("label", ())) + self.relaxation_points + int(running)

    @property
    def labels_left(self) -> int:
        """Labels that the search may still ask for; the rest is kept for the confirmation."""
        budget = self.config.budget
        return budget.labels - budget.confirm_reserve - self.asked

    @property
    def unasked(self) -> list[Candidate]:
        """Structures to begin with that nobody has asked the engine for."""
        return [seed for seed in self.seeds if seed.id not in self.asked_ids]

    @property
    def seed_tries(self) -> int:
        """Seed tasks since the user last started a campaign that had ended."""
        return sum(seed.ordinal >= self.resumed for seed in self._kinds.get("seed", ()))

    @property
    def current(self) -> Generation | None:
        """The newest finished generation."""
        return self.generations[-1] if self.generations else None

    @property
    def distinct_labels(self) -> int:
        """Labels that differ: the same geometry may have been asked for twice."""
        return len(self._keys)

    @property
    def breakage(self) -> Record | None:
        """What failed that must not, since the user last started a campaign that had ended."""
        return next((one for one in self.broken if one.ordinal >= self.resumed), None)

    def add(self, record: Record) -> None:
        """Take in a decision."""
        inputs = record.inputs
        self.records.append(record)
        self._kinds.setdefault(record.kind, []).append(record)
        if record.progress == "queued":
            self._open[record.ordinal] = record
        if "chain" in inputs:
            self.chains.setdefault(inputs["chain"], []).append(record)
        if record.kind == "label":
            self.asked_ids.add(inputs["candidate"]["id"])
        elif record.kind == "stop_search":
            self.search_over = inputs["reason"]
        elif record.kind == "finish":
            self.finished = inputs["reason"]
            self.failed = bool(inputs["failed"])
        elif record.kind == "resume":
            self.search_over, self.finished, self.failed = "", "", False
            self.resumed = record.ordinal

    def close(self, ordinal: int, progress: Progress, outcome: dict[str, Any]) -> None:
        """Take in the outcome of a task."""
        record = self.records[ordinal]
        record.progress, record.outcome = progress, outcome
        record.wake()
        self.order = max(self.order, outcome.get("order", 0))
        self._open.pop(ordinal, None)
        if progress == "done":
            self._asked.pop(ordinal, None)
            _TAKE[record.kind](self, record)
        elif record.kind == "label":
            insort(self.failures, record, key=lambda one: one.ordinal)
        elif record.kind in VITAL:
            insort(self.broken, record, key=lambda one: one.ordinal)
        record.rest()

    def _take_seed(self, record: Record) -> None:
        self.seeds += [Candidate.from_dict(data) for data in record.ok["candidates"]]

    def _take_generation(self, record: Record) -> None:
        candidates = [Candidate.from_dict(data) for data in record.ok["candidates"]]
        stand(candidates, self.hull)
        model = record.inputs["model"]
        if self.generations:
            last = self.generations[-1]
            self.generations[-1] = replace(last, candidates=[], over=last.ids)
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
        new = self._new_labels(self.records[ordinal], outcome["ok"])
        return self.groups.homes(
            known_of(candidate, label, self.pressure) for candidate, label, _ in new
        )

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
            self.groups.put(home, known)
            if {group.id for group in self.answer} != before or known.enthalpy < was - IMPROVEMENT:
                self.best_since, self.best_was = len(self.labelled), self.lowest.best.enthalpy
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
            stand(self.current.candidates if self.current else (), self.hull)
            self.groups.rank_anew()
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
        self.known.add(known)
        if key not in self._keys:
            self._keys.add(key)
            insort(self.references, [known.id, key])
        if self.labelled[-1].purpose == "seed":
            self.seeded = len(self.labelled)
        return known

    def _new_labels(
        self, record: Record, ok: Mapping[str, Any]
    ) -> list[tuple[Candidate, Label, str]]:
        """Structure, label and content key of every single point that a task has added."""
        if record.kind == "label":
            asked = Candidate.from_dict(record.inputs["candidate"])
            return [(asked, Label.from_dict(ok["label"]), record.key)]
        # a relaxation that is tried again passes through the points of the first
        return [
            (Candidate.from_dict(data["candidate"]), Label.from_dict(data["label"]), data["key"])
            for data in ok["points"]
            if data["key"] not in self._keys
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
    enthalpy = (label.energy + pressure * volume_of(atoms)) / len(atoms)
    return Known(candidate.id, atoms, enthalpy, label.fmax, error)


def label_references(state: State) -> list[list[str]]:
    """Id and content key of every distinct label, by id: what a fit depends on has one order."""
    return [*state.references]


def replay(config: CampaignConfig, records: Sequence[Record]) -> State:
    """The state after all records, each with its progress and outcome as stored.

    Outcomes are taken in the order in which they were recorded, given by ``outcome["order"]``.
    """
    state = State(config)
    closed = []
    for record in records:
        # notes are done when they are made: adding them is all there is to them
        state.add(record.undone("queued" if record.kind in _TAKE else "done"))
        outcome = record.outcome
        if record.progress != "queued" and outcome:
            closed.append((outcome["order"], record))
    for _, record in sorted(closed, key=lambda one: one[0]):
        state.close(record.ordinal, record.progress, record.outcome)
    return state

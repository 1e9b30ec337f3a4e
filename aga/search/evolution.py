"""The inner genetic algorithm on DEAP: select, vary, relax in one batch, survive.

The only module that touches Python's global ``random``, because DEAP draws from it.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from math import isfinite
from threading import Lock
from typing import Any

import numpy as np
from ase import Atoms
from deap import base, tools
from numpy.random import Generator

from aga.search.candidate import RELABEL, Candidate, Known
from aga.search.hull import ON_HULL
from aga.search.operators import Operator
from aga.search.operators.symmetric_random import SymmetricRandom
from aga.search.settings import EvolutionSettings
from aga.search.similarity import KnownCrystals
from aga.search.space import Space, Spaces
from aga.search.symmetry import symmetrise
from potentials.gates import Relaxed

Relaxer = Callable[[Sequence[Atoms]], list[Relaxed]]

CARRIED = "carried"
#: share of the most survivors, the lowest of them, that an operator gets credit for
CREDITED = 1 / 3
#: a relaxed structure this near a symmetry has it [Å]
EXACT_SYMPREC = 0.01
_GLOBAL_RANDOM = Lock()


@dataclass(frozen=True)
class Evolved:
    """What one call found.

    Attributes:
        candidates: distinct relaxed structures inside the gates, the lowest above ground first.
        record: (tried, succeeded) by operator; a success is a new structure among the lowest.
        statistics: one row per generation.
        rejected: how many proposals fell out, by reason.
    """

    candidates: list[Candidate]
    record: dict[str, tuple[int, int]]
    statistics: list[dict[str, Any]]
    rejected: dict[str, int]


@dataclass(frozen=True)
class _Parent:
    id: str
    atoms: Atoms


Picker = Callable[[int], list[_Parent]]
#: a way to pick parents by the composition of their cells ("": any), and how many there are
Mating = Callable[[str], tuple[Picker, int]]


def evolve(  # noqa: PLR0913, PLR0917 - one for each thing a search depends on
    archive: Sequence[Known],
    carried: Sequence[Candidate],
    spaces: Spaces,
    settings: EvolutionSettings,
    operators: Sequence[Operator],
    weights: Mapping[str, float],
    relaxer: Relaxer,
    rng: Generator,
    *,
    prefix: str,
) -> Evolved:
    """Search near what is known and afresh.

    Every proposal is made in one space. Its parents have the same composition, unless its operator
    takes any. Structures compete by their height above the ground of their composition.

    Args:
        archive: labelled structures; the best are parents and are relaxed on the model again.
        carried: unlabelled candidates of the last call, relaxed again.
        spaces: what may be searched.
        settings: sizes and windows.
        operators: ways to vary; those that do not apply to any space are left out.
        weights: probability of each operator by kind.
        relaxer: relaxes a batch; results in the order of the structures.
        rng: the only source of chance.
        prefix: ids are ``prefix-000``, ``prefix-001``, ...
    """
    best = _best_known(archive, settings)
    search = _Search(spaces, settings, operators, weights, relaxer, rng, prefix)
    search.known = KnownCrystals(archive)
    for generation in range(settings.generations):
        size = _size(settings, generation)
        if generation == 0:
            batch = search.again([(one.id, one.atoms) for one in best], RELABEL)
            leftover = _best_carried(carried, settings)
            batch += search.again([(one.id, one.atoms) for one in leftover], CARRIED)
            mating: Mating = partial(_labelled, archive, settings, rng)
        else:
            batch = []
            mating = search.tournament
        batch += search.offspring(size, cache(mating))
        search.relax(batch, generation)
    return search.result()


@contextmanager
def lent_random(rng: Generator) -> Iterator[None]:
    """Lend DEAP a global random state seeded from ``rng``, and put the old one back.

    One thread at a time, so that searches that share a process stay reproducible.
    """
    with _GLOBAL_RANDOM:
        state = random.getstate()
        random.seed(int(rng.integers(2**63)))
        try:
            yield
        finally:
            random.setstate(state)


@dataclass
class _Search:
    """The state of one call."""

    spaces: Spaces
    settings: EvolutionSettings
    operators: Sequence[Operator]
    weights: Mapping[str, float]
    relaxer: Relaxer
    rng: Generator
    prefix: str
    known: KnownCrystals = field(default_factory=KnownCrystals)
    pool: list[Candidate] = field(default_factory=list)
    restored: dict[str, Atoms] = field(default_factory=dict)
    tried: Counter[str] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    made: int = 0
    logbook: tools.Logbook = field(default_factory=tools.Logbook)
    toolbox: base.Toolbox = field(default_factory=base.Toolbox)

    def __post_init__(self) -> None:
        self.operators = sorted(
            (one for one in self.operators if any(map(one.applicable, self.spaces.members))),
            key=lambda one: one.kind,
        )
        random_kinds = [one for one in self.operators if isinstance(one, SymmetricRandom)]
        self.fresh = random_kinds[0] if random_kinds else SymmetricRandom()
        self.toolbox.register("select", tools.selTournament, tournsize=self.settings.tournament)

    def again(self, structures: Sequence[tuple[str, Atoms]], origin: str) -> list[Candidate]:
        """Known structures as candidates, to be relaxed on the present model."""
        return [self._candidate(atoms, origin, (name,)) for name, atoms in structures]

    def offspring(self, size: int, mating: Mating) -> list[Candidate]:
        """``size`` proposals, the fresh share first; fewer where operators keep failing."""
        n_fresh = round(size * self.settings.fresh_share)
        batch: list[Candidate] = []
        for attempt in range(4 * size):
            if len(batch) >= size:
                break
            space = self.spaces.draw(self.rng)
            fresh = len(batch) < n_fresh and attempt < 2 * size
            operator = self.fresh if fresh else self._drawn(space, mating)
            child = self._child(operator, space, mating)
            if child is not None:
                batch.append(child)
        return batch

    def tournament(self, cell: str) -> tuple[Picker, int]:
        """Parents from the pool by fitness."""
        own = [one for one in self.pool if cell in ("", one.cell)]
        trusted = [one for one in own if _trusted(one, self.settings)]
        mating = trusted or own

        def pick(n: int) -> list[_Parent]:
            if n == 0:
                return []
            with lent_random(self.rng):
                drawn: list[Candidate] = self.toolbox.select(mating, 4 * n)
            distinct = list({one.id: one for one in drawn}.values())
            # a tournament may return the same winner every time: fill up from the best
            distinct += [one for one in mating if one not in distinct]
            return [_Parent(one.id, one.atoms) for one in distinct[:n]]

        return pick, len(mating)

    def relax(self, batch: Sequence[Candidate], generation: int) -> None:
        """Relax ``batch`` at once, credit the operators, let the best distinct ones survive."""
        relaxed = self.relaxer([one.atoms for one in batch]) if batch else []
        arrived = []
        for proposal, end in zip(batch, relaxed, strict=True):
            self.tried[proposal.origin] += 1
            reason = self._reason(end)
            if reason:
                self.rejected[reason] += 1
                continue
            arrived.append(
                Candidate(
                    id=proposal.id,
                    atoms=end.atoms,
                    origin=proposal.origin,
                    parents=proposal.parents,
                    enthalpy=float(end.enthalpy),
                    spread=float(end.spread),
                    fmax=float(end.fmax),
                    ground=self.spaces.ground(proposal.counts),
                )
            )
        before, self.pool = self.pool, _survivors([*self.pool, *arrived], self.settings)
        self._credit(arrived, before)
        self._log(generation, len(batch), len(arrived))

    def result(self) -> Evolved:
        """What was found so far."""
        names = [one.kind for one in self.operators]
        return Evolved(
            candidates=[_tidied(one) for one in self.pool],
            record={
                name: (self.tried[name], self.succeeded[name])
                for name in sorted({*names, self.fresh.kind})
            },
            statistics=[dict(row) for row in self.logbook],
            rejected=dict(sorted(self.rejected.items())),
        )

    def _candidate(self, atoms: Atoms, origin: str, parents: tuple[str, ...]) -> Candidate:
        name = f"{self.prefix}-{self.made:03d}"
        self.made += 1
        return Candidate(id=name, atoms=atoms, origin=origin, parents=parents)

    def _drawn(self, space: Space, mating: Mating) -> Operator:
        """An operator by weight, of those with enough parents; random crystals where none is."""
        usable = [
            one
            for one in self.operators
            if one.applicable(space) and one.parents <= mating(_asked(one, space))[1]
        ]
        chances = np.array([max(self.weights.get(one.kind, 0.0), 0.0) for one in usable])
        if not usable or chances.sum() <= 0:
            return self.fresh
        return usable[int(self.rng.choice(len(usable), p=chances / chances.sum()))]

    def _child(self, operator: Operator, space: Space, mating: Mating) -> Candidate | None:
        parents = mating(_asked(operator, space))[0](operator.parents)
        atoms = [self._restored(parent) for parent in parents]
        child = operator.propose(atoms, space, self.rng)
        if child is None:
            self.rejected[f"{operator.kind}: no feasible child"] += 1
            return None
        return self._candidate(child, operator.kind, tuple(parent.id for parent in parents))

    def _restored(self, parent: _Parent) -> Atoms:
        """The parent with the symmetry that relaxation on a noisy model has blurred."""
        if self.settings.parent_symprec_a == 0:
            return parent.atoms
        if parent.id not in self.restored:
            nearest = symmetrise(parent.atoms, self.settings.parent_symprec_a)
            self.restored[parent.id] = nearest or parent.atoms
        return self.restored[parent.id]

    def _reason(self, end: Relaxed) -> str:
        if end.stopped == "gate":
            return end.reason or "gate"
        numbers = (end.enthalpy, end.spread, end.fmax)
        if not all(isfinite(number) for number in numbers):
            return "prediction not finite"
        if end.fmax > self.settings.max_force_ev_per_a:
            return "forces not relaxed"
        return ""

    def _credit(self, arrived: Sequence[Candidate], before: Sequence[Candidate]) -> None:
        """A success is distinct from all that is known, and one of the lowest of the survivors.

        To be new and within 0.3 eV/atom of the best is too little: of MgSiO3 72 % of the children
        by cut and splice were, and not one of 923 came to be the best label.
        """
        ceiling = _lowest(self.pool, self.settings) + self.settings.archive_window_ev_per_atom
        trusted = [one for one in self.pool if _trusted(one, self.settings)]
        promising = {one.id for one in trusted[: max(1, round(CREDITED * self.settings.keep))]}
        seen = KnownCrystals(before)
        for one in sorted(arrived, key=_rank):
            new = not seen.has(one) and not self.known.has(one)
            seen.add(one)
            if new and one.id in promising and _rank(one)[0] <= ceiling:
                self.succeeded[one.origin] += 1

    def _log(self, generation: int, relaxed: int, kept: int) -> None:
        row = {
            "generation": generation,
            "relaxed": relaxed,
            "rejected": relaxed - kept,
            "distinct": len(self.pool),
        }
        if self.pool:
            statistics = tools.Statistics(key=lambda one: one.fitness.values[0])
            statistics.register("best_ev_per_atom", lambda values: float(np.min(values)))
            statistics.register("mean_ev_per_atom", lambda values: float(np.mean(values)))
            row |= statistics.compile(self.pool)
        self.logbook.record(**row)


def _tidied(one: Candidate) -> Candidate:
    """With exact symmetry where it is broken by rounding only: engines save k-points by it."""
    nearest = symmetrise(one.atoms, EXACT_SYMPREC)
    return one if nearest is None else replace(one, atoms=nearest)


def _size(settings: EvolutionSettings, generation: int) -> int:
    """New structures of one generation; the first ones take what does not divide."""
    share, rest = divmod(settings.candidates, settings.generations)
    return share + (1 if generation < rest else 0)


def _asked(operator: Operator, space: Space) -> str:
    """The composition that the cells of parents must have; "" where any will do."""
    return "" if operator.any_composition else space.name


def _best_known(archive: Sequence[Known], settings: EvolutionSettings) -> list[Known]:
    """The lowest labelled structures within the window, the best of each composition first."""
    ranked = sorted(archive, key=lambda one: (one.height, one.id))
    window = settings.archive_window_ev_per_atom
    near = [one for one in ranked if one.height <= ranked[0].height + window]
    places: Counter[str] = Counter()
    turns = []
    for one in near:
        turns.append(places[one.formula])
        places[one.formula] += 1
    order = sorted(range(len(near)), key=lambda place: (turns[place], place))
    # a structure on the hull that is not at its minimum misleads everything around it
    on_hull = {one.formula for one in near if one.height <= near[0].height + ON_HULL}
    limit = settings.archive_parents and max(settings.archive_parents, len(on_hull))
    return [near[place] for place in order[:limit]]


def _labelled(
    archive: Sequence[Known],
    settings: EvolutionSettings,
    rng: Generator,
    cell: str,
) -> tuple[Picker, int]:
    """Parents from the labelled structures, each of the best as likely as the next."""
    own = [one for one in archive if cell in ("", one.cell)]
    parents = [_Parent(one.id, one.atoms) for one in _best_known(own, settings)]
    return partial(_uniform, parents, rng), len(parents)


def _best_carried(carried: Sequence[Candidate], settings: EvolutionSettings) -> list[Candidate]:
    ranked = sorted(carried, key=lambda one: (not _trusted(one, settings), *_rank(one)))
    return ranked[: settings.carried]


def _uniform(parents: Sequence[_Parent], rng: Generator, n: int) -> list[_Parent]:
    """``n`` distinct parents, each as likely as the next."""
    return (
        [parents[int(place)] for place in rng.choice(len(parents), n, replace=False)] if n else []
    )


def _rank(one: Candidate) -> tuple[float, str]:
    return (one.height, one.id)


def _trusted(one: Candidate, settings: EvolutionSettings) -> bool:
    return one.spread is not None and one.spread <= settings.spread_cap_ev_per_atom


def _lowest(candidates: Sequence[Candidate], settings: EvolutionSettings) -> float:
    """Lowest height that the ensemble agrees on [eV/atom]; of all where it agrees on none."""
    trusted = [one for one in candidates if _trusted(one, settings)]
    return min((_rank(one)[0] for one in trusted or candidates), default=0.0)


def _survivors(candidates: Sequence[Candidate], settings: EvolutionSettings) -> list[Candidate]:
    """The lowest distinct structures, lowest first; of near copies the lowest stays.

    What the ensemble does not agree on comes last: its holes would crowd out everything else.
    """
    seen = KnownCrystals()
    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (not _trusted(one, settings), *_rank(one))):
        if len(kept) >= settings.keep:
            break
        if not seen.has(one):
            seen.add(one)
            kept.append(one)
    return sorted(kept, key=_rank)

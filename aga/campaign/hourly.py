"""A line per hour of what has happened: pure functions of the state and of a clock."""

from dataclasses import dataclass
from math import inf, isfinite

from aga.campaign.state import State

#: between two lines [s]
PERIOD = 3600.0


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been reached at a moment.

    Attributes:
        moment: of the clock [s].
        labels: single points that succeeded.
        failed: and those that did not.
        generations: of the genetic algorithm.
        ensembles: trained.
        best: lowest enthalpy [eV/atom]; infinite before the first label.
        stable: structures of the answer: one, or those on the hull.
    """

    moment: float
    labels: int = 0
    failed: int = 0
    generations: int = 0
    ensembles: int = 0
    best: float = inf
    stable: int = 0


def tally(state: State, moment: float) -> Tally:
    """Count what a state has."""
    return Tally(
        moment,
        len(state.labelled),
        len(state.failures),
        len(state.generations),
        len(state.models),
        state.lowest.best.enthalpy if state.labelled else inf,
        len(state.answer) if state.labelled else 0,
    )


def due(then: Tally, moment: float) -> bool:
    """Whether an hour is over; a clock that was set back begins a new one."""
    return not 0.0 <= moment - then.moment < PERIOD


def line(then: Tally, now: Tally, state: State) -> str:
    """What has happened between two moments, and what is left of the budget."""
    hours = (now.moment - then.moment) / 3600.0
    budget = state.config.budget
    return (
        f"last {hours:.1f} h: {_many(now.labels - then.labels, 'label')}, "
        f"{now.failed - then.failed} failed, "
        f"{_many(now.generations - then.generations, 'generation')}, "
        f"{_many(now.ensembles - then.ensembles, 'ensemble')}; {_best(then, now, state)}; "
        f"{state.asked} of {budget.labels} labels, {state.hours_used:.1f} of {budget.hours:g} h"
    )


def _best(then: Tally, now: Tally, state: State) -> str:
    """How far the search is."""
    if not isfinite(now.best):
        return "no label yet"
    since = f"unchanged for {_many(now.labels - state.best_since, 'label')}"
    if state.config.compositions is not None:
        return f"{_many(now.stable, 'structure')} on the hull, {since}"
    if isfinite(then.best) and now.best < then.best - 5e-5:
        since = f"{1e3 * (then.best - now.best):.1f} meV/atom lower"
    return f"best {now.best:.4f} eV/atom, {since}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"

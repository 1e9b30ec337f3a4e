"""A seeded sequence of faults on one campaign, and how it bears them."""

import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from numpy.random import Generator

from tests.campaign.processes import until
from tests.chaos import damage, deaths
from tests.chaos.theatre import RESERVE, Theatre

#: share of the faults before which the campaign may finish another result
ADVANCE = 0.6

Strike = Callable[[Theatre, Generator], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        kind: its name.
        strike: does it, and checks what the user is told.
        disk: whether it needs a disk of its own.
    """

    kind: str
    strike: Strike
    disk: bool = False


FAULTS = {
    one.kind: one
    for one in (
        Fault("worker SIGKILL", deaths.kill_part("worker")),
        Fault("nanny SIGKILL", deaths.kill_nanny),
        Fault("scheduler SIGKILL", deaths.kill_scheduler),
        Fault("engine SIGKILL", deaths.kill_part("engine")),
        Fault("watcher SIGKILL", deaths.kill_part("watcher")),
        Fault("engine SIGSTOP", deaths.freeze_engine),
        Fault("driver SIGKILL", deaths.end_driver(signal.SIGKILL)),
        Fault("driver SIGTERM", deaths.end_driver(signal.SIGTERM)),
        Fault("driver SIGINT", deaths.end_driver(signal.SIGINT)),
        Fault("second driver", deaths.second_driver),
        Fault("clock jump", deaths.clock_jump),
        Fault("full disk", deaths.full_disk, disk=True),
        Fault("read-only folder", damage.readonly_folder, disk=True),
        Fault("truncated result", damage.spoil_result(damage.truncate)),
        Fault("bit flip in a result", damage.spoil_result(damage.flip)),
        Fault("truncated proposal", damage.spoil_proposal),
        Fault("unloadable ensemble", damage.spoil_ensemble),
        Fault("truncated database", damage.spoil_database(damage.truncate)),
        Fault("zeros in the database", damage.spoil_database(damage.blank)),
        Fault("bit flip in the database", damage.spoil_database(damage.flip)),
    )
}


def attack(theatre: Theatre, counts: Mapping[str, int], rng: Generator) -> Counter[str]:
    """Inject so many faults of each kind, in random order; the campaign survives every one.

    Returns:
        Faults by kind, survived all of them; those that need a disk are left out without one.
    """
    chosen = [
        FAULTS[kind]
        for kind, count in counts.items()
        for _ in range(count)
        if theatre.disk is not None or not FAULTS[kind].disk
    ]
    theatre.start("first")
    for fault in (chosen[int(i)] for i in rng.permutation(len(chosen))):
        go_on(theatre)
        theatre.idle(rng.uniform(0.1, 1.5))
        if rng.random() < ADVANCE:
            theatre.advance()
        go_on(theatre)
        theatre.note(f"{fault.kind}, {theatre.runs.published()} results")
        fault.strike(theatre, rng)
        theatre.tally[fault.kind] += 1
        theatre.results()
    go_on(theatre)
    until(lambda: theatre.ended or theatre.at_work(), "the campaign to work again")
    return theatre.tally


def go_on(theatre: Theatre) -> None:
    """Start again what was ended; what has finished gets a larger budget."""
    if not theatre.ended:
        return
    if theatre.finished():
        theatre.budget += 2 * RESERVE
    theatre.start("after an end")

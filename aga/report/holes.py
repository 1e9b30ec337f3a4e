"""Holes of the potential: structures that it likes and the engine hates, and what they cost.

A label is in a hole when its prediction was as good as the best label before it, or nearly, and the
engine found it far higher than the ensemble could know. What was asked for to learn something new
(predicted high, or with a spread that allows for the error) is none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from aga.campaign.state import Labelled, State
from aga.search.neighbours import neighbours
from aga.search.similarity import DIFFERENT, KnownCrystals
from potentials.structures import volume_of

#: computed above predicted by more than this [eV/atom] ...
EXCESS = 0.1
#: ... and by more than so many calibrated spreads ...
SPREADS = 3.0
#: ... where it was predicted at most this far above the lowest label before it [eV/atom]
LIKED = 0.1
#: bonds shorter than this share of the covalent radii, and volumes off by more than this share, are
#: named as the reason
SHORT, VOLUME = 0.8, 0.25
#: holes that a table shows
SHOWN = 10


@dataclass(frozen=True, eq=False, slots=True)
class Hole:
    """Labels of one form, or nearly, that the potential had placed too low.

    Attributes:
        labels: in their order; their number is the price.
        reason: what is unusual about the worst of them.
    """

    labels: tuple[Labelled, ...]
    reason: str

    @property
    def worst(self) -> Labelled:
        """The label furthest above its prediction."""
        return max(self.labels, key=excess)


def holes(state: State) -> list[Hole]:
    """All holes that were paid for, the deepest first."""
    homes = {one.id: group.id for group in state.groups for one in group.members}
    places: dict[str, int] = {}
    seen = KnownCrystals()
    found: list[list[Labelled]] = []
    where: list[int] = []
    for one in _in_holes(state):
        near = seen.within(one.known, DIFFERENT)
        home = homes[one.known.id]
        place = places.get(home, where[near[0]] if near else len(found))
        if place == len(found):
            found.append([])
        found[place].append(one)
        places.setdefault(home, place)
        where.append(place)
        seen.add(one.known)
    made = [Hole(tuple(labels), _reason(max(labels, key=excess), state)) for labels in found]
    return sorted(made, key=lambda hole: (-excess(hole.worst), hole.worst.known.id))


def price(found: list[Hole]) -> int:
    """Labels that all of them took."""
    return sum(len(hole.labels) for hole in found)


def sentence(found: list[Hole]) -> str:
    """How many there are and what they cost, in words."""
    if not found:
        return "holes of the potential: none"
    number, paid = len(found), price(found)
    most = max(len(hole.labels) for hole in found)
    return (
        f"holes of the potential: {number} structure{'s' if number > 1 else ''} predicted low and "
        f"found high, {paid} label{'s' if paid > 1 else ''} in all, at most {most} for one"
    )


def excess(one: Labelled) -> float:
    """How far the engine lies above the prediction [eV/atom]."""
    return float(one.known.enthalpy - (np.inf if one.predicted is None else one.predicted))


def _in_holes(state: State) -> Iterator[Labelled]:
    """Labels of the search that belong to a hole, in their order.

    Heights are those above the hull as it is now: what it was at the time is not known any more.
    """
    lowest = np.inf
    for one in state.labelled:
        if one.purpose in {"search", "audit"} and one.predicted is not None:
            surprise = max(EXCESS, SPREADS * (one.spread or 0.0))
            if one.predicted - one.known.ground <= lowest + LIKED and excess(one) > surprise:
                yield one
        lowest = min(lowest, one.known.height)


def _reason(one: Labelled, state: State) -> str:
    """What is unusual about a structure, or its largest force where nothing else is."""
    atoms, reasons = one.known.atoms, []
    pairs = neighbours(atoms, 5.0)
    radii = covalent_radii[atoms.numbers]
    if len(pairs.distances):
        shares = pairs.distances / (radii[pairs.first] + radii[pairs.second])
        place = int(shares.argmin())
        if shares[place] < SHORT:
            names = "-".join(sorted(atoms.symbols[[pairs.first[place], pairs.second[place]]]))
            reasons.append(f"{names} only {pairs.distances[place]:.2f} Å apart")
    own = (other for other in state.known if other.formula == one.known.formula)
    best = min(own, key=lambda other: other.enthalpy).atoms
    if usual := volume_of(best) / len(best):
        change = volume_of(atoms) / len(atoms) / usual - 1
        if abs(change) > VOLUME:
            size = "larger" if change > 0 else "smaller"
            reasons.append(f"volume {abs(100 * change):.0f} % {size} than the best's")
    return ", ".join(reasons) or f"forces up to {one.known.fmax:.1f} eV/Å"

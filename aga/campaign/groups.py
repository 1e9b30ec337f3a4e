"""Distinct structures: which labels are of the same one."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log
from typing import overload

import numpy as np
from ase import Atoms

from aga.search.candidate import Known
from aga.search.similarity import (
    FORM_VOLUME,
    FloatArray,
    KnownSet,
    at_room,
    fingerprint,
    room,
    same_form,
)

#: a member confirms its structure when it lies at most this far above the lowest one [eV/atom]
TIE = 0.002
#: fingerprints at a common volume that are further apart than this are of two forms: crystals that
#: `same_form` lets through were at most 0.15 apart at a volume of 0.7 to 1.4 times their own, and
#: clusters cannot be
APART = 0.2
#: classes of volumes differ by this factor, and no form spans more
_RATIO = 1 / (1 - FORM_VOLUME)


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
        relaxed = [one for one in self.lowest() if one.at_minimum(fmax, stress)]
        return min(relaxed, key=lambda one: (one.enthalpy, one.id), default=None)

    def lowest(self) -> list[Known]:
        """The members that are as low as the best."""
        limit = self.best.enthalpy + TIE
        return [one for one in self.members if one.enthalpy <= limit]


class Groups(Sequence[Group]):
    """All distinct structures in the order of their first labels.

    Their ranking follows every label, so that nobody sorts them all to see the lowest.
    """

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._by_id: dict[str, Group] = {}
        self._ranks: list[tuple[float, str]] = []
        self._ranked: list[Group] = []
        self._rank_of: dict[str, tuple[float, str]] = {}
        self._forms: dict[tuple[str, int], _Forms] = {}
        self._unseen: list[tuple[str, Known]] = []

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[Group]:
        return iter(self._groups)

    @overload
    def __getitem__(self, place: int) -> Group: ...
    @overload
    def __getitem__(self, place: slice) -> list[Group]: ...
    def __getitem__(self, place: int | slice) -> Group | list[Group]:
        return self._groups[place]

    @property
    def ranking(self) -> list[Group]:
        """Lowest above their ground first."""
        return [*self._ranked]

    def first(self, n: int) -> list[Group]:
        """The first of the ranking."""
        return self._ranked[:n]

    def lowest(self, height: float) -> list[Group]:
        """Those at most so high above their ground [eV/atom], lowest first."""
        return self._ranked[: bisect_left(self._ranks, (np.nextafter(height, np.inf), ""))]

    def put(self, home: str, known: Known) -> None:
        """Add a label to the group of this id, which is made if it is not there."""
        group = self._by_id.get(home)
        if group is None:
            group = self._by_id[home] = Group(home, [known])
            self._groups.append(group)
        else:
            self._take_out(group)
            group.members.append(known)
        self._rank(group)
        if group.best is known:
            self._unseen.append((home, known))

    def rank_anew(self) -> None:
        """After the ground of structures has moved."""
        self._ranked = sorted(self._groups, key=_rank)
        self._ranks = [_rank(group) for group in self._ranked]
        self._rank_of = {rank[1]: rank for rank in self._ranks}

    def homes(self, labels: Iterable[Known]) -> list[str]:
        """Ids of the groups that labels belong to if they are put there in their order.

        The home of a label is the lowest group whose structure it is; a group of its own where
        there is none. Nothing is changed.
        """
        changed: dict[str, Group] = {}
        found = []
        for known in labels:
            near = {**{group.id: group for group in self._alike(known)}, **changed}
            home = _home_of(sorted(near.values(), key=_rank), known)
            found.append(home)
            before = near[home].members if home in near else []
            changed[home] = Group(home, [*before, known])
        return found

    def _alike(self, known: Known) -> list[Group]:
        """All groups that may be of one form with a structure, and few others."""
        for home, best in self._unseen:
            place = _class(best)
            self._forms.setdefault((best.formula, place), _Forms(place)).add(home, best.atoms)
        self._unseen.clear()
        middle = _class(known)
        shelves = [self._forms.get((known.formula, middle + step)) for step in (-1, 0, 1)]
        homes = {home: None for forms in shelves if forms for home in forms.near(known.atoms)}
        return [self._by_id[home] for home in homes]

    def _rank(self, group: Group) -> None:
        rank = _rank(group)
        place = bisect_left(self._ranks, rank)
        self._ranks.insert(place, rank)
        self._ranked.insert(place, group)
        self._rank_of[group.id] = rank

    def _take_out(self, group: Group) -> None:
        place = bisect_left(self._ranks, self._rank_of[group.id])
        del self._ranks[place], self._ranked[place]


class _Forms:
    """Fingerprints of structures of one formula and nearly one volume, all at the same volume.

    Args:
        place: the class of their volumes.
    """

    def __init__(self, place: int) -> None:
        self._volume = _RATIO ** (place + 0.5)
        self._known = KnownSet()
        self._homes: list[str] = []

    def add(self, home: str, atoms: Atoms) -> None:
        """Know that a group looks like this."""
        # half the memory, and far more exact than is needed here
        self._known.add(self._form(atoms).astype(np.float32))
        self._homes.append(home)

    def near(self, atoms: Atoms) -> list[str]:
        """Groups that may have this form."""
        return [self._homes[place] for place in self._known.within(self._form(atoms), APART)]

    def _form(self, atoms: Atoms) -> FloatArray:
        return fingerprint(at_room(atoms, self._volume))


def _class(known: Known) -> int:
    """Structures of one form lie in the same class of volumes or in neighbouring ones."""
    return floor(log(room(known.atoms)) / log(_RATIO))


def _rank(group: Group) -> tuple[float, str]:
    return (group.best.height, group.id)


def _home_of(ranked: Sequence[Group], known: Known) -> str:
    """Id of the first group whose structure this is; its own id where there is none."""
    like = (
        group
        for group in ranked
        if known.formula == group.best.formula and same_form(known.atoms, group.best.atoms)
    )
    home = next(like, None)
    return known.id if home is None else home.id

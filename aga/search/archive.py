"""The labelled structures of a search, in their order, and which of them a crystal is near to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload
from weakref import WeakKeyDictionary

from aga.search.candidate import Crystal, Known
from aga.search.similarity import DUPLICATE, KnownCrystals, apart


class Archive(Sequence[Known]):
    """All labels; one that grows with its campaign answers without being made anew."""

    def __init__(self, known: Iterable[Known] = ()) -> None:
        self._known: list[Known] = []
        self._crystals = KnownCrystals()
        self._far: WeakKeyDictionary[Crystal, tuple[int, float]] = WeakKeyDictionary()
        for one in known:
            self.add(one)

    @classmethod
    def of(cls, known: Sequence[Known]) -> "Archive":
        """These structures; themselves, where they are an archive already."""
        return known if isinstance(known, cls) else cls(known)

    def add(self, one: Known) -> None:
        """Know one more."""
        self._known.append(one)
        self._crystals.add(one)

    @property
    def several(self) -> bool:
        """Whether there is more than one composition."""
        return self._crystals.formulas > 1

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._known)

    @overload
    def __getitem__(self, place: int) -> Known: ...
    @overload
    def __getitem__(self, place: slice) -> list[Known]: ...
    def __getitem__(self, place: int | slice) -> Known | list[Known]:
        return self._known[place]

    def within(self, crystal: Crystal, threshold: float = DUPLICATE) -> list[Known]:
        """Those whose fingerprints are nearer than ``threshold``, nearest first."""
        return [self._known[place] for place in self._crystals.within(crystal, threshold)]

    def distance(self, crystal: Crystal) -> float:
        """To the nearest; 2, the largest there is, where none has its formula."""
        return self._crystals.distance(crystal)

    def distances(self, crystals: Sequence[Crystal]) -> list[float]:
        """`distance` of each; who is asked for again is compared with what is new since then."""
        now = len(self._known)
        groups: dict[int, list[Crystal]] = {}
        for one in crystals:
            groups.setdefault(self._far.get(one, (0, 0.0))[0], []).append(one)
        for seen, group in groups.items():
            if seen == 0:
                found = [self.distance(one) for one in group]
            else:
                nearer = apart(group, self._known[seen:])
                found = [min(self._far[one][1], d) for one, d in zip(group, nearer, strict=True)]
            for one, far in zip(group, found, strict=True):
                self._far[one] = now, far
        return [self._far[one][1] for one in crystals]

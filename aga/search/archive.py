"""The labelled structures of a search, in their order, and which of them a crystal is near to."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from aga.search.candidate import Crystal, Known
from aga.search.similarity import DUPLICATE, KnownCrystals


class Archive(Sequence[Known]):
    """All labels; one that grows with its campaign answers without being made anew."""

    def __init__(self, known: Iterable[Known] = ()) -> None:
        self._known: list[Known] = []
        self._crystals = KnownCrystals()
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

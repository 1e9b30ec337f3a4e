"""How little candidates are like anything that is labelled or asked for."""

from collections.abc import Sequence

import numpy as np

from aga.search.archive import Archive
from aga.search.candidate import Candidate
from aga.search.similarity import FloatArray, apart


class Novelty:
    """How far candidates are from all that is labelled or asked for.

    Args:
        candidates: offered, and worth a look.
        archive: what is labelled.
        asked: what is being labelled.
    """

    def __init__(
        self, candidates: Sequence[Candidate], archive: Archive, asked: Sequence[Candidate]
    ) -> None:
        found = zip(archive.distances(candidates), apart(candidates, asked), strict=True)
        self._far = {one.id: min(both) for one, both in zip(candidates, found, strict=True)}
        self._alike: dict[str, list[Candidate]] = {}
        for one in candidates:
            self._alike.setdefault(one.formula, []).append(one)
        self._prints: dict[str, FloatArray] = {}

    def lateness(self, one: Candidate) -> float:
        """The least like anything comes first; last what was not worth a look."""
        return -self._far.get(one.id, 0.0)

    def take(self, taken: Candidate) -> None:
        """Another one is asked for."""
        alike = self._alike.get(taken.formula)
        if alike is None:
            return
        if taken.formula not in self._prints:
            self._prints[taken.formula] = np.array([one.fingerprint for one in alike])
        common = self._prints[taken.formula] @ taken.fingerprint
        for one, share in zip(alike, common.tolist(), strict=True):
            self._far[one.id] = min(self._far[one.id], max(0.0, 1.0 - share))

"""A campaign whose workers invent their results: random, failing, in any order."""

from typing import Any

import numpy as np

from aga.campaign import policy
from aga.campaign.state import Record
from aga.campaign.store import Store
from aga.campaign.tasks import task_key
from aga.search.candidate import Candidate
from tests.campaign.builders import SLOTS, candidate, generation, label


class Invented:
    """Turns of the loop without workers.

    Args:
        store: the history.
        seed: of all that is random.
        failing: share of labels, polishes and relaxations that fail.
    """

    def __init__(self, store: Store, seed: int, failing: float) -> None:
        self.store = store
        self._rng = np.random.default_rng(seed)
        self._failing = failing

    def turn(self) -> list[Record]:
        """Plan what is due and return it; close one task that is outstanding."""
        state = self.store.state()
        due = policy.due(state, SLOTS)
        planned = self.store.plan(due, lambda n, d: task_key(state.config, n, d))
        waiting = state.outstanding()
        assert planned or waiting or state.finished, "nothing is due and nothing runs"
        if not waiting:
            return planned
        # without overlap the loop records in the order of decision
        place = int(self._rng.integers(len(waiting))) if state.config.overlap else 0
        record = waiting[place]
        self.store.record(record.ordinal, {**self._outcome(record), "meta": {}})
        return planned

    def reopen(self) -> None:
        """As after a restart."""
        self.store.close()
        self.store = Store(self.store.run_dir, self.store.config)

    def _outcome(self, record: Record) -> dict[str, Any]:
        if self._rng.random() < 0.1 and record.kind in ("label", "polish", "relax"):
            return _failure("transient")
        # a campaign does not survive the failure of its other tasks
        rate = self._failing if record.kind in ("label", "polish", "relax") else 0.02
        if self._rng.random() < rate * (self._failing > 0):
            return _failure("permanent")
        return {"ok": getattr(self, f"_{record.kind}")(record)}

    def _candidate(self, name: str, *, predicted: bool = True) -> Candidate:
        """One of twelve structures; those of lower number are lower."""
        number = int(self._rng.integers(12))
        energy = 1.0 + 0.02 * number + float(self._rng.normal(0, 0.01))
        shift = float(self._rng.uniform(0, 0.05))
        return candidate(name, number, energy if predicted else None, 0.03, shift=shift)

    def _label(self, record: Record) -> dict[str, Any]:
        return {"label": self._invent(Candidate.from_dict(record.inputs["candidate"])).to_dict()}

    def _invent(self, one: Candidate) -> Any:
        number = round(3 * float(np.log(one.atoms.cell[0, 0] / 2.8) / np.log(1.04)))
        fmax = float(self._rng.choice([1e-3, 0.2, 1.0]))
        return label(1.0 + 0.02 * number + 0.003 * fmax, fmax)

    def _seed(self, record: Record) -> dict[str, Any]:
        count = record.inputs["count"]
        made = [
            self._candidate(f"s{record.ordinal}-{i}", predicted=False).to_dict()
            for i in range(count)
        ]
        return {"candidates": made, "pool": []}

    def _train(self, record: Record) -> dict[str, Any]:
        del record
        return {"facts": {"calibration": float(self._rng.uniform(0.5, 3.0))}}

    def _evolve(self, record: Record) -> dict[str, Any]:
        count = int(self._rng.integers(8))
        return generation(*(self._candidate(f"e{record.ordinal}-{i}") for i in range(count)))

    def _polish(self, record: Record) -> dict[str, Any]:
        return {"candidate": self._candidate(f"p{record.ordinal}").to_dict()}

    def _relax(self, record: Record) -> dict[str, Any]:
        points = []
        for i in range(int(self._rng.integers(1 + record.inputs["points"]))):
            one = self._candidate(f"r{record.ordinal}-{i}", predicted=False)
            key = f"{record.key}-{i}"
            data = {"candidate": one.to_dict(), "label": self._invent(one).to_dict(), "key": key}
            points.append(data)
        return {"points": points, "converged": bool(self._rng.integers(2))}


def _failure(kind: str) -> dict[str, Any]:
    return {"failure": {"kind": kind, "reason": "invented", "log": ""}}

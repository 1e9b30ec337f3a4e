"""What may change in the file of a run that exists already.

A run may get more budget, other machines, another way of searching. What defines its question or
makes its labels comparable may not change: composition, pressure, the settings of the engine that
alter its numbers (`Engine.key`), the seed of its random streams, and the form of its potentials,
which are trained warm from the last ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aga.config import CampaignConfig, resolved

_REFUSED = {
    "version": "the format of the run",
    "composition": "the question",
    "compositions": "the question",
    "pressure_gpa": "the question",
    "seed": "the random streams of the run",
    "potential": "the form of the potentials, which are trained from the last ones",
}
_ENGINE = "the numbers in the labels, which must not be mixed"


@dataclass(frozen=True, slots=True)
class Change:
    """One key that differs.

    Attributes:
        key: dotted path, e.g. ``budget.labels``.
        old: value in the run; None where the key is absent.
        new: value in the file; None where the key is absent.
        refused: what the change would alter; "" where it is allowed.
    """

    key: str
    old: Any
    new: Any
    refused: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the run can go on with it."""
        return not self.refused

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def changes(old: CampaignConfig, new: CampaignConfig) -> list[Change]:
    """All differences between the configuration of a run and the file it is resumed with."""
    same_labels = old.engine.key() == new.engine.key()
    before, after = resolved(old), resolved(new)
    found = []
    for key, value, other in _differences(before, after, ()):
        refused = _REFUSED.get(key[0], "")
        if key[0] == "engine" and not same_labels and _alters_labels(old, new, key[1]):
            refused = _ENGINE
        found.append(Change(".".join(key), value, other, refused))
    return found


def refusal(found: Sequence[Change]) -> str:
    """What to tell the user about changes that are not allowed; "" if all are."""
    refused = [change for change in found if not change.allowed]
    if not refused:
        return ""
    lines = [f"  {change} (would change {change.refused})" for change in refused]
    return "\n".join(
        [
            "this run was started with other settings that cannot change:",
            *lines,
            "Put the old values back to go on with this run, or start a new one: "
            "aga run FILE --run-dir NEW_FOLDER",
        ]
    )


def _alters_labels(old: CampaignConfig, new: CampaignConfig, name: str) -> bool:
    """Whether this one field of the engine changes its key."""
    if old.engine.kind != new.engine.kind:
        return True
    value = getattr(new.engine, name)
    return old.engine.model_copy(update={name: value}).key() != old.engine.key()


def _differences(
    old: Any, new: Any, key: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Leaves that differ; lists are leaves."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _differences(old.get(name), new.get(name), (*key, name))
    elif old != new:
        yield key, old, new

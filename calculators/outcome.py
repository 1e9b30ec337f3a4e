"""Failure: a calculation that gave no label, as a value that is recorded and shown."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


class MachineError(Exception):
    """A calculation ended because of the machine, not of the structure: killed, out of memory."""


class EngineError(Exception):
    """An engine's program ended without an answer, for a reason it gave."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no label.

    Attributes:
        kind: ``permanent`` would fail again (two atoms on one place, SCF not converged on any
            rung); ``transient`` has to do with the machine (killed, deadline, memory).
        reason: one sentence for the user.
        log: path of the log that tells more, or empty.
    """

    kind: Literal["transient", "permanent"]
    reason: str
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Failure":
        """The inverse of `to_dict`.

        Raises:
            ValueError: ``kind`` is neither transient nor permanent.
        """
        kind = data["kind"]
        if kind not in ("transient", "permanent"):
            raise ValueError(f"Failure.kind must be 'transient' or 'permanent', got {kind!r}")
        return cls(kind=kind, reason=str(data["reason"]), log=str(data.get("log", "")))

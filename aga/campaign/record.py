"""What was decided, and what came of it: the pieces of a campaign's history."""

import json
from typing import Any, Literal, Self

Progress = Literal["queued", "done", "failed"]

#: kinds of tasks whose inputs name labels
NAMING = ("evolve", "train", "polish")


class Packed:
    """Plain JSON data, kept as text for as long as nobody works with it.

    Text takes a third of the memory. Read while it rests, it is decoded every time.
    """

    __slots__ = ("_data", "_text")

    def __init__(self, data: dict[str, Any] | None, text: str = "") -> None:
        self._data, self._text = data, text

    @property
    def data(self) -> dict[str, Any]:
        """The data."""
        if self._data is not None:
            return self._data
        found: dict[str, Any] = json.loads(self._text)
        return found

    def wake(self) -> None:
        """Hold the data until the next rest."""
        self._data = self.data

    def rest(self) -> None:
        """Hold the text alone."""
        self._text = self._text or json.dumps(self._data, separators=(",", ":"))
        self._data = None


class Record:
    """A decision in the campaign's history and what came of it.

    Args:
        ordinal: its place in the history.
        kind: of the task, or of the note.
        key: content key of the result.
        inputs: plain JSON data.
        progress: how far it is.
        outcome: plain JSON data; empty until there is one.
        attempts: times that it was started.
    """

    __slots__ = ("_inputs", "_outcome", "attempts", "key", "kind", "ordinal", "progress")

    def __init__(
        self,
        ordinal: int,
        kind: str,
        key: str,
        inputs: dict[str, Any] | Packed,
        progress: Progress = "queued",
        outcome: dict[str, Any] | Packed | None = None,
        attempts: int = 0,
    ) -> None:
        self.ordinal, self.kind, self.key = ordinal, kind, key
        self.progress, self.attempts = progress, attempts
        self._inputs = inputs if isinstance(inputs, Packed) else Packed(inputs)
        self._outcome = outcome if isinstance(outcome, Packed) else Packed(outcome or {})

    @property
    def inputs(self) -> dict[str, Any]:
        """What was decided, as plain JSON data."""
        return self._inputs.data

    @property
    def outcome(self) -> dict[str, Any]:
        """What came of it; empty until there is something."""
        return self._outcome.data

    @outcome.setter
    def outcome(self, data: dict[str, Any]) -> None:
        self._outcome = Packed(data)

    @property
    def ok(self) -> dict[str, Any]:
        """What a finished task gave."""
        found: dict[str, Any] = self.outcome["ok"]
        return found

    def undone(self, progress: Progress) -> Self:
        """The same decision as it was before its outcome."""
        return type(self)(
            self.ordinal, self.kind, self.key, self._inputs, progress, attempts=self.attempts
        )

    def wake(self) -> None:
        """Make ready for much reading."""
        self._inputs.wake()

    def rest(self) -> None:
        """Take little room: what it says was taken in."""
        self._outcome.rest()
        # names of labels are shared between all records that have them: as text they are not
        if self.kind not in NAMING:
            self._inputs.rest()

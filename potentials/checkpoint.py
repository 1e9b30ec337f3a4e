"""A training that was interrupted goes on where it was: one file, replaced as a whole."""

import os
import time
from pathlib import Path
from typing import Any

import torch

#: seconds between two checkpoints: a second lost by a crash costs less than a second of writing
PERIOD_S = 20.0


class Checkpoint:
    """The file of one training.

    Args:
        path: of the file; its folder must exist.
        fingerprint: what the state belongs to; a file of other work is left aside.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path, self._fingerprint = path, fingerprint
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether the last one is long enough ago."""
        return time.monotonic() - self._last >= PERIOD_S

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, or leave the previous one as it is."""
        made = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            torch.save({"fingerprint": self._fingerprint, "state": state}, made)
            made.replace(self._path)
        finally:
            # there only if writing failed, for want of space, say
            made.unlink(missing_ok=True)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state of the same training, or None."""
        if not self._path.is_file():
            return None
        found = torch.load(self._path, weights_only=True, map_location="cpu")
        if found["fingerprint"] != self._fingerprint:
            return None
        state: dict[str, Any] = found["state"]
        return state

    def remove(self) -> None:
        """Nothing to go on from any more."""
        self._path.unlink(missing_ok=True)

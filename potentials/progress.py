"""What a fit says of itself while it runs, and where it keeps what it has reached."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit is.

    Attributes:
        stage: "descriptors", "linear term" or "networks".
        step, steps: done and planned at most.
        train_loss: mean loss of the members on their training labels (NaN: not yet known).
        held_out: on their held-out labels.
    """

    stage: str
    step: int
    steps: int
    train_loss: float = float("nan")
    held_out: float = float("nan")


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a fit does beside fitting; nothing by default.

    Attributes:
        progress: called with every progress.
        checkpoint: file from which an interrupted training of networks goes on; written from time
            to time, removed at the end. Its folder must exist.
    """

    progress: Callable[[Progress], None] | None = None
    checkpoint: Path | None = None

    def tell(self, progress: Progress) -> None:
        """Hand a progress on, if anybody listens."""
        if self.progress is not None:
            self.progress(progress)


#: nobody listens, nothing is kept
NO_HOOKS = Hooks()

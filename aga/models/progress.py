"""The bar that a training shows: on a terminal it moves, elsewhere a line begins each stage."""

import math
from typing import Any, Protocol, Self, TextIO


class Step(Protocol):
    """What a training says of itself: `potentials.progress.Progress`."""

    @property
    def stage(self) -> str:
        """What is being done."""

    @property
    def step(self) -> int:
        """How many steps of the stage are done."""

    @property
    def steps(self) -> int:
        """How many there are at most."""

    @property
    def train_loss(self) -> float:
        """Loss on the labels that are trained on."""

    @property
    def held_out(self) -> float:
        """Loss on the labels that are held out."""


class Bar:
    """Shows the steps it is called with, for as long as its block runs.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: Any = None
        self._stage, self._total = "", 0
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._bar = _bar(self._stream)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: Step) -> None:
        """Show one step."""
        if step.stage != self._stage:
            self._begin(step)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=step.step, total=step.steps, losses=_losses(step)
            )

    def _begin(self, step: Step) -> None:
        if self._task is not None:
            # the stage before is over, whether or not it said so
            self._bar.update(self._task, completed=self._total)
        self._stage, self._total = step.stage, step.steps
        if self._bar is None:
            bound = "" if step.steps == 1 else f": at most {step.steps} steps"
            self._stream.write(f"{step.stage}{bound}\n")
            self._stream.flush()
        else:
            self._task = self._bar.add_task(step.stage, total=step.steps, losses="")


def _losses(step: Step) -> str:
    """Nothing as long as they are not known."""
    if math.isnan(step.train_loss):
        return ""
    return f"loss {step.train_loss:.3g}, held out {step.held_out:.3g}"


def _bar(stream: TextIO) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}"),
        console=Console(file=stream),
    )

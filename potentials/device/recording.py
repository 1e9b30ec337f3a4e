"""Running one step many times, as it is or recorded as a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch

#: steps made before one is recorded, so that libraries have their workspace
WARM_UP = 3


class Stepper:
    """Repeats a step that works in place on tensors that stay where they are.

    Args:
        once: one step.
        device: where it runs.
        graph: record it, so that a step is a single launch; CUDA only.

    Raises:
        ValueError: a graph is wanted on another device.
    """

    def __init__(self, once: Callable[[], None], device: torch.device, *, graph: bool) -> None:
        if graph and device.type != "cuda":
            raise ValueError(
                f"graph=True records a CUDA graph, but the device is {device}; leave it out"
            )
        self.once, self.device, self.graph = once, device, graph
        self.recorded: Any = None

    def run(self, count: int) -> None:
        """Make a number of steps."""
        if not self.graph:
            for _ in range(count):
                self.once()
            return
        done = 0 if self.recorded is not None else self._record(count)
        for _ in range(count - done):
            self.recorded.replay()

    def _record(self, count: int) -> int:
        """Record a step after some real ones on a stream of their own; how many were made."""
        made = min(count, WARM_UP)
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            for _ in range(made):
                self.once()
        torch.cuda.current_stream(self.device).wait_stream(stream)
        recorded = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recorded):
            self.once()
        self.recorded = recorded
        return made

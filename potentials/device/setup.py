"""How the device path works: precision, list, batch, and what it may use."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Setup:
    """Settings that change speed and rounding, not what is found.

    Attributes:
        dtype: of descriptors, networks and pair forces.
        state_dtype: of positions, cells, sums of energies and everything FIRE keeps.
        skin: the neighbour list reaches this far beyond the cutoff [Å]; a structure that has
            moved too far for its list waits for the next one.
        stride: steps between two looks of the host, which swaps structures and renews lists.
        most: most structures in a batch.
        memory: bytes that a batch may use; what the device has free where it is None.
        backend: of torch.compile, e.g. "inductor"; empty: none. Compiling takes up to a minute.
        graph: record a step as CUDA graph; CUDA only.
    """

    dtype: torch.dtype = torch.float32
    state_dtype: torch.dtype = torch.float64
    skin: float = 0.6
    stride: int = 4
    most: int = 4096
    memory: int | None = None
    backend: str = ""
    graph: bool = False

    def __post_init__(self) -> None:
        if self.skin <= 0 or self.stride < 1 or self.most < 1:
            raise ValueError(
                f"Setup: skin {self.skin}, stride {self.stride}, most {self.most}; expected a "
                "skin above 0 Å and at least 1 step and 1 structure"
            )

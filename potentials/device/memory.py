"""How many structures go into a batch."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from potentials.device.dense import forward

if TYPE_CHECKING:
    from potentials.device.model import Model
    from potentials.device.neighbours import Lists
    from potentials.device.setup import Setup
    from potentials.device.state import State

#: used where neither the settings nor the device say what there is [bytes]
ASSUMED = 2**30
#: share of the free memory that a batch is made for
SHARE = 0.8
#: what an evaluation takes at its peak, over what it keeps for its derivatives
PEAK = 2.0


def batch_size(
    free_bytes: int, per_atom_bytes: float, n_atoms: int, most: int, *, share: float = SHARE
) -> int:
    """Number of structures that fit into memory, from 1 to ``most``.

    Args:
        free_bytes: what may be used.
        per_atom_bytes: what one atom takes at the peak of an evaluation.
        n_atoms: atoms of a structure.
        most: largest number wanted.
        share: of the free memory to plan with.
    """
    fitting = int(share * free_bytes / max(per_atom_bytes * n_atoms, 1.0))
    return max(1, min(fitting, most))


def free_bytes(device: torch.device, setup: "Setup") -> int:
    """What a batch may use."""
    if setup.memory is not None:
        return setup.memory
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # what this process has reserved and does not use is free as well
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return ASSUMED


def bytes_per_atom(state: "State", lists: "Lists", model: "Model") -> float:
    """Memory that an evaluation takes for each atom, from what it keeps for a few structures."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    solid = torch.ones_like(state.status, dtype=torch.bool)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        # the tensors are held until here, so that no address is seen twice
        held = forward(state, lists, model, solid)
    own = sum(tensor[0].nbytes for tensor in lists) * len(state.size)
    del held
    return (PEAK * sum(kept.values()) + own) / state.species.numel()

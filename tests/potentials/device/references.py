"""What is compared with, and a guard against looks at the device."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from potentials.device import Setup
from potentials.device.deck import Course, Deck
from potentials.device.fire import Rules
from potentials.device.model import model_of
from potentials.device.state import state_of
from potentials.relax_torch import relax as in_torch

CPU = torch.device("cpu")
#: nothing is rounded away, so that ends can be compared to the last digits
EXACT = Setup(dtype=torch.float64)


def reference(structures, ensemble, **changes):
    """The ends that the torch reference finds."""
    options = {"pressure": 0.0, "fmax": 0.05, "max_steps": 200, "gates": None, "offsets": None}
    return in_torch(structures, ensemble, **(options | changes))


def course_of(ensemble, *, gates=None, device=CPU, setup=EXACT):
    """Model and rules of a relaxation without pressure."""
    rules = Rules.of(ensemble, gates, (0.0, 0.05, 200)).to(device, setup.dtype)
    return Course(model_of(ensemble, device, setup), rules, setup, device)


def deck_of(structures, ensemble, course, width=96):
    """A batch of all structures, with lists."""
    members = len(ensemble.linear)
    state = state_of(
        structures, ensemble.elements, members, course.setup.state_dtype, crystals=True
    )
    species = torch.where(state.real, state.species, -1).numpy()
    owners = torch.arange(len(structures)).numpy()
    deck = Deck(state, owners, species, course, width)
    deck.renew()
    return deck


class LookError(AssertionError):
    """An operation makes the host wait for the device, or moves data between them."""


class NoLooks(TorchDispatchMode):
    """Refuses operations whose result or size the host has to know, and constants of the host."""

    names = frozenset(
        {
            "_linalg_check_errors",
            "_local_scalar_dense",
            "_unique2",
            "bincount",
            "equal",
            "is_nonzero",
            "item",
            "lift_fresh",
            "linalg_inv",
            "masked_select",
            "nonzero",
            "repeat_interleave",
            "unique_consecutive",
            "unique_dim",
        }
    )

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        del types
        name = func.__name__.split(".")[0]
        if name in self.names:
            raise LookError(name)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name.startswith("index") and any(
            leaf.dtype in (torch.bool, torch.uint8)
            for leaf in tree_leaves(args[1])
            if isinstance(leaf, torch.Tensor)
        ):
            raise LookError(f"{name} with a mask")
        made = func(*args, **(kwargs or {}))
        held = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        # a number alone may come from the host: it travels with the launch, but for a choice
        alone = name != "where"
        places = {leaf.device.type for leaf in [*given, *held] if leaf.dim() > 0 or not alone}
        if len(places) > 1:
            raise LookError(f"{name} between {' and '.join(sorted(places))}")
        return made

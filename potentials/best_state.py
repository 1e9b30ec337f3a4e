"""The best state of each member that a training has met: no network at all is the first."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potentials.network import Networks


def silent(networks: Networks) -> Networks:
    """A copy whose output is zero."""
    made = copy.deepcopy(networks)
    with torch.no_grad():
        made.weights[-1].zero_()
        made.biases[-1].zero_()
    return made


class Best:
    """The best state of each member so far; begins with no network at all."""

    def __init__(self, start: Networks, learned: Sequence[Tensor], error: Tensor) -> None:
        self.networks = start
        self.learned = [values.detach().clone() for values in learned]
        self.error = error
        self.last_gain = 0
        self.gained = False

    def look(
        self, epoch: int, networks: Networks, learned: Sequence[Tensor], error: Tensor
    ) -> None:
        """Take over the members whose held-out error fell; NaN never counts as lower.

        Parameters that members share are taken over with all members, where their mean fell.
        """
        better = error < self.error
        if learned:
            better = torch.full_like(better, bool(error.nanmean() < self.error.nanmean()))
        if not bool(better.any()):
            return
        self.last_gain, self.gained = epoch, True
        self.error = torch.where(better, error, self.error)
        self.learned = [values.detach().clone() for values in learned]
        with torch.no_grad():
            for mine, theirs in zip(self.networks.parameters(), networks.parameters(), strict=True):
                mine[:, better] = theirs[:, better]

    def state(self) -> dict[str, Any]:
        """All that changes, as plain data and tensors."""
        return {
            "networks": self.networks.state_dict(),
            "learned": self.learned,
            "error": self.error,
            "last_gain": self.last_gain,
            "gained": self.gained,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.networks.load_state_dict(state["networks"])
        self.learned, self.error = state["learned"], state["error"].to(self.error)
        self.last_gain, self.gained = int(state["last_gain"]), bool(state["gained"])

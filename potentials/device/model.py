"""An ensemble's parameters on the device, and its atomic energies from descriptors.

Atoms stand in groups by element, so that each element's networks are a few matrix products. The
groups are made on the host whenever structures are swapped. For forces only the mean of the
members' slopes is needed, so that the last product sums over them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from potentials.activations import ACTIVATIONS
from potentials.basis import forms
from potentials.device.descriptors import Listed, Local, dense
from potentials.wall import Wall

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from potentials.device.setup import Setup
    from potentials.ensemble import Ensemble


class Groups(NamedTuple):
    """Atoms by element.

    Attributes:
        order: atoms of every element in turn, each filled up to its size with any atom.
        place: where an atom stands in that order (N,).
        sizes: room for the atoms of each element.
    """

    order: Tensor
    place: Tensor
    sizes: tuple[int, ...]


def groups_of(species: "NDArray[np.int64]", sizes: tuple[int, ...], device: torch.device) -> Groups:
    """Groups of atoms; -1 is no atom.

    Args:
        species: element index of every atom (N,).
        sizes: smallest room for the atoms of each element; grows by an eighth where too small.
        device: where they will be used.
    """
    own = [np.flatnonzero(species == element) for element in range(len(sizes))]
    room = tuple(
        max(size, 0 if len(mine) <= size else min(len(mine) + len(species) // 8, len(species)))
        for size, mine in zip(sizes, own, strict=True)
    )
    order = np.zeros(sum(room), dtype=np.int64)
    place = np.zeros(len(species), dtype=np.int64)
    start = 0
    for size, mine in zip(room, own, strict=True):
        order[start : start + len(mine)] = mine
        place[mine] = np.arange(start, start + len(mine))
        start += size
    return Groups(torch.as_tensor(order).to(device), torch.as_tensor(place).to(device), room)


class Element(NamedTuple):
    """Parameters of one element: D descriptors, K members, P leading components.

    Attributes:
        linear: coefficients (D, K).
        slope: their mean over the members (D,).
        turn: leading components as columns (D, P).
        forms: quadratic forms, side by side (P, K P).
        form: their mean (P, P).
        weights, biases: of each layer (K, inputs, outputs), (K, 1, outputs).
    """

    linear: Tensor
    slope: Tensor
    turn: Tensor
    forms: Tensor
    form: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def energies(self, scaled: Tensor, activations: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Energies of the members (n, K) and the mean of their slopes (n, D)."""
        members = self.linear.shape[1]
        leading = scaled @ self.turn
        halves = (leading @ self.forms).reshape(len(scaled), members, leading.shape[1])
        energies = scaled @ self.linear + (halves * leading[:, None, :]).sum(dim=2)
        slopes = self.slope + 2.0 * (leading @ self.form) @ self.turn.T
        if self.weights:
            more, steeper = self._networks(scaled, activations)
            energies, slopes = energies + more, slopes + steeper
        return energies, slopes

    def _networks(self, scaled: Tensor, activations: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        members = len(self.weights[0])
        signal, local = scaled.expand(members, -1, -1), []
        for weight, bias, name in zip(
            self.weights[:-1], self.biases[:-1], activations, strict=True
        ):
            signal, steep = ACTIVATIONS[name](torch.baddbmm(bias, signal, weight))
            local.append(steep)
        energies = torch.baddbmm(self.biases[-1], signal, self.weights[-1])[..., 0].T
        slope = self.weights[-1].transpose(1, 2) / members
        for weight, steep in zip(self.weights[-2:0:-1], local[:0:-1], strict=True):
            slope = (slope * steep) @ weight.transpose(1, 2)
        if not local:
            return energies, slope.sum(dim=0).expand(len(scaled), -1)
        # one product for the input side: it sums over units and members alike
        slope = (slope * local[0]).transpose(0, 1).flatten(1)
        return energies, slope @ self.weights[0].transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True, eq=False, slots=True)
class Model:
    """What an evaluation needs: E elements, K members, D descriptors.

    Attributes:
        cutoff: [Å].
        local: descriptors and wall from pair vectors.
        waits: whether the host has to wait for the descriptor.
        mean, inverse_spread: of the descriptors (E, D).
        elements: parameters by element.
        activations: of the hidden layers.
        constants: energies of single atoms [eV] (E, K), in the type of the state.
        dtype: of the evaluation.
    """

    cutoff: float
    local: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    waits: bool
    mean: Tensor
    inverse_spread: Tensor
    elements: tuple[Element, ...]
    activations: tuple[str, ...]
    constants: Tensor
    dtype: torch.dtype

    @property
    def n_elements(self) -> int:
        """Number of elements E."""
        return len(self.elements)

    @property
    def members(self) -> int:
        """Number of members K."""
        return self.constants.shape[1]

    def scaled(self, values: Tensor, species: Tensor) -> Tensor:
        """Scaled descriptors (N, D)."""
        return (values - self.mean[species]) * self.inverse_spread[species]

    def atomic(self, scaled: Tensor, species: Tensor, groups: Groups) -> tuple[Tensor, Tensor]:
        """Energies of the members without constants (N, K), mean slopes by descriptors (N, D)."""
        parts = [
            element.energies(scaled[own], self.activations)
            for element, own in zip(self.elements, groups.order.split(groups.sizes), strict=True)
        ]
        energies = torch.cat([energy for energy, _ in parts])[groups.place]
        slopes = torch.cat([slope for _, slope in parts])[groups.place]
        return energies, slopes * self.inverse_spread[species]


def model_of(ensemble: "Ensemble", device: torch.device, setup: "Setup") -> Model:
    """An ensemble on a device.

    Raises:
        ValueError: a graph is wanted of a descriptor that the host has to wait for.
    """

    def put(tensor: Tensor) -> Tensor:
        return tensor.detach().to(setup.dtype).to(device)

    n_elements = len(ensemble.elements)
    descriptor = ensemble.spec.descriptor
    values = dense(descriptor, n_elements, ensemble.learned, device, setup.dtype)
    constants = (ensemble.constants + ensemble.reference).T.to(setup.state_dtype)
    waits = isinstance(values, Listed)
    if waits and setup.graph:
        raise ValueError(
            f"graph=True: the descriptor {descriptor.kind} lists its pairs anew in every step, "
            "which no graph can; leave it out, or train with moments"
        )
    local = Local(values, Wall(put(ensemble.wall.start)), n_elements)
    return Model(
        cutoff=float(descriptor.cutoff),
        # a list of pairs changes its length with every step: nothing to compile for
        local=torch.compile(local, backend=setup.backend) if setup.backend and not waits else local,
        waits=waits,
        mean=put(ensemble.scaling.mean),
        inverse_spread=put(1.0 / ensemble.scaling.spread),
        elements=tuple(_element(ensemble, element, put) for element in range(n_elements)),
        activations=() if ensemble.networks is None else ensemble.networks.activations,
        constants=constants.to(device),
        dtype=setup.dtype,
    )


def _element(ensemble: "Ensemble", element: int, put: Callable[[Tensor], Tensor]) -> Element:
    turn = ensemble.scaling.components[element]
    n_plain, components = turn.shape
    given = ensemble.linear[:, element]
    quadratic = forms(ensemble.linear[..., n_plain:], components)[:, element]
    networks = ensemble.networks
    return Element(
        linear=put(given[:, :n_plain].T),
        slope=put(given[:, :n_plain].mean(dim=0)),
        turn=put(turn),
        # symmetric, so that a row of all members' forms is as good as a column
        forms=put(quadratic.transpose(0, 1).flatten(1)),
        form=put(quadratic.mean(dim=0)),
        weights=() if networks is None else tuple(put(w[element]) for w in networks.weights),
        biases=() if networks is None else tuple(put(b[element]) for b in networks.biases),
    )

"""Per-element networks of all members in one batched product, with their input derivatives.

The derivative dE/dG is written out, so that training on forces differentiates once only.
"""

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from potentials.activations import ACTIVATIONS
from potentials.roles import unknown


class Networks(nn.Module):
    """K members x E elements of networks D -> hidden -> 1, with zero output at the start.

    Args:
        members: number of members K.
        n_elements: number of elements E.
        size: number of inputs D.
        hidden: units per hidden layer.
        generator: source of the initial weights.
        activations: function of each hidden layer by name; tanh in all where left out.

    Raises:
        ValueError: an activation is unknown, or there is not one for each hidden layer.
    """

    def __init__(
        self,
        members: int,
        n_elements: int,
        size: int,
        hidden: Sequence[int],
        generator: torch.Generator,
        *,
        activations: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.activations = tuple(activations or ["tanh"] * len(hidden))
        _check(self.activations, len(hidden))
        widths = [size, *hidden, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            shape = (n_elements, members, fan_in, fan_out)
            start = torch.randn(shape, generator=generator, dtype=torch.float64) / fan_in**0.5
            last = fan_out == 1 and len(self.weights) == len(hidden)
            # a zero last layer: the networks begin as no correction at all
            self.weights.append(nn.Parameter(torch.zeros_like(start) if last else start))
            zero = torch.zeros(n_elements, members, 1, fan_out, dtype=torch.float64)
            self.biases.append(nn.Parameter(zero))

    def forward(self, scaled: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """Atomic energies and their derivatives by the scaled descriptors.

        Args:
            scaled: descriptors (N, D).
            species: element index (N,).

        Returns:
            Energies [eV] (K, N) and derivatives (K, N, D).
        """
        members = self.weights[0].shape[1]
        energies = scaled.new_zeros(members, len(scaled))
        slopes = scaled.new_zeros(members, len(scaled), scaled.shape[1])
        for element in range(self.weights[0].shape[0]):
            own = torch.nonzero(species == element).squeeze(1)
            if len(own):
                energy, slope = self._one_element(scaled[own], element)
                energies = energies.index_copy(1, own, energy)
                slopes = slopes.index_copy(1, own, slope)
        return energies, slopes

    def _one_element(self, scaled: Tensor, element: int) -> tuple[Tensor, Tensor]:
        weights = [w[element].to(scaled) for w in self.weights]
        biases = [b[element].to(scaled) for b in self.biases]
        signal = scaled.expand(weights[0].shape[0], -1, -1)
        slopes_of_layers = []
        layers = zip(weights[:-1], biases[:-1], self._functions(), strict=True)
        for weight, bias, function in layers:
            signal, local = function(signal @ weight + bias)
            slopes_of_layers.append(local)
        energy = (signal @ weights[-1] + biases[-1]).squeeze(2)
        slope = weights[-1].transpose(1, 2).expand(-1, len(scaled), -1)
        for weight, local in zip(weights[-2::-1], slopes_of_layers[::-1], strict=True):
            slope = (slope * local) @ weight.transpose(1, 2)
        return energy, slope

    def _functions(self) -> list[Callable[[Tensor], tuple[Tensor, Tensor]]]:
        return [ACTIVATIONS[name] for name in self.activations]

    def with_inputs(self, turn: Tensor) -> "Networks":
        """The same networks of other inputs x, whose present ones are x @ turn (E, D, D)."""
        made = copy.deepcopy(self)
        with torch.no_grad():
            first = torch.einsum("edf,ekfh->ekdh", turn.to(self.weights[0]), self.weights[0])
            made.weights[0].copy_(first)
        return made

    def penalty(self) -> Tensor:
        """Sum of squared weights of each member (K,)."""
        return torch.stack([(w**2).sum(dim=(0, 2, 3)) for w in self.weights]).sum(dim=0)


def _check(names: Sequence[str], layers: int) -> None:
    """One known activation for each hidden layer."""
    if len(names) != layers:
        raise ValueError(f"{len(names)} activations ({', '.join(names)}) for {layers} layers")
    for name in names:
        if name not in ACTIVATIONS:
            raise ValueError(unknown("activation", name, ACTIVATIONS))

"""The mathematics of the smooth deep potential: environment rows, embedding networks, invariants.

DeepPot-SE with radial embedding ("se_e2_a"): Zhang et al., NeurIPS 2018, arXiv:1805.09003.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from potentials.moment_tensors import moments


def switched(distance: Tensor, inner: float, cutoff: float) -> Tensor:
    """s(r) [1/Å]: 1/r up to ``inner`` [Å], from there taken to zero at ``cutoff`` [Å].

    s = (1/r) (x^3 (-6 x^2 + 15 x - 10) + 1) with x = (r - inner) / (cutoff - inner), whose first
    and second derivatives vanish at the cutoff.
    """
    x = ((distance - inner) / (cutoff - inner)).clamp(0.0, 1.0)
    return (x**3 * ((15.0 - 6.0 * x) * x - 10.0) + 1.0) / distance


def rows(vectors: Tensor, distance: Tensor, weight: Tensor) -> Tensor:
    """Environment rows (s, s x/r, s y/r, s z/r) of pairs [1/Å] (P, 4)."""
    directions = vectors / distance[:, None]
    return weight[:, None] * torch.cat([torch.ones_like(directions[:, :1]), directions], dim=1)


def initial(
    neurons: Sequence[int], n_elements: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Random embedding networks, one for each ordered pair of elements.

    Args:
        neurons: widths of the layers; the first takes one number.
        n_elements: number of elements E.
        generator: source of the numbers.

    Returns:
        ``weight0`` (E * E, 1, neurons[0]), ``bias0`` (E * E, 1, neurons[0]), ``weight1``, ...
    """
    made = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise([1, *neurons])):
        shape = (n_elements**2, fan_in, fan_out)
        weight = torch.randn(shape, generator=generator, dtype=torch.float64)
        made[f"weight{layer}"] = weight / fan_in**0.5
        # biases of order one: units that bend at different distances
        bias = torch.randn((n_elements**2, 1, fan_out), generator=generator, dtype=torch.float64)
        made[f"bias{layer}"] = bias
    return made


def embedding(signal: Tensor, slot: Tensor, learned: Mapping[str, Tensor]) -> Tensor:
    """Outputs of the embedding networks for scalars (P,) (P, M).

    A layer as wide as the one below, or twice as wide, adds to what comes from below (twice).

    Args:
        signal: input of each pair.
        slot: which network a pair takes (P,).
        learned: parameters as made by `initial`.
    """
    layers = len(learned) // 2
    width = learned[f"weight{layers - 1}"].shape[2]
    out = signal.new_zeros(len(signal), width)
    for network in range(len(learned["weight0"])):
        own = torch.nonzero(slot == network).squeeze(1)
        if len(own):
            out = out.index_copy(0, own, _one_network(signal[own, None], network, learned, layers))
    return out


def _one_network(
    signal: Tensor, network: int, learned: Mapping[str, Tensor], layers: int
) -> Tensor:
    for layer in range(layers):
        weight = learned[f"weight{layer}"][network].to(signal)
        new = torch.tanh(signal @ weight + learned[f"bias{layer}"][network].to(signal))
        ratio, rest = divmod(new.shape[1], signal.shape[1])
        skips = layer > 0 and rest == 0 and ratio in (1, 2)
        signal = new + signal.repeat(1, ratio) if skips else new
    return signal


def invariants(
    environment: Tensor, embedded: Tensor, first: Tensor, n_atoms: int, axis: int
) -> Tensor:
    """G^T R R^T G_< of every atom [1/Å^2] (N, M * axis).

    Args:
        environment: rows R of the pairs (P, 4).
        embedded: outputs G of the embedding (P, M).
        first: index of the atom of each pair (P,).
        n_atoms: number of atoms N.
        axis: number of columns of G_<.
    """
    product = moments(environment, embedded, first, n_atoms)
    return (product.transpose(1, 2) @ product[:, :, :axis]).flatten(1)

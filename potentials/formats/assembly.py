"""Potentials as plain layers: between the files of other codes and an `Ensemble`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from potentials.formats.lines import FormatError
from potentials.structures import FloatArray

if TYPE_CHECKING:
    from potentials.descriptors.acsf import Acsf
    from potentials.ensemble import Ensemble

#: bounds of scaled descriptors whose range in the training data is not known
UNKNOWN_RANGE = 1e30


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """y = activation(x @ weight + bias); weight (inputs, outputs), bias (outputs,)."""

    weight: FloatArray
    bias: FloatArray
    activation: str


@dataclass(frozen=True, eq=False, slots=True)
class ElementNetwork:
    """The potential of one element: reference + network((G - mean) / spread) [eV].

    Attributes:
        layers: from the scaled descriptors to one number.
        mean, spread: scaling of the descriptors (D,).
        low, high: range of the scaled descriptors in the training data (D,).
        reference: [eV].
    """

    layers: tuple[Layer, ...]
    mean: FloatArray
    spread: FloatArray
    low: FloatArray
    high: FloatArray
    reference: float = 0.0


def normalised(network: ElementNetwork) -> ElementNetwork:
    """The same function with a linear last layer and no other linear ones."""
    layers = list(network.layers)
    if layers[-1].activation != "linear":
        layers.append(Layer(np.eye(1), np.zeros(1), "linear"))
    made = layers[:1]
    for before, layer in pairwise(layers):
        if before.activation == "linear":
            first = made.pop()
            bias = first.bias @ layer.weight + layer.bias
            made.append(Layer(first.weight @ layer.weight, bias, layer.activation))
        else:
            made.append(layer)
    return replace(network, layers=tuple(made))


def rescaled(network: ElementNetwork, mean: FloatArray, spread: FloatArray) -> ElementNetwork:
    """The same function of descriptors that are scaled in another way."""
    if np.array_equal(mean, network.mean) and np.array_equal(spread, network.spread):
        return network
    first = network.layers[0]
    shift = (mean - network.mean) / network.spread
    weight = first.weight * (spread / network.spread)[:, None]
    layer = Layer(weight, first.bias + shift @ first.weight, first.activation)
    back = (network.mean - mean) / spread
    return replace(
        network,
        layers=(layer, *network.layers[1:]),
        mean=mean,
        spread=spread,
        low=network.low * network.spread / spread + back,
        high=network.high * network.spread / spread + back,
    )


def ensemble_of(
    descriptor: "Acsf",
    elements: Sequence[int],
    members: Sequence[Sequence[ElementNetwork]],
    engine: str,
    facts: dict[str, Any],
) -> "Ensemble":
    """An ensemble without linear term and wall.

    Args:
        descriptor: the symmetry functions.
        elements: atomic numbers in the order of the element index.
        members: networks by member and element; hidden layers may differ in width.
        engine: key of the engine that was fitted.
        facts: what a reader wants to know.

    Raises:
        FormatError: layers differ in number or activation.
    """
    import torch

    from potentials.ensemble import Ensemble
    from potentials.scaling import Scaling
    from potentials.spec import EnsembleSpec, LinearSpec, NetworkSpec
    from potentials.wall import Wall

    first = members[0]
    same = [
        [normalised(rescaled(n, f.mean, f.spread)) for n, f in zip(own, first, strict=True)]
        for own in members
    ]
    size, n_elements = descriptor.size(len(elements)), len(elements)
    spec = EnsembleSpec(
        descriptor=descriptor,
        members=len(same),
        linear=LinearSpec(components=0),
        network=NetworkSpec(hidden=_widths(same)),
    )

    def padded(name: str, fill: float) -> torch.Tensor:
        rows = [getattr(n, name) for n in same[0]]
        made = [np.pad(r, (0, size - len(r)), constant_values=fill) for r in rows]
        return torch.as_tensor(np.array(made, dtype=np.float64))

    reference = torch.tensor([n.reference for n in first], dtype=torch.float64)
    offsets = [[n.reference - f.reference for n, f in zip(m, first, strict=True)] for m in same]
    return Ensemble(
        spec=spec,
        elements=tuple(elements),
        scaling=Scaling(
            padded("mean", 0.0),
            padded("spread", 1.0),
            torch.zeros(n_elements, size, 0, dtype=torch.float64),
        ),
        reference=reference,
        linear=torch.zeros(len(same), n_elements, size, dtype=torch.float64),
        constants=torch.tensor(offsets, dtype=torch.float64),
        networks=_networks(same, size),
        wall=Wall(torch.zeros(n_elements, n_elements, dtype=torch.float64)),
        bounds=torch.stack([padded("low", 0.0), padded("high", 0.0)]),
        calibration=1.0,
        engine=engine,
        facts=facts,
    )


def _widths(members: Sequence[Sequence[ElementNetwork]]) -> tuple[int, ...]:
    """Units of every hidden layer, the most of any network.

    Raises:
        FormatError: layers differ in number or activation.
    """
    every = [network.layers for own in members for network in own]
    kinds = {tuple(layer.activation for layer in layers) for layers in every}
    if len(kinds) > 1:
        shown = "; ".join(" ".join(kind) for kind in sorted(kinds))
        raise FormatError(
            f"networks of elements or members with different layers ({shown}); "
            "an ensemble holds networks of the same activations only"
        )
    return tuple(
        max(len(layer.bias) for layer in layers) for layers in list(zip(*every, strict=True))[:-1]
    )


def _networks(members: Sequence[Sequence[ElementNetwork]], size: int) -> Any:
    """All networks as one module; units that a network lacks have no outgoing weight."""
    import torch

    from potentials.network import Networks

    names = [layer.activation for layer in members[0][0].layers[:-1]]
    made = Networks(
        len(members),
        len(members[0]),
        size,
        _widths(members),
        torch.Generator(),
        activations=names,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        for k, own in enumerate(members):
            for e, network in enumerate(own):
                for place, layer in enumerate(network.layers):
                    rows, columns = layer.weight.shape
                    weight, bias = made.weights[place][e, k], made.biases[place][e, k, 0]
                    weight[:rows, :columns] = torch.as_tensor(layer.weight)
                    bias[:columns] = torch.as_tensor(layer.bias)
    return made


def networks_of(ensemble: "Ensemble", format_name: str) -> list[list[ElementNetwork]]:
    """The members' networks by element.

    Raises:
        FormatError: the ensemble has parts that formats of other codes cannot hold.
    """
    networks = ensemble.networks
    if (wrong := _not_exportable(ensemble)) or networks is None:
        raise FormatError(
            f"{format_name} cannot hold this ensemble: {wrong or 'it has no networks'}; train one "
            "with descriptor: {kind: acsf}, linear: {enabled: false} and wall: false"
        )
    names = [*networks.activations, "linear"]
    components = symmetry_functions_of(ensemble).components(len(ensemble.elements))
    made = []
    for k in range(ensemble.spec.members):
        own = []
        for e, parts in enumerate(components):
            layers = [
                Layer(w[e, k].detach().numpy().copy(), b[e, k, 0].detach().numpy().copy(), name)
                for w, b, name in zip(networks.weights, networks.biases, names, strict=True)
            ]
            layers[0] = replace(layers[0], weight=layers[0].weight[: len(parts)])
            layers[-1] = replace(layers[-1], bias=layers[-1].bias + float(ensemble.constants[k, e]))
            scaling, low_high = ensemble.scaling, ensemble.bounds[:, e, : len(parts)].numpy()
            own.append(
                ElementNetwork(
                    layers=tuple(layers),
                    mean=scaling.mean[e, : len(parts)].numpy(),
                    spread=scaling.spread[e, : len(parts)].numpy(),
                    low=low_high[0],
                    high=low_high[1],
                    reference=float(ensemble.reference[e]),
                )
            )
        made.append(own)
    return made


def symmetry_functions_of(ensemble: "Ensemble") -> "Acsf":
    """The descriptor of an ensemble that other codes know.

    Raises:
        FormatError: it is another kind.
    """
    from potentials.descriptors.acsf import Acsf

    descriptor = ensemble.spec.descriptor
    if not isinstance(descriptor, Acsf):
        raise FormatError(f"its descriptor is {descriptor.kind!r}, expected 'acsf'")
    return descriptor


def _not_exportable(ensemble: "Ensemble") -> str:
    """Why other codes cannot evaluate an ensemble, or an empty string."""
    if ensemble.spec.descriptor.kind != "acsf":
        return f"its descriptor is {ensemble.spec.descriptor.kind!r}, expected 'acsf'"
    if bool((ensemble.linear != 0).any()):
        return "its linear term is not zero"
    if bool((ensemble.wall.start != 0).any()):
        return "it has a wall"
    return ""

"""Activations: values of independent formulas, slopes that are the derivatives of the values."""

import numpy as np
import pytest
import torch

from potentials.activations import ACTIVATIONS
from potentials.network import Networks

POINTS = np.array([-40.0, -3.0, -0.4, 0.3, 2.0, 30.0])
EXPECTED = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "reverse_sigmoid": lambda x: 1 - 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "selu": lambda x: (
        1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
    ),
    "gaussian": lambda x: np.exp(-(x**2) / 2),
    "cos": np.cos,
    "exp": lambda x: np.exp(-x),
    "harmonic": lambda x: x * x,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_are_those_of_the_formula(name):
    found, _ = ACTIVATIONS[name](torch.as_tensor(POINTS))
    np.testing.assert_allclose(found, EXPECTED[name](POINTS), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_are_the_derivatives_of_the_values(name):
    """Second derivatives too: training differentiates the slopes once more."""
    x = torch.as_tensor(POINTS).requires_grad_()
    value, slope = ACTIVATIONS[name](x)
    expected = torch.autograd.grad(value.sum(), x, create_graph=True)[0]
    np.testing.assert_allclose(slope.detach(), expected.detach(), rtol=1e-12, atol=1e-13)
    if slope.requires_grad and expected.requires_grad:
        twice = [torch.autograd.grad(s.sum(), x, retain_graph=True)[0] for s in (slope, expected)]
        np.testing.assert_allclose(*twice, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("hidden", [(4,), (5, 3), ()])
@pytest.mark.parametrize("name", ["softplus", "sigmoid", "selu"])
def test_networks_of_any_activation_have_exact_derivatives(hidden, name):
    generator = torch.Generator().manual_seed(0)
    made = Networks(2, 2, 4, hidden, generator, activations=[name] * len(hidden))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    inputs = torch.randn(5, 4, generator=generator, dtype=torch.float64).requires_grad_()
    energies, slopes = made(inputs, torch.arange(5) % 2)
    for member in range(2):
        expected = torch.autograd.grad(energies[member].sum(), inputs, retain_graph=True)[0]
        np.testing.assert_allclose(slopes[member].detach(), expected, rtol=1e-12, atol=1e-12)


def test_activations_by_layer():
    made = Networks(1, 1, 2, (3, 3), torch.Generator(), activations=("cos", "linear"))
    with torch.no_grad():
        made.weights[-1].fill_(1.0)
        inputs = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
        energies, _ = made(inputs, torch.zeros(1, dtype=torch.int64))
        by_hand = torch.cos(inputs @ made.weights[0][0, 0]) @ made.weights[1][0, 0]
    assert float(energies[0, 0]) == pytest.approx(float(by_hand.sum()), rel=1e-12)


@pytest.mark.parametrize(
    ("names", "says"), [(["thanh", "tanh"], "did you mean 'tanh'"), (["tanh"], "for 2 layers")]
)
def test_wrong_activations_are_refused(names, says):
    with pytest.raises(ValueError, match=says):
        Networks(1, 1, 2, (3, 3), torch.Generator(), activations=names)

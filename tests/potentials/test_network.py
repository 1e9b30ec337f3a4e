"""Networks: silent at the start, each member and element on its own, exact derivatives."""

import pytest
import torch

from potentials.network import Networks

MEMBERS, ELEMENTS, SIZE = 3, 2, 4


def networks(hidden=(5, 3), seed=0, *, awake=True):
    generator = torch.Generator().manual_seed(seed)
    made = Networks(MEMBERS, ELEMENTS, SIZE, hidden, generator)
    if awake:
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def inputs(seed=1, count=6):
    generator = torch.Generator().manual_seed(seed)
    scaled = torch.randn(count, SIZE, generator=generator, dtype=torch.float64)
    return scaled, torch.arange(count) % ELEMENTS


@pytest.mark.parametrize("hidden", [(5,), (5, 3), (1, 1)])
def test_zero_output_and_slope_at_the_start(hidden):
    energies, slopes = networks(hidden, awake=False)(*inputs())
    assert energies.abs().max() == 0.0
    assert slopes.abs().max() == 0.0


def test_they_begin_differently():
    first = networks(awake=False).weights[0]
    assert not torch.equal(first[:, 0], first[:, 1])
    assert torch.equal(first, networks(awake=False).weights[0])
    assert not torch.equal(first, networks(seed=1, awake=False).weights[0])


@pytest.mark.parametrize("hidden", [(5,), (5, 3), (4, 4, 4)])
def test_written_out_derivative_is_that_of_autograd(hidden):
    made = networks(hidden)
    scaled, species = inputs()
    scaled.requires_grad_()
    energies, slopes = made(scaled, species)
    for member in range(MEMBERS):
        expected = torch.autograd.grad(energies[member].sum(), scaled, retain_graph=True)[0]
        assert torch.allclose(slopes[member], expected, rtol=1e-12, atol=1e-12)


def test_one_batched_product_is_one_network_at_a_time():
    made = networks()
    scaled, species = inputs()
    energies, _ = made(scaled, species)
    for member in range(MEMBERS):
        for atom, element in enumerate(species.tolist()):
            signal = scaled[atom]
            for weight, bias in zip(made.weights[:-1], made.biases[:-1], strict=True):
                signal = torch.tanh(signal @ weight[element, member] + bias[element, member, 0])
            last = signal @ made.weights[-1][element, member] + made.biases[-1][element, member, 0]
            assert torch.allclose(energies[member, atom], last.squeeze(), rtol=1e-12, atol=1e-12)


def test_an_element_without_atoms_is_no_trouble():
    energies, slopes = networks()(inputs()[0], torch.ones(6, dtype=torch.int64))
    assert torch.isfinite(energies).all()
    assert slopes.abs().min() > 0.0


def test_penalty_is_the_sum_of_squared_weights_by_member():
    made = networks()
    weights = [weight.detach() for weight in made.weights]
    expected = [sum(float((w[:, k] ** 2).sum()) for w in weights) for k in range(MEMBERS)]
    assert torch.allclose(made.penalty(), torch.tensor(expected, dtype=torch.float64))

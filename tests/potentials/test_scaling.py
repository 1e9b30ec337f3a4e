"""Scaling by element: mean, floored spread, principal directions, and what is kept."""

import numpy as np
import pytest
import torch

from potentials.scaling import FLOOR, scaling_of
from tests.tolerances import ROUNDING, ROUNDING_ABS

N_VALUES, N_ELEMENTS = 5, 2


def normal(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


def correlated(seed=5, count=60):
    """Descriptors of two elements, each with its own correlations (N, D)."""
    species = torch.arange(count) % N_ELEMENTS
    mix = normal(N_ELEMENTS, N_VALUES, N_VALUES, seed=seed)
    values = torch.einsum("nd,ndc->nc", normal(count, N_VALUES, seed=seed + 1), mix[species])
    return values, species


def test_every_element_has_mean_zero_and_spread_one():
    values, species = correlated()
    scaled = scaling_of(values, species, N_ELEMENTS).apply(values, species)
    for element in range(N_ELEMENTS):
        own = scaled[species == element].numpy()
        np.testing.assert_allclose(own.mean(axis=0), 0.0, atol=ROUNDING_ABS)
        np.testing.assert_allclose(own.std(axis=0), 1.0, rtol=ROUNDING)


def test_what_hardly_varies_is_not_blown_up():
    values, species = correlated()
    values[:, 2] *= 1e-9
    values[:, 3] = 7.0
    made = scaling_of(values, species, N_ELEMENTS)
    expected = FLOOR * values[species == 0].numpy().std(axis=0)
    assert made.spread[0, 2] == made.spread[0, 3]
    assert abs(float(made.spread[0, 3]) - np.median(expected)) < 0.5 * np.median(expected)
    assert made.apply(values, species)[:, 3].abs().max() < ROUNDING_ABS


def test_a_single_surrounding_is_left_as_it_is():
    values = normal(1, N_VALUES).expand(4, -1)
    made = scaling_of(values, torch.zeros(4, dtype=torch.int64), 1)
    assert made.spread.tolist() == [[1.0] * N_VALUES]
    assert torch.isfinite(made.components).all()


def test_an_element_without_atoms_is_scaled_as_all_are():
    """It comes from an earlier ensemble whose descriptor has learned anew."""
    values, species = normal(30, N_VALUES), torch.arange(30) % 2
    made = scaling_of(values, species, 3)
    whole = scaling_of(values, torch.zeros_like(species), 1)
    assert torch.equal(made.mean[2], whole.mean[0])
    assert torch.equal(made.spread[2], whole.spread[0])
    assert torch.isfinite(made.components).all()


def test_no_atoms_at_all_are_refused():
    with pytest.raises(ValueError, match="no atoms to scale"):
        scaling_of(normal(0, N_VALUES), torch.zeros(0, dtype=torch.int64), 1)


def test_an_element_of_earlier_data_may_be_missing_now():
    values, species = correlated()
    earlier = scaling_of(values, species, N_ELEMENTS)
    own = species == 0
    made = scaling_of(values[own], species[own], N_ELEMENTS, earlier)
    assert torch.equal(made.spread, earlier.spread)
    turn = made.components[1]
    assert torch.allclose(turn.T @ turn, torch.eye(N_VALUES).double(), atol=ROUNDING_ABS)


def test_components_are_the_orthonormal_directions_of_largest_variance():
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS)
    assert made.components.shape == (N_ELEMENTS, N_VALUES, N_VALUES)
    for element, turn in enumerate(made.components):
        own = made.apply(values, species)[species == element]
        assert torch.allclose(turn.T @ turn, torch.eye(N_VALUES).double(), atol=ROUNDING_ABS)
        variance = (own @ turn).var(dim=0, unbiased=False).numpy()
        expected = np.linalg.svd(own, compute_uv=False) ** 2 / len(own)
        np.testing.assert_allclose(variance, expected, rtol=1e-7, atol=ROUNDING_ABS)


def test_components_have_a_fixed_sign_and_do_not_depend_on_the_order_of_atoms():
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS)
    largest = made.components.gather(1, made.components.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()
    assert torch.equal(scaling_of(values, species, N_ELEMENTS).components, made.components)
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(values)))
    shuffled = scaling_of(values[order], species[order], N_ELEMENTS)
    assert torch.allclose(shuffled.components, made.components, atol=1e-7)


@pytest.mark.parametrize("count", [0, 2, N_VALUES])
def test_leading_components_are_the_first(count):
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS)
    cut = made.leading(count)
    assert torch.equal(cut.components, made.components[:, :, :count])
    assert torch.equal(cut.apply(values, species), made.apply(values, species))


def test_one_atom_alone_has_components_too():
    """No variance in any direction: still a basis, and the same every time."""
    made = scaling_of(normal(1, N_VALUES), torch.tensor([0]), 1)
    turn = made.components[0]
    assert torch.allclose(turn.T @ turn, torch.eye(N_VALUES).double(), atol=ROUNDING_ABS)


def test_an_earlier_scale_is_kept_with_directions_of_the_data_now():
    values, species = correlated()
    earlier = scaling_of(*correlated(seed=9), N_ELEMENTS)
    made = scaling_of(values, species, N_ELEMENTS, earlier)
    assert torch.equal(made.mean, earlier.mean)
    assert torch.equal(made.spread, earlier.spread)
    for element, turn in enumerate(made.components):
        own = earlier.apply(values, species)[species == element]
        variance = ((own @ turn) ** 2).sum(dim=0).numpy()
        expected = np.linalg.svd(own, compute_uv=False) ** 2
        np.testing.assert_allclose(variance, expected, rtol=1e-7, atol=ROUNDING_ABS)


def test_single_precision_stays_single():
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS)
    assert made.apply(values.float(), species).dtype == torch.float32

"""Gaussian density weights against the formulas written as loops."""

from math import exp

import numpy as np
import pytest
import torch

from potentials import rarity as module
from potentials.rarity import rarity
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.tolerances import ROUNDING, ROUNDING_ABS


def surroundings(seed=0, common=30, rare=3, size=4):
    """Many that are alike and some far away, of two elements in turn."""
    rng = np.random.default_rng(seed)
    values = np.concatenate(
        [0.3 * rng.normal(size=(common, size)), 4.0 + rng.normal(size=(rare, size))]
    )
    order = rng.permutation(len(values))
    return torch.as_tensor(values[order]), torch.as_tensor(order >= common)


def explicit(values):
    """One element, one atom after the other."""
    n, size = values.shape
    squares = [[float(np.sum((a - b) ** 2)) for b in values] for a in values]
    nearest = [min(squares[i][j] for j in range(n) if j != i) for i in range(n)]
    sigma = (max(nearest) / size) ** 0.5 / 3
    width = 2 * sigma**2 * size
    rare = [n / sum(exp(-square / width) for square in row) for row in squares]
    lower = sorted(rare)[: max(2, int(0.75 * n))]
    slope, start = np.polyfit(range(len(lower)), lower, 1)
    turn = start + slope * (len(lower) - 1)
    weights = [x / (1 + exp(-(x - turn))) for x in rare]
    return np.array(weights) / np.mean(weights)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_formulas(seed, monkeypatch):
    values, _ = surroundings(seed)
    species = torch.zeros(len(values), dtype=torch.int64)
    found = rarity(values, species, 1)
    np.testing.assert_allclose(found, explicit(values.numpy()), rtol=1e-7)
    monkeypatch.setattr(module, "CHUNK", 5)
    assert torch.allclose(rarity(values, species, 1), found, rtol=ROUNDING)


def test_every_element_is_weighed_for_itself_with_mean_one():
    values, _ = surroundings(common=40, rare=6)
    species = torch.arange(len(values)) % 2
    found = rarity(values, species, 3)
    for element in range(2):
        own = species == element
        assert abs(float(found[own].mean()) - 1.0) < ROUNDING
        np.testing.assert_allclose(found[own], explicit(values[own].numpy()), rtol=1e-7)


def test_rare_surroundings_count_more():
    values, rare = surroundings()
    found = rarity(values, torch.zeros(len(values), dtype=torch.int64), 1)
    assert (found > 0).all()
    assert found[rare].min() > 2.0 * found[~rare].max()


@pytest.mark.parametrize("count", [1, 2, 10, 40])
def test_surroundings_that_are_all_the_same_count_alike(count):
    """A perfect crystal: what differs is rounding."""
    values = 3.0 + torch.randn(54, generator=torch.Generator().manual_seed(0)).double()
    noise = 1e-12 * torch.randn(count, 54, generator=torch.Generator().manual_seed(1)).double()
    found = rarity(values + noise, torch.zeros(count, dtype=torch.int64), 1)
    assert found.tolist() == [1.0] * count


def test_a_fit_weighs_forces_by_it_and_nothing_else(monkeypatch):
    """Alike surroundings make no difference; weights of one are no weights."""
    seen = emt_frames(16, seed=2)
    network = {"hidden": (4,), "epochs": 4, "min_labels": 8}

    def fitted(*, gdf):
        spec = quick_spec(network=network | {"gdf": gdf}, linear={"enabled": False})
        return fit(spec, seen, np.random.default_rng(0))

    plain, weighed = fitted(gdf=False), fitted(gdf=True)
    assert not torch.equal(plain.networks.weights[0], weighed.networks.weights[0])
    monkeypatch.setattr(
        "potentials.training.rarity", lambda scaled, *_: torch.ones(len(scaled)).double()
    )
    alike = fitted(gdf=True)
    for one, other in zip(plain.networks.parameters(), alike.networks.parameters(), strict=True):
        assert torch.allclose(one, other, atol=ROUNDING_ABS)

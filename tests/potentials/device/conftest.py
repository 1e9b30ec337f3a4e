"""Structures and ensembles that the tests of the device path share."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.network import Networks
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec, random_crystal, rattled_crystals


@pytest.fixture(scope="session")
def dozen():
    """Twelve crystals of one to five atoms, dense and loose, straight and skewed."""
    rng = np.random.default_rng(3)
    symbols = ["Cu", "Au", "Cu", "Au", "Au"]
    made = [random_crystal(rng, symbols[:size], skew=0.5) for size in (1, 2, 3, 5, 5)]
    return [*rattled_crystals(7, seed=5), *made]


@pytest.fixture(scope="session")
def alone(deep):
    """The first member by itself."""
    networks = Networks(1, 2, deep.scaling.mean.shape[1], (6, 5), torch.Generator())
    for own, whole in zip(networks.parameters(), deep.networks.parameters(), strict=True):
        own.data = whole.data[:, :1].clone()
    return replace(deep, linear=deep.linear[:1], constants=deep.constants[:1], networks=networks)


@pytest.fixture(scope="session")
def listed():
    """With a descriptor that has no dense form."""
    functions = [
        *({"kind": "radial", "eta": eta} for eta in (0.05, 0.4, 1.5)),
        *({"kind": "narrow", "eta": 0.05, "zeta": 2.0, "lam": lam} for lam in (-1.0, 1.0)),
    ]
    spec = quick_spec(
        descriptor={"kind": "acsf", "cutoff": 4.5, "functions": functions},
        network={"enabled": False},
        linear={"components": 0},
    )
    return fit(spec, emt_frames(24), np.random.default_rng(0))

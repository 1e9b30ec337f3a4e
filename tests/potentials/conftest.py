"""Ensembles that several files share; none of them is changed by a test."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.network import Networks
from potentials.structures import Frame
from potentials.training import fit
from tests.crystals import emt_frames, emt_label, quick_spec, rattled_crystals


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def frames():
    return emt_frames(24)


@pytest.fixture(scope="session")
def linear(frames):
    """Without networks or products of descriptors."""
    spec = quick_spec(network={"enabled": False}, linear={"components": 0})
    return fit(spec, frames, np.random.default_rng(0))


@pytest.fixture(scope="session")
def products(frames):
    """Linear in products of twelve components as well."""
    spec = quick_spec(network={"enabled": False}, linear={"components": 12})
    made = fit(spec, frames, np.random.default_rng(0))
    assert made.facts["products"] is True
    return made


@pytest.fixture(scope="session")
def deep(linear):
    """With networks whose output is far from zero: what evaluation must get right."""
    return replace(linear, spec=quick_spec(), networks=random_networks(linear))


def random_networks(ensemble, hidden=(6, 5), seed=0):
    members, n_elements = ensemble.constants.shape
    size = ensemble.scaling.mean.shape[1]
    generator = torch.Generator().manual_seed(seed)
    made = Networks(members, n_elements, size, hidden, generator)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise)
    return made


@pytest.fixture(params=["linear", "products", "deep"])
def ensemble(request):
    """Any of them."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def bonded():
    """Fitted to rattled crystals around equilibrium: has the minima that relaxation needs."""
    spec = quick_spec(network={"enabled": False}, linear={"components": 12})
    return fit(spec, crystal_frames(60), np.random.default_rng(0))


def crystal_frames(count):
    return [
        Frame(f"b{index:03d}", atoms, emt_label(atoms))
        for index, atoms in enumerate(rattled_crystals(count))
    ]

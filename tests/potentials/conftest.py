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
    """Without networks."""
    spec = quick_spec(network={"enabled": False})
    return fit(spec, frames, np.random.default_rng(0))


@pytest.fixture(scope="session")
def deep(linear):
    """With networks whose output is far from zero: what evaluation must get right."""
    return replace(linear, spec=quick_spec(), networks=random_networks(linear))


def random_networks(ensemble, hidden=(6, 5), seed=0):
    members, n_elements, size = ensemble.linear.shape
    generator = torch.Generator().manual_seed(seed)
    made = Networks(members, n_elements, size, hidden, generator)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.3 * noise)
    return made


@pytest.fixture(params=["linear", "deep"])
def ensemble(request):
    """Either."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def bonded():
    """Fitted to rattled crystals around equilibrium: has the minima that relaxation needs."""
    frames = [
        Frame(f"b{index:03d}", atoms, emt_label(atoms))
        for index, atoms in enumerate(rattled_crystals(60))
    ]
    return fit(quick_spec(network={"enabled": False}), frames, np.random.default_rng(0))

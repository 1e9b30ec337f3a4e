"""Published data, ensembles that other codes can hold, and labelled frames of every kind."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from potentials.descriptors import build
from potentials.features import values_only
from potentials.scaling import scaling_of
from potentials.structures import Frame, Label
from potentials.wall import Wall
from tests.crystals import quick_spec, random_crystal
from tests.potentials.conftest import random_networks

SHAPES = [
    {"kind": "radial", "eta": 0.4},
    {"kind": "radial", "eta": 0.9, "shift": 1.5, "cutoff": 3.9},
    {"kind": "narrow", "eta": 0.02, "zeta": 2.0, "lam": -1.0},
    {"kind": "wide", "eta": 0.05, "zeta": 1.0, "lam": 1.0},
    # one element has a function more than the other
    {"kind": "radial", "eta": 0.2, "centre": "Au", "neighbour": "Cu"},
]


@pytest.fixture(scope="session")
def reference():
    """The folder of published data."""
    folder = os.environ.get("AGA_REFERENCE_DATA")
    if not folder:
        pytest.skip("AGA_REFERENCE_DATA is not set: the folder of published data")
    return Path(folder)


def exportable_ensemble(**more):
    """Symmetry functions and networks only, two members, random weights; Au before Cu."""
    settings = {"kind": "acsf", "cutoff": 4.5, "functions": SHAPES, "elements": ["Au", "Cu"]}
    descriptor = build(settings | more)
    crystals = structures(6)
    values, species = values_only(crystals, descriptor, (79, 29))
    scaling = scaling_of(values, species, 2).leading(0)
    scaled = scaling.apply(values, species)
    ends = [(scaled[species == e].amin(dim=0), scaled[species == e].amax(dim=0)) for e in (0, 1)]
    made = empty_ensemble(descriptor, scaling)
    networks = random_networks(made)
    bounds = torch.stack([torch.stack([one[side] for one in ends]) for side in (0, 1)])
    return replace(made, networks=networks, bounds=bounds)


def empty_ensemble(descriptor, scaling):
    from potentials.ensemble import Ensemble

    n_elements, size = scaling.mean.shape
    spec = quick_spec(
        descriptor=descriptor, members=2, linear={"components": 0}, network={"hidden": (6, 5)}
    )
    return Ensemble(
        spec=spec,
        elements=(79, 29),
        scaling=scaling,
        reference=torch.tensor([-3.2, -4.1], dtype=torch.float64),
        linear=torch.zeros(2, n_elements, size, dtype=torch.float64),
        constants=torch.tensor([[0.1, -0.2], [0.3, 0.05]], dtype=torch.float64),
        networks=None,
        wall=Wall(torch.zeros(n_elements, n_elements, dtype=torch.float64)),
        bounds=torch.zeros(2, n_elements, size, dtype=torch.float64),
        calibration=1.0,
        engine="emt",
        facts={},
    )


@pytest.fixture(scope="session")
def exportable():
    return exportable_ensemble()


def structures(count, seed=0):
    rng = np.random.default_rng(seed)
    symbols = [["Cu", "Au"], ["Au", "Cu", "Cu"], ["Cu"], ["Au", "Au", "Cu", "Cu"]]
    return [random_crystal(rng, symbols[index % 4]) for index in range(count)]


def labelled(atoms, seed, *, stress=False, magmoms=False, seconds=0.0):
    """A frame with numbers that no rounding leaves alone."""
    rng = np.random.default_rng(seed)
    label = Label(
        energy=float(rng.normal(-100.0, 50.0)),
        forces=rng.normal(size=(len(atoms), 3)),
        stress=rng.normal(size=6) if stress else None,
        engine="pbe",
        seconds=seconds,
        magmoms=rng.normal(size=len(atoms)) if magmoms else None,
        magnetization=float(rng.normal()) if magmoms else None,
    )
    return Frame(f"frame {seed}", atoms, label)


def same_predictions(one, other, rtol):
    """Energies, forces and stress of all members on new structures."""
    crystals = structures(5, seed=9)
    for name in ("member_energy", "forces", "stress", "energy_std"):
        ours = getattr(one.predict(crystals), name)
        theirs = getattr(other.predict(crystals), name)
        scale = float(ours.abs().max())
        assert float((ours - theirs).abs().max()) < rtol * scale, name

"""The wall: nothing on any label, repulsion inside, no jump where it starts."""

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii

from potentials.features import features
from potentials.wall import CORE, HEIGHT, LONGEST, START, UNSEEN, Wall, wall_of
from tests.crystals import quick_spec
from tests.tolerances import ROUNDING

ELEMENTS = (29, 79)
CONTACT = {
    (a, b): covalent_radii[ELEMENTS[a]] + covalent_radii[ELEMENTS[b]]
    for a in (0, 1)
    for b in (0, 1)
}


def found(structures):
    return features(structures, quick_spec().descriptor, ELEMENTS)


def test_zero_on_every_label(frames):
    structures = found([frame.atoms for frame in frames])
    wall = wall_of(structures, ELEMENTS)
    for one in structures:
        energies = wall.energies(one.distances, one.bonds[:, 0], one.bonds[:, 1])
        assert energies.abs().max() == 0.0
    assert torch.equal(wall.start, wall.start.T)


def test_it_starts_just_below_the_shortest_label_of_each_pair():
    dimers = [Atoms("Cu2", positions=[[0, 0, 0], [0, 0, length]]) for length in (2.2, 2.0, 2.6)]
    wall = wall_of(found([*dimers, Atoms("Au2", positions=[[0, 0, 0], [0, 0, 4.0]])]), ELEMENTS)
    expected = [
        [START * 2.0, UNSEEN * CONTACT[0, 1]],
        [UNSEEN * CONTACT[0, 1], LONGEST * CONTACT[1, 1]],
    ]
    np.testing.assert_allclose(wall.start, expected, rtol=1e-6)


def pair_energy(distances, start=2.0):
    wall = Wall(torch.full((1, 1), start, dtype=torch.float64))
    element = torch.zeros(len(distances), dtype=torch.int64)
    return wall.energies(distances, element, element)


def test_repulsive_inside_and_smooth_at_its_start():
    inside = torch.linspace(0.5, 1.99, 200, dtype=torch.float64)
    energies = pair_energy(inside)
    assert (energies > 0).all()
    assert (energies.diff() < 0).all()
    assert energies[0] > 1e3
    edge = torch.tensor([2.0 - 1e-4, 2.0, 2.0 + 1e-4], dtype=torch.float64, requires_grad=True)
    values = pair_energy(edge)
    slopes = torch.autograd.grad(values.sum(), edge)[0]
    assert float(values.detach()[0]) < 1e-9
    assert values.detach()[1:].tolist() == [0.0, 0.0]
    assert float(slopes[0].abs()) < 1e-4
    assert slopes[1:].abs().tolist() == [0.0, 0.0]


def test_a_bond_costs_the_formula():
    """A (R/r)^12 (1 - r^2/C^2)^3 with R a share of C; each bond is met from both ends."""
    length, start = 1.6, 2.0
    expected = HEIGHT * (CORE * start / length) ** 12 * (1 - (length / start) ** 2) ** 3
    found = 2 * float(pair_energy(torch.tensor([length], dtype=torch.float64), start))
    assert abs(found / expected - 1.0) < ROUNDING


def test_relaxing_into_it_costs_electron_volts():
    """At 85 % of its start the wall is as strong as a bond."""
    assert 2 * float(pair_energy(torch.tensor([1.7], dtype=torch.float64))) > 1.0

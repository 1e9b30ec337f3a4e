"""A single member has no spread; atomic energies sum to the total; a wall of 0 is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.calculators.calculator import PropertyNotImplementedError

from calculators.ensemble import EnsembleCalculator
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.wall import Wall
from tests.crystals import random_crystal
from tests.tolerances import ROUNDING_ABS


def crystals():
    rng = np.random.default_rng(4)
    return [random_crystal(rng, symbols) for symbols in (["Cu", "Au"], ["Au"] * 3)]


@pytest.fixture
def single(ensemble):
    """The first member alone."""
    networks = None
    if ensemble.networks is not None:
        hidden = ensemble.spec.network.hidden
        size = ensemble.scaling.mean.shape[1]
        networks = Networks(1, 2, size, hidden, torch.Generator())
        with torch.no_grad():
            for mine, theirs in zip(
                networks.parameters(), ensemble.networks.parameters(), strict=True
            ):
                mine.copy_(theirs[:, :1])
    return replace(
        ensemble,
        spec=ensemble.spec.model_copy(update={"members": 1}),
        linear=ensemble.linear[:1],
        constants=ensemble.constants[:1],
        networks=networks,
    )


def test_one_member_predicts_as_it_does_among_others(single, ensemble):
    alone, together = single.predict(crystals(), members=True), ensemble.predict(crystals())
    assert torch.allclose(alone.energy, together.member_energy[0], atol=ROUNDING_ABS)
    assert torch.isnan(alone.energy_std).all()
    assert torch.isnan(alone.forces_std).all()
    assert alone.forces_std.shape == (5,)
    assert torch.isfinite(alone.forces).all()


def test_its_calculator_refuses_the_spread_and_nothing_else(single):
    atoms = crystals()[0]
    atoms.calc = EnsembleCalculator(single)
    assert np.isfinite(atoms.get_forces()).all()
    assert np.isfinite(atoms.get_stress()).all()
    for name in ("energy_std", "forces_std"):
        with pytest.raises(PropertyNotImplementedError, match="two members or more"):
            atoms.calc.get_property(name, atoms)


def test_it_is_saved_and_loaded(single, tmp_path):
    single.save(tmp_path / "model")
    again = Ensemble.load(tmp_path / "model")
    assert torch.equal(again.predict(crystals()).forces, single.predict(crystals()).forces)


def test_activations_are_saved_and_loaded(single, tmp_path):
    generator = torch.Generator().manual_seed(1)
    size = single.scaling.mean.shape[1]
    hidden = single.spec.network.hidden
    made = Networks(1, 2, size, hidden, generator, activations=("softplus", "cos"))
    with torch.no_grad():
        made.weights[-1].normal_(generator=generator)
    other = replace(single, networks=made)
    other.save(tmp_path / "model")
    again = Ensemble.load(tmp_path / "model")
    assert again.networks.activations == ("softplus", "cos")
    assert torch.equal(again.predict(crystals()).energy, other.predict(crystals()).energy)


def test_atomic_energies_sum_to_the_total_of_each_member(ensemble):
    walled = replace(ensemble, wall=Wall(torch.full((2, 2), 3.0, dtype=torch.float64)))
    for model in (ensemble, walled):
        atomic = model.atomic_energies(crystals())
        assert atomic.shape == (ensemble.spec.members, 5)
        total = torch.stack([atomic[:, :2].sum(dim=1), atomic[:, 2:].sum(dim=1)], dim=1)
        assert torch.allclose(total, model.predict(crystals()).member_energy, atol=ROUNDING_ABS)


def test_a_wall_that_starts_at_zero_is_none():
    wall = Wall(torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64))
    distances = torch.tensor([1.5, 1.5], dtype=torch.float64, requires_grad=True)
    energies = wall.energies(distances, torch.tensor([0, 0]), torch.tensor([0, 1]))
    slopes = torch.autograd.grad(energies.sum(), distances)[0]
    assert energies[0] == 0.0
    assert slopes[0] == 0.0
    assert energies[1] > 0.0
    assert slopes[1] < 0.0

"""Weights of labels, focal weight, schedules: the formulas at their ends."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potentials.loss import focal_weights, label_weights, learning_rate, prefactors
from potentials.spec import LabelWeights, LossWeights
from tests.tolerances import ROUNDING

LOSSES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=20)
GAMMAS = st.sampled_from([0.5, 1.0, 2.0, 3.0])


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


@given(LOSSES)
def test_focal_weight_is_one_without_gamma_and_one_in_the_mean_with_gamma_one(losses):
    assert focal_weights(tensor(losses), 0.0).tolist() == [1.0] * len(losses)
    assert abs(float(focal_weights(tensor(losses), 1.0).mean()) - 1.0) < ROUNDING


@given(LOSSES, GAMMAS)
def test_focal_weight_is_the_formula(losses, gamma):
    found = focal_weights(tensor(losses), gamma)
    expected = [(len(losses) * one / sum(losses)) ** gamma for one in losses]
    assert torch.allclose(found, tensor(expected), rtol=ROUNDING)


@given(LOSSES, GAMMAS, st.floats(0.01, 100.0))
def test_focal_weight_grows_with_the_loss_and_has_no_unit(losses, gamma, factor):
    losses = tensor(sorted(losses))
    found = focal_weights(losses, gamma)
    assert (found.diff() >= 0).all()
    assert torch.allclose(focal_weights(losses * factor, gamma), found, rtol=ROUNDING)


def test_focal_weight_of_a_perfect_fit_is_finite():
    assert torch.isfinite(focal_weights(torch.zeros(3, dtype=torch.float64), 0.5)).all()


def test_held_out_structures_take_no_part_in_the_mean():
    losses, weights = tensor([[1.0, 3.0, 100.0], [2.0, 2.0, 8.0]]), tensor([[1, 1, 0], [1, 1, 1]])
    found = focal_weights(losses, 1.0, weights)
    assert torch.allclose(found[0, :2], tensor([0.5, 1.5]))
    assert torch.allclose(found[1], tensor([0.5, 0.5, 2.0]))


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 50)), min_size=1, max_size=20))
def test_label_weights_have_mean_one_and_none_is_lost(labels):
    energies, forces = (tensor(part) for part in zip(*labels, strict=True))
    found = label_weights(energies, forces, LabelWeights())
    assert abs(float(found.mean()) - 1.0) < ROUNDING
    assert (found > 0).all()


def test_violent_labels_count_little():
    spec = LabelWeights(energy_scale_ev_per_atom=0.3, floor=0.0, force_scale_ev_per_a=3.0)
    by_energy = label_weights(tensor([-1.0, -0.7]), tensor([0.0, 0.0]), spec)
    assert abs(float(by_energy[1] / by_energy[0]) - 0.36787944117144233) < ROUNDING
    by_force = label_weights(tensor([0.0, 0.0]), tensor([0.0, 3.0]), spec)
    assert abs(float(by_force[1] / by_force[0]) - 0.5) < ROUNDING
    floor = spec.model_copy(update={"floor": 0.01})
    far = label_weights(tensor([0.0, 100.0]), tensor([0.0, 0.0]), floor)
    assert abs(float(far[1] / far[0]) - 0.01 / 1.01) < ROUNDING


@pytest.mark.parametrize("steps", [2, 10, 300])
def test_learning_rate_falls_from_start_to_end(steps):
    rates = [learning_rate(step, steps, 0.005, 0.0005) for step in range(steps)]
    assert rates[0] == 0.005
    assert abs(rates[-1] - 0.0005) < ROUNDING
    assert all(later < earlier for earlier, later in pairwise(rates))
    ratios = {round(later / earlier, 9) for earlier, later in pairwise(rates)}
    assert len(ratios) == 1


def test_one_step_has_a_learning_rate():
    assert learning_rate(0, 1, 0.01, 0.001) == 0.01


START = LossWeights(energy=0.02, forces=1.0, virial=0.3)
LIMIT = LossWeights(energy=1.0, forces=0.1, virial=0.2)


def test_prefactors_go_from_start_to_limit():
    assert prefactors(0.01, 0.01, START, LIMIT) == START
    half = prefactors(0.005, 0.01, START, LIMIT)
    assert abs(half.energy - 0.51) < ROUNDING
    assert abs(half.forces - 0.55) < ROUNDING
    end = prefactors(1e-12, 0.01, START, LIMIT)
    assert abs(end.energy - LIMIT.energy) < ROUNDING
    assert abs(end.virial - LIMIT.virial) < ROUNDING


def test_a_part_that_is_off_is_off_from_the_start():
    off = LossWeights(energy=1.0, forces=0.1, virial=0.0)
    assert prefactors(0.01, 0.01, START, off).virial == 0.0

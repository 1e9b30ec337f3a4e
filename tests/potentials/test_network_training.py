"""Training of networks: it learns, never harms, stops; every optimiser does its work."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from potentials.network import Networks
from potentials.network_training import Problem, Training, kept_out, silent, train_networks
from potentials.progress import Hooks
from potentials.spec import LossWeights, NetworkSpec
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.potentials.problems import (
    ENERGY_ONLY,
    MEMBERS,
    curved,
    noise,
    nothing,
    parts,
    problem,
    settings,
    training,
)

#: learning rates that suit a hundred steps
RATES = {"adadelta": 1.0, "sgd": 0.03, "asgd": 0.03, "rprop": 0.003}
OPTIMISERS = ("adam", "adamw", "adamax", "rmsprop", "rprop", "asgd", "adadelta", "sgd", "lbfgs")
WHOLE = ("rprop", "lbfgs")


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("batch", [40, None])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_networks_learn_what_is_curved(gamma, batch):
    epochs = 80 if batch else 250
    work = training(parts(curved), focal_gamma=gamma, batch=batch, epochs=epochs)
    without = work.best.error
    trained = train_networks(work)
    assert trained.gained
    assert (work.held_out_error(trained.networks) < 0.5 * without).all()


@pytest.mark.parametrize("seed", range(3))
def test_networks_never_make_a_held_out_error_worse(seed):
    work = training(parts(noise, seed=seed), weight_penalty=0.0)
    without = work.held_out_error(silent(work.networks))
    trained = train_networks(work)
    assert (work.held_out_error(trained.networks) <= without).all()
    # the last networks would have made it worse
    assert (work.held_out_error(work.networks) > without).any()


def test_networks_that_gain_nothing_are_told():
    trained = train_networks(training(parts(nothing)))
    assert not trained.gained
    energies, slopes = trained.networks(torch.ones(2, 1).double(), torch.zeros(2).long())
    assert energies.abs().max() == 0.0
    assert slopes.abs().max() == 0.0


def test_a_warm_start_is_ahead_and_leaves_the_old_networks_alone():
    made = parts(curved)
    warm = train_networks(training(made)).networks
    before = [parameter.detach().clone() for parameter in warm.parameters()]
    errors = []
    for start in (None, warm):
        work = training(made, start=start, epochs=3, learning_rate=0.005)
        errors.append(work.held_out_error(train_networks(work).networks))
    assert (errors[1] < errors[0]).all()
    assert all(
        torch.equal(parameter, kept)
        for parameter, kept in zip(warm.parameters(), before, strict=True)
    )


def test_no_networks_at_all_are_the_first_candidate_of_a_warm_start():
    """Old networks that are wrong about new labels are not kept for their own sake."""
    wrong = train_networks(training(parts(curved))).networks
    made = parts(lambda inputs: -3.0 * curved(inputs))
    work = training(made, start=wrong, epochs=1, learning_rate=1e-9, learning_rate_end=1e-9)
    assert not train_networks(work).gained
    assert (work.best.error < work.held_out_error(wrong)).all()


def test_training_stops_when_nothing_is_gained():
    work = training(parts(nothing), epochs=500, patience=20)
    train_networks(work)
    assert 20 < work.epoch < 100


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        ({"epochs": 7}, 7),
        ({"epochs": 7, "steps": 12}, 3),
        ({"epochs": 7, "steps": 12, "batch": None}, 7),
        ({"epochs": 7, "steps": 1}, 1),
    ],
)
def test_epochs_and_steps_are_both_bounds(changes, epochs):
    """Four parts: four steps an epoch, or one with the whole at once."""
    work = training(parts(curved), **changes)
    seen = []
    work.optimiser.register_step_post_hook(lambda *_: seen.append(1))
    train_networks(work)
    assert work.epoch == epochs
    assert len(seen) == epochs * (1 if changes.get("batch", 1) is None else 4)


def test_learning_rate_goes_from_start_to_end():
    work = training(parts(curved), epochs=5, learning_rate=0.02, learning_rate_end=0.002)
    rates = []
    work.optimiser.register_step_pre_hook(lambda opt, *_: rates.append(opt.param_groups[0]["lr"]))
    train_networks(work)
    assert rates[0] == 0.02
    assert abs(rates[-1] - 0.002) < 1e-9
    assert rates == sorted(rates, reverse=True)


def test_progress_is_told_with_falling_errors():
    told = []
    work = training(parts(curved), epochs=50)
    train_networks(work, Hooks(told.append))
    assert [one.stage for one in told] == ["networks"] * len(told)
    assert [one.step for one in told] == sorted({one.step for one in told})
    assert told[-1].step == told[-1].steps == 50
    assert 10 <= len(told) <= 50
    errors = [one.held_out for one in told]
    assert errors == sorted(errors, reverse=True)
    assert told[-1].train_loss < told[0].train_loss


def test_a_member_without_held_out_labels_stays_silent():
    """Nothing says whether its networks are any good; the others are not bothered."""
    made = parts(curved)
    whole = problem(made)
    check = whole.check.clone()
    check[1] = 0.0
    start = Networks(MEMBERS, 1, 1, (8,), torch.Generator().manual_seed(0))
    work = Training(settings(), replace(whole, check=check), start, np.random.default_rng(0))
    trained = train_networks(work)
    energies, _ = trained.networks(torch.ones(1, 1).double(), torch.zeros(1).long())
    assert energies[1].abs().max() == 0.0
    assert energies[[0, 2]].abs().min() > 0.0
    assert math.isfinite(work.error)


def test_labels_that_a_member_does_not_count_do_not_reach_it():
    """Their energies may be anything."""
    made = parts(curved)
    whole = problem(made)
    index = int(torch.nonzero(whole.train[0] == 0)[0])
    wrong = [replace(part, energy=part.energy.clone()) for part in made]
    for part in wrong:
        part.energy[:, part.index == index] += 1e3
    ends = []
    for own in (made, wrong):
        work = training(own, epochs=3, batch=40, focal_gamma=0.5)
        train_networks(work)
        ends.append(work.networks)
    for one, other in zip(ends[0].parameters(), ends[1].parameters(), strict=True):
        assert torch.equal(one[:, 0], other[:, 0])
    counted = torch.nonzero(whole.train[:, index] > 0).flatten()
    assert not torch.equal(ends[0].weights[0][:, counted], ends[1].weights[0][:, counted])


class Learner:
    """A part whose loss depends on a parameter that all members share."""

    def __init__(self, value):
        self.value = value
        self.index = torch.arange(4)

    def losses(self, networks, weights):
        energies, _ = networks(torch.ones(4, 1).double(), torch.zeros(4).long())
        return weights.energy * (energies + self.value - 3.0) ** 2


def test_parameters_that_members_share_are_trained_with_the_networks():
    value = torch.zeros((), dtype=torch.float64, requires_grad=True)
    ones = torch.ones(MEMBERS, 4, dtype=torch.float64)
    start = Networks(MEMBERS, 1, 1, (8,), torch.Generator().manual_seed(0))
    work = Training(
        settings(epochs=200, batch=None),
        Problem([Learner(value)], ones, ones, ENERGY_ONLY),
        start,
        np.random.default_rng(0),
        [value],
    )
    trained = train_networks(work)
    energies, _ = trained.networks(torch.ones(1, 1).double(), torch.zeros(1).long())
    assert abs(float(trained.learned[0])) > 0.1
    assert (energies + trained.learned[0] - 3.0).abs().max() < 0.05


@pytest.fixture(scope="module")
def crystals(frames):
    """The training of bare networks on 24 labelled crystals: in batches and as a whole."""
    caught = {}
    with pytest.MonkeyPatch.context() as patch:

        def instead(work, hooks):
            caught[work.settings.batch] = work
            return train_networks(work, hooks)

        patch.setattr("potentials.training.train_networks", instead)
        for batch in (8, None):
            network = {"hidden": (4,), "epochs": 1, "min_labels": 8, "batch": batch}
            network |= {"prefactor_start": LossWeights().model_dump(), "focal_gamma": 0.0}
            spec = quick_spec(network=network, linear={"enabled": False})
            fit(spec, frames, np.random.default_rng(0))
    return caught


def training_loss(work, networks):
    with torch.no_grad():
        found = torch.zeros_like(work.share)
        for part in work.parts:
            found[:, part.index] = part.losses(networks, work.problem.loss).to(found)
        return float((work.share * found).sum()) / len(found)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_lowers_the_loss_on_labelled_crystals(crystals, name):
    batch = None if name in WHOLE else 8
    work, rate = crystals[batch], RATES.get(name, 0.01)
    changes = {
        "optimiser": name,
        "batch": batch,
        "epochs": 10,
        "learning_rate": rate,
        "learning_rate_end": rate / 3,
    }
    again = Training(
        work.settings.model_copy(update=changes),
        work.problem,
        Networks(3, 2, work.networks.weights[0].shape[2], (4,), torch.Generator().manual_seed(1)),
        np.random.default_rng(0),
    )
    before = training_loss(again, again.networks)
    train_networks(again)
    after = training_loss(again, again.networks)
    assert after < 0.9 * before
    assert all(torch.isfinite(parameter).all() for parameter in again.networks.parameters())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_only_some_optimisers_work_on_batches(name):
    assert NetworkSpec(optimiser=name, batch=None).optimiser == name
    if name in WHOLE:
        with pytest.raises(ValidationError, match=f"optimiser {name} .* set batch: null"):
            NetworkSpec(optimiser=name, batch=8)
    else:
        assert NetworkSpec(optimiser=name, batch=8).batch == 8


def test_optimisers_that_do_not_exist_are_refused():
    with pytest.raises(ValidationError, match="optimiser"):
        NetworkSpec(optimiser="adagrad")


def test_single_and_double_precision_train_alike(frames):
    """The same path, as far as rounding lets it."""
    found = []
    for precision in ("float32", "float64"):
        network = {"hidden": (4,), "epochs": 6, "min_labels": 8, "precision": precision}
        spec = quick_spec(network=network, linear={"enabled": False})
        made = fit(spec, frames, np.random.default_rng(0))
        assert made.networks is not None
        assert made.networks.weights[0].dtype == torch.float64
        found.append(made)
    structures = [frame.atoms for frame in emt_frames(6, seed=9)]
    one, other = (made.predict(structures) for made in found)
    bare = replace(found[1], networks=None).predict(structures)
    moved = float((other.member_energy - bare.member_energy).abs().max())
    assert float((one.member_energy - other.member_energy).abs().max()) < 1e-3 * moved


def test_silent_networks_say_nothing_and_leave_the_old_alone():
    made = Networks(2, 1, 3, (4,), torch.Generator())
    with torch.no_grad():
        made.biases[-1].add_(1.0)
    kept = [parameter.detach().clone() for parameter in made.parameters()]
    energies, slopes = silent(made)(torch.ones(5, 3).double(), torch.zeros(5).long())
    assert energies.abs().max() == 0.0
    assert slopes.abs().max() == 0.0
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), kept, strict=True))


def test_the_same_seed_trains_the_same_networks():
    made = parts(curved)
    one, again = (train_networks(training(made, epochs=5)).networks for _ in range(2))
    other = train_networks(training(made, epochs=5, seed=1)).networks
    assert same(one, again)
    assert not same(one, other)


def test_held_out_labels_stay_held_out():
    """Decided by the id alone: more labels or another order move none across."""
    ids = [f"label-{index}" for index in range(400)]
    out = kept_out(ids, 4, 0.2)
    assert torch.equal(kept_out(ids[:50], 4, 0.2), out[:, :50])
    assert torch.equal(kept_out(ids[::-1], 4, 0.2), out.flip(1))
    assert torch.equal(kept_out(ids, 2, 0.2), out[:2])
    assert ((out.double().mean(dim=1) - 0.2).abs() < 0.06).all()
    assert len({tuple(row) for row in out.tolist()}) == 4
    assert (kept_out(ids, 4, 0.3) | ~out).all()

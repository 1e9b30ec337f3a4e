"""An interrupted training goes on where it was, and only the same training does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials import checkpoint
from potentials.checkpoint import Checkpoint
from potentials.network_training import Training, train_networks
from potentials.progress import Hooks
from potentials.training import fit
from tests.crystals import quick_spec
from tests.potentials.problems import curved, noise, parts, problem, settings, training


class StoppedError(Exception):
    """As by a user's Ctrl-C."""


def stop_at(step):
    """A listener that ends the training there."""

    def listen(progress):
        if progress.stage == "networks" and progress.step >= step:
            raise StoppedError

    return listen


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoint, "PERIOD_S", 0.0)


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "asgd", "sgd", "rprop", "lbfgs"])
def test_an_interrupted_training_ends_in_the_same_networks(tmp_path, optimiser):
    """Order of parts, focal weights, optimiser and best networks all go on."""
    whole = optimiser in ("rprop", "lbfgs")
    changes = {"optimiser": optimiser, "batch": None if whole else 20, "epochs": 14}
    changes |= {"learning_rate": 0.02, "focal_gamma": 0.5}
    file, made = tmp_path / "training.pt", parts(curved, structures=80, batch=20)
    straight = train_networks(training(made, **changes))
    with pytest.raises(StoppedError):
        train_networks(training(made, **changes), Hooks(stop_at(9), file))
    assert file.is_file()
    again = training(made, **changes)
    resumed = train_networks(again, Hooks(checkpoint=file))
    assert straight.gained
    assert resumed.gained
    assert same(resumed.networks, straight.networks)
    assert again.epoch == 14
    assert list(tmp_path.iterdir()) == []


def test_it_does_go_on_and_not_begin_again(tmp_path):
    file, made = tmp_path / "training.pt", parts(curved)
    with pytest.raises(StoppedError):
        train_networks(training(made, epochs=20), Hooks(stop_at(15), file))
    told = []
    train_networks(training(made, epochs=20), Hooks(told.append, file))
    assert told[0].step == 15


def test_shared_parameters_go_on_too(tmp_path):
    """Those of a descriptor, say, at their present and at their best values."""
    file, made = tmp_path / "training.pt", parts(curved)

    class Shifted:
        def __init__(self, part, shift):
            self.part, self.shift, self.index = part, shift, part.index

        def losses(self, networks, weights):
            return replace(self.part, inputs=self.part.inputs + self.shift).losses(
                networks, weights
            )

    def work():
        shift = torch.full((), 0.5, dtype=torch.float64, requires_grad=True)
        plain = training(made)
        moved = replace(problem(made), parts=[Shifted(part, shift) for part in made])
        rng = np.random.default_rng(0)
        return Training(settings(epochs=20), moved, plain.networks, rng, [shift])

    straight = train_networks(work())
    with pytest.raises(StoppedError):
        train_networks(work(), Hooks(stop_at(9), file))
    resumed = train_networks(work(), Hooks(checkpoint=file))
    assert same(resumed.networks, straight.networks)
    assert torch.equal(resumed.learned[0], straight.learned[0])
    assert float(resumed.learned[0]) != 0.5


def other_weights(made):
    whole = problem(made)
    plain = training(made)
    train = whole.train.clone()
    train[0, int(torch.nonzero(train[0])[0])] = 2.0
    return Training(plain.settings, replace(whole, train=train), plain.networks, plain.rng)


OTHERS = {
    "labels": lambda: training(parts(noise)),
    "structures": lambda: training(parts(curved, seed=1)),
    "batches": lambda: training(parts(curved, batch=20)),
    "settings": lambda: training(parts(curved), learning_rate=0.03),
    "weights of labels": lambda: other_weights(parts(curved)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_training_is_left_aside(tmp_path, what):
    file, made = tmp_path / "training.pt", OTHERS[what]
    with pytest.raises(StoppedError):
        train_networks(training(parts(curved)), Hooks(stop_at(9), file))
    expected = train_networks(made())
    assert same(train_networks(made(), Hooks(checkpoint=file)).networks, expected.networks)


def test_a_fit_that_was_interrupted_gives_the_same_ensemble(frames, tmp_path):
    spec = quick_spec(linear={"enabled": False})
    straight = fit(spec, frames, np.random.default_rng(0))
    assert straight.networks is not None
    file = tmp_path / "training.pt"
    with pytest.raises(StoppedError):
        fit(spec, frames, np.random.default_rng(0), hooks=Hooks(stop_at(5), file))
    resumed = fit(spec, frames, np.random.default_rng(0), hooks=Hooks(checkpoint=file))
    assert same(resumed.networks, straight.networks)
    assert list(tmp_path.iterdir()) == []


def test_a_state_is_read_as_it_was_written(tmp_path):
    file = tmp_path / "state.pt"
    kept = Checkpoint(file, "mine")
    assert kept.load() is None
    state = {"epoch": 3, "weights": torch.arange(4.0), "optimiser": {"state": {0: {"step": 1}}}}
    kept.save(state)
    found = Checkpoint(file, "mine").load()
    assert found["epoch"] == 3
    assert torch.equal(found["weights"], state["weights"])
    assert found["optimiser"] == state["optimiser"]
    assert Checkpoint(file, "another").load() is None
    kept.remove()
    kept.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_cannot_be_written_leaves_the_last_one(tmp_path, monkeypatch):
    file = tmp_path / "state.pt"
    kept = Checkpoint(file, "mine")
    kept.save({"epoch": 1})

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="no space"):
        kept.save({"epoch": 2})
    assert kept.load() == {"epoch": 1}


def test_it_is_due_when_its_period_is_over(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(checkpoint, "PERIOD_S", 20.0)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    kept = Checkpoint(tmp_path / "state.pt", "mine")
    now[0] = 119.0
    assert not kept.due()
    now[0] = 120.0
    assert kept.due()
    kept.save({})
    assert not kept.due()

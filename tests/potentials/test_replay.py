"""Replay: new labels make up their share of every epoch; nothing changes where there are none."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potentials import checkpoint
from potentials.ensemble import Ensemble
from potentials.network_training import Training, train_networks
from potentials.progress import Hooks
from potentials.replay import MOST_VISITS, Draws, short_keys, unseen
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.potentials.problems import ENERGY_ONLY, curved, parts, problem, settings, training

SHARES = st.floats(0.0, 0.95)
PARTS = st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=25)


def rng(seed=0):
    return np.random.default_rng(seed)


@given(PARTS, SHARES, st.integers(0, 2**20))
def test_old_parts_come_once_at_most_and_new_ones_once_at_least(made, share, seed):
    sizes, new = zip(*made, strict=True)
    draws = Draws.of(sizes, new, share)
    order = draws.epoch(rng(seed)).tolist()
    assert len(order) == len(draws)
    times = [order.count(place) for place in range(len(made))]
    assert sum(times) == len(order)
    old = [count for count, fresh in zip(times, new, strict=True) if not fresh]
    fresh = [count for count, fresh in zip(times, new, strict=True) if fresh]
    assert all(count <= 1 for count in old)
    assert sum(old) >= (1 if old else 0)
    assert all(count >= 1 for count in fresh)
    assert not fresh or max(fresh) - min(fresh) <= 1
    assert not fresh or max(fresh) <= MOST_VISITS


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 40), SHARES)
def test_new_labels_make_up_their_share_of_as_many_labels_as_there_are(n_old, n_new, size, share):
    """To half a part, for parts of one size; not less than they are anyhow."""
    total = n_old + n_new
    draws = Draws.of([size] * total, [False] * n_old + [True] * n_new, share)
    order = draws.epoch(rng())
    wanted = max(min(share * total, MOST_VISITS * n_new), n_new)
    assert abs(np.count_nonzero(order >= n_old) - wanted) <= 0.5 + 1e-9
    # one old part at least
    assert abs(len(order) - total) <= 1


@given(st.integers(0, 2**20), st.integers(2, 20), SHARES)
def test_the_share_is_one_of_labels_whatever_their_parts(seed, n_old, share):
    """In the mean over epochs, where parts differ in size."""
    sizes = [*rng(seed).integers(1, 33, n_old).tolist(), 3, 5, 1]
    new = [False] * n_old + [True] * 3
    draws, source = Draws.of(sizes, new, share), rng(seed)
    seen = np.array([np.bincount(draws.epoch(source), minlength=len(new)) for _ in range(100)])
    labels = seen.mean(axis=0) * np.array(sizes)
    total = sum(sizes)
    wanted = max(min(share * total, MOST_VISITS * 9.0), 9.0)
    assert abs(labels[n_old:].sum() - wanted) <= 2.0 + 0.05 * wanted
    # half a part of old ones by rounding, one part at least, and what 100 draws leave to chance
    assert abs(labels[:n_old].sum() - (total - wanted)) <= 33.0 + 0.1 * total


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20), SHARES, st.booleans())
def test_without_new_labels_or_without_old_ones_an_epoch_is_what_it_was(sizes, share, new):
    draws = Draws.of(sizes, [new] * len(sizes), share)
    assert draws.epoch(rng(3)).tolist() == rng(3).permutation(len(sizes)).tolist()


def test_all_old_parts_get_their_turn():
    draws, source = Draws.of([8] * 20, [False] * 18 + [True] * 2, 0.7), rng()
    met = {place for _ in range(30) for place in draws.epoch(source).tolist()}
    assert met == set(range(20))


def test_what_is_not_remembered_is_new():
    known = short_keys(["b", "a"])
    assert known == tuple(sorted(known)) == short_keys(["a", "b"])
    assert len(known[0]) == 10
    assert unseen(["c", "a", "d"], known).tolist() == [True, False, True]


@pytest.mark.parametrize("ids", [["a"], ["a", "b"], ["c", "d"]])
def test_labels_of_one_kind_are_not_parted(ids):
    """Without old ones among them there is nothing to be drowned by."""
    assert unseen(ids, short_keys(["a", "b"])) is None


#: 160 structures in eight parts, the last of which is new
MADE = parts(curved, batch=20)
NEW = torch.arange(160) >= 140


def retraining(new=NEW, made=MADE, **changes):
    return Training(
        settings(batch=20, **changes),
        replace(problem(made), new=new),
        training(MADE, seed=1).networks,
        rng(),
    )


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


class Counted:
    """A part that notes when it is looked at to be trained on."""

    def __init__(self, part, met):
        self.part, self.met, self.index = part, met, part.index

    def losses(self, networks, weights):
        if torch.is_grad_enabled():
            self.met.append(int(self.index[0]) // 20)
        return self.part.losses(networks, weights)


def test_a_training_looks_at_new_labels_as_often_as_it_is_told():
    met = []
    work = retraining(made=[Counted(part, met) for part in MADE], replay=0.5, epochs=6)
    assert work.per_epoch == 8
    train_networks(work)
    assert len(met) == 48
    for epoch in np.reshape(met, (6, 8)).tolist():
        assert epoch.count(7) == 4
        assert len(set(epoch)) == 5


def test_learning_rate_goes_down_over_the_drawn_epochs():
    """Where an epoch has another number of steps than there are parts, too."""
    made = [*parts(curved, structures=140, batch=20), *parts(curved, structures=160, batch=5)[28:]]
    work = retraining(made=made, replay=0.5, epochs=3, learning_rate=0.02, learning_rate_end=0.002)
    assert work.per_epoch == 4 + 16
    rates = []
    work.optimiser.register_step_pre_hook(lambda opt, *_: rates.append(opt.param_groups[0]["lr"]))
    train_networks(work)
    assert len(rates) == 60
    assert rates == sorted(rates, reverse=True)
    assert abs(rates[-1] - 0.002) < 1e-9


@pytest.mark.parametrize("changes", [{"replay": 0.0}, {"new": None}])
def test_switched_off_or_with_nothing_new_training_is_what_it_was(changes):
    start, few = training(MADE, seed=1).networks, {"epochs": 4}
    plain = Training(settings(batch=20, **few), problem(MADE), start, rng())
    found = train_networks(retraining(**changes, **few)).networks
    assert same(found, train_networks(plain).networks)
    assert not same(found, train_networks(retraining(**few)).networks)


def test_the_whole_at_once_is_not_drawn():
    """A line search or signs of gradients need the same loss in every step."""
    found = [retraining(new=new, epochs=5) for new in (NEW, None)]
    for work in found:
        work.settings = work.settings.model_copy(update={"batch": None})
    whole = [Training(work.settings, work.problem, work.networks, rng()) for work in found]
    ends = [train_networks(work).networks for work in whole]
    assert whole[0].per_epoch == 1
    assert same(*ends)


def test_new_labels_are_learned_in_fewer_epochs():
    """A region the old networks know nothing of: few new labels among many old ones."""
    inside = parts(curved, structures=320, batch=20)
    far = [
        replace(part, inputs=part.inputs + 4.0, energy=part.energy * 0.0 + 3.0)
        for part in inside[-1:]
    ]
    made, new = [*inside[:-1], *far], torch.arange(320) >= 300
    before = train_networks(training(inside[:-1], epochs=30)).networks
    losses = []
    for share in (0.0, 0.5):
        work = Training(
            settings(batch=20, epochs=8, replay=share, learning_rate=0.01),
            replace(problem(made), new=new),
            before,
            rng(),
        )
        train_networks(work)
        with torch.no_grad():
            losses.append(float(far[0].losses(work.networks, work.problem.loss).mean()))
    assert losses[1] < 0.5 * losses[0]


def test_focal_weights_of_labels_that_an_epoch_leaves_out_stay():
    work = retraining(focal_gamma=1.0, replay=0.7)
    work.run_epoch()
    first = work.focal.clone()
    left = [part.index for part in MADE if bool((first[:, part.index] == 1.0).all())]
    assert len(left) == 8 - (2 + 1)
    work.run_epoch()
    changed = (work.focal != first).any(dim=0)
    assert bool(changed[NEW].all())
    assert len({int(i) // 20 for i in changed.nonzero()}) == 3
    assert bool((work.focal > 0).all())


class StoppedError(Exception):
    """As by a user's Ctrl-C."""


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_an_interrupted_replay_ends_in_the_same_networks(tmp_path, monkeypatch, gamma):
    monkeypatch.setattr(checkpoint, "PERIOD_S", 0.0)
    file, changes = tmp_path / "training.pt", {"epochs": 14, "focal_gamma": gamma, "replay": 0.6}

    def stop(progress):
        if progress.step >= 5:
            raise StoppedError

    straight = train_networks(retraining(**changes))
    with pytest.raises(StoppedError):
        train_networks(retraining(**changes), Hooks(stop, file))
    assert file.is_file()
    again = retraining(**changes)
    assert same(train_networks(again, Hooks(checkpoint=file)).networks, straight.networks)
    assert again.epoch == 14


def test_a_checkpoint_of_other_new_labels_is_left_aside():
    prints = {retraining(new=new).fingerprint() for new in (NEW, torch.arange(160) >= 120, None)}
    assert len(prints) == 3


#: networks that are kept: there is nothing beside them
BARE = {"linear": {"enabled": False}}
BATCH = {"hidden": (6, 5), "epochs": 10, "min_labels": 8, "batch": 4}


@pytest.fixture(scope="module")
def warm(frames):
    made = fit(quick_spec(network=BATCH, **BARE), frames, rng())
    assert made.networks is not None
    return made


@pytest.fixture
def asked(monkeypatch):
    """The trainings that fits make."""
    calls = []

    def instead(work, hooks):
        work.started = copy.deepcopy(work.networks)
        calls.append(work)
        return train_networks(work, hooks)

    monkeypatch.setattr("potentials.training.train_networks", instead)
    return calls


def grown(frames, count=4):
    return [*frames, *(replace(f, id=f"new{i}") for i, f in enumerate(emt_frames(count, seed=7)))]


def equal(one, other):
    first, second = one._state(), other._state()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def again(frames, warm, **network):
    return fit(quick_spec(network=BATCH | network, **BARE), frames, rng(1), warm=warm)


def test_a_warm_fit_replays_what_its_networks_have_not_seen(frames, warm, asked):
    more = grown(frames)
    made = again(more, warm)
    order = sorted(frame.id for frame in more)
    work = asked[0]
    assert [name for name, new in zip(order, work.problem.new, strict=True) if new] == order[-4:]
    for part in work.parts:
        assert len(set(work.problem.new[part.index].tolist())) == 1
    assert made.trained_on == short_keys(order)
    assert not equal(made, again(more, warm, replay=0.0))
    assert asked[1].problem.new is None


def test_bare_networks_begin_where_they_ended(frames, warm, asked):
    """Reference energies follow the labels; what networks say of a known structure does not."""
    more = grown(frames)
    made = again(more, warm)
    assert (made.reference - warm.reference).abs().max() > 0.01
    work, order = asked[0], sorted(more, key=lambda frame: frame.id)
    known = [place for place, frame in enumerate(order) if not frame.id.startswith("new")]
    losses = torch.zeros_like(work.share)
    with torch.no_grad():
        for part in work.parts:
            losses[:, part.index] = part.losses(work.started, ENERGY_ONLY).to(losses)
    found = warm.predict([order[place].atoms for place in known]).member_energy
    label = torch.tensor([order[place].label.energy for place in known])
    size = torch.tensor([len(order[place].atoms) for place in known])
    expected = ((found - label) / size) ** 2
    assert torch.allclose(losses[:, known], expected.to(losses), rtol=1e-3, atol=1e-6)


def test_without_new_labels_a_warm_fit_is_what_it_was(frames, warm, asked):
    made = again(frames, warm)
    assert asked[0].problem.new is None
    assert equal(made, again(frames, warm, replay=0.0))


def test_an_ensemble_that_remembers_nothing_is_trained_on_as_before(frames, warm):
    more, older = grown(frames), replace(warm, trained_on=())
    assert equal(again(more, older), again(more, warm, replay=0.0))


def test_new_networks_have_nothing_to_replay(frames, warm, asked):
    """Without earlier ones, with others in shape, or with all labels in each step."""
    more = grown(frames)
    for start, change in ((None, {}), (warm, {"hidden": (4,)}), (warm, {"batch": None})):
        again(more, start, **change)
    assert [work.problem.new for work in asked] == [None] * 3


def test_an_ensemble_without_networks_remembers_no_labels(frames, linear):
    assert linear.trained_on == ()
    made = fit(quick_spec(network={"enabled": False}), grown(frames), rng(), warm=linear)
    assert made.trained_on == ()


def test_what_was_trained_on_is_saved_and_may_be_missing(frames, warm, tmp_path):
    warm.save(tmp_path / "a")
    assert Ensemble.load(tmp_path / "a").trained_on == short_keys(f.id for f in frames)
    file = tmp_path / "a" / "ensemble.json"
    about = json.loads(file.read_text())
    del about["trained_on"], about["checksum"]
    file.write_text(json.dumps(about))
    assert Ensemble.load(tmp_path / "a").trained_on == ()

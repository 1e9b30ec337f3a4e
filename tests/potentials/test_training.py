"""fit: same labels, same ensemble; refuses what does not fit; networks only where they help."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials import selection
from potentials.acsf_parameters import shortest_distance
from potentials.network import Networks
from potentials.network_training import Trained, fold_of, kept_out
from potentials.progress import Hooks
from potentials.spec import LinearSpec
from potentials.structures import Frame
from potentials.training import DataError, fit, training_errors
from tests.crystals import emt_frames, emt_label, quick_spec, random_crystal
from tests.tolerances import ROUNDING_ABS

LINEAR_ONLY = quick_spec(network={"enabled": False})
#: all labels count the same
EVEN = {"energy_scale_ev_per_atom": None, "force_scale_ev_per_a": None}
#: networks that get far enough to be kept
HELPFUL = {"hidden": (6,), "epochs": 30, "learning_rate": 0.02, "min_labels": 8}


def rng(seed=0):
    return np.random.default_rng(seed)


def equal(one, other):
    """Every tensor of two ensembles to the last bit."""
    first, second = one._state(), other._state()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


@pytest.mark.parametrize("spec", [LINEAR_ONLY, quick_spec()], ids=["linear", "networks"])
def test_order_of_arrival_does_not_matter(frames, spec):
    shuffled = [frames[i] for i in rng(3).permutation(len(frames))]
    assert equal(fit(spec, frames, rng()), fit(spec, shuffled, rng()))


def test_same_seed_same_ensemble_and_another_seed_another(frames):
    one = fit(quick_spec(), frames, rng(1))
    assert equal(one, fit(quick_spec(), frames, rng(1)))
    assert not torch.equal(one.linear, fit(quick_spec(), frames, rng(2)).linear)


def test_nothing_global_is_touched(frames):
    """Neither the generators, nor the default type, nor the frames."""
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_default_dtype()  # noqa: NPY002
    kept = [(frame.atoms.copy(), frame.label.to_dict()) for frame in frames]
    fit(quick_spec(), frames, rng())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert torch.get_default_dtype() == before[2]
    assert all(
        frame.atoms == atoms and frame.label.to_dict() == label
        for frame, (atoms, label) in zip(frames, kept, strict=True)
    )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_labels_are_refused(frames, count):
    with pytest.raises(DataError, match=f"at least 2 labelled structures, got {count}"):
        fit(LINEAR_ONLY, frames[:count], rng())


def test_two_engines_are_refused(frames):
    other = replace(frames[1], label=replace(frames[1].label, engine="dft"))
    with pytest.raises(DataError, match=r"2 engine settings \(dft, emt\).*keep the labels of one"):
        fit(LINEAR_ONLY, [frames[0], other], rng())


def test_the_same_id_twice_is_refused(frames):
    with pytest.raises(DataError, match=f"more than once: \\['{frames[0].id}'\\]"):
        fit(LINEAR_ONLY, [frames[0], frames[1], frames[0]], rng())


def test_two_labels_are_enough(frames):
    ensemble = fit(quick_spec(), frames[:2], rng())
    assert ensemble.networks is None
    assert torch.isfinite(ensemble.predict([frames[5].atoms]).energy).all()


def test_labels_without_stress_are_fitted_beside_those_with(frames):
    half = [
        replace(frame, label=replace(frame.label, stress=None)) if index % 2 else frame
        for index, frame in enumerate(frames)
    ]
    for spec in (LINEAR_ONLY, quick_spec()):
        found = fit(spec, half, rng()).predict([frame.atoms for frame in frames])
        assert torch.isfinite(found.energy).all()
        assert torch.isfinite(found.stress).all()
    bare = [replace(frame, label=replace(frame.label, stress=None)) for frame in frames]
    assert "stress_rmse_gpa" not in fit(LINEAR_ONLY, bare, rng()).facts


def test_stress_that_counts_nothing_is_as_good_as_none(frames):
    """Weight zero of the virial is the same training as labels without stress."""
    off = quick_spec(loss={"energy": 1.0, "forces": 0.1, "virial": 0.0})
    bare = [replace(frame, label=replace(frame.label, stress=None)) for frame in frames]
    atoms = [frame.atoms for frame in emt_frames(4, seed=5)]
    one, other = fit(off, frames, rng()), fit(off, bare, rng())
    assert (one.networks is None) == (other.networks is None)
    found, expected = one.predict(atoms), other.predict(atoms)
    assert torch.allclose(found.member_energy, expected.member_energy, atol=1e-6)


def test_the_fit_is_better_than_the_mean(frames):
    errors = fit(LINEAR_ONLY, frames, rng()).facts
    energies = [frame.label.energy / len(frame.atoms) for frame in frames]
    forces = np.concatenate([frame.label.forces.ravel() for frame in frames])
    assert errors["energy_rmse_mev_per_atom"] < 0.3 * 1e3 * np.std(energies)
    assert errors["force_rmse_ev_per_a"] < 0.5 * np.sqrt(np.mean(forces**2))


def test_errors_are_those_of_the_predictions(linear, frames):
    found = training_errors(linear, frames[:1])
    predicted, label = linear.predict([frames[0].atoms]), frames[0].label
    energy = abs(float(predicted.energy[0]) - label.energy) / len(frames[0].atoms)
    assert abs(found["energy_rmse_mev_per_atom"] - 1e3 * energy) < ROUNDING_ABS
    force = np.sqrt(np.mean((predicted.forces.numpy() - label.forces) ** 2))
    assert abs(found["force_rmse_ev_per_a"] - force) < ROUNDING_ABS


def test_pressure_moves_weight_to_what_is_stable_there():
    """At high pressure the denser of structures of one energy are fitted better."""
    gains = []
    for seed in (4, 5, 6):
        seen = emt_frames(48, seed=seed)
        dense = sorted(seen, key=lambda f: f.atoms.get_volume() / len(f.atoms))[:12]
        none, high = (
            training_errors(fit(LINEAR_ONLY, seen, rng(), pressure=pressure), dense)
            for pressure in (0.0, 2.0)
        )
        gains.append(high["energy_rmse_mev_per_atom"] / none["energy_rmse_mev_per_atom"])
    assert np.prod(gains) < 0.9


def test_unlabelled_elements_become_known(frames):
    more = [Atoms("PdCu", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 5], pbc=True)]
    ensemble = fit(LINEAR_ONLY, frames, rng(), unlabelled=more)
    assert ensemble.elements == (29, 46, 79)
    found = ensemble.predict(more)
    assert torch.isfinite(found.energy).all()
    assert float(found.extrapolation) > 0.0


def test_warm_start_keeps_scaling_and_elements(frames):
    warm = fit(LINEAR_ONLY, frames, rng())
    copper = emt_frames(12, seed=6, species=("Cu",))
    again = fit(LINEAR_ONLY, copper, rng(), warm=warm)
    assert again.elements == warm.elements
    assert torch.equal(again.scaling.mean, warm.scaling.mean)
    assert torch.equal(again.scaling.spread, warm.scaling.spread)
    assert torch.isfinite(again.predict([frames[0].atoms]).energy).all()


def test_a_descriptor_that_learns_may_lack_an_element_of_the_warm_start(frames):
    """It learns anew, and the element that is missing has nothing to be scaled by."""
    learning = quick_spec(
        descriptor={"kind": "deeppot", "cutoff": 4.5},
        network={"hidden": (4,), "epochs": 2, "min_labels": 8},
    )
    warm = fit(learning, frames, rng())
    again = fit(learning, emt_frames(12, seed=6, species=("Cu",)), rng(), warm=warm)
    assert again.elements == warm.elements
    assert torch.isfinite(again.predict([frames[0].atoms]).energy).all()


def test_warm_start_from_other_elements_or_descriptor_starts_afresh(frames):
    quick = quick_spec(network={"hidden": (4,), "epochs": 2, "min_labels": 8})
    copper = fit(quick, emt_frames(12, seed=6, species=("Cu",)), rng())
    assert equal(fit(quick, frames, rng(), warm=copper), fit(quick, frames, rng()))
    wider = quick_spec(
        descriptor={"kind": "moments", "cutoff": 5.0, "radial": 4, "angular": 1},
        network={"enabled": False},
    )
    silver = [Atoms("AgCu", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 5], pbc=True)]
    more = fit(LINEAR_ONLY, frames, rng(), unlabelled=silver)
    fresh = fit(wider, frames, rng(), warm=more)
    assert fresh.elements == (29, 79)
    assert equal(fresh, fit(wider, frames, rng()))


def test_a_warm_start_may_have_another_number_of_components(frames):
    """Networks take the descriptors, not their products: they go on; directions are the data's."""
    spec = quick_spec(linear={"components": 12}, network=HELPFUL)
    warm = fit(spec, frames, rng())
    assert warm.networks is not None
    plain = spec.model_copy(update={"linear": LinearSpec(components=0)})
    fewer = fit(plain, frames[:20], rng(), warm=warm)
    assert fewer.scaling.components.shape[2] == 0
    assert torch.equal(fewer.scaling.mean, warm.scaling.mean)
    assert fewer.networks.weights[0].shape == warm.networks.weights[0].shape
    again = fit(spec, frames, rng(), warm=fewer)
    assert again.scaling.components.shape[2] == 12
    assert torch.equal(again.scaling.spread, warm.scaling.spread)


def test_progress_is_told_stage_by_stage(frames):
    told = []
    fit(quick_spec(), frames, rng(), hooks=Hooks(told.append))
    stages = [one.stage for one in told]
    assert list(dict.fromkeys(stages)) == ["descriptors", "linear term", "networks"]
    assert stages == sorted(stages, key=["descriptors", "linear term", "networks"].index)
    assert told[0].steps == len(frames)
    assert all(one.step <= one.steps for one in told)


@pytest.mark.parametrize("network", [{"enabled": False}, {"hidden": (4,), "epochs": 2}])
def test_jacobians_that_do_not_fit_are_made_again_and_change_nothing(frames, network, monkeypatch):
    spec = quick_spec(network={"min_labels": 8, **network}, linear={"components": 4})
    kept = fit(spec, frames, rng())
    for module in ("features", "residual"):
        monkeypatch.setattr(f"potentials.{module}.memory_limit", lambda: 0)
    made = fit(spec, frames, rng())
    assert (kept.facts["jacobians"], made.facts["jacobians"]) == ("kept", "on the fly")
    assert kept.facts["components"] == made.facts["components"]
    assert (kept.networks is None) == (made.networks is None)
    atoms = [frame.atoms for frame in emt_frames(4, seed=5)]
    one, other = kept.predict(atoms), made.predict(atoms)
    assert torch.allclose(one.member_energy, other.member_energy, atol=1e-6)
    assert torch.allclose(one.forces, other.forces, atol=1e-6)


def test_a_bare_network_learns(frames):
    """Without a linear term and without a wall: nothing but networks and reference energies."""
    spec = quick_spec(linear={"enabled": False}, network=HELPFUL | {"epochs": 60}, wall=False)
    made = fit(spec, frames, rng())
    assert made.networks is not None
    assert made.linear.abs().max() == 0.0
    assert made.constants.abs().max() == 0.0
    assert made.scaling.components.shape[2] == 0
    assert made.wall.start.abs().max() == 0.0
    without = training_errors(replace(made, networks=None), frames)
    for name in ("energy_rmse_mev_per_atom", "force_rmse_ev_per_a", "stress_rmse_gpa"):
        assert made.facts[name] < 0.8 * without[name]


def test_without_linear_term_and_networks_there_are_reference_energies(frames):
    spec = quick_spec(linear={"enabled": False}, network={"enabled": False}, wall=False)
    made = fit(spec, frames, rng())
    found = made.predict([frames[0].atoms])
    counts = [[*frames[0].atoms.numbers].count(number) for number in made.elements]
    expected = float(made.reference @ torch.tensor(counts).double())
    assert abs(float(found.energy[0]) - expected) < ROUNDING_ABS
    assert found.forces.abs().max() == 0.0


def test_labels_may_all_count_alike(frames):
    """Then a violent label is fitted as well as any other."""
    plain = fit(LINEAR_ONLY, frames, rng())
    even = fit(quick_spec(network={"enabled": False}, labels=EVEN), frames, rng())
    violent = sorted(frames, key=lambda frame: frame.label.fmax)[-6:]
    errors = [training_errors(made, violent)["force_rmse_ev_per_a"] for made in (plain, even)]
    assert errors[1] < errors[0]


def test_a_fit_with_networks_is_what_the_evaluation_gives():
    """Linear term refitted around the networks: the error falls where networks help."""
    seen = emt_frames(45, seed=8, species=("Cu",), sizes=(2,))
    plain = {"linear": {"components": 0}, "labels": EVEN}
    made = fit(quick_spec(network=HELPFUL | {"epochs": 80}, **plain), seen, rng())
    assert made.networks is not None
    assert made.facts["networks"] is True
    without = fit(quick_spec(network={"enabled": False}, **plain), seen, rng())
    for name in ("energy_rmse_mev_per_atom", "force_rmse_ev_per_a", "stress_rmse_gpa"):
        assert made.facts[name] < without.facts[name]


def nonsense(training, bend):
    """Random networks of one layer, the more linear the smaller ``bend`` is."""
    n_elements, members, size, _ = training.networks.weights[0].shape
    made = Networks(members, n_elements, size, (3,), torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.weights[0].mul_(bend)
        made.weights[1].add_(5.0 / bend)
        made.biases[1].add_(0.5)
    return Trained(made, gained=True, learned=[])


def test_networks_that_do_not_pay_are_left_out(frames, monkeypatch):
    """Whatever their training says of them: labels that they have not seen decide."""
    spec = quick_spec(linear={"components": 0})
    plain = fit(quick_spec(linear={"components": 0}, network={"enabled": False}), frames, rng())
    monkeypatch.setattr("potentials.training.train_networks", lambda work, _: nonsense(work, 1.0))
    made = fit(spec, frames, rng())
    assert made.networks is None
    assert made.facts["networks"] is False
    assert torch.equal(made.linear, plain.linear)


@pytest.fixture
def asked(monkeypatch):
    """What fit hands to the training of networks; random, nearly linear networks come back."""
    calls = []

    def instead(training, hooks):
        calls.append(training)
        return nonsense(training, 1e-4)

    monkeypatch.setattr("potentials.training.train_networks", instead)
    # what they are good for is not asked
    monkeypatch.setattr("potentials.selection.merit", lambda *_: True)
    return calls


def test_the_linear_term_is_refitted_around_the_networks(frames, asked):
    """Almost without a ridge it takes back all that a nearly linear network gives."""
    free = {"linear": {"ridge": 1e-11, "components": 0}}
    found = fit(quick_spec(**free), frames, rng())
    assert found.networks is not None
    plain = fit(quick_spec(network={"enabled": False}, **free), frames, rng())
    wrong = replace(found, linear=plain.linear, constants=plain.constants)
    others = training_errors(wrong, frames)
    for name in ("energy_rmse_mev_per_atom", "force_rmse_ev_per_a", "stress_rmse_gpa"):
        assert abs(found.facts[name] / plain.facts[name] - 1.0) < 0.05
        assert others[name] > 2.0 * plain.facts[name]


@pytest.mark.parametrize("count", [24, 90])
def test_each_member_is_checked_on_what_it_does_not_train_on(asked, count):
    """Few labels are held out one by one, many by blocks that nobody trains on either."""
    seen = emt_frames(count, sizes=(2,))
    fit(quick_spec(linear={"components": 0}), seen, rng())
    train, check = asked[0].problem.train, asked[0].problem.check
    assert torch.equal(train == 0, check > 0)
    assert (check > 0).any(dim=1).all()
    assert (train > 0).any(dim=1).all()
    if count <= selection.MOST_SINGLE:
        out = kept_out([frame.id for frame in seen], 3, quick_spec().network.held_out)
        assert torch.equal(check > 0, out)


def test_blocks_that_are_held_out_stay_so_when_labels_come_in(asked):
    """Also where a block that was empty gets its first label."""
    pool = emt_frames(160, sizes=(2,))
    ids = [frame.id for frame in pool]
    drawn = fold_of(ids, selection.MOST_BLOCKS)
    empty = [frame for frame, block in zip(pool, drawn.tolist(), strict=True) if block != 3]
    few, more = empty[:70], [*empty[:70], *pool[-20:]]
    assert 3 in {int(fold_of([frame.id], selection.MOST_BLOCKS)) for frame in more}
    spec = quick_spec(linear={"components": 0})
    checked = []
    for seen in (few, [*few, *[f for f in more if f not in few]]):
        fit(spec, seen, rng())
        order = sorted(frame.id for frame in seen)
        check = asked[-1].problem.check > 0
        checked.append({name: check[:, place].tolist() for place, name in enumerate(order)})
    for frame in few:
        assert checked[0][frame.id] == checked[1][frame.id]


def test_held_out_labels_do_not_reach_the_linear_term_either(frames, asked):
    """A changed stress that a member holds out changes nothing of what it trains on."""
    out = kept_out([frame.id for frame in frames], 3, quick_spec().network.held_out)
    index = next(i for i in range(len(frames)) if 0 < int(out[:, i].sum()) < 3)
    changed = list(frames)
    label = replace(frames[index].label, stress=frames[index].label.stress + 0.01)
    changed[index] = replace(frames[index], label=label)
    spec = quick_spec(linear={"components": 0, "ridge": 1e-3})
    ends = [fit(spec, seen, rng()) for seen in (frames, changed)]
    assert ends[0].facts["ridge"] == ends[1].facts["ridge"]
    one, other = ([part.energy for part in call.parts] for call in asked)
    same = torch.stack([(a == b).all(dim=1) for a, b in zip(one, other, strict=True)]).all(dim=0)
    assert torch.equal(same, out[:, index])


def test_a_warm_fit_hands_its_networks_on_if_they_have_the_shape(frames, asked):
    """All layers but the first are the same: that one takes other inputs."""
    few = {"min_labels": 8, "focal_gamma": 0.5}
    made = fit(quick_spec(network=few), frames, rng())
    warm = replace(made, spec=quick_spec(network={"hidden": (3,), **few}))
    fit(warm.spec, frames, rng(), warm=warm)
    fit(quick_spec(network={"hidden": (4,), **few}), frames, rng(), warm=warm)
    fit(quick_spec(network={"hidden": (3,), **few}, members=2), frames, rng(), warm=warm)
    expected = warm.networks.weights[1].float()
    handed = [
        call.networks.weights[1].shape == expected.shape
        and torch.equal(call.networks.weights[1], expected)
        for call in asked
    ]
    assert handed == [False, True, False, False]
    # focal weights are for what is new, and to new networks all is
    assert [call.settings.focal_gamma for call in asked] == [0.0, 0.5, 0.0, 0.0]
    rates = [call.settings.learning_rate for call in asked]
    assert rates[1] < 0.5 * rates[0] == 0.5 * rates[2] == 0.5 * rates[3]


def test_few_labels_get_no_networks(frames):
    spec = quick_spec(network={"min_labels": len(frames) + 1})
    assert fit(spec, frames, rng()).networks is None


def test_zero_forces_at_a_perfect_crystal():
    """Symmetry, not the fit, makes them vanish."""
    cell = np.array([[0, 1.9, 1.9], [1.9, 0, 1.9], [1.9, 1.9, 0]])
    perfect = Atoms("Cu", cell=cell, pbc=True)
    other = random_crystal(rng(), ["Cu", "Cu"])
    made = fit(
        LINEAR_ONLY,
        [Frame("a", perfect, emt_label(perfect)), Frame("b", other, emt_label(other))],
        rng(),
    )
    assert made.predict([perfect]).forces.abs().max() < ROUNDING_ABS


def test_a_descriptor_that_takes_lengths_from_the_data_does_so_once(frames):
    spec = quick_spec(descriptor={"kind": "acsf", "cutoff": 4.0}, network={"enabled": False})
    made = fit(spec, frames[:12], rng())
    shortest = made.spec.descriptor.shortest
    assert shortest == shortest_distance([frame.atoms for frame in frames[:12]], 4.0)
    # a warm fit keeps it, though its data reach further: networks were trained on these functions
    assert fit(spec, frames, rng(), warm=made).spec.descriptor == made.spec.descriptor
    given = quick_spec(
        descriptor={"kind": "acsf", "cutoff": 4.0, "shortest": 1.5}, network={"enabled": False}
    )
    assert fit(given, frames[:12], rng(), warm=made).spec.descriptor.shortest == 1.5

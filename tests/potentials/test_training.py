"""fit: same labels, same ensemble; refuses what does not fit; networks only where they help."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.features import features
from potentials.network import Networks
from potentials.residual import Block, Residual, _held_out_error, held_out, train_networks
from potentials.spec import LossWeights
from potentials.structures import Frame
from potentials.training import DataError, fit, training_errors
from tests.crystals import emt_frames, emt_label, quick_spec, random_crystal
from tests.tolerances import ROUNDING_ABS

LINEAR_ONLY = quick_spec(network={"enabled": False})


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
    """At high pressure the denser of two structures of one energy is fitted better."""
    seen = emt_frames(24, seed=4)
    errors = []
    for pressure in (0.0, 2.0):
        found = fit(quick_spec(network={"enabled": False}), seen, rng(), pressure=pressure)
        dense = sorted(seen, key=lambda f: f.atoms.get_volume() / len(f.atoms))[:6]
        errors.append(training_errors(found, dense)["energy_rmse_mev_per_atom"])
    assert errors[1] < errors[0]


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


def test_warm_start_from_other_elements_or_descriptor_starts_afresh(frames):
    copper = fit(quick_spec(), emt_frames(12, seed=6, species=("Cu",)), rng())
    assert equal(fit(quick_spec(), frames, rng(), warm=copper), fit(quick_spec(), frames, rng()))
    wider = quick_spec(descriptor={"kind": "moments", "cutoff": 5.0, "radial": 4, "powers": (3.0,)})
    silver = [Atoms("AgCu", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[4, 4, 5], pbc=True)]
    more = fit(LINEAR_ONLY, frames, rng(), unlabelled=silver)
    fresh = fit(wider, frames, rng(), warm=more)
    assert equal(fresh, fit(wider, frames, rng()))


# --- networks on a made-up residual: scaled descriptors in, energies out ---


def residual(targets, seed=0, structures=150, size=1):
    """Structures of two atoms whose energy is a function of their descriptors; no forces."""
    scaled = torch.as_tensor(rng(seed).normal(size=(structures, 2, size)))
    energy = targets(scaled).expand(3, -1).clone()
    block = Block(
        index=torch.arange(structures),
        scaled=scaled,
        species=torch.zeros(structures, 2, dtype=torch.int64),
        jacobian=torch.zeros(structures, 2, size, 12, dtype=torch.float64),
        energy=energy,
        forces=torch.zeros(3, structures, 6, dtype=torch.float64),
        virial=None,
    )
    return Residual([block], structures, 1, size)


def curved(scaled):
    """What no linear term can give."""
    return (torch.tanh(3.0 * scaled) - 0.8 * scaled).sum(dim=(1, 2))


def noise(scaled):
    return torch.as_tensor(rng(99).normal(size=len(scaled)))


ENERGY_ONLY = LossWeights(energy=1.0, forces=0.0, virial=0.0)


def trained(problem, steps=150, warm=None, **network):
    settings = {
        "hidden": (8,),
        "steps": steps,
        "learning_rate": 0.05,
        "patience": 1000,
        "weight_penalty": 1e-5,
    }
    spec = quick_spec(
        loss=ENERGY_ONLY.model_dump(),
        network={"prefactor_start": ENERGY_ONLY.model_dump()} | settings | network,
    )
    ids = [f"s{index}" for index in range(problem.n_structures)]
    out = held_out(ids, 3, 0.25)
    train, check = (~out).double(), out.double()
    generator = torch.Generator().manual_seed(0)
    made = train_networks(spec, problem, train, check, generator, warm)
    silent = Networks(3, 1, problem.size, (8,), torch.Generator())
    without = _held_out_error(problem, silent, ENERGY_ONLY, check)
    if made is None:
        return made, without, without
    return made, _held_out_error(problem, made, ENERGY_ONLY, check), without


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_networks_learn_what_is_curved(gamma):
    made, error, without = trained(residual(curved), focal_gamma=gamma)
    assert made is not None
    assert (error < 0.5 * without).all()


def test_networks_never_make_a_held_out_error_worse():
    for seed in range(3):
        _, error, without = trained(residual(noise, seed=seed), weight_penalty=0.0)
        assert (error <= without).all()


def test_networks_that_gain_nothing_are_left_out():
    """A penalty that allows no weights leaves nothing to gain on pure noise."""
    problem = residual(lambda scaled: torch.zeros(len(scaled), dtype=torch.float64))
    assert trained(problem)[0] is None


def test_a_warm_start_is_ahead_and_leaves_the_old_networks_alone():
    problem = residual(curved)
    warm, _, _ = trained(problem, steps=150)
    before = [parameter.detach().clone() for parameter in warm.parameters()]
    _, cold_error, _ = trained(problem, steps=10)
    _, warm_error, _ = trained(problem, steps=10, warm=warm)
    assert (warm_error < cold_error).all()
    for parameter, kept in zip(warm.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)


def test_training_stops_when_nothing_is_gained(monkeypatch):
    looks = []
    monkeypatch.setattr(
        "potentials.residual._held_out_error",
        lambda problem, *_: looks.append(1) or torch.ones(3, dtype=torch.float64),
    )
    problem = residual(curved)
    spec = quick_spec(network={"hidden": (4,), "steps": 500, "patience": 20})
    ones = torch.ones(3, problem.n_structures, dtype=torch.float64)
    assert train_networks(spec, problem, ones, ones, torch.Generator(), None) is None
    assert len(looks) < 10


def test_residual_is_what_the_linear_term_leaves(linear, frames):
    """Losses of silent networks are the squared errors of each member's linear prediction."""
    from potentials.linear import Targets, rows

    seen = [*frames[:5], replace(frames[5], label=replace(frames[5].label, stress=None))]
    found = features([f.atoms for f in seen], linear.spec.descriptor, linear.elements)
    equations, expected = [], []
    loss = LossWeights(energy=1.0, forces=0.3, virial=0.2)
    for frame, one in zip(seen, found, strict=True):
        label, n_atoms = frame.label, len(frame.atoms)
        reference = linear.reference[one.species].sum()
        virial = None if label.stress is None else torch.as_tensor(label.stress) * one.volume
        goal = Targets(label.energy - reference, torch.as_tensor(label.forces).flatten(), virial)
        equations.append(rows(one, goal, linear.scaling, loss))
        error = one_member_errors(linear, frame)
        expected.append(
            error[0] ** 2
            + 0.3 * (error[1] ** 2).mean()
            + (0.2 * (error[2] * one.volume / n_atoms) ** 2).mean() * (virial is not None)
        )
    coefficients = torch.cat([linear.linear.flatten(1), linear.constants], dim=1)
    problem = Residual.of(found, equations, coefficients, linear.scaling, loss)
    _, n_elements, size = linear.linear.shape
    silent = Networks(3, n_elements, size, (4,), torch.Generator())
    losses = problem.losses(silent, loss)[0].detach()
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


def one_member_errors(ensemble, frame):
    """Energy per atom, forces, stress (Voigt-6) of the first member minus the label."""
    alone = replace(
        ensemble, linear=ensemble.linear[[0, 0]], constants=ensemble.constants[[0, 0]]
    ).predict([frame.atoms])
    stress = alone.stress[0].numpy()
    voigt = np.array([stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])
    known = frame.label.stress if frame.label.stress is not None else voigt
    return (
        (float(alone.energy[0]) - frame.label.energy) / len(frame.atoms),
        alone.forces.numpy() - frame.label.forces,
        voigt - known,
    )


def test_a_fit_with_networks_is_what_the_evaluation_gives():
    """Linear term refitted around the networks: the training error falls where networks help."""
    seen = emt_frames(30, seed=8, species=("Cu",), sizes=(2,))
    spec = quick_spec(
        network={"hidden": (6,), "steps": 120, "learning_rate": 0.02, "min_labels": 8}
    )
    made = fit(spec, seen, rng())
    assert made.networks is not None
    assert made.facts["networks"] is True
    without = fit(LINEAR_ONLY, seen, rng())
    assert made.facts["force_rmse_ev_per_a"] < without.facts["force_rmse_ev_per_a"]


@pytest.fixture
def asked(monkeypatch):
    """What fit hands to the training of networks; random, nearly linear networks come back."""
    calls = []

    def instead(spec, problem, train, check, generator, warm):
        calls.append((problem, train, check, warm))
        made = Networks(spec.members, problem.n_elements, problem.size, (3,), generator)
        with torch.no_grad():
            made.weights[0].mul_(1e-3)
            made.weights[1].add_(5e3)
            made.biases[1].add_(0.5)
        return made

    monkeypatch.setattr("potentials.training.train_networks", instead)
    return calls


def test_the_linear_term_is_refitted_around_the_networks(frames, asked):
    """Almost without a ridge it takes back all that a nearly linear network gives."""
    free = {"linear": {"ridge": 1e-8}}
    found = fit(quick_spec(**free), frames, rng())
    assert found.networks is not None
    plain = fit(quick_spec(network={"enabled": False}, **free), frames, rng())
    wrong = replace(found, linear=plain.linear, constants=plain.constants)
    others = training_errors(wrong, frames)
    for name in ("energy_rmse_mev_per_atom", "force_rmse_ev_per_a", "stress_rmse_gpa"):
        assert abs(found.facts[name] / plain.facts[name] - 1.0) < 0.05
        assert others[name] > 2.0 * plain.facts[name]


def test_each_member_is_checked_on_what_it_does_not_train_on(frames, asked):
    fit(quick_spec(), frames, rng())
    _, train, check, warm = asked[0]
    out = held_out([frame.id for frame in frames], 3, quick_spec().network.held_out)
    assert torch.equal(train == 0, out)
    assert torch.equal(check > 0, out)
    assert warm is None


def test_held_out_labels_do_not_reach_the_linear_term_either(frames, asked):
    """A changed stress that a member holds out changes nothing of what it trains on."""
    out = held_out([frame.id for frame in frames], 3, quick_spec().network.held_out)
    index = next(i for i in range(len(frames)) if 0 < int(out[:, i].sum()) < 3)
    changed = list(frames)
    label = replace(frames[index].label, stress=frames[index].label.stress + 0.1)
    changed[index] = replace(frames[index], label=label)
    fit(quick_spec(), frames, rng())
    fit(quick_spec(), changed, rng())
    one, other = ([block.energy for block in call[0].blocks] for call in asked)
    same = torch.stack([(a == b).all(dim=1) for a, b in zip(one, other, strict=True)]).all(dim=0)
    assert torch.equal(same, out[:, index])


def test_a_warm_fit_hands_its_networks_on_if_they_have_the_shape(frames, asked):
    warm = fit(quick_spec(), frames, rng())
    fit(quick_spec(), frames, rng(), warm=warm)
    fit(quick_spec(network={"hidden": (4,)}), frames, rng(), warm=warm)
    fit(quick_spec(members=2), frames, rng(), warm=warm)
    assert [call[3] is warm.networks for call in asked] == [False, True, False, False]


def test_few_labels_get_no_networks(frames):
    spec = quick_spec(network={"min_labels": len(frames) + 1})
    assert fit(spec, frames, rng()).networks is None


def test_held_out_labels_stay_held_out():
    """Decided by the id alone: more labels or another order move none across."""
    ids = [f"label-{index}" for index in range(400)]
    out = held_out(ids, 4, 0.2)
    assert torch.equal(held_out(ids[:50], 4, 0.2), out[:, :50])
    assert torch.equal(held_out(ids[::-1], 4, 0.2), out.flip(1))
    assert torch.equal(held_out(ids, 2, 0.2), out[:2])
    assert ((out.double().mean(dim=1) - 0.2).abs() < 0.06).all()
    assert len({tuple(row) for row in out.tolist()}) == 4
    assert (held_out(ids, 4, 0.3) | ~out).all()


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

"""Members judged by a label have nothing of it: changing it changes nothing but its own error."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.calibration import Calibration
from potentials.closed_form import Joined, _left, calibrated, closed_form, joined, no_linear
from potentials.dataset import data_set, elements_of, labelled
from potentials.linear import with_targets
from potentials.network import Networks
from potentials.unseen_labels import of_folds, of_members
from tests.crystals import emt_frames, quick_spec

SPEC = quick_spec(members=3, linear={"components": 0})
SHIFT = 0.7


def data_of(frames, changed=None):
    """The labels, one of them with another energy; the reference energies stay."""
    elements = elements_of(frames, [], None)
    given = labelled(frames, elements, SPEC.labels, 0.0)
    if changed is not None:
        targets = list(given.targets)
        targets[changed] = replace(targets[changed], energy=targets[changed].energy + SHIFT)
        given = replace(given, targets=targets)
    return data_set(given, SPEC.descriptor)


def closed_of(data):
    return closed_form(SPEC, data, np.random.default_rng(0))


def with_networks(data, closed):
    """Networks that nobody trained, beside the linear term."""
    generator = torch.Generator().manual_seed(0)
    n_elements, size = data.scaling.mean.shape
    networks = Networks(SPEC.members, n_elements, size, (4,), generator)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator).double())
    left = _left(data, networks)
    problems = with_targets(closed.problem, closed.rows(data), left)
    term = closed.solved(problems, closed.times, closed.blend)
    return Joined(term, networks, closed.blend, left, problems)


def folds(data, closed):
    return list(of_folds(data, closed))


def members(data, closed):
    return list(of_members(data, closed, with_networks(data, closed)))


@pytest.fixture(scope="module")
def seen():
    return emt_frames(25, sizes=(2, 3))


@pytest.mark.parametrize("route", [folds, members])
def test_a_label_is_unknown_to_those_that_it_judges(seen, route):
    data = data_of(seen)
    closed = closed_of(data)
    before = route(data, closed)
    judged = 0
    for place in range(0, len(seen), 5):
        other = data_of(seen, changed=place)
        # choices and weights as they were: only what is solved may differ
        again = replace(closed, problem=closed_of(other).problem)
        after, blind = route(other, again)[place], before[place].blind
        judged += int(blind.sum())
        size = len(data.targets[place].forces) / 3
        moved = after.energy[blind] - before[place].energy[blind]
        assert torch.allclose(moved, torch.full_like(moved, -SHIFT / size), atol=1e-9)
        assert torch.allclose(after.forces[blind], before[place].forces[blind], atol=1e-9)
        seeing = after.energy[~blind] - before[place].energy[~blind]
        assert ((seeing + SHIFT / size).abs() > 1e-6).all()
    assert judged > 0


def test_errors_are_those_of_an_ensemble_with_that_term(seen):
    """Members that have seen everything, as the ensemble predicts."""
    from potentials.ensemble import Ensemble
    from potentials.wall import no_wall

    data = data_of(seen)
    closed = closed_of(data)
    # nothing is held out: all members are solved on all labels
    closed = replace(closed, kept_out=torch.zeros_like(closed.kept_out))
    found = with_networks(data, closed)
    ensemble = Ensemble(
        spec=SPEC,
        elements=data.labelled.elements,
        scaling=found.term.scaling,
        reference=data.labelled.reference,
        linear=found.term.coefficients,
        constants=found.term.constants,
        networks=found.networks,
        wall=no_wall(len(data.labelled.elements)),
        bounds=torch.zeros(2, *data.scaling.mean.shape).double(),
        calibration=1.0,
        engine="emt",
        facts={},
    )
    rows = list(of_members(data, closed, found))
    for frame, own in zip(data.labelled.frames, rows, strict=True):
        assert not own.blind.any()
        predicted = ensemble.predict([frame.atoms], members=True)
        size = len(frame.atoms)
        expected = (predicted.member_energy[:, 0] - frame.label.energy) / size
        assert torch.allclose(own.energy, expected, atol=1e-9)
        mean = own.forces.mean(dim=0).reshape(-1, 3) + torch.as_tensor(frame.label.forces)
        assert torch.allclose(mean, predicted.forces, atol=1e-8)
        spread = own.forces.reshape(SPEC.members, -1, 3).var(dim=0).sum(dim=1).sqrt()
        assert torch.allclose(spread, predicted.forces_std, atol=1e-7)


def test_bare_networks_are_calibrated(seen):
    spec = quick_spec(members=3, linear={"enabled": False})
    data = data_of(seen)
    closed = closed_form(spec, data, np.random.default_rng(0))
    networks = with_networks(data, closed_of(data)).networks
    found = joined(spec, data, closed, networks)
    assert len(found.left) == 3
    assert bool((found.term.coefficients == no_linear(spec, data).coefficients).all())
    made = calibrated(spec, data, closed, found, None)
    assert made != Calibration()
    assert calibrated(spec, data, closed, found, 3.0) == Calibration(3.0, 3.0)


def test_members_that_are_alike_have_nothing_to_calibrate(seen):
    spec = quick_spec(members=3, linear={"components": 0}, bootstrap="none")
    data = data_of(seen)
    closed = closed_form(spec, data, np.random.default_rng(0))
    found = joined(spec, data, closed, None)
    assert calibrated(spec, data, closed, found, None) == Calibration()


def test_too_few_folds_leave_the_spread_as_it_is(seen):
    few = sorted(seen, key=lambda frame: frame.id)[:3]
    data = data_of(few)
    closed = closed_of(data)
    assert calibrated(SPEC, data, closed, joined(SPEC, data, closed, None), None) == Calibration()

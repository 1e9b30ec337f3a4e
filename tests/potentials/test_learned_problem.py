"""Training of descriptor and networks together: losses, gradients, minibatches, and it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.descriptors import build
from potentials.ensemble import Ensemble
from potentials.features import values_only
from potentials.learned_problem import LearnedProblem
from potentials.linear import Targets
from potentials.network import Networks
from potentials.scaling import scaling_of
from potentials.spec import EnsembleSpec, LossWeights
from potentials.wall import Wall
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

ELEMENTS = (29, 79)
MEMBERS, HIDDEN = 2, (16, 16)
REFERENCE = torch.tensor([0.3, -0.2], dtype=torch.float64)
PARTS = LossWeights(energy=1.0, forces=0.3, virial=0.2)
DESCRIPTOR = build({"kind": "deeppot", "cutoff": 4.5, "inner": 0.3})


def targets_of(frames):
    found = []
    for frame in frames:
        index = [ELEMENTS.index(z) for z in frame.atoms.numbers]
        label = frame.label
        virial = None
        if label.stress is not None:
            virial = torch.as_tensor(label.stress * frame.atoms.get_volume())
        energy = torch.tensor(label.energy, dtype=torch.float64) - REFERENCE[index].sum()
        found.append(Targets(energy, torch.as_tensor(label.forces).flatten(), virial))
    return found


def problem_of(frames):
    structures = [frame.atoms for frame in frames]
    learned = DESCRIPTOR.learned(2, torch.Generator().manual_seed(0))
    values, species = values_only(structures, DESCRIPTOR.bound(learned), ELEMENTS)
    scaling = scaling_of(values, species, 2).leading(0)
    # no products of components: there is no linear term
    scaling = replace(scaling, components=scaling.components[:, :, :0])
    targets = targets_of(frames)
    return LearnedProblem.of(structures, targets, DESCRIPTOR, ELEMENTS, learned, scaling=scaling)


def losses_of(problem, networks, size=None):
    """Loss on all structures in their order (K, F), part by part."""
    parts = problem.parts(size, torch.float64, torch.device("cpu"))
    found = [part.losses(networks, PARTS) for part in parts]
    order = torch.cat([part.index for part in parts])
    return torch.cat(found, dim=1)[:, torch.argsort(order)]


def networks_of(problem, seed=1):
    """Not silent, so that descriptors matter from the start."""
    generator = torch.Generator().manual_seed(seed)
    made = Networks(MEMBERS, 2, problem.size, HIDDEN, generator)
    with torch.no_grad():
        last = made.weights[-1]
        last.add_(0.1 * torch.randn(last.shape, generator=generator, dtype=torch.float64))
    return made


def ensemble_of(problem, networks):
    """What would be saved: no linear term, no wall."""
    spec = EnsembleSpec(
        descriptor=DESCRIPTOR,
        members=MEMBERS,
        linear={"components": 0},
        network={"hidden": HIDDEN},
    )
    nothing = torch.zeros(MEMBERS, 2, problem.size, dtype=torch.float64)
    return Ensemble(
        spec=spec,
        elements=ELEMENTS,
        scaling=problem.scaling,
        reference=REFERENCE,
        linear=nothing,
        constants=nothing[..., 0],
        networks=networks,
        wall=Wall(torch.zeros(2, 2, dtype=torch.float64)),
        bounds=torch.stack([nothing[0] - 9.0, nothing[0] + 9.0]),
        calibration=1.0,
        engine="emt",
        facts={},
        learned=problem.state(),
    )


@pytest.fixture(scope="module")
def problem(frames):
    return problem_of(frames)


@pytest.fixture(scope="module")
def networks(problem):
    return networks_of(problem)


@pytest.fixture(scope="module")
def ensemble(problem, networks):
    return ensemble_of(problem, networks)


def voigt(stress):
    return [stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]


def test_losses_are_the_errors_of_the_ensemble(frames, networks):
    """Of each member alone, by the one evaluation; a stress that is not known counts nothing."""
    seen = [*frames[:4], replace(frames[4], label=replace(frames[4].label, stress=None))]
    problem = problem_of(seen)
    losses = losses_of(problem, networks)
    assert losses.shape == (MEMBERS, 5)
    both = ensemble_of(problem, networks)
    for member in range(MEMBERS):
        alone = replace(
            both,
            spec=both.spec.model_copy(update={"members": 1}),
            linear=both.linear[[member]],
            constants=both.constants[[member]],
            networks=one_of(networks, member, problem.size),
        )
        expected = [loss_of(alone, frame) for frame in seen]
        np.testing.assert_allclose(losses[member].detach(), expected, rtol=1e-8)


def one_of(networks, member, size):
    made = Networks(1, 2, size, HIDDEN, torch.Generator())
    with torch.no_grad():
        for mine, theirs in zip(made.parameters(), networks.parameters(), strict=True):
            mine.copy_(theirs[:, [member]])
    return made


def loss_of(alone, frame):
    found, label, n_atoms = alone.predict([frame.atoms]), frame.label, len(frame.atoms)
    total = ((float(found.energy[0]) - label.energy) / n_atoms) ** 2
    total += PARTS.forces * np.mean((found.forces.numpy() - label.forces) ** 2)
    if label.stress is not None:
        error = (np.array(voigt(found.stress[0])) - label.stress) * frame.atoms.get_volume()
        total += PARTS.virial * np.mean((error / n_atoms) ** 2)
    return total


def test_gradients_are_central_differences(frames, networks):
    """By parameters of descriptor and networks, of a loss with forces and virials in it."""
    problem = problem_of(frames[:3])
    leaves = [*problem.parameters(), *networks.parameters()]
    rng = np.random.default_rng(0)
    moves = [torch.as_tensor(rng.normal(size=tuple(leaf.shape))) for leaf in leaves]
    slopes = torch.autograd.grad(losses_of(problem, networks).sum(), leaves)

    def moved(step):
        with torch.no_grad():
            for leaf, move in zip(leaves, moves, strict=True):
                leaf.add_(step * move)
            found = float(losses_of(problem, networks).sum())
            for leaf, move in zip(leaves, moves, strict=True):
                leaf.sub_(step * move)
        return found

    shares = torch.cat([(s * m).flatten() for s, m in zip(slopes, moves, strict=True)])
    expected = (moved(STEP) - moved(-STEP)) / (2 * STEP)
    assert abs(float(shares.sum()) - expected) < DIFFERENCE * float(shares.abs().sum())
    assert all((slope.abs() > 0).any() for slope in slopes)


def test_parts_are_all_structures_once(problem, networks, monkeypatch):
    with torch.no_grad():
        whole = losses_of(problem, networks)
        assert whole.shape == (MEMBERS, 24)
        assert not whole.requires_grad
        for size in (1, 5, 24, 100):
            parts = problem.parts(size, torch.float64, torch.device("cpu"))
            assert max(len(part.index) for part in parts) <= size
            assert torch.allclose(losses_of(problem, networks, size), whole, rtol=ROUNDING)
        monkeypatch.setattr("potentials.learned_problem.CHUNK", 5)
        assert len(problem.parts(None, torch.float64, torch.device("cpu"))) > 5
        assert torch.allclose(losses_of(problem, networks), whole, rtol=ROUNDING)


def test_single_precision_is_close(problem, networks):
    part = problem.parts(None, torch.float32, torch.device("cpu"))[0]
    found = part.losses(networks, PARTS)
    assert found.dtype == torch.float32
    found.sum().backward()
    exact = losses_of(problem, networks)[:, part.index].detach()
    assert torch.allclose(found.detach().double(), exact, rtol=1e-3)
    assert all(leaf.grad.dtype == torch.float64 for leaf in problem.parameters())


def test_training_does_not_touch_what_it_began_with(frames):
    learned = DESCRIPTOR.learned(2, torch.Generator().manual_seed(0))
    problem = problem_of(frames[:2])
    before = problem.state()
    with torch.no_grad():
        for parameter in problem.parameters():
            parameter.add_(1.0)
    for name, tensor in learned.items():
        assert torch.equal(before[name], tensor)
        assert torch.equal(problem.state()[name], tensor + 1.0)


def test_a_plain_loop_learns(frames):
    """The held-out error falls, and further than with the descriptor as it was at the start."""
    train, check = frames[:18], frames[18:]
    reached = {}
    for which in ("networks", "both"):
        problem = problem_of(train)
        networks = networks_of(problem)
        start = held_out(problem, networks, check)
        changed = [*networks.parameters(), *(problem.parameters() if which == "both" else [])]
        optimiser = torch.optim.Adam(changed, lr=0.007)
        parts = problem.parts(None, torch.float64, torch.device("cpu"))
        for _ in range(80):
            optimiser.zero_grad()
            for part in parts:
                part.losses(networks, PARTS).mean().backward()
            optimiser.step()
        reached[which] = held_out(problem, networks, check)
    assert reached["both"] < 0.2 * start
    assert reached["both"] < 0.5 * reached["networks"]


def held_out(problem, networks, frames):
    """Loss on structures that the problem does not hold."""
    structures = [frame.atoms for frame in frames]
    other = LearnedProblem.of(
        structures,
        targets_of(frames),
        DESCRIPTOR,
        ELEMENTS,
        problem.state(),
        scaling=problem.scaling,
    )
    with torch.no_grad():
        return float(losses_of(other, networks).mean())


def test_forces_and_stress_are_derivatives_of_the_energy(ensemble, frames):
    atoms = frames[1].atoms
    found = ensemble.predict([atoms])

    def energy(change):
        other = atoms.copy()
        change(other)
        return float(ensemble.predict([other]).energy[0])

    for atom, axis in ((0, 0), (1, 2)):

        def move(other, step, place=(atom, axis)):
            other.positions[place] += step

        slope = (energy(lambda o, m=move: m(o, STEP)) - energy(lambda o, m=move: m(o, -STEP))) / (
            2 * STEP
        )
        assert abs(float(found.forces[atom, axis]) + slope) < DIFFERENCE * max(1.0, abs(slope))
    for one, other in ((0, 0), (0, 2)):

        def strain(atoms, step, place=(one, other)):
            change = np.eye(3)
            change[place] += 0.5 * step
            change[place[::-1]] += 0.5 * step
            atoms.set_cell(atoms.cell.array @ change, scale_atoms=True)

        slope = (
            energy(lambda o, m=strain: m(o, STEP)) - energy(lambda o, m=strain: m(o, -STEP))
        ) / (2 * STEP)
        stress = float(found.stress[0, one, other]) * atoms.get_volume()
        assert abs(stress - slope) < DIFFERENCE * max(1.0, abs(slope))


def test_parameters_are_saved_with_the_ensemble(ensemble, frames, tmp_path):
    ensemble.save(tmp_path / "model")
    again = Ensemble.load(tmp_path / "model")
    assert again.learned.keys() == ensemble.learned.keys()
    structures = [frame.atoms for frame in frames[:5]]
    one, other = ensemble.predict(structures), again.predict(structures)
    assert torch.equal(one.member_energy, other.member_energy)
    assert torch.equal(one.forces, other.forces)


def test_weights_without_the_settings_parameters_are_refused(ensemble, frames):
    lost = replace(ensemble, learned={})
    with pytest.raises(ValueError, match="descriptor deeppot: parameters of layers"):
        lost.predict([frames[0].atoms])


def test_an_ensemble_of_a_fixed_kind_has_no_parameters(linear, frames, tmp_path):
    """Those saved before there were any are read as they are."""
    assert linear.learned == {}
    linear.save(tmp_path / "model")
    again = Ensemble.load(tmp_path / "model")
    assert again.learned == {}
    atoms = [frames[0].atoms]
    assert torch.allclose(
        again.predict(atoms).energy, linear.predict(atoms).energy, atol=ROUNDING_ABS
    )

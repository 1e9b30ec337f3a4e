"""What the linear term leaves, against the evaluation; whitened inputs; parts kept or made anew."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.features import FeatureSet
from potentials.linear import Targets
from potentials.network import Networks
from potentials.residual import WHITE, Block, Residual, Whitening
from potentials.spec import LossWeights
from potentials.structures import Frame
from tests.crystals import emt_frames
from tests.potentials.conftest import random_networks
from tests.tolerances import ROUNDING, ROUNDING_ABS

LOSS = LossWeights(energy=1.0, forces=0.3, virial=0.2)
CPU = torch.device("cpu")
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@pytest.fixture(scope="module")
def seen(frames):
    """Of two sizes, one without stress."""
    without = replace(frames[5], label=replace(frames[5].label, stress=None))
    return [*frames[:5], without, *frames[6:9]]


def targets_of(ensemble, frames, found):
    made = []
    for frame, one in zip(frames, found, strict=True):
        label = frame.label
        virial = None if label.stress is None else torch.as_tensor(label.stress) * one.volume
        energy = label.energy - ensemble.reference[one.species].sum()
        made.append(Targets(energy, torch.as_tensor(label.forces).flatten(), virial))
    return made


def residual_of(ensemble, frames, *, kept=True, rarity=None):
    structures = [frame.atoms for frame in frames]
    found = FeatureSet(structures, ensemble.spec.descriptor, ensemble.elements, kept=kept)
    targets = targets_of(ensemble, frames, found)
    return Residual(found, targets, ensemble.linear, ensemble.constants, ensemble.scaling, rarity)


def losses_of(problem, networks, size=None, dtype=torch.float64, loss=LOSS):
    found = torch.zeros(networks.weights[0].shape[1], problem.n_structures, dtype=torch.float64)
    for part in problem.parts(size, dtype, CPU):
        with torch.no_grad():
            found[:, part.index] = part.losses(networks.to(dtype), loss).double()
    return found


def silent(problem, members=3):
    return Networks(members, problem.n_elements, problem.size, (4,), torch.Generator())


def errors_of(ensemble, member, frame):
    """Energy per atom, forces, stress (Voigt-6) of one member minus the label."""
    alone = replace(
        ensemble,
        linear=ensemble.linear[[member]],
        constants=ensemble.constants[[member]],
        networks=None if ensemble.networks is None else one_of(ensemble.networks, member),
    ).predict([frame.atoms])
    stress = alone.stress[0].numpy()
    voigt = np.array([stress[a, b] for a, b in VOIGT])
    known = frame.label.stress if frame.label.stress is not None else voigt
    return (
        (float(alone.energy[0]) - frame.label.energy) / len(frame.atoms),
        alone.forces.numpy() - frame.label.forces,
        voigt - known,
    )


def one_of(networks, member):
    n_elements, _, size, _ = networks.weights[0].shape
    made = Networks(1, n_elements, size, (6, 5), torch.Generator())
    with torch.no_grad():
        for own, theirs in zip(made.parameters(), networks.parameters(), strict=True):
            own.copy_(theirs[:, [member]])
    return made


@pytest.mark.parametrize("name", ["linear", "products", "deep"])
@pytest.mark.parametrize("size", [None, 2])
def test_losses_are_the_errors_of_the_evaluation(name, size, seen, request):
    """Of every member, without networks and with: (dE/n)^2 + <dF^2> + <(dVirial/n)^2>."""
    ensemble = request.getfixturevalue(name)
    problem = residual_of(ensemble, seen)
    networks = ensemble.networks
    networks = silent(problem) if networks is None else problem.whitening.unfolded(networks)
    found = losses_of(problem, networks, size)
    for member in range(3):
        expected = []
        for frame in seen:
            energy, forces, stress = errors_of(ensemble, member, frame)
            virial = stress * frame.atoms.get_volume() / len(frame.atoms)
            expected.append(energy**2 + 0.3 * np.mean(forces**2) + 0.2 * np.mean(virial**2))
        np.testing.assert_allclose(found[member], expected, rtol=1e-6)


def test_rarity_weighs_the_squares_of_each_atoms_forces(linear, seen):
    forces_only = LossWeights(energy=0.0, forces=1.0, virial=0.0)
    rng = np.random.default_rng(0)
    rarity = [torch.as_tensor(rng.uniform(0.1, 3.0, len(frame.atoms))) for frame in seen]
    problem = residual_of(linear, seen, rarity=rarity)
    found = losses_of(problem, silent(problem), loss=forces_only)[0]
    for index, frame in enumerate(seen):
        _, forces, _ = errors_of(linear, 0, frame)
        expected = np.mean(rarity[index].numpy()[:, None] * forces**2)
        assert abs(float(found[index]) / expected - 1.0) < 1e-6


@pytest.mark.parametrize("blocks_fit", [True, False])
def test_kept_or_made_again_the_parts_are_the_same(deep, seen, blocks_fit, monkeypatch):
    """Blocks in single precision with fewer forces may fit where the whole Jacobians do not."""
    monkeypatch.setattr("potentials.residual.memory_limit", lambda: 2**40 if blocks_fit else 0)
    kept, made = (residual_of(deep, seen, kept=kept) for kept in (True, False))
    assert torch.equal(kept.whitening.forward, made.whitening.forward)
    networks = kept.whitening.unfolded(deep.networks)
    for size in (None, 2):
        parts = made.parts(size, torch.float64, CPU)
        assert all(isinstance(part, Block) is blocks_fit for part in parts)
        one, other = (losses_of(problem, networks, size) for problem in (kept, made))
        assert torch.allclose(one, other, rtol=ROUNDING)


def test_parts_hold_every_structure_once_and_no_more_than_asked(linear, seen):
    problem = residual_of(linear, seen)
    for size in (None, 1, 2, 100):
        parts = problem.parts(size, torch.float32, CPU)
        places = torch.cat([part.index for part in parts])
        assert sorted(places.tolist()) == list(range(len(seen)))
        assert all(size is None or len(part.index) <= size for part in parts)
        assert all(part.inputs.dtype == part.jacobian.dtype == torch.float32 for part in parts)
        for part in parts:
            alike = {
                (len(seen[i].atoms), seen[i].label.stress is None) for i in part.index.tolist()
            }
            assert len(alike) == 1


def test_gradients_by_the_weights_are_differences(deep, seen):
    """Through energies, forces and virials at once."""
    problem = residual_of(deep, seen[:6])
    networks = problem.whitening.unfolded(deep.networks)
    parts = problem.parts(3, torch.float64, CPU)

    def total():
        return sum(part.losses(networks, LOSS).sum() for part in parts)

    leaves = list(networks.parameters())
    slopes = torch.autograd.grad(total(), leaves)
    rng = np.random.default_rng(0)
    moves = [torch.as_tensor(rng.normal(size=tuple(leaf.shape))) for leaf in leaves]
    found = float(sum((s * m).sum() for s, m in zip(slopes, moves, strict=True)))
    ends = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            for leaf, move in zip(leaves, moves, strict=True):
                leaf.add_(step * move)
            ends.append(float(total()))
    assert abs(found / ((ends[0] - ends[1]) / 2e-5) - 1.0) < 1e-5


def correlated(count=200, size=6):
    rng = np.random.default_rng(0)
    scaled = rng.normal(size=(count, 2)) @ rng.normal(size=(2, size))
    scaled += 0.05 * rng.normal(size=(count, size))
    return torch.as_tensor(scaled), torch.arange(count) % 2


def test_whitened_inputs_are_uncorrelated_and_noise_is_not_blown_up():
    scaled, species = correlated()
    whitening = Whitening.of(scaled, species, 2)
    for element in range(2):
        own = scaled[species == element]
        inputs = own @ whitening.forward[element]
        covariance = inputs.T @ inputs / len(inputs)
        rest = covariance - torch.diag(covariance.diagonal())
        assert rest.abs().max() < ROUNDING_ABS
        variance = torch.linalg.eigvalsh(own.T @ own / len(own))
        expected = variance / (variance + WHITE)
        np.testing.assert_allclose(covariance.diagonal(), expected, atol=ROUNDING_ABS)


def test_whitening_there_and_back_is_nothing():
    scaled, species = correlated()
    whitening = Whitening.of(scaled, species, 3)
    unit = torch.eye(6).double()
    for forward, backward in zip(whitening.forward, whitening.backward, strict=True):
        assert torch.allclose(forward @ backward, unit, atol=ROUNDING_ABS)
    networks = Networks(2, 3, 6, (5, 4), torch.Generator().manual_seed(0))
    again = whitening.unfolded(whitening.folded(networks))
    for one, other in zip(networks.parameters(), again.parameters(), strict=True):
        assert torch.allclose(one, other, atol=ROUNDING_ABS)


def test_folded_networks_give_the_same_energies_and_slopes(deep):
    """Of scaled descriptors what the others give of whitened inputs; slopes by the chain rule."""
    size = deep.scaling.mean.shape[1]
    rng = np.random.default_rng(0)
    scaled = torch.as_tensor(rng.normal(size=(40, size)))
    species = torch.arange(40) % 2
    whitening = Whitening.of(scaled, species, 2)
    networks = random_networks(deep)
    turn = whitening.forward[species]
    inputs = torch.einsum("nd,ndf->nf", scaled, turn)
    with torch.no_grad():
        energies, slopes = networks(inputs, species)
        found, steep = whitening.folded(networks)(scaled, species)
    assert torch.allclose(found, energies, atol=ROUNDING_ABS)
    assert torch.allclose(steep, torch.einsum("knf,ndf->knd", slopes, turn), atol=ROUNDING_ABS)


def test_structures_of_many_sizes_are_all_taken(linear):
    made: list[Frame] = emt_frames(12, seed=3, sizes=(2, 3, 4, 5))
    problem = residual_of(linear, made)
    losses = losses_of(problem, silent(problem), 4)
    assert (losses > 0).all()
    assert torch.allclose(losses, losses_of(problem, silent(problem)), rtol=ROUNDING)

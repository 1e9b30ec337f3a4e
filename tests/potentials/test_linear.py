"""The linear term against numpy's least squares, and against the evaluation it stands for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.features import features
from potentials.linear import (
    CONSTANT_RIDGE,
    Rows,
    Targets,
    columns,
    reference_energies,
    row_scale,
    rows,
    solve,
)
from potentials.spec import LossWeights
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.tolerances import ROUNDING_ABS

LOSS = LossWeights(energy=1.0, forces=0.3, virial=0.2)


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def problem(seed=0, structures=6, size=5):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(structures):
        count = int(rng.integers(4, 9))
        made.append(Rows(tensor(rng.normal(size=(count, size))), tensor(rng.normal(size=count))))
    return made, tensor(rng.uniform(0.1, 2.0, (3, structures)))


def explicit(equations, weights, ridge, n_constants, goals=None):
    """Ridge regression as one least-squares problem with a row for each penalty."""
    goals = goals or [one.goal for one in equations]
    share = (weights / weights.sum()).sqrt()
    left = np.concatenate(
        [(one.design * s).numpy() for one, s in zip(equations, share, strict=True)]
    )
    right = np.concatenate([(goal * s).numpy() for goal, s in zip(goals, share, strict=True)])
    size = left.shape[1]
    penalty = np.full(size, ridge)
    penalty[size - n_constants :] *= CONSTANT_RIDGE
    left = np.concatenate([left, np.diag(np.sqrt(penalty))])
    return np.linalg.lstsq(left, np.concatenate([right, np.zeros(size)]), rcond=None)[0]


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 10.0])
def test_every_member_solves_its_own_least_squares(ridge):
    equations, weights = problem()
    found = solve(equations, weights, ridge, 2)
    expected = [explicit(equations, own, ridge, 2) for own in weights]
    np.testing.assert_allclose(found, expected, atol=ROUNDING_ABS)


def test_goals_of_members_replace_those_of_the_equations():
    equations, weights = problem()
    own = [[one.goal for one in equations]] * 3
    plain = solve(equations, weights, 1e-3, 1)
    assert torch.allclose(solve(equations, weights, 1e-3, 1, own), plain, atol=ROUNDING_ABS)
    other = [[one.goal * (k + 1) for one in equations] for k in range(3)]
    found = solve(equations, weights, 1e-3, 1, other)
    for member in range(3):
        expected = explicit(equations, weights[member], 1e-3, 1, other[member])
        np.testing.assert_allclose(found[member], expected, atol=ROUNDING_ABS)


def test_scale_of_the_weights_does_not_matter():
    equations, weights = problem()
    one, other = solve(equations, weights, 0.1, 1), solve(equations, weights * 7.0, 0.1, 1)
    assert torch.allclose(one, other, atol=ROUNDING_ABS)


@pytest.mark.parametrize("name", ["linear", "products"])
def test_columns_reproduce_the_evaluation(name, frames, request):
    """Coefficients times columns are the energies, forces and stresses of the ensemble."""
    linear = request.getfixturevalue(name)
    for frame in frames[:6]:
        found = features([frame.atoms], linear.spec.descriptor, linear.elements)[0]
        energy, slope = columns(found, linear.scaling)
        coefficients = torch.cat([linear.linear.flatten(1), linear.constants], dim=1)
        counts = torch.bincount(found.species, minlength=2).double()
        expected = linear.predict([frame.atoms])
        reference = counts @ linear.reference
        member_energy = coefficients @ energy + reference
        assert torch.allclose(member_energy, expected.member_energy[:, 0], atol=ROUNDING_ABS)
        mean = slope @ coefficients.mean(dim=0)
        assert torch.allclose(-mean[:-6].reshape(-1, 3), expected.forces, atol=ROUNDING_ABS)
        stress = expected.stress[0]
        voigt = torch.stack(
            [stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
        )
        assert torch.allclose(mean[-6:] / found.volume, voigt, atol=ROUNDING_ABS)


def test_squared_rows_are_the_loss(linear, frames):
    """What least squares minimises is (dE/n)^2 + <dF^2> + <(dVirial/n)^2> with its weights."""
    label, atoms = frames[0].label, frames[0].atoms
    found = features([atoms], linear.spec.descriptor, linear.elements)[0]
    targets = Targets(
        tensor(label.energy), tensor(label.forces).flatten(), tensor(label.stress) * found.volume
    )
    equations = rows(found, targets, linear.scaling, LOSS)
    coefficients = linear.linear[0].flatten()
    coefficients = torch.cat([coefficients, linear.constants[0]])
    energy, slope = columns(found, linear.scaling)
    n_atoms, left = len(atoms), equations.design @ coefficients - equations.goal
    expected = (
        LOSS.energy * ((energy @ coefficients - label.energy) / n_atoms) ** 2
        + LOSS.forces * ((-(slope[:-6] @ coefficients) - targets.forces) ** 2).mean()
        + LOSS.virial * (((slope[-6:] @ coefficients - targets.virial) / n_atoms) ** 2).mean()
    )
    assert torch.allclose((left**2).sum(), expected)


def test_minus_takes_away_what_another_term_explains(linear, frames):
    """Subtracting the linear term's own energy and slopes leaves design @ c as the difference."""
    atoms, label = frames[1].atoms, frames[1].label
    found = features([atoms], linear.spec.descriptor, linear.elements)[0]
    coefficients = torch.cat([linear.linear[0].flatten(), linear.constants[0]])
    energy, slope = columns(found, linear.scaling)
    for virial in (None, tensor(label.stress) * found.volume):
        targets = Targets(tensor(label.energy), tensor(label.forces).flatten(), virial)
        equations = rows(found, targets, linear.scaling, LOSS)
        scale = row_scale(len(atoms), LOSS, stress=virial is not None)
        left = equations.minus(energy @ coefficients, slope @ coefficients, scale)
        assert len(left) == 1 + 3 * len(atoms) + (0 if virial is None else 6)
        assert torch.allclose(left, equations.goal - equations.design @ coefficients)


def test_members_differ_by_the_bootstrap_only(frames):
    off = {"enabled": False}
    drawn = fit(quick_spec(network=off), frames, np.random.default_rng(0))
    plain = fit(quick_spec(network=off, bootstrap="none"), frames, np.random.default_rng(0))
    atoms = [frame.atoms for frame in emt_frames(4, seed=9)]
    assert (drawn.predict(atoms).energy_std > 1e-4).all()
    assert (plain.predict(atoms).energy_std < ROUNDING_ABS).all()
    again = fit(quick_spec(network=off), frames, np.random.default_rng(1))
    assert not torch.equal(drawn.linear, again.linear)


def test_reference_energies_are_found_exactly():
    counts = tensor([[1, 0, 2], [2, 1, 0], [0, 3, 1], [1, 1, 1]])
    expected = tensor([-1.5, 3.0, 0.25])
    found = reference_energies(counts, counts @ expected, tensor([1.0, 0.1, 2.0, 0.5]))
    assert torch.allclose(found, expected, atol=ROUNDING_ABS)


def test_reference_energies_of_one_composition_are_shared_out():
    """The data cannot tell the elements apart: least norm, exact in the sum."""
    counts = tensor([[2, 2], [4, 4], [1, 1]])
    found = reference_energies(counts, counts.sum(dim=1) * -3.0, torch.ones(3).double())
    assert torch.allclose(found, tensor([-3.0, -3.0]), atol=ROUNDING_ABS)


def test_the_zero_of_energy_does_not_matter(frames):
    """An engine that counts core electrons gives the same forces and spreads."""
    shifted = [
        replace(
            frame, label=replace(frame.label, energy=frame.label.energy - 5e4 * len(frame.atoms))
        )
        for frame in frames
    ]
    spec = quick_spec(network={"enabled": False})
    one = fit(spec, frames, np.random.default_rng(0)).predict([frames[0].atoms])
    other = fit(spec, shifted, np.random.default_rng(0)).predict([frames[0].atoms])
    assert torch.allclose(one.forces, other.forces, atol=1e-4)
    assert abs(float(one.energy - other.energy) - 5e4 * len(frames[0].atoms)) < 1e-4

"""The linear term against numpy's least squares, and against the evaluation it stands for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.features import features
from potentials.linear import (
    Errors,
    Targets,
    Variant,
    equations,
    fold_splits,
    held_out,
    reference_energies,
    row,
    solve,
    solve_without,
    split,
    sums,
    used_columns,
    with_targets,
)
from potentials.spec import LossWeights
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.potentials.equations import explicit, made_up
from tests.tolerances import ROUNDING, ROUNDING_ABS

LOSS = LossWeights(energy=1.0, forces=0.3, virial=0.2)
NOISE = (0.1, 0.2, 0.3)


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def bootstrap(made, members=3, seed=1):
    """How often each member counts each block (K, B)."""
    counts = np.random.default_rng(seed).poisson(1.0, (members, len(made.folds)))
    return tensor(counts + 0.05)


@pytest.mark.parametrize("components", [0, 2, 3])
@pytest.mark.parametrize("n_blocks", [None, 6])
@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 10.0])
def test_every_member_solves_its_own_least_squares(ridge, n_blocks, components):
    """With its own count of every block, on a part of the columns."""
    made = made_up(15, noise=NOISE, n_blocks=n_blocks)
    used = used_columns(2, made.n_plain, made.most, components)
    times = bootstrap(made)
    whole = solve(made.problem, times, [Variant(LOSS, ridge, used)], 2)
    assert whole.shape == (3, made.problem.energy.shape[1])
    found = whole[:, used]
    assert whole.count_nonzero() == found.count_nonzero()
    expected = [explicit(made, own[made.block], LOSS, ridge, used) for own in times]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=ROUNDING_ABS)


@pytest.mark.parametrize("off", ["energy", "forces", "virial"])
def test_a_part_of_the_loss_that_is_off_counts_nothing(off):
    made = made_up(15, noise=NOISE)
    used = used_columns(2, 4, 3, 3)
    loss = LOSS.model_copy(update={off: 0.0})
    times = torch.ones(1, 15, dtype=torch.float64)
    found = solve(made.problem, times, [Variant(loss, 1e-3, used)], 2)[0]
    expected = explicit(made, times[0], loss, 1e-3, used)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=ROUNDING_ABS)


def test_how_often_all_blocks_are_counted_does_not_matter():
    made = made_up(12, noise=NOISE)
    used, times = used_columns(2, 4, 3, 3), bootstrap(made)
    variants = [Variant(LOSS, 0.1, used)]
    one = solve(made.problem, times, variants, 2)
    other = solve(made.problem, 7.0 * times, variants, 2)
    assert torch.allclose(one, other, atol=ROUNDING_ABS)


def test_variants_are_averaged_by_their_shares():
    """Each with its own basis, ridge and loss."""
    made, times = made_up(15, noise=NOISE), torch.ones(1, 15, dtype=torch.float64)
    few, all_ = used_columns(2, 4, 3, 0), used_columns(2, 4, 3, 3)
    louder = LOSS.model_copy(update={"energy": 30.0})
    one, other = Variant(LOSS, 1.0, few, share=0.3), Variant(louder, 0.01, all_, share=0.7)
    alone = [solve(made.problem, times, [replace(v, share=1.0)], 2) for v in (one, other)]
    found = solve(made.problem, times, [one, other], 2)
    np.testing.assert_allclose(found, 0.3 * alone[0] + 0.7 * alone[1], atol=ROUNDING_ABS)


@pytest.mark.parametrize("seed", range(4))
def test_a_ridge_that_rounding_swallows_still_gives_a_solution(seed):
    """Fewer equations than coefficients: the sums alone are not always positive."""
    made = made_up(3, n_elements=1, n_plain=8, most=8, seed=seed)
    used = used_columns(1, 8, 8, 8)
    times = torch.ones(1, 3, dtype=torch.float64)
    found = solve(made.problem, times, [Variant(LOSS, 1e-18, used)], 1)[0]
    left, weights = squares(made, found, used, times[0])
    assert (left < 1e-9 * weights).all()


@pytest.mark.parametrize("n_blocks", [None, 4])
def test_other_targets_are_other_equations_of_the_same_rows(n_blocks):
    made = made_up(10, noise=NOISE, n_blocks=n_blocks)
    members = [made.targets, made_up(10, noise=NOISE, products=0.0).targets]
    for goals, found in zip(
        members, with_targets(made.problem, iter(made.rows), members), strict=True
    ):
        expected = equations(iter(made.rows), goals, made.weights, made.block)
        for name in expected.__dataclass_fields__:
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), rtol=ROUNDING, atol=ROUNDING_ABS
            )


def test_equations_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one structure"):
        equations(iter(()), [], torch.ones(0), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("n_blocks", [None, 4])
def test_sums_give_the_weighted_squares_of_what_is_left(n_blocks):
    """For any coefficients: c.Lc - 2 c.r + s, of energies, forces and virials."""
    made = made_up(12, noise=NOISE, n_blocks=n_blocks)
    used = used_columns(2, 4, 3, 3)
    coefficients = tensor(np.random.default_rng(0).normal(size=len(used)))
    times = bootstrap(made, 1)[0]
    found = sums(made.problem, times)
    left = torch.einsum("pcd,c,d->p", found.left, coefficients, coefficients)
    left = left - 2.0 * found.right @ coefficients + found.square
    expected, weights = squares(made, coefficients, used, times)
    np.testing.assert_allclose(left, expected, rtol=1e-7)
    np.testing.assert_allclose(found.weight, weights, rtol=ROUNDING)


def squares(made, coefficients, used, times):
    """Sums of weighted squares and of weights (2, 3), structure by structure."""
    found = np.zeros((2, 3))
    counted = times[made.block] * made.weights
    for own, goal, weight in zip(made.rows, made.targets, counted.tolist(), strict=True):
        n_atoms = len(goal.forces) / 3
        energy = float(own.energy[used] @ coefficients - goal.energy) / n_atoms
        forces = (own.forces[:, used] @ coefficients - goal.forces).numpy()
        found[:, 0] += weight * energy**2, weight
        found[:, 1] += weight * np.mean(forces**2), weight
        if goal.virial is not None:
            virial = (own.virial[:, used] @ coefficients - goal.virial).numpy() / n_atoms
            found[:, 2] += weight * np.mean(virial**2), weight
    return found


def judged(made, splits, ridge, used):
    """Errors on what explicit fits have not seen; splits are counts of blocks (B,) twice."""
    total = np.zeros((2, 3))
    for seen, unseen in splits:
        coefficients = explicit(made, seen[made.block], LOSS, ridge, used)
        total += squares(made, tensor(coefficients), used, unseen)
    return Errors(*np.sqrt(total[0] / total[1]))


def close(one, other):
    names = ("energy", "forces", "virial")
    return all(abs(getattr(one, name) / getattr(other, name) - 1.0) < 1e-6 for name in names)


@pytest.mark.parametrize("components", [0, 2, 3])
@pytest.mark.parametrize("n_blocks", [None, 7])
def test_held_out_errors_are_those_of_fits_that_have_not_seen_the_fold(n_blocks, components):
    made = made_up(20, noise=NOISE, n_blocks=n_blocks)
    used, ridges = used_columns(2, 4, 3, components), [1e-4, 0.1]
    found = held_out(fold_splits(made.problem, made.folds), LOSS, ridges, used, 2)
    splits = [((made.folds != f).double(), (made.folds == f).double()) for f in range(5)]
    for ridge, one in zip(ridges, found, strict=True):
        assert close(one, judged(made, splits, ridge, used))


@pytest.mark.parametrize("n_blocks", [None, 7])
def test_fits_without_each_fold_are_those_that_count_its_blocks_never(n_blocks):
    """Of a mean over two bases, two ridges and two weights."""
    made = made_up(20, noise=NOISE, n_blocks=n_blocks)
    other = LOSS.model_copy(update={"energy": 30.0})
    variants = [
        Variant(LOSS, 1e-3, used_columns(2, 4, 3, 0), 0.5),
        Variant(LOSS, 1e-3, used_columns(2, 4, 3, 2), 0.2),
        Variant(LOSS, 1e-1, used_columns(2, 4, 3, 2), 0.2),
        Variant(other, 1e-1, used_columns(2, 4, 3, 2), 0.1),
    ]
    times = bootstrap(made, 3)
    found = solve_without(made.problem, times, made.folds, variants, 2)
    for fold, own in enumerate(found):
        alone = solve(made.problem, times * (made.folds != fold), variants, 2)
        np.testing.assert_allclose(own, alone, rtol=1e-7, atol=1e-10)


def test_members_are_judged_by_what_they_have_not_seen():
    """Each with its own counts, and its own goals."""
    made, other = (made_up(20, noise=NOISE, products=p) for p in (1.0, 0.5))
    times, used = bootstrap(made, 2), used_columns(2, 4, 3, 3)
    out = torch.stack([torch.arange(20) % 4 == k for k in range(2)])
    seen = torch.where(out, 0.0, times)
    splits = [
        split(one.problem, own, unseen)
        for one, own, unseen in zip((made, other), seen, out, strict=True)
    ]
    [found] = held_out(splits, LOSS, [0.01], used, 2)
    total = np.zeros((2, 3))
    for one, own, unseen in zip((made, other), seen, out, strict=True):
        coefficients = explicit(one, own, LOSS, 0.01, used)
        total += squares(one, tensor(coefficients), used, unseen.double())
    assert close(found, Errors(*np.sqrt(total[0] / total[1])))


def test_held_out_errors_where_no_stress_is_known():
    made = made_up(10, noise=NOISE)
    bare = replace(made, targets=[replace(goal, virial=None) for goal in made.targets])
    splits = fold_splits(bare.problem, bare.folds)
    [found] = held_out(splits, LOSS, [0.1], used_columns(2, 4, 3, 3), 2)
    assert found.virial == 0.0
    assert found.energy > 0.0


@pytest.mark.parametrize("components", range(4))
def test_used_columns_are_those_of_the_smaller_basis(components):
    """Named by what they multiply: element, then descriptor or pair of components."""

    def names(most):
        made = []
        for element in range(2):
            made += [(element, "plain", d) for d in range(5)]
            made += [(element, "product", p, q) for q in range(most) for p in range(q + 1)]
        return [*made, (0, "constant"), (1, "constant")]

    everything = names(3)
    found = [everything[place] for place in used_columns(2, 5, 3, components).tolist()]
    assert found == names(components)


@pytest.mark.parametrize("name", ["linear", "products"])
def test_rows_reproduce_the_evaluation(name, frames, request):
    """Coefficients times columns are the energies, forces and stresses of the ensemble."""
    linear = request.getfixturevalue(name)
    coefficients = torch.cat([linear.linear.flatten(1), linear.constants], dim=1)
    for frame in frames[:6]:
        found = features([frame.atoms], linear.spec.descriptor, linear.elements)[0]
        own = row(found, linear.scaling)
        counts = torch.bincount(found.species, minlength=2).double()
        expected = linear.predict([frame.atoms])
        member_energy = coefficients @ own.energy + counts @ linear.reference
        assert torch.allclose(member_energy, expected.member_energy[:, 0], atol=ROUNDING_ABS)
        mean = coefficients.mean(dim=0)
        forces = (own.forces @ mean).reshape(-1, 3)
        assert torch.allclose(forces, expected.forces, atol=ROUNDING_ABS)
        stress = expected.stress[0]
        voigt = torch.stack(
            [stress[a, b] for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))]
        )
        assert torch.allclose(own.virial @ mean / found.volume, voigt, atol=ROUNDING_ABS)


@pytest.mark.parametrize("stress", [True, False])
def test_minus_takes_away_what_another_term_explains(stress):
    virial = tensor(range(6)) if stress else None
    goal = Targets(tensor(3.0), tensor([1.0, 2.0, 3.0]), virial)
    slope = tensor([0.1, 0.2, 0.3, *(0.5 for _ in range(6))])
    left = goal.minus(tensor(1.0), slope)
    assert float(left.energy) == 2.0
    # forces are minus the slope, virials plus
    np.testing.assert_allclose(left.forces, [1.1, 2.2, 3.3])
    assert (left.virial is None) != stress
    if left.virial is not None:
        np.testing.assert_allclose(left.virial, np.arange(6) - 0.5)


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

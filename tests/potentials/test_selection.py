"""Held-out errors choose the basis, the ridge and the weight of energies."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potentials import selection
from potentials.basis import size
from potentials.linear import Errors, Variant, fold_splits, held_out, solve, split, used_columns
from potentials.network_training import fold_of
from potentials.selection import Blend, Choice, blended, blocks, candidates, choose, merit
from potentials.spec import LinearSpec, LossWeights
from tests.potentials.equations import made_up

LOSS = LossWeights(energy=1.0, forces=0.3, virial=0.2)
FEW, MANY = selection.TUNE_FROM // 2, selection.TUNE_FROM + 20


def chosen(made, ridge=1e-4, tried=(0, 2, 3), loss=LOSS):
    """The best choice and its errors."""
    splits = fold_splits(made.problem, made.folds)
    blend, errors = choose(
        splits, LinearSpec(ridge=ridge), loss, list(tried), len(made.rows), made.n_elements
    )
    return blend.best, errors


@pytest.mark.parametrize("count", [FEW, MANY])
def test_products_are_chosen_where_labels_have_them(count):
    choice, errors = chosen(made_up(count, products=1.0, noise=(0.01, 0.01, 0.01)))
    assert choice.components == 3
    assert max(errors.energy, errors.forces, errors.virial) < 0.05


@pytest.mark.parametrize("count", [FEW, MANY])
@pytest.mark.parametrize("seed", range(3))
def test_products_that_are_not_there_are_not_chosen(count, seed):
    choice, _ = chosen(made_up(count, products=0.0, noise=(2.0, 2.0, 2.0), seed=seed))
    assert choice.components == 0


@pytest.mark.parametrize("seed", range(3))
def test_exact_energies_count_more_where_forces_are_noise(seed):
    exact, _ = chosen(made_up(MANY, noise=(0.001, 5.0, 5.0), seed=seed))
    rough, _ = chosen(made_up(MANY, noise=(5.0, 0.001, 0.001), seed=seed))
    assert exact.loss.energy > rough.loss.energy == LOSS.energy
    for choice in (exact, rough):
        assert (choice.loss.forces, choice.loss.virial) == (LOSS.forces, LOSS.virial)


def test_the_weight_of_energies_is_left_alone_on_few_labels():
    assert chosen(made_up(FEW, noise=(0.001, 5.0, 5.0)))[0].loss == LOSS


def test_a_ridge_is_chosen_that_suits_the_noise():
    """Exact labels want none, few noisy ones of many coefficients want a firm one."""
    exact, _ = chosen(made_up(MANY), tried=(0, 3), ridge=1e-2)
    noisy, _ = chosen(made_up(MANY, noise=(9.0, 9.0, 9.0)), tried=(0, 3), ridge=1e-2)
    assert exact.ridge < 1e-2 <= noisy.ridge


def test_without_any_fit_to_judge_by_there_are_no_products():
    blend, errors = choose([], LinearSpec(ridge=1e-4), LOSS, [0, 2, 3], 4, 2)
    assert errors is None
    assert blend == Blend((Choice(0, 1e-4, LOSS),), (1.0,))


def test_errors_are_those_of_the_choice():
    made = made_up(MANY, noise=(0.5, 0.5, 0.5))
    choice, errors = chosen(made)
    used = used_columns(2, made.n_plain, made.most, choice.components)
    splits = fold_splits(made.problem, made.folds)
    [again] = held_out(splits, choice.loss, [choice.ridge], used, 2)
    assert astuple(again) == pytest.approx(astuple(errors), rel=1e-9)


def test_errors_of_parts_that_count_nothing_do_not_choose():
    """Stress of weight zero, or no stress at all: the same choice."""
    off = LOSS.model_copy(update={"virial": 0.0})
    made = made_up(MANY, products=0.3, noise=(1.0, 1.0, 0.0))
    bare = replace(made, targets=[replace(goal, virial=None) for goal in made.targets])
    assert chosen(made, loss=off)[0] == chosen(bare, loss=off)[0]


@given(
    demerits=st.lists(st.floats(-20, 5), min_size=1, max_size=60),
    n_labels=st.integers(2, 5000),
)
def test_choices_count_by_how_good_they_are(demerits, n_labels):
    choices = [Choice(place, 1.0, LOSS) for place in range(len(demerits))]
    blend = blended(choices, demerits, n_labels)
    own = [demerits[choice.components] for choice in blend.choices]
    assert blend.best.components == demerits.index(min(demerits))
    assert own == sorted(own)
    assert list(blend.shares) == sorted(blend.shares, reverse=True)
    assert sum(blend.shares) == pytest.approx(1.0)
    assert blend.shares[-1] >= selection.LEAST_SHARE * blend.shares[0]
    assert blend.components == max(choice.components for choice in blend.choices)
    assert len(blend.choices) <= selection.MOST_CHOICES


def test_more_labels_decide_more_sharply():
    choices, demerits = [Choice(p, 1.0, LOSS) for p in range(3)], [-3.0, -2.9, -2.0]
    shares = [blended(choices, demerits, n).shares for n in (5, 60, 10_000)]
    assert [len(own) for own in shares] == [3, 2, 1]
    assert shares[0][0] < shares[1][0] < shares[2][0]


def unseen_error(made, seen, blend):
    """Root mean square error of forces on the structures that a blend's fit has not seen."""
    variants = [
        Variant(one.loss, one.ridge, used_columns(2, made.n_plain, made.most, one.components), part)
        for one, part in zip(blend.choices, blend.shares, strict=True)
    ]
    [found] = solve(made.problem, seen[None].double(), variants, 2)
    off = [
        row.forces @ found - goal.forces
        for row, goal, known in zip(made.rows, made.targets, seen.tolist(), strict=True)
        if not known
    ]
    return float(torch.cat(off).square().mean().sqrt())


def test_a_mean_over_choices_is_better_than_the_best_on_few_labels():
    """Over draws of twelve noisy labels, judged by labels that nobody has seen."""
    gains = []
    for seed in range(12):
        made = made_up(60, noise=(3.0, 3.0, 3.0), products=0.5, seed=seed)
        seen = torch.arange(60) < 12
        splits = [
            split(made.problem, (seen & (made.folds != fold)).double(), seen & (made.folds == fold))
            for fold in range(selection.FOLDS)
        ]
        blend, _ = choose(splits, LinearSpec(ridge=1e-3), LOSS, [0, 2, 3], 12, 2)
        alone = Blend((blend.best,))
        gains.append(unseen_error(made, seen, blend) / unseen_error(made, seen, alone))
    assert np.exp(np.mean(np.log(gains))) < 1.0


def test_merit_is_the_product_of_errors():
    one = Errors(0.001, 0.2, 0.3)
    assert merit(one, Errors(0.002, 0.2, 0.3), LOSS)
    assert not merit(one, one, LOSS)
    # twice as good in one part, less than twice as bad in another
    assert merit(Errors(0.0005, 0.39, 0.3), one, LOSS)
    assert not merit(Errors(0.0005, 0.41, 0.3), one, LOSS)
    # rounding is no merit
    assert not merit(Errors(1e-12, 0.21, 0.3), Errors(1e-9, 0.2, 0.3), LOSS)
    # stress that nobody knows has no error
    assert merit(Errors(0.001, 0.1, 0.0), Errors(0.001, 0.2, 0.0), LOSS)


@given(
    n_labels=st.integers(2, 5000),
    per_label=st.integers(4, 100),
    n_elements=st.integers(1, 5),
    n_plain=st.integers(1, 150),
    limit=st.integers(0, 64),
)
def test_candidates_are_within_bounds(n_labels, per_label, n_elements, n_plain, limit):
    spec, n_equations = LinearSpec(components=limit), n_labels * per_label
    found = candidates(spec, n_labels, n_equations, n_elements, n_plain)
    assert found[0] == 0
    assert found == sorted(set(found))
    assert found[-1] <= min(limit, n_plain)
    if n_labels < selection.TUNE_FROM:
        assert found[-1] <= selection.FEW
    elif found[-1]:
        coefficients = n_elements * size(n_plain, found[-1])
        assert coefficients <= selection.MOST_COEFFICIENTS
        assert coefficients * selection.LEAST_EQUATIONS <= n_equations


@given(n_labels=st.integers(60, 2000), n_plain=st.integers(10, 60), limit=st.integers(1, 64))
def test_more_labels_never_have_fewer_components(n_labels, n_plain, limit):
    spec = LinearSpec(components=limit)
    one, more = (candidates(spec, n, 30 * n, 1, n_plain)[-1] for n in (n_labels, 2 * n_labels))
    assert one <= more


@pytest.mark.parametrize("count", [5, 64, 65, 500])
def test_blocks_keep_folds_apart(count):
    ids = [f"label-{index}" for index in range(count)]
    drawn = fold_of(ids, selection.MOST_BLOCKS)
    block, folds = blocks(drawn)
    assert set(block.tolist()) == set(range(len(folds)))
    assert set(folds.tolist()) <= set(range(selection.FOLDS))
    if count <= selection.MOST_SINGLE:
        # chance would leave some folds of few labels with hardly any
        assert len(folds) == count
        sizes = torch.bincount(folds, minlength=selection.FOLDS)
        assert sizes.max() - sizes.min() <= 1
    else:
        assert len(folds) <= selection.MOST_BLOCKS
        assert torch.equal(folds[block], drawn % selection.FOLDS)


def test_the_fold_of_a_label_is_its_own():
    """More labels or another order move none across; folds are of about equal size."""
    ids = [f"label-{index}" for index in range(1000)]
    drawn = fold_of(ids, 20)
    assert torch.equal(fold_of(ids[:50], 20), drawn[:50])
    assert torch.equal(fold_of(ids[::-1], 20), drawn.flip(0))
    counts = torch.bincount(drawn, minlength=20)
    assert (counts > 25).all()

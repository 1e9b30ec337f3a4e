"""Held-out errors choose the basis, the ridge and the weight of energies."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potentials import selection
from potentials.basis import size
from potentials.linear import Errors, fold_splits, held_out, used_columns
from potentials.network_training import fold_of
from potentials.selection import blocks, candidates, choose, merit
from potentials.spec import LinearSpec, LossWeights
from tests.potentials.equations import made_up

LOSS = LossWeights(energy=1.0, forces=0.3, virial=0.2)
FEW, MANY = selection.TUNE_FROM // 2, selection.TUNE_FROM + 20


def chosen(made, ridge=1e-4, tried=(0, 2, 3), loss=LOSS):
    splits = fold_splits(made.problem, made.folds)
    n_labels = len(made.rows)
    return choose(splits, LinearSpec(ridge=ridge), loss, list(tried), n_labels, made.n_elements)


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
    choice, errors = choose([], LinearSpec(ridge=1e-4), LOSS, [0, 2, 3], 4, 2)
    assert errors is None
    assert (choice.components, choice.ridge, choice.loss) == (0, 1e-4, LOSS)


def test_errors_are_those_of_the_choice():
    made = made_up(MANY, noise=(0.5, 0.5, 0.5))
    choice, errors = chosen(made)
    used = used_columns(2, made.n_plain, made.most, choice.components)
    splits = fold_splits(made.problem, made.folds)
    again = held_out(splits, choice.loss, [choice.ridge], used, 2)
    assert again == [errors]


def test_errors_of_parts_that_count_nothing_do_not_choose():
    """Stress of weight zero, or no stress at all: the same choice."""
    off = LOSS.model_copy(update={"virial": 0.0})
    made = made_up(MANY, products=0.3, noise=(1.0, 1.0, 0.0))
    bare = replace(made, targets=[replace(goal, virial=None) for goal in made.targets])
    assert chosen(made, loss=off)[0] == chosen(bare, loss=off)[0]


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
    # a label's fold follows from what was drawn, however labels are put into blocks
    assert torch.equal(folds[block], drawn % selection.FOLDS)
    single = count <= selection.MOST_SINGLE
    assert len(folds) == count if single else len(folds) <= selection.MOST_BLOCKS


def test_the_fold_of_a_label_is_its_own():
    """More labels or another order move none across; folds are of about equal size."""
    ids = [f"label-{index}" for index in range(1000)]
    drawn = fold_of(ids, 20)
    assert torch.equal(fold_of(ids[:50], 20), drawn[:50])
    assert torch.equal(fold_of(ids[::-1], 20), drawn.flip(0))
    counts = torch.bincount(drawn, minlength=20)
    assert (counts > 25).all()

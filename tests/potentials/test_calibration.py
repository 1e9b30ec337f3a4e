"""From spread to error: one without evidence, the ratio with much of it, never ruled by one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from potentials.calibration import (
    FORBIDDEN,
    LEAST,
    PRIOR,
    SMALLEST,
    WORST,
    Calibration,
    Unseen,
    calibration,
    cross_calibration,
    likeliest,
    tails_of,
)
from tests.tolerances import ROUNDING

PAIRS = st.lists(st.tuples(st.floats(-1, 1), st.floats(1e-3, 1)), min_size=1, max_size=30)


def test_nothing_seen_changes_nothing():
    assert calibration([], []) == 1.0


@pytest.mark.parametrize("ratio", [0.3, 1.0, 4.0])
def test_many_labels_give_the_true_ratio(ratio):
    rng = np.random.default_rng(0)
    spreads = rng.uniform(0.01, 0.1, 4000)
    errors = rng.normal(0.0, ratio * spreads)
    assert abs(calibration(errors, spreads) / ratio - 1.0) < 0.05


@given(PAIRS)
def test_sign_order_and_unit_do_not_matter(pairs):
    errors, spreads = zip(*pairs, strict=True)
    found = calibration(errors, spreads)
    assert 0.0 < found <= WORST
    backwards = calibration([-error for error in errors[::-1]], spreads[::-1])
    scaled = calibration([3 * error for error in errors], [3 * spread for spread in spreads])
    assert abs(backwards - found) < ROUNDING
    assert abs(scaled - found) < ROUNDING


@given(PAIRS)
def test_larger_errors_never_give_a_smaller_factor(pairs):
    errors, spreads = zip(*pairs, strict=True)
    assert calibration([2 * error for error in errors], spreads) >= calibration(errors, spreads)


def test_errors_as_large_as_spreads_need_no_factor():
    assert calibration([0.1, -0.2], [0.1, 0.2]) == 1.0


def test_a_few_violent_errors_do_not_rule_a_campaign():
    rng = np.random.default_rng(1)
    spreads = rng.uniform(0.01, 0.1, 24)
    errors = rng.normal(0.0, spreads)
    usual = calibration(errors, spreads)
    errors[:3] = 9.0 * spreads[:3]
    assert usual < calibration(errors, spreads) < 2.0 < np.sqrt(np.mean((errors / spreads) ** 2))


def test_one_hole_counts_up_to_a_limit():
    expected = np.sqrt((PRIOR + WORST**2) / (PRIOR + 1))
    assert abs(calibration([100.0], [0.001]) - expected) < ROUNDING


def test_members_that_agree_to_rounding_are_no_division_by_zero():
    assert calibration([SMALLEST], [0.0]) == 1.0


def student(rng, scale, dimensions, tails):
    """Lengths of vectors that follow Student's distribution, ``scale`` of the whole vector."""
    normal = rng.normal(size=(len(scale), dimensions)) / dimensions**0.5
    wide = np.sqrt(tails / rng.chisquare(tails, len(scale)))
    return np.linalg.norm(normal, axis=1) * wide * scale


@pytest.mark.parametrize("dimensions", [1, 3])
@pytest.mark.parametrize(("factor", "floor"), [(1.0, 0.0), (4.0, 0.05), (0.5, 0.2)])
def test_both_numbers_of_known_noise_are_found(dimensions, factor, floor):
    rng = np.random.default_rng(1)
    spreads = rng.lognormal(np.log(0.05), 1.0, 20000)
    errors = student(rng, np.sqrt((factor * spreads) ** 2 + floor**2), dimensions, 5.0)
    found = likeliest(errors, spreads, dimensions, 5.0)
    assert found == pytest.approx((factor, floor), rel=0.2, abs=0.002)


def test_the_likelihood_has_no_better_place_nearby():
    """Against a direct search."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(2)
    spreads = rng.lognormal(np.log(0.05), 1.0, 300)
    errors = student(rng, np.sqrt((2.0 * spreads) ** 2 + 0.1**2), 3, 5.0)

    def worth(numbers):
        variance = (np.exp(numbers[0]) * spreads) ** 2 + np.exp(2.0 * numbers[1])
        far = np.log1p(3.0 * errors**2 / (5.0 * variance))
        return float(np.sum(1.5 * np.log(variance) + 4.0 * far))

    best = minimize(worth, [0.0, -2.0], method="Nelder-Mead").fun
    found = likeliest(errors, spreads, 3, 5.0)
    assert worth(np.log(found)) < best + 0.1


@given(st.floats(0.01, 100.0))
def test_units_do_not_matter_for_both(unit):
    rng = np.random.default_rng(3)
    spreads = rng.lognormal(np.log(0.05), 1.0, 40)
    errors = student(rng, np.sqrt(spreads**2 + 0.1**2), 3, 5.0)
    factor, floor = likeliest(errors, spreads, 3, 5.0)
    found = likeliest(unit * errors, unit * spreads, 3, 5.0)
    assert found == pytest.approx((factor, unit * floor), rel=1e-3)


def test_a_few_violent_errors_do_not_rule():
    rng = np.random.default_rng(4)
    spreads = rng.uniform(0.02, 0.2, 1000)
    errors = student(rng, 3.0 * spreads, 3, 5.0)
    calm = likeliest(errors, spreads, 3, 5.0)[0]
    errors[:20] *= 100.0
    assert likeliest(errors, spreads, 3, 5.0)[0] < 1.25 * calm


def members_of(rng, labels, members, noise, *, bias, atoms=6, blind=None):
    """Members that are off by what they share and by noise of their own, label by label."""
    for _ in range(labels):
        size = noise * rng.lognormal(0.0, 1.0)
        shared = rng.normal(size=3 * atoms) * bias * size / 3**0.5
        own = rng.normal(size=(members, 3 * atoms)) * size / 3**0.5
        energy = bias * size * rng.normal() + size * rng.normal(size=members)
        mask = np.ones(members, bool) if blind is None else blind(rng)
        found = (torch.as_tensor(part) for part in (energy, shared + own, mask))
        yield Unseen(*found)


def covered(found, rng, members, noise, bias):
    """Shares of new errors within one and two expected ones: energies, then forces."""
    inside = []
    for own in members_of(rng, 400, members, noise, bias=bias):
        energy = abs(float(own.energy.mean())), float(found.of_energies(own.energy.std()))
        vectors = own.forces.reshape(members, -1, 3)
        off = vectors.mean(dim=0).norm(dim=1)
        expected = found.of_forces(vectors.var(dim=0).sum(dim=1).sqrt())
        inside.append([energy[0] < energy[1], energy[0] < 2 * energy[1]])
        inside[-1] += [float((off < k * expected).double().mean()) for k in (1, 2)]
    return np.mean(inside, axis=0)


@pytest.mark.parametrize("members", [4, 16])
@pytest.mark.parametrize("bias", [0.2, 3.0])
def test_known_noise_is_covered(members, bias):
    """68 and 95 % of energies, 61 and 99 % of forces, a little more for tails that are not there"""
    rng = np.random.default_rng(5)
    found = cross_calibration(members_of(rng, 400, members, 0.1, bias=bias))
    once, twice, forces_once, forces_twice = covered(found, rng, members, 0.1, bias)
    assert 0.64 < once < 0.82
    assert 0.90 < twice <= 1.0
    assert 0.58 < forces_once < 0.77
    assert 0.97 < forces_twice <= 1.0


@pytest.mark.parametrize("held_out", [0.2, 0.45])
def test_members_that_have_seen_a_label_do_not_judge_it(held_out):
    """What they would give for it is nothing like what they give for others."""

    def blind(rng):
        return rng.random(4) < held_out

    rng = np.random.default_rng(6)
    found = []
    for own in members_of(rng, 1500, 4, 0.1, bias=1.0, blind=blind):
        energy = torch.where(own.blind, own.energy, 1e-3 * own.energy)
        if int(own.blind.sum()) != 1:
            forces = torch.where(own.blind[:, None], own.forces, 1e-3 * own.forces)
            found.append(Unseen(energy, forces, own.blind))
    once, twice, forces_once, forces_twice = covered(cross_calibration(found), rng, 4, 0.1, 1.0)
    assert 0.60 < once < 0.88
    assert 0.90 < twice <= 1.0
    assert 0.55 < forces_once < 0.77
    assert 0.95 < forces_twice <= 1.0


def test_single_members_judge_where_no_two_can():
    """Two members that never hold the same label out; both spread as on a new one."""
    rng = np.random.default_rng(7)
    masks = [np.array([True, False]), np.array([False, True])]
    found = members_of(rng, 600, 2, 0.1, bias=2.0, blind=lambda r: masks[r.integers(2)])
    once, twice, forces_once, forces_twice = covered(cross_calibration(found), rng, 2, 0.1, 2.0)
    assert 0.6 < once < 0.85
    assert 0.85 < twice <= 1.0
    assert 0.6 < forces_once < 0.85
    assert 0.93 < forces_twice <= 1.0


def test_labels_that_everyone_has_seen_say_nothing():
    rng = np.random.default_rng(8)
    nobody = np.zeros(4, bool)
    assert cross_calibration(members_of(rng, 30, 4, 0.1, bias=1.0, blind=lambda _: nobody)) == (
        Calibration()
    )
    assert cross_calibration(()) == Calibration()
    assert LEAST > 1


def test_one_member_has_no_spread():
    rng = np.random.default_rng(9)
    assert cross_calibration(members_of(rng, 30, 1, 0.1, bias=1.0)) == Calibration()


def test_a_mean_of_all_members_is_better_than_one_of_two():
    """Noise only: the mean of four is off by half of a member's noise, whoever judged."""
    rng = np.random.default_rng(10)

    def pair(rng):
        mask = np.zeros(4, bool)
        mask[rng.permutation(4)[:2]] = True
        return mask

    several = cross_calibration(members_of(rng, 800, 4, 0.1, bias=0.0))
    pairs = cross_calibration(members_of(rng, 800, 4, 0.1, bias=0.0, blind=pair))
    assert pairs.forces == pytest.approx(several.forces, rel=0.25)
    assert several.forces == pytest.approx(0.5, rel=0.4)


def test_fewer_members_have_longer_tails():
    assert [tails_of(members) for members in (2, 3, 4, 16)] == [3.0, 4.0, 5.0, 5.0]


def test_a_spread_that_symmetry_forbids_gets_no_floor():
    found = Calibration(2.0, 3.0, 0.1, 0.2)
    spreads = np.array([0.0, FORBIDDEN / 2, 0.4])
    np.testing.assert_allclose(found.of_forces(spreads)[:2], 3.0 * spreads[:2], rtol=ROUNDING)
    assert found.of_forces(spreads)[2] == pytest.approx((1.2**2 + 0.2**2) ** 0.5)
    assert found.of_energies(np.array([0.0]))[0] == pytest.approx(0.1)
    assert torch.isnan(found.of_forces(torch.tensor([torch.nan]))).all()
    exact = found.of_forces(torch.as_tensor(spreads)).numpy()
    np.testing.assert_allclose(exact, found.of_forces(spreads), rtol=1e-14)

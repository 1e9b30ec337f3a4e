"""Which setting comes next, and when it is enough: on sequences whose limit is known."""

from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from hypothesis import given
from hypothesis import strategies as st

from aga.converge.ladder import (
    FACTOR,
    Converged,
    Ended,
    Errors,
    Next,
    Point,
    Tolerance,
    cutoffs,
    densities,
    difference,
    errors,
    finer_grid,
    grid,
    proceed,
    settled,
)
from calculators.outcome import Failure
from potentials.structures import Label

WIDE = Tolerance(1e9, 1e9, 1e9)
PERMANENT = Failure("permanent", "did not converge")


def label(energy=0.0, force=0.0, stress=0.0):
    """Of two atoms; errors in the units of `Tolerance`."""
    forces = np.array([[force, 0.0, 0.0], [0.0, 0.0, 0.0]])
    found = None if stress is None else np.array([0, stress * GPa, 0, 0, 0, 0])
    return Label(2e-3 * energy, forces, found, "key", 1.0)


def points(*answers):
    """At 1, 2, 3 ...; a number is an error of the energy [meV/atom]."""
    made = [answer if isinstance(answer, Label | Failure) else label(answer) for answer in answers]
    return [Point(float(i), answer) for i, answer in enumerate(made, 1)]


def energy(limit):
    return Tolerance(limit, 1e9, 1e9)


def walk(truth, tolerance, rungs, finer=lambda a, b: True):
    """Go on until the end; the points and the end."""
    done = []
    while isinstance(step := proceed(done, rungs, tolerance, finer), Next):
        done.append(Point(step.value, truth(step.value)))
    return done, step


# differences


def test_differences_have_the_units_of_the_tolerance():
    found = difference(label(3.0, 0.2, 1.5), label(1.0, 0.5, -0.5))
    assert found.energy == pytest.approx(2.0)
    assert found.force == pytest.approx(0.3)
    assert found.stress == pytest.approx(2.0)


def test_the_force_is_that_of_one_atom_as_a_vector():
    one = Label(0.0, np.array([[3.0, 4.0, 0.0], [4.0, 0.0, 0.0]]), None, "key")
    assert difference(one, label(stress=None)).force == pytest.approx(5.0)


def test_each_of_the_three_can_spoil_it():
    small = Errors(1.0, 1.0, 1.0)
    assert small.within(Tolerance(1.0, 1.0, 1.0))
    for limits in ((0.9, 1, 1), (1, 0.9, 1), (1, 1, 0.9)):
        assert not small.within(Tolerance(*limits))
    assert Errors(1.0, 1.0, None).within(Tolerance(1.0, 1.0, 0.1))


def test_the_reference_is_the_last_that_did_not_fail():
    found = errors(points(5.0, PERMANENT, 1.0, PERMANENT))
    assert [one and one.energy for one in found] == [pytest.approx(4.0), None, 0.0, None]


# decisions


def test_two_above_the_chosen_one_must_agree():
    assert settled(points(9.0, 1.0, 0.0), energy(2.0)) is None
    assert settled(points(9.0, 1.0, 0.5, 0.0), energy(2.0)) == 2.0
    assert settled(points(1.0, 0.5, 0.0), energy(2.0)) == 1.0
    assert settled(points(0.0, 0.0), energy(2.0)) is None
    assert settled([], energy(2.0)) is None


def test_one_that_agrees_by_accident_is_not_chosen():
    """The first is near the last, but what lies between is not."""
    assert settled(points(0.0, 30.0, 1.0, 0.5, 0.0), energy(2.0)) == 3.0


def test_what_failed_is_passed_over():
    assert settled(points(PERMANENT, 1.0, PERMANENT, 0.5, 0.0), energy(2.0)) == 2.0


def test_a_witness_must_be_finer():
    known = points(1.0, 0.5, 0.0)
    assert settled(known, energy(2.0), lambda low, high: high >= low + 3) is None
    more = points(1.0, 0.5, 0.4, 0.0)
    assert settled(more, energy(2.0), lambda low, high: high >= low + 3) == 1.0


def test_begins_at_the_first_rung_and_ends_at_the_last():
    rungs = (1.0, 2.0, 3.0)
    assert proceed([], rungs, WIDE) == Next(1.0)
    assert proceed(points(50.0, 20.0), rungs, energy(1.0)) == Next(3.0)
    end = proceed(points(50.0, 20.0, 10.0), rungs, energy(1.0))
    assert isinstance(end, Ended)
    assert "not converged up to 3" in end.reason
    assert proceed(points(50.0, 20.0, 10.0), rungs, WIDE) == Converged(1.0)


def test_one_failure_is_passed_two_in_a_row_are_not():
    rungs = tuple(map(float, range(1, 9)))
    assert proceed(points(PERMANENT), rungs, WIDE) == Next(2.0)
    assert proceed(points(PERMANENT, 1.0, PERMANENT), rungs, WIDE) == Next(4.0)
    end = proceed(points(1.0, PERMANENT, PERMANENT), rungs, WIDE)
    assert isinstance(end, Ended)
    assert "2 settings in a row failed" in end.reason
    assert PERMANENT.reason in end.reason


def test_what_ran_out_of_time_is_the_end():
    late = Failure("transient", "no result within the deadline")
    assert proceed(points(1.0, late), (1.0, 2.0, 3.0), WIDE) == Ended(late.reason)


POWERS = st.floats(4.0, 12.0)
AMPLITUDES = st.floats(1.0, 1e4)
LIMITS = st.floats(0.1, 100.0)


@given(AMPLITUDES, POWERS, LIMITS, st.sampled_from(("energy", "force", "stress")))
def test_what_is_chosen_is_that_near_the_limit(amplitude, power, limit, which):
    """Of errors that fall at least as the fourth power: what is seen is most of what there is."""
    rungs = cutoffs(100.0, 40)

    def truth(value):
        return label(**{which: amplitude * (100.0 / value) ** power})

    done, end = walk(truth, Tolerance(limit, limit, limit), rungs)
    assert isinstance(end, Converged)
    exact = label()
    # two rungs up the error has fallen to below 0.55 of what it was
    near = Tolerance(*[limit / (1 - 0.55)] * 3)
    assert difference(truth(end.value), exact).within(near)
    # and nothing cheaper would have been seen to be good enough
    place = [one.value for one in done].index(end.value)
    if place:
        worse = difference(done[place - 1].answer, done[-1].answer)
        assert not worse.within(Tolerance(limit, limit, limit))


@given(AMPLITUDES, POWERS, LIMITS, st.floats(1.0, 50.0))
def test_more_tolerance_never_costs_more(amplitude, power, limit, more):
    rungs = cutoffs(100.0, 40)

    def truth(value):
        return label(amplitude * (100.0 / value) ** power)

    strict, high = walk(truth, energy(limit), rungs)
    loose, low = walk(truth, energy(limit * more), rungs)
    assert len(loose) <= len(strict)
    assert low.value <= high.value


@given(st.lists(st.one_of(st.floats(-50, 50), st.just(PERMANENT)), min_size=1, max_size=12), LIMITS)
def test_any_sequence_ends_and_keeps_its_word(answers, limit):
    """Whatever the engine says: rungs in order, none twice, and the choice holds for all above."""
    rungs = tuple(map(float, range(1, len(answers) + 1)))
    done, end = walk(lambda v: points(*answers)[int(v) - 1].answer, energy(limit), rungs)
    assert [one.value for one in done] == list(rungs[: len(done)])
    if isinstance(end, Converged):
        judged = zip(done, errors(done), strict=True)
        above = [error for one, error in judged if one.value >= end.value and error is not None]
        assert len(above) >= 3
        assert all(error.energy <= limit for error in above)
    else:
        assert len(done) == len(rungs) or isinstance(done[-1].answer, Failure)


# ladders


@given(st.floats(5.0, 2000.0), st.integers(1, 20))
def test_cutoffs_rise_by_about_the_factor(start, count):
    rungs = cutoffs(start, count)
    assert rungs[0] == start
    assert len(rungs) == count
    for low, high in pairwise(rungs):
        assert 1.05 < high / low < 1.35
        assert float(f"{high:.1e}") == high
    assert rungs[-1] == pytest.approx(start * FACTOR ** (count - 1), rel=0.06)


def test_cutoffs_as_people_write_them():
    assert cutoffs(200.0, 6) == (200.0, 240.0, 290.0, 350.0, 410.0, 500.0)


LENGTHS = st.floats(2.0, 30.0)


@given(LENGTHS, LENGTHS, LENGTHS, st.floats(0.3, 4.0))
def test_no_two_densities_have_the_same_grid(a, b, c, start):
    atoms = Atoms("Cu", cell=[a, b, c], pbc=True)
    rungs = densities(atoms, start, 6)
    grids = [grid(atoms, density) for density in rungs]
    assert len(set(grids)) == 6
    for (low, few), (high, many) in pairwise(zip(rungs, grids, strict=True)):
        assert high >= FACTOR * low * (1 - 1e-9)
        assert all(x <= y for x, y in zip(few, many, strict=True))


def test_densities_of_silicon():
    assert densities(bulk("Si"), 1.0, 4) == (1.0, 1.5, 2.0, 2.5)
    assert [grid(bulk("Si"), one)[0] for one in (1.0, 1.5, 2.0, 2.5)] == [3, 4, 5, 6]


def test_what_is_not_periodic_has_one_density():
    assert densities(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), 1.0, 6) == (1.0,)


def test_a_grid_is_finer_when_it_is_along_every_axis():
    atoms = Atoms("Cu", cell=[3.0, 3.0, 12.0], pbc=True)
    assert grid(atoms, 1.0) == (3, 3, 1)
    assert grid(atoms, 1.5) == (4, 4, 1)
    assert grid(atoms, 2.0) == (5, 5, 2)
    finer = finer_grid(atoms)
    assert not finer(1.0, 1.5)
    assert finer(1.0, 2.0)
    atoms.pbc = (True, True, False)
    assert finer_grid(atoms)(1.0, 1.5)

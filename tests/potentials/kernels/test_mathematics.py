"""The functions that compiled code brings along, against NumPy and SciPy."""

import logging
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.special import eval_legendre

from potentials.kernels.arrays import Bundle
from potentials.kernels.blocks import load_block, store_block, store_turned
from potentials.kernels.compiling import entry
from potentials.kernels.elementary import cosine_cutoff, hyperbolic_tangent
from potentials.kernels.harmonics import COUNT, DEGREE, ROWS, gradient, harmonics
from potentials.kernels.simd import lanes, largest, load, store, total

#: a few units in the last place of numbers of order one
ROUND = {"float32": 3e-7, "float64": 2e-15}
PRECISIONS = ("float32", "float64")


class Lines(NamedTuple):
    """Flat arrays of one type."""

    x: Any
    y: Any
    z: Any
    out: Any


def lines(precision, x, rows=1):
    x = np.asarray(x, dtype=precision)
    return Lines(x, np.zeros_like(x), np.zeros_like(x), np.zeros(rows * len(x), dtype=precision))


@entry
def tangents(given):
    for at in range(0, len(given.x), lanes(given.x)):
        store(given.out, at, hyperbolic_tangent(load(given.x, at)))


@entry
def cutoffs(given):
    for at in range(0, len(given.x), lanes(given.x)):
        value, slope = cosine_cutoff(load(given.x, at))
        store(given.y, at, value)
        store(given.z, at, slope)


@entry
def all_harmonics(given):
    count = len(given.x)
    for at in range(0, count, lanes(given.x)):
        x, y, z = load(given.x, at), load(given.y, at), load(given.z, at)
        store_block(given.out, at, count, harmonics(x, y, z))


@entry
def gradients(given, weights):
    """Weighted by rows of ``weights``; written over the vectors."""
    count = len(given.x)
    for at in range(0, count, lanes(given.x)):
        x, y, z = load(given.x, at), load(given.y, at), load(given.z, at)
        gx, gy, gz = gradient(x, y, z, load_block(weights.out, at, count, ROWS))
        store(given.x, at, gx)
        store(given.y, at, gy)
        store(given.z, at, gz)


@entry
def turned(given, rows):
    store_turned(given.out, 0, load_block(given.x, 0, lanes(given.x), rows))


@entry
def reduced(given):
    given.y[0] = total(load(given.x, 0))
    given.y[1] = largest(load(given.x, 0))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_hyperbolic_tangent(precision):
    given = lines(precision, [*np.linspace(-30, 30, 4093), np.nan, np.inf, -np.inf])
    tangents(Bundle(given))
    expected = np.tanh(given.x.astype(float))
    np.testing.assert_allclose(given.out, expected, rtol=0, atol=ROUND[precision])
    assert np.isnan(given.out[4093])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_cosine_cutoff(precision):
    given = lines(precision, np.linspace(0, 1, 1024))
    cutoffs(Bundle(given))
    turn = np.pi * given.x.astype(float)
    rounding = 4 * ROUND[precision]
    np.testing.assert_allclose(given.y, 0.5 * (np.cos(turn) + 1), rtol=0, atol=rounding)
    np.testing.assert_allclose(given.z, -0.5 * np.pi * np.sin(turn), rtol=0, atol=rounding)
    assert given.y[-1] >= 0


def directions(precision, count):
    given = lines(precision, np.zeros(count), rows=COUNT)
    vectors = np.random.default_rng(0).normal(size=(3, count))
    given.x[:], given.y[:], given.z[:] = vectors / np.linalg.norm(vectors, axis=0)
    return given


@pytest.mark.parametrize("precision", PRECISIONS)
def test_harmonics_sum_to_legendre_polynomials(precision):
    given = directions(precision, 32)
    all_harmonics(Bundle(given))
    vectors = np.stack([given.x, given.y, given.z]).astype(float)
    values = given.out.reshape(COUNT, 32).astype(float)
    cosines = np.clip(vectors.T @ vectors, -1, 1)
    for degree in range(DEGREE + 1):
        own = values[degree**2 : (degree + 1) ** 2]
        np.testing.assert_allclose(
            own.T @ own, eval_legendre(degree, cosines), atol=20 * ROUND[precision]
        )


def test_gradient_of_harmonics_is_that_of_differences():
    given, weights = directions("float64", 8), lines("float64", np.zeros(8), rows=COUNT)
    weights.out[:] = np.random.default_rng(1).normal(size=weights.out.shape)
    vectors = np.stack([given.x, given.y, given.z])
    gradients(Bundle(given), Bundle(weights))
    found = np.stack([given.x, given.y, given.z])
    found -= vectors * (found * vectors).sum(axis=0)

    def summed(moved):
        unit = moved / np.linalg.norm(moved, axis=0)
        at = Lines(*(np.ascontiguousarray(row) for row in unit), np.zeros(8 * COUNT))
        all_harmonics(Bundle(at))
        return (at.out * weights.out).reshape(COUNT, 8).sum(axis=0)

    for axis in range(3):
        step = np.zeros((3, 1))
        step[axis] = 1e-5
        slope = (summed(vectors + step) - summed(vectors - step)) / 2e-5
        np.testing.assert_allclose(found[axis], slope, atol=1e-8)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_blocks_turn_and_lanes_add_up(precision):
    wide = 64 // np.dtype(precision).itemsize
    given = lines(precision, np.random.default_rng(2).normal(size=4 * wide))
    turned(Bundle(given), (0, 0, 0, 0))
    np.testing.assert_array_equal(given.out.reshape(wide, 4), given.x.reshape(4, wide).T)
    reduced(Bundle(given))
    assert np.isclose(given.y[0], given.x[:wide].sum(), rtol=1e-5)
    assert given.y[1] == given.x[:wide].max()


def test_arrays_with_gaps_are_refused():
    gaps = np.zeros(8)[::2]
    with pytest.raises(ValueError, match="contiguous"):
        Bundle(Lines(gaps, gaps, gaps, gaps))


def test_compiling_says_so_and_how_long_it_took(caplog):
    @entry
    def fresh(given):
        given.y[0] = 2.0 * given.x[0]

    given = lines("float64", [3.0])
    with caplog.at_level(logging.INFO, logger="potentials.kernels.compiling"):
        fresh(Bundle(given))
        fresh(Bundle(given))
    assert given.y[0] == 6.0
    assert len([m for m in caplog.messages if m.startswith("compiling fresh")]) <= 1
    assert len([m for m in caplog.messages if m.startswith("compiled fresh in ")]) <= 1

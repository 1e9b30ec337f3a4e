"""Moments equal explicit sums; what all kinds promise is in the conformance suite."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import eval_legendre

from potentials.descriptors import build
from potentials.moment_tensors import OVERLAP, harmonics
from tests.tolerances import ROUNDING, ROUNDING_ABS

CUTOFF = 4.0
#: elements of the three atoms of an environment: any of one, two or three elements
SPECIES = torch.tensor([0, 1, 0])


def environment(seed, count=7, n_elements=2):
    """Pair vectors around three atoms, none shorter than 1 Å."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = torch.as_tensor(directions * rng.uniform(1.0, CUTOFF, (count, 1)))
    first = torch.as_tensor(np.sort(rng.integers(0, 3, count)))
    return vectors, first, torch.as_tensor(rng.integers(0, n_elements, count))


def moments(**settings):
    return build({"kind": "moments", "cutoff": CUTOFF, **settings})


@pytest.mark.parametrize("degree", [1, 2, 4, 6])
def test_moments_equal_explicit_sums_over_neighbours(degree):
    """Radial sum_j s_n f, angular sum_jk s s f f P_l(cos theta), written as loops."""
    radial, angular, share = 4, 2, 0.8
    descriptor = moments(
        radial=radial, angular=angular, angular_range=share, degree=degree, triples=()
    )
    vectors, first, neighbour = environment(11, count=9)
    found = descriptor.values(vectors, first, neighbour, SPECIES, 2).numpy()
    for atom in range(3):
        own = first.numpy() == atom
        around = vectors.numpy()[own], neighbour.numpy()[own]
        expected = [
            *radial_sums(*around, radial),
            *angular_sums(*around, local(around[0], angular, share * CUTOFF), degree),
        ]
        np.testing.assert_allclose(found[atom], expected, rtol=ROUNDING, atol=ROUNDING_ABS)


def local(vectors, count, reach):
    """Shells times envelope, zero beyond the reach (count, J)."""
    r = np.linalg.norm(vectors, axis=1)
    envelope = np.where(r < reach, 0.5 * (np.cos(np.pi * r / reach) + 1.0), 0.0)
    gap = reach / (count + 1)
    shell = [
        np.maximum(1.0 - ((r - n * gap) / (OVERLAP * gap)) ** 2, 0.0) ** 3
        for n in range(1, count + 1)
    ]
    return np.array(shell) * envelope


def radial_sums(vectors, neighbour, count):
    functions = local(vectors, count, CUTOFF)
    return [
        functions[n][neighbour == element].sum()
        for element, n in itertools.product(range(2), range(count))
    ]


def angular_sums(vectors, neighbour, functions, degree):
    """By pair of elements, channel and degree."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for (one, other), function, order in itertools.product(
        ((0, 0), (0, 1), (1, 1)), functions, range(degree + 1)
    ):
        total = 0.0
        for j, k in itertools.product(range(len(unit)), repeat=2):
            if (neighbour[j], neighbour[k]) == (one, other):
                total += function[j] * function[k] * eval_legendre(order, unit[j] @ unit[k])
        yield total


def triples_of(triples, seed):
    """What the descriptor gives for three atoms, and their neighbours' directions and weights."""
    angular, share = 2, 0.9
    made = moments(radial=2, angular=angular, angular_range=share, degree=1, triples=triples)
    vectors, first, neighbour = environment(seed, count=12)
    found = made.values(vectors, first, neighbour, SPECIES, 2).numpy()
    found = found[:, -angular * len(triples) :].reshape(3, angular, len(triples))
    around = []
    for atom in range(3):
        own = vectors.numpy()[first.numpy() == atom]
        unit = own / np.linalg.norm(own, axis=1, keepdims=True)
        around.append((unit, local(own, angular, share * CUTOFF)))
    return found, around


@pytest.mark.parametrize("seed", range(3))
def test_default_triples_are_products_of_vectors_and_quadrupoles(seed):
    """(1, 1, 2) is v.Qv and (2, 2, 2) is tr Q^3 up to a factor, elements summed over."""
    found, around = triples_of(((1, 1, 2), (2, 2, 2)), seed)
    for own, (unit, functions) in zip(found, around, strict=True):
        for channel, function in zip(own, functions, strict=True):
            vector = function @ unit
            quadrupole = np.einsum("j,ja,jb->ab", function, unit, unit)
            quadrupole -= np.eye(3) * np.trace(quadrupole) / 3
            expected = [
                np.sqrt(3 / 10) * vector @ quadrupole @ vector,
                np.sqrt(81 / 70) * np.trace(quadrupole @ quadrupole @ quadrupole),
            ]
            np.testing.assert_allclose(channel, expected, rtol=1e-9, atol=ROUNDING_ABS)


TRIPLES = ((1, 1, 2), (2, 2, 2), (1, 2, 3), (2, 2, 4), (3, 3, 2))


@given(seed=st.integers(0, 2**31 - 1))
def test_triples_are_integrals_over_the_sphere(seed):
    """Of three sums of Legendre polynomials, on other points than the coupling is made of."""
    found, around = triples_of(TRIPLES, seed)
    points, weights = sphere(17, seed)
    x, w = np.polynomial.legendre.leggauss(20)
    for own, (unit, functions) in zip(found, around, strict=True):
        for channel, function in zip(own, functions, strict=True):
            expected = []
            for triple in TRIPLES:
                sums = [function @ eval_legendre(order, unit @ points.T) for order in triple]
                size = 0.5 * np.sum(w * np.prod([eval_legendre(o, x) for o in triple], axis=0))
                expected.append(np.sum(weights * np.prod(sums, axis=0)) / np.sqrt(size))
            np.testing.assert_allclose(channel, expected, rtol=1e-9, atol=ROUNDING_ABS)


def sphere(count, seed):
    """Directions (P, 3) and weights (P,) of a product rule, turned at random."""
    heights, parts = np.polynomial.legendre.leggauss(count)
    angles = 2 * np.pi * np.arange(2 * count) / (2 * count)
    rings = np.sqrt(1 - heights**2)[:, None]
    directions = np.stack(
        [rings * np.cos(angles), rings * np.sin(angles), heights[:, None] + 0 * angles], axis=-1
    ).reshape(-1, 3)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return directions @ turn, np.repeat(parts, 2 * count) / (4 * count)


@given(seed=st.integers(0, 2**31 - 1))
def test_harmonics_add_up_to_legendre_polynomials(seed):
    """The sum over m of Y_lm(u) Y_lm(v) is P_l(u.v): no direction is special."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(2, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    one, other = harmonics(torch.as_tensor(unit), 6).numpy()
    for order in range(7):
        own = slice(order**2, (order + 1) ** 2)
        assert abs(one[own] @ other[own] - eval_legendre(order, unit[0] @ unit[1])) < ROUNDING_ABS


def test_neighbours_beyond_the_angular_range_count_in_radial_sums_only():
    made = moments(angular_range=0.5)
    vectors = torch.tensor([[0.0, 0.0, 0.7 * CUTOFF], [0.0, 0.0, 0.3 * CUTOFF]]).double()
    one = torch.zeros(1, dtype=torch.int64)
    far, near = (made.values(v[None], one, one, SPECIES[:1], 1)[0] for v in vectors)
    assert (far[: made.radial] > 0).any()
    assert far[made.radial :].abs().max() == 0.0
    assert near[made.radial :].abs().min() > 0.0


@pytest.mark.parametrize("triple", [(1, 1, 1), (1, 2, 4), (1, 3, 1)])
def test_triples_without_an_invariant_are_refused(triple):
    with pytest.raises(ValidationError, match=r"has no invariant: its sum must be even"):
        moments(triples=(triple,))


def test_settings_that_are_gone_are_named():
    with pytest.raises(ValidationError, match="powers"):
        moments(powers=(2.0, 6.0))

"""Every descriptor of the folder keeps symmetries and is smooth; moments equal explicit sums."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.special import eval_legendre

from potentials.descriptors import build, kinds
from potentials.moment_tensors import OVERLAP
from tests.tolerances import ROUNDING, ROUNDING_ABS

CUTOFF = 4.0
#: elements of the three atoms of an environment: any of one, two or three elements
SPECIES = torch.tensor([0, 1, 0])
KINDS = sorted(kinds())


def environment(seed, count=7, n_elements=2):
    """Pair vectors around three atoms, none shorter than 1 Å."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = torch.as_tensor(directions * rng.uniform(1.0, CUTOFF, (count, 1)))
    first = torch.as_tensor(np.sort(rng.integers(0, 3, count)))
    return vectors, first, torch.as_tensor(rng.integers(0, n_elements, count))


def small(kind):
    return build({"kind": kind, "cutoff": CUTOFF})


@pytest.fixture(params=KINDS)
def descriptor(request):
    return small(request.param)


@pytest.mark.parametrize("n_elements", [1, 2, 3])
def test_size_is_what_values_give(descriptor, n_elements):
    vectors, first, neighbour = environment(0, n_elements=n_elements)
    values = descriptor.values(vectors, first, neighbour, SPECIES % n_elements, n_elements)
    assert values.shape == (3, descriptor.size(n_elements))
    assert values.dtype == torch.float64
    single = descriptor.values(vectors.float(), first, neighbour, SPECIES % n_elements, n_elements)
    assert single.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31 - 1))
def test_rotation_reflection_and_order_of_neighbours_change_nothing(kind, seed):
    vectors, first, neighbour = environment(seed)
    rng = np.random.default_rng(seed)
    turn = torch.as_tensor(np.linalg.qr(rng.normal(size=(3, 3)))[0])
    order = torch.as_tensor(rng.permutation(len(first)))
    values = small(kind).values(vectors, first, neighbour, SPECIES, 2)
    turned = small(kind).values((vectors @ turn)[order], first[order], neighbour[order], SPECIES, 2)
    assert torch.allclose(values, turned, rtol=ROUNDING, atol=ROUNDING_ABS)


def test_environments_that_differ_are_told_apart(descriptor):
    """Bond angle and element both matter."""
    first = torch.zeros(2, dtype=torch.int64)
    straight = torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]], dtype=torch.float64)
    bent = torch.tensor([[2.0, 0, 0], [0, 2.0, 0]], dtype=torch.float64)
    same, mixed = torch.tensor([0, 0]), torch.tensor([0, 1])
    reference = descriptor.values(straight, first, same, SPECIES[:1], 2)
    for vectors, neighbour in ((bent, same), (straight, mixed)):
        other = descriptor.values(vectors, first, neighbour, SPECIES[:1], 2)
        assert (other - reference).abs().max() > 1e-3


def test_value_and_slope_vanish_at_the_cutoff(descriptor):
    """A neighbour that enters changes values as d^2 and slopes as d."""
    vectors, first, neighbour = environment(3)
    first = torch.zeros_like(first)
    without = descriptor.values(vectors, first, neighbour, SPECIES[:1], 2)
    changes, slopes = [], []
    for depth in (1e-3, 1e-4):
        entering = torch.tensor([[0.0, CUTOFF - depth, 0.0]], dtype=torch.float64).requires_grad_()
        values = descriptor.values(
            torch.cat([vectors, entering]),
            torch.cat([first, first[:1]]),
            torch.cat([neighbour, neighbour[:1]]),
            SPECIES[:1],
            2,
        )
        changes.append(float((values.detach() - without).abs().max()))
        slopes.append(float(torch.autograd.grad(values.abs().sum(), entering)[0].abs().max()))
    assert changes[0] < 1e-4
    assert changes[1] < 0.02 * changes[0]
    assert slopes[1] < 0.2 * slopes[0]


def test_derivatives_are_those_of_the_values(descriptor):
    vectors, first, neighbour = environment(5, count=4)

    def values(moved):
        return descriptor.values(moved, first, neighbour, SPECIES, 2)

    assert torch.autograd.gradcheck(values, vectors.requires_grad_(), fast_mode=True)


def test_no_neighbour_gives_zeros_and_a_gradient(descriptor):
    nobody = torch.zeros(0, dtype=torch.int64)
    vectors = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    values = descriptor.values(vectors, nobody, nobody, SPECIES[:2], 2)
    assert values.shape == (2, descriptor.size(2))
    assert torch.autograd.grad(values.sum(), vectors)[0].shape == (0, 3)


@pytest.mark.parametrize("degree", [1, 2, 4, 6])
def test_moments_equal_explicit_sums_over_neighbours(degree):
    """Radial sum_j s_n f, angular sum_jk (f f)^p P_l(cos theta), written as loops."""
    powers, radial, n_elements = (2.0, 5.0), 4, 2
    descriptor = build(
        {
            "kind": "moments",
            "cutoff": CUTOFF,
            "radial": radial,
            "powers": powers,
            "degree": degree,
        }
    )
    vectors, first, neighbour = environment(11, count=9)
    found = descriptor.values(vectors, first, neighbour, SPECIES % n_elements, n_elements).numpy()
    expected = [
        explicit(vectors.numpy()[own], neighbour.numpy()[own], powers, radial, degree)
        for own in (first.numpy() == atom for atom in range(3))
    ]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING_ABS)


def test_powers_that_leave_a_kink_at_the_cutoff_are_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        build({"kind": "moments", "powers": (2.0, 0.5)})


def explicit(vectors, neighbour, powers, radial, degree):
    """One atom of two elements, the slow way."""
    r = np.linalg.norm(vectors, axis=1)
    fc = 0.5 * (np.cos(np.pi * r / CUTOFF) + 1.0)
    gap = CUTOFF / (radial + 1)
    parts = []
    for element, n in itertools.product(range(2), range(1, radial + 1)):
        shell = np.maximum(1.0 - ((r - n * gap) / (OVERLAP * gap)) ** 2, 0.0) ** 3
        parts.append(np.sum((shell * fc)[neighbour == element]))
    for one, other in ((0, 0), (0, 1), (1, 1)):
        for power in powers:
            for order in range(degree + 1):
                total = 0.0
                for j, k in itertools.product(range(len(r)), repeat=2):
                    if (neighbour[j], neighbour[k]) == (one, other):
                        cosine = vectors[j] @ vectors[k] / (r[j] * r[k])
                        weight = (fc[j] * fc[k]) ** power
                        total += weight * eval_legendre(order, cosine)
                parts.append(total)
    return parts

"""DeepPot-SE equals plain loops over the printed formulas; what cannot work is refused."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from potentials.batch import make_batch
from potentials.descriptors import build
from tests.crystals import random_crystal
from tests.tolerances import ROUNDING, ROUNDING_ABS

CUTOFF, INNER = 4.5, 1.5
ELEMENTS = (29, 79)


def descriptor(**more):
    return build({"kind": "deeppot", "cutoff": CUTOFF, "inner": INNER / CUTOFF} | more)


def parameters(made, seed=0, n_elements=2):
    return made.learned(n_elements, torch.Generator().manual_seed(seed))


def crystal(symbols=("Cu", "Au", "Cu")):
    return random_crystal(np.random.default_rng(1), symbols)


def arguments(atoms):
    batch = make_batch([atoms], ELEMENTS, CUTOFF)
    pairs = batch.pairs
    return batch.vectors(), (pairs.first, batch.species[pairs.second], batch.species, 2)


def smooth(r):
    """s(r) as printed."""
    if r < INNER:
        return 1 / r
    if r >= CUTOFF:
        return 0.0
    x = (r - INNER) / (CUTOFF - INNER)
    return (x**3 * (-6 * x**2 + 15 * x - 10) + 1) / r


def embed(s, network, learned, widths):
    """One neighbour through one network, with the skips of a residual network."""
    signal = np.array([s * CUTOFF])
    for layer, width in enumerate(widths):
        weight = learned[f"weight{layer}"][network].numpy()
        new = np.tanh(signal @ weight + learned[f"bias{layer}"][network, 0].numpy())
        if layer and width == len(signal):
            new += signal
        elif layer and width == 2 * len(signal):
            new += np.concatenate([signal, signal])
        signal = new
    return signal


def explicit(made, learned, atoms):
    """D of every atom by loops over all images, matrices as in the paper."""
    index = [ELEMENTS.index(z) for z in atoms.numbers]
    shifts = np.array(list(np.ndindex(7, 7, 7))) - 3
    found = []
    for i, place in enumerate(atoms.positions):
        rows, embedded = [], []
        for j, other in enumerate(atoms.positions):
            for vector in other + shifts @ atoms.cell.array - place:
                r = np.linalg.norm(vector)
                if 1e-9 < r < CUTOFF:
                    s = smooth(r)
                    rows.append([s, *(s * vector / r)])
                    network = 2 * index[i] + index[j]
                    embedded.append(embed(s, network, learned, made.neurons))
        r_matrix, g_matrix = np.array(rows), np.array(embedded)
        product = g_matrix.T @ r_matrix @ r_matrix.T @ g_matrix[:, : made.axis]
        found.append(product.ravel() / made.neighbours**2)
    return np.array(found)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"neurons": (5, 5, 10), "axis": 10, "neighbours": 10.0},
        {"neurons": (4, 7), "axis": 1},
        {"neurons": (3,), "axis": 2},
    ],
    ids=["default", "skips", "no skip", "one layer"],
)
def test_values_equal_loops_over_the_printed_formulas(more):
    made = descriptor(**more)
    learned = parameters(made)
    vectors, others = arguments(crystal())
    found = made.bound(learned).values(vectors, *others)
    expected = explicit(made, learned, crystal())
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=ROUNDING_ABS * scale)


def test_inside_the_inner_radius_the_weight_is_the_inverse_distance():
    from potentials.deep_embedding import switched

    distance = torch.tensor([0.2, 1.0, INNER, 3.0, CUTOFF, 6.0], dtype=torch.float64)
    found = switched(distance, INNER, CUTOFF).numpy()
    expected = [smooth(float(r)) for r in distance]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=1e-12)


def test_second_derivatives_are_those_of_the_first():
    """By neighbours and parameters: what training on forces needs."""
    made = descriptor(neurons=(3, 6), axis=2)
    learned = parameters(made)
    vectors, others = arguments(crystal(("Cu",)))
    names = list(learned)

    def values(moved, *tensors):
        return made.bound(dict(zip(names, tensors, strict=True))).values(moved, *others)

    leaves = [vectors, *learned.values()]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    assert torch.autograd.gradgradcheck(values, leaves, fast_mode=True)


def test_order_of_elements_in_a_pair_matters():
    """Cu seen from Au goes through another network than Au seen from Cu."""
    made = descriptor()
    made = made.bound(parameters(made))
    vectors = torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]], dtype=torch.float64)
    ends = torch.tensor([0, 1])
    found = made.values(vectors, ends, ends.flip(0), ends, 2)
    assert (found[0] - found[1]).abs().max() > 1e-2 * found.abs().max()


def test_without_parameters_there_are_no_values():
    vectors, others = arguments(crystal())
    with pytest.raises(ValueError, match=r"has parameters that are trained.*`bound`"):
        descriptor().values(vectors, *others)


def test_parameters_of_other_settings_are_refused():
    made = descriptor()
    with pytest.raises(ValueError, match=r"layers of \[8, 16, 32\] expected, got layers of \[8, 8"):
        made.bound(parameters(descriptor(neurons=(8, 8, 8))))
    with pytest.raises(ValueError, match="expected, got none"):
        made.bound({})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"inner": 1.0}, "less than 1"),
        ({"axis": 33}, r"axis is 33, but the last layer has 32 units.*at most as many"),
        ({"neurons": ()}, "at least 1 item"),
        ({"neurons": (8, 0)}, "greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ValidationError, match=says):
        descriptor(**wrong)


def test_the_published_size_can_be_had():
    assert descriptor(neurons=(25, 50, 100), axis=16).size(3) == 1600

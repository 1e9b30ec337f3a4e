"""Symmetry functions equal plain loops over the printed formulas, and keep symmetries."""

import itertools
from math import cos, exp, pi, tanh

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from potentials.acsf_parameters import BOHR, Radial, choose, shortest_distance
from potentials.batch import make_batch
from potentials.descriptors import build
from potentials.symmetry_functions import ENVELOPES, Envelope, triplets
from tests.crystals import crystals, random_crystal, rotations
from tests.tolerances import ROUNDING, ROUNDING_ABS

CUTOFF = 4.5
ELEMENTS = (29, 79)
SPECIES = torch.tensor([0, 1])
#: lists of different length by central element, other cutoffs, shifts, every kind
FUNCTIONS = [
    {"kind": "radial", "eta": 0.4, "shift": 2.0, "centre": "Cu", "neighbour": "Cu"},
    {"kind": "radial", "eta": 0.4, "shift": 2.0, "centre": "Cu", "neighbour": "Au"},
    {"kind": "radial", "eta": 1.1, "cutoff": 3.7, "centre": "Au", "neighbour": "Cu"},
    {
        "kind": "narrow",
        "eta": 0.05,
        "zeta": 4.0,
        "lam": -1.0,
        "centre": "Cu",
        "neighbours": ["Au", "Cu"],
    },
    {
        "kind": "wide",
        "eta": 0.03,
        "shift": 1.0,
        "zeta": 1.0,
        "lam": 1.0,
        "cutoff": 4.0,
        "centre": "Cu",
        "neighbours": ["Cu", "Cu"],
    },
    {
        "kind": "narrow",
        "eta": 0.02,
        "shift": 0.5,
        "zeta": 2.5,
        "lam": 1.0,
        "centre": "Au",
        "neighbours": ["Cu", "Cu"],
    },
]


def descriptor(**more):
    data = {"kind": "acsf", "cutoff": CUTOFF, "functions": FUNCTIONS, "elements": ["Cu", "Au"]}
    return build(data | more)


def values(made, atoms):
    batch = make_batch([atoms], ELEMENTS, made.cutoff)
    pairs = batch.pairs
    return made.values(
        batch.vectors(), pairs.first, batch.species[pairs.second], batch.species, len(ELEMENTS)
    )


def fc(name, inner, r, rc):
    """The printed cutoff functions, one number at a time."""
    if r >= rc:
        return 0.0
    if name == "tanh3":
        return tanh(1 - r / rc) ** 3
    if name == "tanh3_unit":
        return (tanh(1 - r / rc) / tanh(1)) ** 3
    if r < inner * rc or name == "hard":
        return 1.0
    x = (r - inner * rc) / (rc - inner * rc)
    return {
        "cos": lambda: 0.5 * (cos(pi * x) + 1),
        "exp": lambda: exp(1 - 1 / (1 - x * x)),
        "poly1": lambda: (2 * x - 3) * x**2 + 1,
        "poly2": lambda: 1 - 10 * x**3 + 15 * x**4 - 6 * x**5,
        "poly3": lambda: 1 - 35 * x**4 + 84 * x**5 - 70 * x**6 + 20 * x**7,
        "poly4": lambda: 1 - 126 * x**5 + 420 * x**6 - 540 * x**7 + 315 * x**8 - 70 * x**9,
    }[name]()


def explicit(made, atoms):
    """Every function of every atom by loops over images."""
    symbols = atoms.get_chemical_symbols()
    images = [
        (symbols[j], atoms.positions[j] + np.array(shift) @ atoms.cell.array, j, shift)
        for j in range(len(atoms))
        for shift in itertools.product(range(-4, 5), repeat=3)
    ]
    rows = []
    for i, centre in enumerate(symbols):
        near = []
        for symbol, place, j, shift in images:
            vector = place - atoms.positions[i]
            if (j, shift) != (i, (0, 0, 0)) and np.linalg.norm(vector) < made.cutoff:
                near.append((symbol, vector))
        rows.append([one(made, f, near) for f in made.functions if f.centre == centre])
    size = max(map(len, rows))
    return np.array([row + [0.0] * (size - len(row)) for row in rows])


def one(made, f, near):
    rc = f.cutoff or made.cutoff

    def factor(r):
        return exp(-f.eta * (r - f.shift) ** 2) * fc(made.envelope, made.inner, r, rc)

    if f.kind == "radial":
        return sum(factor(np.linalg.norm(v)) for s, v in near if s == f.neighbour)
    total = 0.0
    for (s, v), (t, w) in itertools.permutations(near, 2):
        if f.neighbours in ((s, t), (t, s)):
            a, b = np.linalg.norm(v), np.linalg.norm(w)
            term = max(1 + f.lam * (v @ w) / (a * b), 0.0) ** f.zeta * factor(a) * factor(b)
            total += term * (factor(np.linalg.norm(w - v)) if f.kind == "narrow" else 1.0)
    ordered = made.summation == "ordered"
    return 2 ** (1 - f.zeta) * total * (1.0 if ordered else 0.5)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"summation": "ordered"},
        {"envelope": "tanh3"},
        {"envelope": "poly2", "inner": 0.3},
        {"envelope": "exp"},
    ],
)
def test_values_equal_loops_over_the_printed_formulas(more):
    made = descriptor(**more)
    atoms = random_crystal(np.random.default_rng(1), ["Cu", "Au", "Cu"])
    found = values(made, atoms).numpy()
    np.testing.assert_allclose(found, explicit(made, atoms), rtol=ROUNDING, atol=ROUNDING_ABS)
    assert (found[1, 2:] == 0.0).all()
    assert (np.abs(found[0]) > 1e-6).all()


@pytest.mark.parametrize("name", ENVELOPES)
@pytest.mark.parametrize("inner", [0.0, 0.4])
def test_cutoff_functions_are_the_printed_ones(name, inner):
    distances = np.linspace(0.0, 1.3 * CUTOFF, 41)
    inner = 0.0 if name in ("tanh3", "tanh3_unit") else inner
    found = Envelope(name, inner).values(torch.as_tensor(distances), CUTOFF)
    expected = [fc(name, inner, r, CUTOFF) for r in distances]
    np.testing.assert_allclose(found, expected, rtol=ROUNDING, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(ENVELOPES) - {"hard"}))
def test_value_and_slope_vanish_at_the_cutoff(name):
    made = descriptor(envelope=name)
    first, species = torch.zeros(3, dtype=torch.int64), torch.tensor([0])
    largest = []
    for depth in (1e-2, 1e-3):
        vectors = torch.tensor(
            [[2.0, 0, 0], [0, 0, 2.2], [0.0, CUTOFF - depth, 0.0]], dtype=torch.float64
        ).requires_grad_()
        pair = torch.tensor([0, 0, 1])
        found = made.values(vectors, first, pair, species, 2)
        slope = torch.autograd.grad(found.abs().sum(), vectors)[0][2]
        largest.append(float(slope.abs().max()))
        assert torch.isfinite(slope).all()
    assert largest[1] < 0.2 * largest[0] + 1e-12


@given(atoms=crystals(max_size=3), turn=rotations(), data=st.data())
def test_rotation_translation_and_order_change_nothing(atoms, turn, data):
    order = list(data.draw(st.permutations(range(len(atoms)))))
    other = atoms[order]
    other.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    other.positions += data.draw(st.floats(-5, 5))
    made = descriptor()
    before, after = values(made, atoms)[order], values(made, other)
    assert torch.allclose(before, after, rtol=ROUNDING, atol=ROUNDING_ABS)


def test_derivatives_are_those_of_the_values():
    rng = np.random.default_rng(2)
    vectors = torch.as_tensor(rng.normal(size=(6, 3)) * 1.3).requires_grad_()
    first = torch.tensor([0, 0, 1, 0, 1, 1])
    pair = torch.tensor([0, 1, 0, 1, 0, 1])

    def moved(v):
        return descriptor().values(v, first, pair, torch.tensor([0, 1]), 2)

    assert torch.autograd.gradcheck(moved, vectors)


@pytest.mark.parametrize("more", [{}, {"envelope": "poly2", "summation": "ordered"}])
def test_slopes_are_those_of_the_values(more):
    """By autograd, one component after the other."""
    made = descriptor(**more)
    batch = make_batch(
        [random_crystal(np.random.default_rng(n), ["Cu", "Au", "Cu"]) for n in (1, 2)],
        ELEMENTS,
        CUTOFF,
    )
    pairs = batch.pairs
    order = torch.randperm(len(pairs.first), generator=torch.Generator().manual_seed(0))
    vectors = batch.vectors()[order].requires_grad_()
    given_pairs = (pairs.first[order], batch.species[pairs.second[order]], batch.species, 2)
    found = made.values(vectors, *given_pairs)
    expected = torch.stack(
        [
            torch.autograd.grad(found[:, d].sum(), vectors, retain_graph=True)[0]
            for d in range(found.shape[1])
        ],
        dim=1,
    )
    slopes = made.slopes(vectors.detach(), *given_pairs)
    assert slopes.shape == expected.shape
    assert torch.allclose(slopes, expected, rtol=ROUNDING, atol=ROUNDING_ABS)
    nobody = torch.zeros(0, dtype=torch.int64)
    empty = made.slopes(torch.zeros(0, 3, dtype=torch.float64), nobody, nobody, SPECIES, 2)
    assert empty.shape == (0, made.size(2), 3)


def test_a_straight_angle_has_a_finite_slope():
    """Rounding takes 1 + cos(pi) below zero, where a broken power would give NaN."""
    vectors = torch.tensor([[1.1, 0.7, 0.3], [-2.2, -1.4, -0.6]], dtype=torch.float64)
    vectors.requires_grad_()
    zero = torch.zeros(2, dtype=torch.int64)
    angular = {"kind": "wide", "eta": 0.01, "zeta": 2.5, "lam": 1.0}
    made = build({"kind": "acsf", "cutoff": CUTOFF, "functions": [angular]})
    found = made.values(vectors, zero, zero, zero[:1], 1)
    assert abs(float(found.detach())) < 1e-12
    assert torch.isfinite(torch.autograd.grad(found.sum(), vectors)[0]).all()


def test_every_unordered_couple_of_neighbours_once():
    first = torch.tensor([2, 0, 2, 0, 2, 1])
    j, k = triplets(first)
    found = {frozenset(pair) for pair in zip(j.tolist(), k.tolist(), strict=True)}
    assert found == {frozenset(p) for p in [(0, 2), (0, 4), (2, 4), (1, 3)]}
    assert len(j) == 4


def test_published_sets_have_their_printed_sizes():
    tio2 = build({"kind": "acsf", "preset": "TiO2"})
    assert (tio2.cutoff, tio2.size(2)) == (6.5, 70)
    assert build({"kind": "acsf", "preset": "TiO2", "cutoff": 5.0}).cutoff == 5.0
    oxide = build({"kind": "acsf", "preset": "Cu-Au-O-H"})
    assert oxide.size(4) == 148
    # the same widths, printed in 1/bohr^2 in one set and in 1/angstrom^2 in the other
    widths = [f.eta for f in oxide.all_functions() if isinstance(f, Radial)]
    printed = [f.eta for f in tio2.all_functions() if isinstance(f, Radial)]
    np.testing.assert_allclose(widths[:6], printed[:6], rtol=2e-4)
    assert widths[0] == pytest.approx(0.0009 / BOHR**2, rel=1e-12)


@pytest.mark.parametrize(("shortest", "cutoff"), [(0.7, 6.0), (2.2, 6.5), (1.0, 1.1)])
def test_chosen_functions_cover_the_range_from_shortest_to_cutoff(shortest, cutoff):
    radial = [f for f in choose(shortest, cutoff) if f.kind == "radial"]
    grid = np.linspace(shortest, 0.95 * cutoff, 50)[:, None]
    weights = np.exp([[-f.eta * (r - f.shift) ** 2 for f in radial] for r in grid[:, 0]])
    assert weights.max(axis=1).min() > 0.5
    centres = [f.shift for f in radial[1:]]
    assert centres[0] == shortest
    assert (np.diff(centres) > 0).all()
    assert max(centres) < cutoff


def test_default_is_chosen_from_a_quarter_of_the_cutoff():
    assert build({"kind": "acsf"}).all_functions() == choose(1.5, 6.0)
    given_length = build({"kind": "acsf", "shortest": 2.0, "cutoff": 5.0})
    assert given_length.all_functions() == choose(2.0, 5.0)


def test_a_choice_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match=r"shortest distance 7.0.*larger cutoff"):
        choose(7.0, 6.0)
    with pytest.raises(ValueError, match="at least one"):
        choose(1.0, 6.0, radial=0)


def test_shortest_distance_sees_images():
    atoms = random_crystal(np.random.default_rng(5), ["Cu", "Au", "Cu"])
    expected = min(
        np.linalg.norm(atoms.positions[j] - atoms.positions[i] + np.array(shift) @ atoms.cell.array)
        for i, j in itertools.product(range(3), repeat=2)
        for shift in itertools.product((-1, 0, 1), repeat=3)
        if (i, shift) != (j, (0, 0, 0))
    )
    assert shortest_distance([atoms], 6.0) == pytest.approx(expected, rel=1e-12)
    assert shortest_distance([], 6.0) == 6.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"elements": ["Cu"]}, "functions name Au"),
        ({"cutoff": 3.0}, "beyond the descriptor"),
        ({"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 0.5, "lam": 1}]}, "greater than"),
        ({"functions": [{"kind": "radial", "eta": -1}]}, "greater than"),
        ({"preset": "SiO2"}, "TiO2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(ValidationError, match=says):
        descriptor(**wrong)


def test_another_number_of_elements_is_refused():
    with pytest.raises(ValueError, match=r"made for 2 elements \(Cu, Au\), used for 3"):
        descriptor().size(3)


def test_settings_survive_the_way_to_json_and_back():
    made = descriptor(envelope="poly1", inner=0.1)
    assert build(made.model_dump(mode="json")) == made

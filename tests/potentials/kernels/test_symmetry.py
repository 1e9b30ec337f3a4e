"""Compiled symmetry functions are those of torch: predictions, relaxations, Jacobians."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from potentials import kernels
from potentials.descriptors import build
from potentials.kernels.bounds import Bounds
from potentials.kernels.compiled import Compiled
from potentials.kernels.rooms import Desk
from tests.crystals import crystals, random_crystal, rattled_crystals
from tests.potentials.kernels import test_derivatives as jacobians
from tests.potentials.kernels.models import random_ensemble
from tests.potentials.kernels.test_prediction import check
from tests.potentials.kernels.test_relaxation import alike, both

NAMES = {29: "Cu", 79: "Au", 8: "O"}
ELEMENTS = [(29,), (29, 79), (79, 8, 29)]
#: lists of different length by central element; three widths, powers up to four
UNEVEN = [
    {"kind": "radial", "eta": 0.4, "shift": 2.0, "centre": "Cu", "neighbour": "Cu"},
    {"kind": "radial", "eta": 1.1, "cutoff": 4.5, "neighbour": "Au"},
    {"kind": "narrow", "eta": 0.05, "zeta": 4, "lam": -1, "centre": "Cu"},
    {"kind": "narrow", "eta": 0.0, "zeta": 1, "lam": 0.5, "neighbours": ["Au", "Cu"]},
    {"kind": "narrow", "eta": 0.2, "zeta": 3, "lam": 1, "centre": "Au", "neighbours": ["Cu", "Cu"]},
]


def descriptors(elements):
    """Settings that one compiled code serves: three widths and powers up to four."""
    common = {"kind": "acsf", "cutoff": 4.5}
    made = [common, common | {"shortest": 1.4, "cutoff": 3.6}, common | {"preset": "TiO2"}]
    if set(elements) == {29, 79}:
        made.append(common | {"functions": UNEVEN, "elements": [NAMES[e] for e in elements]})
    return [
        one | {"summation": summation} for one in made for summation in ("unordered", "ordered")
    ]


@st.composite
def cases(draw):
    elements = draw(st.sampled_from(ELEMENTS))
    species = [NAMES[number] for number in elements]
    structures = draw(st.lists(crystals(species=species, max_size=6), min_size=1, max_size=3))
    return elements, draw(st.sampled_from(descriptors(elements))), structures


@settings(max_examples=40)
@given(case=cases(), seed=st.integers(0, 9))
def test_predictions_equal_the_reference(case, seed):
    elements, descriptor, structures = case
    check(random_ensemble(elements, seed=seed, **descriptor), structures, members=True)


@settings(max_examples=15)
@given(case=cases())
def test_single_precision_is_close(case):
    elements, descriptor, structures = case
    check(random_ensemble(elements, **descriptor), structures, precision="float32")


@settings(max_examples=25)
@given(case=cases(), pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_jacobians_equal_torch(case, pbc):
    elements, descriptor, structures = case
    for atoms in structures:
        atoms.pbc = pbc
    jacobians.check(structures, build(descriptor), elements)


def test_the_largest_published_set():
    rng = np.random.default_rng(0)
    elements, names = (29, 79, 8, 1), ["Cu", "Au", "O", "H"]
    settings = {"kind": "acsf", "preset": "Cu-Au-O-H", "cutoff": 4.0}
    structures = [random_crystal(rng, [*names, "O", "H"]) for _ in range(2)]
    ensemble = random_ensemble(elements, hidden=(9, 7), wall=1.0, **settings)
    check(ensemble, structures, members=True)
    check(ensemble, structures, precision="float32")
    jacobians.check(structures, build(settings), elements)


def test_high_powers_of_one_width():
    """Where the expansion of (1 - cos)^16 cancels most: straight and vanishing angles."""
    functions = [
        {"kind": "narrow", "eta": 0.02, "zeta": zeta, "lam": lam}
        for zeta in (1, 7, 16)
        for lam in (-1, 1)
    ]
    settings = {"kind": "acsf", "cutoff": 4.5, "functions": functions}
    rng = np.random.default_rng(1)
    line = Atoms("Cu3", positions=[[0, 0, 0], [0, 0, 2], [0, 0, 4]])
    structures = [bulk("Cu"), random_crystal(rng, ["Cu"] * 4), line]
    check(random_ensemble((29,), **settings), structures)
    jacobians.check(structures, build(settings), (29,))


def test_more_neighbours_than_a_vector_and_than_expected():
    rng = np.random.default_rng(2)
    squeezed = bulk("Cu", cubic=True)
    squeezed.set_cell(squeezed.cell.array * 0.5, scale_atoms=True)
    large = bulk("Cu", cubic=True) * (3, 3, 3)
    large.rattle(0.2, rng=rng)
    large.numbers[::3] = 79
    check(random_ensemble((29, 79), wall=0.1, kind="acsf", cutoff=4.5), [squeezed, large])
    jacobians.check([squeezed], build({"kind": "acsf", "cutoff": 4.5}), (29, 79))


def test_atoms_without_neighbours():
    apart = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 30]])
    structures = [Atoms("Cu"), apart, Atoms("Au", cell=np.eye(3) * 40, pbc=True)]
    check(random_ensemble(kind="acsf", cutoff=4.5), structures)


def test_neighbours_at_the_cutoff():
    """Within rounding of it, where cutoff function and slope are both nothing."""
    for short in (0.0, 1e-15, 1e-8, 1e-6, 1e-4):
        pair = Atoms("Cu3", positions=[[0, 0, 0], [0, 0, 4.5 * (1 - short)], [0, 2.0, 0]])
        check(random_ensemble((29,), kind="acsf", cutoff=4.5), [pair])
        check(random_ensemble((29,), kind="acsf", cutoff=4.5), [pair], precision="float32")


def test_coincident_atoms_give_a_number_that_is_not_finite():
    atoms = Atoms("Cu2", positions=np.zeros((2, 3)), cell=[3, 3, 3], pbc=True)
    ensemble = random_ensemble(kind="acsf", cutoff=4.5)
    found = Compiled.of(ensemble).predict([bulk("Cu"), atoms, bulk("Cu")])
    assert torch.isfinite(found.energy).tolist() == [True, False, True]
    assert torch.isfinite(found.forces[[0, 3]]).all()


def test_relaxations_take_the_steps_of_the_reference():
    ensemble = random_ensemble(
        hidden=None, components=0, wall=2.4, members=2, kind="acsf", cutoff=4.5
    )
    ensemble.linear.mul_(0.3)
    ends = both(rattled_crystals(4, seed=5), ensemble, pressure=0.02)
    for one, other in zip(*ends, strict=True):
        alike(one, other)
    assert len({end.steps for end in ends[0]}) > 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_guards_stay_intact(monkeypatch, guards, precision):
    class GuardedDesk(Desk):
        def _room(self):
            return guards.bundle(super()._room())

        def _result(self):
            return guards.bundle(super()._result())

    monkeypatch.setattr("potentials.kernels.compiled.Desk", GuardedDesk)
    rng = np.random.default_rng(0)
    for elements in ELEMENTS:
        names = [NAMES[number] for number in elements]
        structures = [
            random_crystal(rng, rng.choice(names, size).tolist(), volume=volume, min_distance=1.5)
            for size, volume in ((1, 9.0), (5, 4.0), (9, 14.0))
        ]
        ensemble = random_ensemble(elements, kind="acsf", cutoff=4.5)
        compiled = Compiled(ensemble, precision)
        compiled.predict([*structures, structures[-1] * (2, 2, 2)], members=True)
        compiled.relax(structures[:2], Bounds(0.0, 0.01, 5, None, elements))
    assert len(guards.around) > 40
    assert guards.intact()


@pytest.mark.parametrize(
    "change",
    [
        {"envelope": "poly2"},
        {"inner": 0.2},
        {"functions": [{"kind": "radial", "eta": 1.0}]},
        {"functions": [{"kind": "wide", "eta": 0.1, "zeta": 2, "lam": 1}]},
        {"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 2, "lam": 1, "cutoff": 4.0}]},
        {"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 2, "lam": 1, "shift": 1.0}]},
        {"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 2.5, "lam": 1}]},
        {"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 17, "lam": 1}]},
        {"functions": [{"kind": "narrow", "eta": 0.1, "zeta": 2, "lam": -1.5}]},
        {"functions": [{"kind": "narrow", "eta": e, "zeta": 1, "lam": 1} for e in range(13)]},
    ],
    ids=lambda change: str(change)[:70],
)
def test_the_rest_stays_with_torch(change):
    settings = {"kind": "acsf", "cutoff": 4.5}
    assert kernels.supported(random_ensemble(**settings))
    assert not kernels.describes(build(settings | change))
    assert not kernels.supported(random_ensemble(components=0, **settings | change))

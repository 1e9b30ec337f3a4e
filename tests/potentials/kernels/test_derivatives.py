"""Compiled descriptors and Jacobians are those of torch."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from potentials import features as reference
from potentials import kernels
from potentials.batch import UnknownElementError
from potentials.descriptors.moments import Moments
from potentials.kernels import derivatives
from potentials.kernels.arrays import Bundle
from tests.crystals import crystals, random_crystal

ELEMENTS = (79, 8, 29)
NAMES = ("Au", "O", "Cu")
#: the same sums in another order, relative to the largest number
ROUND = 1e-12


def pairs_of(found):
    """Distances with the elements of both ends, in an order that says nothing."""
    rows = zip(found.bonds.tolist(), found.distances.tolist(), strict=True)
    return sorted((*bond, round(distance, 8)) for bond, distance in rows)


def check(structures, descriptor, elements):
    assert kernels.describes(descriptor)
    made = derivatives.features(structures, descriptor, elements)
    values, species = derivatives.values_only(structures, descriptor, elements)
    expected = list(reference._features_of_chunk(structures, descriptor, elements))
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one.species, other.species)
        assert np.isclose(one.volume, other.volume)
        assert pairs_of(one) == pairs_of(other)
        for name in ("values", "jacobian"):
            found, wanted = getattr(one, name), getattr(other, name)
            assert found.shape == wanted.shape
            assert found.dtype == wanted.dtype
            error = (found - wanted).abs().max() if found.numel() else 0.0
            assert error <= ROUND * max(1.0, float(wanted.abs().max())), name
    assert torch.equal(values, torch.cat([one.values for one in made]))
    assert torch.equal(species, torch.cat([one.species for one in made]))


@st.composite
def cases(draw):
    count = draw(st.integers(1, 3))
    descriptor = Moments(
        cutoff=draw(st.sampled_from([3.0, 4.5])),
        radial=draw(st.integers(2, 5)),
        angular=draw(st.sampled_from([1, 3, 6])),
        angular_range=draw(st.sampled_from([1.0, 0.7])),
        degree=draw(st.integers(1, 4)),
        triples=draw(st.sampled_from([(), ((1, 1, 2),), ((2, 2, 2), (1, 3, 4))])),
    )
    made = st.lists(crystals(species=NAMES[:count], max_size=6), min_size=1, max_size=3)
    structures = draw(made)
    for atoms in structures:
        atoms.pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return structures, descriptor, ELEMENTS[:count]


@settings(max_examples=40)
@given(case=cases())
def test_equal_to_torch(case):
    check(*case)


@pytest.mark.parametrize("elements", [(29,), (29, 79)])
def test_the_default_descriptor_on_larger_cells(elements):
    rng = np.random.default_rng(0)
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.2, rng=rng)
    if len(elements) > 1:
        atoms.numbers[::3] = 79
    check([atoms, atoms[:7], bulk("Cu")], Moments(), elements)


def test_atoms_without_neighbours():
    alone = [Atoms("Cu"), Atoms("Au", cell=np.eye(3) * 40, pbc=True)]
    apart = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 30]])
    check([*alone, apart], Moments(), (29, 79))


def test_more_neighbours_than_expected_make_room():
    squeezed = bulk("Cu", cubic=True)
    squeezed.set_cell(squeezed.cell.array * 0.4, scale_atoms=True)
    check([bulk("Cu"), squeezed, bulk("Cu")], Moments(), (29,))


def test_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    structures = [random_crystal(rng, ["Cu", "Au"][: rng.integers(1, 3)]) for _ in range(60)]
    one = derivatives.features(structures, Moments(), (29, 79))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for single, several in zip(
        one, derivatives.features(structures, Moments(), (29, 79)), strict=True
    ):
        assert torch.equal(single.jacobian, several.jacobian)


def test_nonsense_is_refused_by_name():
    fine = bulk("Cu")
    lost = fine.copy()
    lost.positions[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"structure 1 of 2 .* not finite"):
        derivatives.features([fine, lost], Moments(), (29,))
    flat = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 0], pbc=True)
    with pytest.raises(ValueError, match=r"structure 2 .* without volume"):
        derivatives.values_only([fine, fine, flat], Moments(), (29,))
    with pytest.raises(UnknownElementError, match="Zn"):
        derivatives.features([Atoms("Zn")], Moments(), (29,))


def test_features_takes_the_compiled_way_where_there_is_one(monkeypatch):
    calls = []
    for name in ("features", "values_only"):
        made = getattr(derivatives, name)

        def counted(*given, made=made, name=name):
            calls.append(name)
            return made(*given)

        monkeypatch.setattr(derivatives, name, counted)
    for degree in (4, 5):
        reference.features([bulk("Cu")], Moments(degree=degree), (29,))
        reference.values_only([bulk("Cu")], Moments(degree=degree), (29,))
    assert calls == ["features", "values_only"]


def test_guards_stay_intact(monkeypatch, guards):
    class GuardedDesk(derivatives._Desk):
        def _new_room(self):
            return guards.bundle(super()._new_room())

    def guarded_plan(*given, plan=derivatives._plan):
        recipe, components = plan(*given)
        return guards.bundle(recipe), components

    def guarded_known(*given, known=derivatives._known, **keywords):
        made = known(*given, **keywords)
        return guards.bundle(Bundle(made)).parts

    monkeypatch.setattr(derivatives, "_Desk", GuardedDesk)
    monkeypatch.setattr(derivatives, "_plan", guarded_plan)
    monkeypatch.setattr(derivatives, "_known", guarded_known)
    rng = np.random.default_rng(0)
    structures = [
        random_crystal(rng, rng.choice(NAMES, size).tolist(), volume=volume, min_distance=1.5)
        for size, volume in ((1, 9.0), (5, 4.0), (9, 14.0))
    ]
    derivatives.features([*structures, structures[-1] * (3, 2, 2)], Moments(), ELEMENTS)
    assert len(guards.around) > 30
    assert guards.intact()

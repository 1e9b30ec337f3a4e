"""Stored Jacobians against central differences of the descriptors."""

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.descriptors import build
from potentials.features import FeatureSet, features, memory_limit, values_only
from tests.crystals import quick_spec, random_crystal
from tests.tolerances import DIFFERENCE, ROUNDING_ABS, STEP

DESCRIPTOR = quick_spec().descriptor
ELEMENTS = (29, 79)
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def crystal(seed=0, symbols=("Cu", "Au", "Cu")):
    return random_crystal(np.random.default_rng(seed), symbols)


def values(atoms):
    return values_only([atoms], DESCRIPTOR, ELEMENTS)[0]


def difference(change):
    """Central difference of the descriptors by what ``change(step)`` does to the crystal."""
    return (values(change(STEP)) - values(change(-STEP))) / (2 * STEP)


def moved(atom, axis, step):
    atoms = crystal()
    atoms.positions[atom, axis] += step
    return atoms


def strained(one, other, step):
    """Symmetric strain: half of the shear on either side."""
    atoms = crystal()
    strain = np.eye(3)
    strain[one, other] += 0.5 * step
    strain[other, one] += 0.5 * step
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    return atoms


def test_derivatives_by_position():
    found = features([crystal()], DESCRIPTOR, ELEMENTS)[0].jacobian
    for atom in range(3):
        for axis in range(3):
            expected = difference(lambda s, i=atom, a=axis: moved(i, a, s))
            error = (found[:, :, 3 * atom + axis] - expected).abs().max()
            assert error < DIFFERENCE * found.abs().max()


def test_derivatives_by_strain():
    found = features([crystal()], DESCRIPTOR, ELEMENTS)[0].jacobian
    for place, (one, other) in enumerate(VOIGT):
        expected = difference(lambda s, a=one, b=other: strained(a, b, s))
        assert (found[:, :, 9 + place] - expected).abs().max() < DIFFERENCE * found.abs().max()


def test_moving_all_atoms_together_changes_nothing():
    found = features([crystal()], DESCRIPTOR, ELEMENTS)[0].jacobian[:, :, :9]
    assert found.reshape(3, -1, 3, 3).sum(dim=2).abs().max() < ROUNDING_ABS


def test_structures_taken_together_or_alone_are_the_same(monkeypatch):
    structures = [crystal(1), crystal(2, ("Cu",)), crystal(3, ("Au", "Cu")), Atoms("Au")]
    together = features(structures, DESCRIPTOR, ELEMENTS)
    monkeypatch.setattr("potentials.features.CHUNK", 1)
    for one, other in zip(together, features(structures, DESCRIPTOR, ELEMENTS), strict=True):
        assert torch.equal(one.species, other.species)
        assert torch.equal(one.bonds, other.bonds)
        assert one.volume == other.volume
        for name in ("values", "jacobian", "distances"):
            left, right = getattr(one, name), getattr(other, name)
            assert torch.allclose(left, right, rtol=0, atol=ROUNDING_ABS)


def test_volume_and_bonds_are_the_structures_own():
    atoms = crystal(4)
    found = features([atoms], DESCRIPTOR, ELEMENTS)[0]
    assert abs(found.volume - atoms.get_volume()) < ROUNDING_ABS
    shortest = atoms.get_all_distances(mic=True)[np.triu_indices(3, 1)].min()
    assert found.distances.min() <= shortest + ROUNDING_ABS
    assert set(map(tuple, found.bonds.tolist())) <= {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("kind", ["moments", "acsf", "local_frame"])
def test_features_are_the_same_where_gradients_are_off(kind):
    """Features that are not kept are made again while a held-out error is computed."""
    descriptor = build({"kind": kind, "cutoff": 4.5})
    kept = features([crystal()], descriptor, ELEMENTS)[0]
    with torch.no_grad():
        again = features([crystal()], descriptor, ELEMENTS)[0]
    assert torch.equal(again.jacobian, kept.jacobian)
    assert not kept.jacobian.requires_grad


def test_a_set_is_the_same_kept_or_made_again():
    structures = [crystal(1), crystal(2, ("Cu",)), crystal(3, ("Au", "Cu"))]
    kept, made = (FeatureSet(structures, DESCRIPTOR, ELEMENTS, kept=kept) for kept in (True, False))
    assert (kept.kept, made.kept) == (True, False)
    assert len(kept) == len(made) == 3
    for index, (one, other) in enumerate(zip(kept, made, strict=True)):
        for again in (other, made[index]):
            assert torch.equal(one.species, again.species)
            for name in ("values", "jacobian", "distances"):
                left, right = getattr(one, name), getattr(again, name)
                assert torch.allclose(left, right, rtol=0, atol=ROUNDING_ABS)
    assert [len(one.species) for one in made[1:]] == [1, 2]
    assert [len(one.species) for one in kept[1:]] == [1, 2]


def test_what_is_kept_is_decided_by_the_memory_that_is_free(monkeypatch):
    structures = [crystal(1), crystal(2, ("Cu",))]
    needed = sum(f.jacobian.nbytes for f in features(structures, DESCRIPTOR, ELEMENTS))
    for limit, kept in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr("potentials.features.memory_limit", lambda free=limit: free)
        found = FeatureSet(structures, DESCRIPTOR, ELEMENTS)
        assert found.bytes == needed
        assert found.kept is kept


def test_some_memory_is_free():
    assert 2**20 < memory_limit() < 2**50

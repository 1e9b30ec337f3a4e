"""Operators that stack parts of crystals anew: polytypes are known by their space groups."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search import seeds
from aga.search.operators import reframed
from aga.search.operators.slip import Slip
from aga.search.operators.supercell import Supercell, _cut
from aga.search.similarity import distance, fingerprint, same_form
from aga.search.space import Space
from aga.search.symmetry import operations, primitive

RIGHT = 1 / np.sqrt(2)
SPACE = Space({"O": 4, "Ti": 2})


def layers(symbols: str, count: int) -> Atoms:
    """Close-packed layers of copper, or double layers of silicon, in the cubic stacking."""
    small = bulk("Cu", "fcc", a=3.61) if symbols == "Cu" else bulk("Si", "diamond", a=5.43)
    return small.repeat((1, 1, count))


def hexagonal(symbols: str) -> Atoms:
    """hcp of the same density, or hexagonal diamond."""
    if symbols == "Cu":
        return bulk("Cu", "hcp", a=3.61 * RIGHT, c=3.61 * RIGHT * np.sqrt(8 / 3))
    small = bulk("ZnS", "wurtzite", a=5.43 * RIGHT, c=5.43 * RIGHT * np.sqrt(8 / 3))
    small.numbers[:] = 14
    return small


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_reframed_crystal_is_the_same_crystal(seed):
    rng = np.random.default_rng(seed)
    atoms = seeds.random_crystal(SPACE, rng)
    other = reframed(atoms, rng)
    assert np.linalg.det(other.cell.array) == pytest.approx(atoms.get_volume())
    assert distance(fingerprint(atoms), fingerprint(other)) < 1e-9
    inside = other.get_scaled_positions(wrap=False)
    assert inside.min() >= -1e-9
    assert inside.max() < 1 + 1e-9


@pytest.mark.parametrize("operator", [Slip(), Supercell()], ids=["slip", "supercell"])
def test_cubic_layers_become_hexagonal(operator):
    """A hexagonal crystal comes out before any relaxation: fcc to hcp."""
    cubic, target = layers("Cu", 2), hexagonal("Cu")
    assert not same_form(target, cubic)
    children = [
        operator.propose([cubic], Space({"Cu": 2}), np.random.default_rng(seed))
        for seed in range(60)
    ]
    assert sum(child is not None and same_form(target, child) for child in children) >= 2


def test_a_glide_of_diamond_makes_hexagonal_diamond():
    """The cut must pass between the close planes of a double layer, the shift be the right one."""
    cubic = layers("Si", 2)
    made = [
        Slip(slab_share=0).propose([cubic], Space({"Si": 4}), np.random.default_rng(seed))
        for seed in range(200)
    ]
    assert any(child is not None and same_form(hexagonal("Si"), child) for child in made)


def test_one_cut_shears_and_two_cuts_keep_the_cell():
    parent = seeds.random_crystal(SPACE, np.random.default_rng(0))
    for seed in range(20):
        rng, again = (np.random.default_rng(seed) for _ in range(2))
        frame = reframed(parent.copy(), again)
        one = Slip(slab_share=0).vary([parent.copy()], SPACE, rng)
        np.testing.assert_allclose(one.cell.array[:2], frame.cell.array[:2])
        np.testing.assert_allclose(one.positions, frame.positions)
        tilt = one.cell.array[2] - frame.cell.array[2]
        assert abs(tilt @ np.cross(*frame.cell.array[:2])) < 1e-9
        assert one.get_volume() == pytest.approx(frame.get_volume())


@pytest.mark.parametrize("twin", [0, 1])
def test_a_slab_moves_as_one(twin):
    """Distances inside the slab and inside the rest stay, mirrored or not."""
    parent = seeds.random_crystal(SPACE, np.random.default_rng(0))
    moved = 0
    for seed in range(20):
        frame = reframed(parent.copy(), np.random.default_rng(seed))
        operator = Slip(slab_share=1, twin_share=twin)
        child = operator.vary([parent.copy()], SPACE, np.random.default_rng(seed))
        if child is None:
            continue
        np.testing.assert_allclose(child.cell.array, frame.cell.array)
        stays = np.isclose(child.positions, frame.positions).all(axis=1)
        if not stays.any() or stays.all():
            continue
        moved += 1
        for part in (stays, ~stays):
            np.testing.assert_allclose(
                child[part].get_all_distances(), frame[part].get_all_distances(), atol=1e-9
            )
    assert moved >= 5


def test_a_slab_without_atoms_gives_no_child():
    lone = bulk("Cu")
    assert Slip(slab_share=1).propose([lone], Space({"Cu": 1}), np.random.default_rng(0)) is None


def test_a_half_is_cut_with_half_of_each_element_and_repeated():
    space = Space({"Au": 4, "Cu": 4})
    parent = seeds.random_crystal(space, np.random.default_rng(0))
    parent.rattle(0.3, rng=np.random.default_rng(0))
    half = _cut(parent, 2)
    assert Counter(half.symbols) == {"Au": 2, "Cu": 2}
    assert half.get_volume() == pytest.approx(parent.get_volume() / 2)
    sizes, inverted = set(), 0
    for seed in range(16):
        child = Supercell(shift_share=0).vary([parent.copy()], space, np.random.default_rng(seed))
        sizes.add(len(primitive(child, 0.01)))
        group = operations(child, 0.01)
        inverted += group is not None and any((w == -np.eye(3)).all() for w in group.rotations)
    # repeated as it is, or every second one inverted
    assert sizes == {4, 8}
    assert 2 <= inverted <= 14


def test_the_atoms_deepest_inside_a_half_are_kept():
    heights = [0.05, 0.25, 0.45, 0.55, 0.75, 0.9]
    atoms = Atoms(
        "Cu6", scaled_positions=[[0, 0, height] for height in heights], cell=[3, 3, 12], pbc=True
    )
    assert sorted(_cut(atoms, 2).positions[:, 2] / 12) == pytest.approx([0.05, 0.25, 0.45])
    # two in the lower half only: the nearest to it joins
    atoms.positions[2, 2] = 12 * 0.52
    assert sorted(_cut(atoms, 2).positions[:, 2] / 12) == pytest.approx([0.05, 0.25, 0.52])


def test_layers_of_a_supercell_are_stacked_anew():
    """Four close-packed layers, all stackings of which have two kinds of steps: polytypes."""
    cubic = layers("Cu", 4)
    found = set()
    for seed in range(40):
        child = Supercell().propose([cubic], Space({"Cu": 4}), np.random.default_rng(seed))
        if child is not None:
            found.add(round(distance(fingerprint(child), fingerprint(cubic)), 2))
    assert len(found) >= 8


def test_a_composition_without_common_divisor_is_left_alone():
    odd = Space({"Au": 3, "Cu": 5})
    assert not Supercell().applicable(odd)
    parent = seeds.random_crystal(odd, np.random.default_rng(0))
    parent.rattle(0.3, rng=np.random.default_rng(0))
    assert Supercell().propose([parent], odd, np.random.default_rng(0)) is None

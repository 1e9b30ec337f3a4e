"""Operators that keep, break or raise symmetry; spglib on the children is the judge."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search import seeds
from aga.search.operators import kinds
from aga.search.operators.decorate import Decorate, _orbits, _resized, _shared_out
from aga.search.operators.resymmetrise import Resymmetrise
from aga.search.operators.subgroup import Subgroup
from aga.search.operators.wyckoff import Wyckoff
from aga.search.similarity import KnownSet, fingerprint
from aga.search.space import Space
from aga.search.symmetry import exact, operations, spacegroup, symmetrise

TIO2 = Space({"O": 4, "Ti": 2})
CUAU = Space({"Au": 4, "Cu": 4})


def rutile() -> Atoms:
    return crystal(
        ["Ti", "O"],
        [(0, 0, 0), (0.305, 0.305, 0)],
        spacegroup=136,
        cellpar=[4.59, 4.59, 2.96] + [90] * 3,
    )


def diamond() -> Atoms:
    return bulk("Si", "diamond", a=5.43, cubic=True)


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_operations_map_a_crystal_onto_itself_and_make_groups(seed):
    rng = rng_of(seed)
    found = exact(seeds.random_crystal(TIO2, rng), 0.1)
    if found is None:
        return
    atoms, group = found
    fractions = atoms.get_scaled_positions(wrap=False)
    part = group.subgroup(int(rng.integers(1, 3)), rng)
    # Lagrange: the order of a subgroup divides that of the group
    assert len(group) % len(part) == 0
    assert len(part) >= 2
    for rotation, translation, target in zip(
        part.rotations, part.translations, part.targets, strict=True
    ):
        apart = fractions @ rotation.T + translation - fractions[target]
        np.testing.assert_allclose(apart, np.round(apart), atol=1e-6)
        assert (atoms.numbers == atoms.numbers[target]).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_allowed_displacements_are_a_projection(seed):
    rng = rng_of(seed)
    found = exact(seeds.random_crystal(TIO2, rng), 0.1)
    if found is None:
        return
    _, group = found
    once = group.displacements(rng.normal(size=(6, 3)))
    np.testing.assert_allclose(group.displacements(once), once, atol=1e-12)
    np.testing.assert_allclose(once.mean(axis=0), 0.0, atol=1e-12)


def test_tolerances_too_wide_for_spglib_are_not_reported_on_the_terminal(capfd):
    atoms = bulk("Cu", "fcc", a=3.85, cubic=True)
    atoms.positions += rng_of(14).normal(0, 0.6, (4, 3))
    operations(atoms, 1.0)
    assert capfd.readouterr().err == ""


def test_rutile_may_move_its_oxygen_and_diamond_nothing():
    group = operations(rutile(), 0.01)
    assert group is not None
    moves = [group.displacements(rng_of(seed).normal(size=(6, 3))).ravel() for seed in range(4)]
    assert np.linalg.matrix_rank(np.array(moves), tol=1e-8) == 1
    fixed = operations(diamond(), 0.01)
    assert fixed is not None
    assert abs(fixed.displacements(rng_of(0).normal(size=(8, 3)))).max() < 1e-12
    assert Wyckoff().propose([diamond()], Space({"Si": 8}), rng_of(0)) is None


def test_wyckoff_keeps_the_space_group_of_rutile_and_changes_what_it_leaves_free():
    ratios, free = [], []
    for seed in range(15):
        raw = Wyckoff().vary([rutile()], TIO2, rng_of(seed))
        child = Wyckoff().propose([rutile()], TIO2, rng_of(seed))
        if raw is None or child is None:
            continue
        assert spacegroup(raw, 1e-3).endswith("(136)")
        assert spacegroup(child, 1e-3).endswith("(136)")
        lengths = raw.cell.lengths()
        ratios.append(lengths[2] / lengths[0])
        apart = raw.get_scaled_positions()[2] - raw.get_scaled_positions()[0]
        assert apart[0] == pytest.approx(apart[1])
        free.append(apart[0] % 1)
    assert len(ratios) >= 8
    assert np.ptp(ratios) > 0.1
    assert np.ptp(free) > 0.2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_children_of_wyckoff_have_all_operations_of_the_parent(seed):
    rng = rng_of(seed)
    parent = seeds.random_crystal(TIO2, rng)
    child = Wyckoff().propose([parent], TIO2, rng)
    before = operations(parent, 0.1)
    if child is None or before is None:
        return
    after = operations(child, 1e-3)
    assert after is not None
    assert len(after) % len(before) == 0


def test_nothing_to_keep_gives_no_child():
    atoms = rutile()
    atoms.rattle(0.3, rng=rng_of(1))
    assert spacegroup(atoms, 0.1) == "P1 (1)"
    for operator in (Wyckoff(), Subgroup()):
        assert operator.propose([atoms], TIO2, rng_of(0)) is None


def test_subgroup_breaks_symmetry_but_not_all_of_it():
    found = set()
    for seed in range(12):
        child = Subgroup().propose([diamond()], Space({"Si": 8}), rng_of(seed))
        if child is not None:
            group = operations(child, 1e-3)
            assert group is not None
            found.add(spacegroup(child, 1e-3))
    assert len(found) >= 5
    assert "Fd-3m (227)" not in found


@pytest.mark.parametrize("ideal", [rutile, diamond], ids=["rutile", "diamond"])
def test_resymmetrise_restores_a_rattled_crystal(ideal):
    space = Space({"Si": 8}) if len(ideal()) == 8 else TIO2
    restored = 0
    for seed in range(6):
        atoms = ideal()
        atoms.rattle(0.05, rng=rng_of(seed))
        assert spacegroup(atoms) == "P1 (1)"
        child = Resymmetrise(least_a=0.2).propose([atoms], space, rng_of(seed))
        restored += child is not None and spacegroup(child) == spacegroup(ideal())
    assert restored >= 4


def test_resymmetrise_takes_the_smallest_step_first():
    """A small distortion on a larger one: a fine tolerance undoes the small one only."""
    atoms = diamond()
    atoms.set_cell(atoms.cell.array * [[1.0], [1.0], [1.08]], scale_atoms=True)
    assert spacegroup(atoms) == "I4_1/amd (141)"
    atoms.rattle(0.01, rng=rng_of(0))
    found = {
        spacegroup(Resymmetrise(least_a=0.08, most_a=0.15).vary([atoms], Space({"Si": 8}), rng))
        for rng in map(rng_of, range(4))
    }
    assert found == {"I4_1/amd (141)"}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_resymmetrise_gives_more_operations_or_nothing(seed):
    rng = rng_of(seed)
    parent = seeds.random_crystal(TIO2, rng)
    child = Resymmetrise().propose([parent], TIO2, rng)
    if child is not None:
        before, after = operations(parent, 0.02), operations(child, 1e-3)
        assert after is not None
        assert len(after) > (1 if before is None else len(before))


def test_a_perfect_crystal_is_not_symmetrised_again():
    assert Resymmetrise().propose([diamond()], Space({"Si": 8}), rng_of(0)) is None


def l1_0() -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.85, cubic=True)
    atoms.numbers[[0, 1]] = 79
    return atoms.repeat((2, 1, 1))


def test_decorations_of_fcc_are_fcc_and_of_many_orders():
    orders, groups = KnownSet(), set()
    for seed in range(40):
        child = Decorate(rattle_a=0).propose([l1_0()], CUAU, rng_of(seed))
        if child is None:
            continue
        sites = child.copy()
        sites.numbers[:] = 29
        # L1_0 read with one kind of atom is fcc exactly
        assert spacegroup(sites).endswith("(225)")
        groups.add(spacegroup(child))
        if not orders.has(fingerprint(child)):
            orders.add(fingerprint(child))
    assert len(orders) >= 6
    # L1_0 itself and L1_1, the layers along the body diagonal
    assert {"P4/mmm (123)", "R-3m (166)"} <= groups


@pytest.mark.parametrize(("size", "lattices"), [(2, 2), (3, 3), (4, 7), (5, 5)])
def test_decorate_reaches_every_superlattice(size, lattices):
    """Those of fcc as counted by Hart & Forcade 2008, doi:10.1103/PhysRevB.77.224115."""
    sites, rng, seen = bulk("Cu", "fcc", 3.6), rng_of(0), set()
    for _ in range(300):
        cell = _resized(sites, size, rng).cell.niggli_reduce()[0]
        seen.add(tuple(cell.cellpar().round(2)))
    assert len(seen) == lattices


def test_decorations_stand_distorted_sites():
    atoms = l1_0()
    atoms.rattle(0.05, rng=rng_of(3))
    atoms.set_cell(atoms.cell.array * [[1.0], [1.03], [0.98]], scale_atoms=True)
    assert symmetrise(atoms, 0.02) is None
    assert Decorate().propose([atoms], CUAU, rng_of(0)) is not None


def test_decorate_leaves_elements_alone():
    assert not Decorate().applicable(Space({"Si": 8}))
    assert Decorate().propose([diamond()], Space({"Si": 8}), rng_of(0)) is None


def test_orbits_and_their_elements():
    targets = np.array([[0, 1, 2, 3, 4, 5], [1, 0, 2, 4, 3, 5]])
    orbits = _orbits(targets)
    assert [orbit.tolist() for orbit in orbits] == [[0, 1], [2], [3, 4], [5]]
    seen = set()
    for seed in range(30):
        numbers = _shared_out(orbits, TIO2, rng_of(seed))
        if numbers is not None:
            assert sorted(numbers.tolist()) == [8] * 4 + [22] * 2
            assert all(len(set(numbers[orbit])) == 1 for orbit in orbits)
            seen.add(tuple(numbers))
    assert len(seen) == 3
    # four equal sites cannot be two Ti and two O
    assert _shared_out([np.arange(6)], TIO2, rng_of(0)) is None


@pytest.mark.parametrize("kind", [name for name, one in kinds().items() if one.any_composition])
def test_parents_of_any_composition_give_children_of_that_of_the_space(kind):
    operator, rng = kinds()[kind](), rng_of(0)
    children = []
    for wanted in ({"Au": 1, "Cu": 3}, {"Au": 2, "Cu": 6}, {"Au": 6, "Cu": 2}):
        space = Space(wanted)
        for _ in range(4):
            parents = [seeds.random_crystal(CUAU, rng) for _ in range(operator.parents - 1)]
            child = operator.propose([l1_0(), *parents], space, rng)
            if child is not None:
                assert not space.proposable(child)
                children.append(child)
    assert len(children) >= 6

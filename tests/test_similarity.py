"""Fingerprints, the exact matcher, and symmetry."""

from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search.similarity import (
    DUPLICATE,
    KnownCrystals,
    KnownSet,
    distance,
    fingerprint,
    near,
    same,
    same_form,
)
from aga.search.symmetry import primitive, spacegroup, symmetrise

seeds = st.integers(0, 2**32 - 1)


def rutile() -> Atoms:
    return crystal(
        ["Ti", "O"],
        [(0, 0, 0), (0.305, 0.305, 0)],
        spacegroup=136,
        cellpar=[4.594, 4.594, 2.959, 90, 90, 90],
    )


def lonsdaleite() -> Atoms:
    z = 0.0625
    return Atoms(
        "Si4",
        scaled_positions=[
            [1 / 3, 2 / 3, z],
            [2 / 3, 1 / 3, z + 0.5],
            [2 / 3, 1 / 3, -z],
            [1 / 3, 2 / 3, 0.5 - z],
        ],
        cell=[3.84, 3.84, 6.27, 90, 90, 120],
        pbc=True,
    )


def ordering(name: str) -> Atoms:
    """Cu4Au4-like orderings on fcc, 32 atoms."""
    atoms = bulk("Cu", "fcc", a=3.88, cubic=True).repeat(2)
    x, y, z = np.round(atoms.positions / 1.94).astype(int).T
    gold = {
        "L1_0": z % 2 == 0,
        "L1_1": ((x + y + z) // 2) % 2 == 0,
        "A2B2": (z // 2) % 2 == 0,
        "CH40": (x + 2 * (z // 2)) % 4 < 2,
    }[name]
    atoms.numbers = np.where(gold, 79, 29)
    return atoms


def disordered(seed: int) -> Atoms:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3.5, 5.0, 3)) + rng.normal(0, 0.4, (3, 3))
    n = int(rng.integers(1, 7))
    return Atoms(
        rng.choice(["Ti", "O", "N"], n).tolist(),
        scaled_positions=rng.random((n, 3)),
        cell=cell,
        pbc=True,
    )


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_fingerprint_sees_the_crystal_alone(seed):
    """Rotation, translation, order of atoms, another cell and a supercell change nothing."""
    atoms = disordered(seed)
    rng = np.random.default_rng(seed)
    reference = fingerprint(atoms)

    turned = atoms.copy()
    turned.rotate(float(rng.uniform(0, 360)), rng.normal(size=3), rotate_cell=True)
    moved = atoms.copy()
    moved.positions += rng.normal(size=3)
    moved.wrap()
    mixed = atoms[rng.permutation(len(atoms))]
    sheared = atoms.copy()
    lower = np.tril(rng.integers(-2, 3, (3, 3)), -1) + np.eye(3)
    upper = np.triu(rng.integers(-1, 2, (3, 3)), 1) + np.eye(3)
    sheared.set_cell(lower @ upper @ atoms.cell.array)
    doubled = make_supercell(atoms, [[2, 0, 0], [1, 1, 0], [0, 0, 1]])
    for other in (turned, moved, mixed, sheared, doubled):
        assert fingerprint(other) == pytest.approx(reference, abs=1e-8)


def test_small_changes_stay_below_the_limit_and_other_crystals_above():
    orders = {name: ordering(name) for name in ("L1_0", "L1_1", "A2B2", "CH40")}
    prints = {name: fingerprint(atoms) for name, atoms in orders.items()}
    for name, atoms in {**orders, "rutile": rutile(), "Si": bulk("Si")}.items():
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * 1.005, scale_atoms=True)
        rattled = atoms.repeat(2) if len(atoms) < 8 else atoms.copy()
        rattled.rattle(0.05, rng=np.random.default_rng(1))
        for other in (strained, rattled):
            assert distance(fingerprint(atoms), fingerprint(other)) < 0.6 * DUPLICATE, name
    names = sorted(prints)
    apart = [distance(prints[a], prints[b]) for a in names for b in names if a < b]
    assert min(apart) > 3 * DUPLICATE
    a = 3.61 / 2**0.5
    fcc, hcp = bulk("Cu", "fcc", a=3.61), bulk("Cu", "hcp", a=a, c=a * (8 / 3) ** 0.5)
    assert distance(fingerprint(fcc), fingerprint(hcp)) > 3 * DUPLICATE
    silicon = bulk("Si", "diamond", a=5.43)
    assert distance(fingerprint(silicon), fingerprint(lonsdaleite())) > 2 * DUPLICATE


def test_distance_refuses_other_elements():
    with pytest.raises(ValueError, match="same elements"):
        distance(fingerprint(rutile()), fingerprint(bulk("Si")))


def test_same_looks_through_cells_and_noise():
    silicon = bulk("Si", "diamond", a=5.43)
    noisy = silicon.repeat(2)
    noisy.rattle(0.05, rng=np.random.default_rng(0))
    assert same(silicon, noisy)
    assert not same(silicon, lonsdaleite())
    strained = silicon.copy()
    strained.set_cell(silicon.cell.array * 1.012, scale_atoms=True)
    assert not same(silicon, strained)  # volumes 3.6 % apart
    assert not same(silicon, bulk("Ge", "diamond", a=5.43))
    assert not same(ordering("L1_0"), ordering("L1_1"))


def at_volume(atoms: Atoms, ratio: float) -> Atoms:
    """The same crystal, its volume times ``ratio``."""
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * ratio ** (1 / 3), scale_atoms=True)
    return scaled


FORMS = {
    "diamond": bulk("Si", "diamond", a=5.43),
    "lonsdaleite": lonsdaleite(),
    "rutile": rutile(),
    "L1_0": ordering("L1_0"),
    "L1_1": ordering("L1_1"),
    "random": disordered(3),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("ratio", [0.81, 0.9, 1.0, 1.1, 1.24])
def test_a_crystal_within_a_fifth_of_the_volume_is_the_same_form(name, ratio):
    atoms = FORMS[name]
    other = at_volume(atoms, ratio)
    assert same_form(atoms, other)
    assert same_form(other, atoms)
    # the judge of duplicates sees the volume
    assert same(atoms, other) == (ratio == 1.0)


@pytest.mark.parametrize("ratio", [0.5, 0.79, 1.26, 2.0])
def test_beyond_a_fifth_of_the_volume_it_is_another_form(ratio):
    silicon = FORMS["diamond"]
    assert not same_form(silicon, at_volume(silicon, ratio))
    assert not same_form(at_volume(silicon, ratio), silicon)


@pytest.mark.parametrize(
    ("one", "two"),
    [("diamond", "lonsdaleite"), ("L1_0", "L1_1"), ("diamond", "rutile"), ("rutile", "random")],
)
@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.1])
def test_other_crystals_are_other_forms_at_any_volume(one, two, ratio):
    first, second = FORMS[one], FORMS[two]
    # the second at the volume of the first, or nearly: volume alone must not tell them apart
    volumes = [atoms.get_volume() / len(atoms) for atoms in (first, second)]
    moved = at_volume(second, ratio * volumes[0] / volumes[1])
    assert not same_form(first, moved)
    assert not same_form(moved, first)


def test_a_form_is_seen_through_noise_supercells_and_rotation():
    silicon = FORMS["diamond"]
    other = at_volume(silicon, 0.88).repeat((2, 1, 1))
    other.rattle(0.03, rng=np.random.default_rng(0))
    other.rotate(40, "z", rotate_cell=True)
    assert same_form(silicon, other)
    assert same_form(other, silicon)


def test_comparing_forms_changes_neither_structure():
    pair = rutile(), at_volume(rutile(), 1.1)
    copies = [atoms.copy() for atoms in pair]
    same_form(*pair)
    for atoms, before in zip(pair, copies, strict=True):
        assert atoms == before
        assert (atoms.cell.array == before.cell.array).all()


def test_near_needs_both_fingerprint_and_matcher():
    atoms = rutile()
    moved = atoms.copy()
    moved.rattle(0.04, rng=np.random.default_rng(0))
    assert near(atoms, fingerprint(atoms), moved, fingerprint(moved))
    far = atoms.copy()
    far.rattle(0.2, rng=np.random.default_rng(0))
    assert not near(atoms, fingerprint(atoms), far, fingerprint(far))


def test_known_set_finds_the_nearest_first():
    prints = [fingerprint(ordering(name)) for name in ("L1_0", "L1_1", "CH40")]
    known = KnownSet(prints[:2])
    assert len(known) == 2
    assert not known.has(prints[2])
    known.add(prints[2])
    assert known.has(prints[2])
    assert known.within(prints[2], 0.12) == [2, 1]
    assert KnownSet().within(prints[0]) == []


def test_symmetrise_restores_the_space_group_and_keeps_the_atoms():
    for atoms, name in ((rutile(), "136"), (ordering("CH40"), "131"), (lonsdaleite(), "194")):
        noisy = atoms.copy()
        noisy.rattle(0.01, rng=np.random.default_rng(2))
        shear = np.eye(3) + 0.002 * np.random.default_rng(3).normal(size=(3, 3))
        noisy.set_cell(noisy.cell.array @ shear, scale_atoms=True)
        assert spacegroup(noisy, 1e-4) == "P1 (1)"
        exact = symmetrise(noisy, 0.15)
        assert f"({name})" in spacegroup(exact, 1e-5)
        assert (exact.numbers == noisy.numbers).all()
        offset = exact.get_scaled_positions() - noisy.get_scaled_positions()
        assert np.abs((offset - np.round(offset)) @ exact.cell.array).max() < 0.1
        assert exact.cell.cellpar() == pytest.approx(noisy.cell.cellpar(), rel=0.02)


def test_symmetrise_finds_nothing_in_disorder():
    rng = np.random.default_rng(0)
    cell = np.diag([4.0, 4.7, 5.3]) + rng.normal(0, 0.3, (3, 3))
    atoms = Atoms("TiO3", scaled_positions=rng.random((4, 3)), cell=cell, pbc=True)
    assert symmetrise(atoms, 0.01) is None


def test_symmetry_of_coinciding_atoms_is_nothing_not_an_error():
    broken = Atoms("Si2", positions=np.zeros((2, 3)), cell=[3, 3, 3], pbc=True)
    assert spacegroup(broken) == "P1 (1)"
    assert symmetrise(broken) is None
    assert primitive(broken, 0.1) is broken


class Print(NamedTuple):
    """A crystal as the set of known ones sees it."""

    formula: str
    fingerprint: np.ndarray


def known(formula: str, atoms: Atoms) -> Print:
    return Print(formula, fingerprint(atoms))


def test_crystals_are_compared_within_their_formula_only():
    gold, copper = known("Au", bulk("Au")), known("Cu", bulk("Cu"))
    alloy = known("AuCu", ordering("L1_0"))
    # same number of elements, so that the fingerprints could be compared by mistake
    same_print = Print("AuCu3", alloy.fingerprint)
    found = KnownCrystals([gold, alloy])
    assert found.has(gold)
    assert found.has(alloy)
    assert not found.has(copper)
    assert not found.has(same_print)
    found.add(same_print)
    assert found.within(same_print) == [2]
    assert found.within(copper) == []
    assert len(found) == 3
    assert found.distance(copper) == 2.0
    assert found.distance(alloy) == pytest.approx(0.0, abs=1e-12)
    assert KnownCrystals().distance(gold) == 2.0


def test_crystals_of_other_ratios_are_never_the_same():
    three = bulk("Cu", "fcc", a=3.75, cubic=True)
    three.symbols = ["Au", "Cu", "Cu", "Cu"]
    other = three.copy()
    other.symbols = ["Au", "Au", "Cu", "Cu"]
    assert not same(three, other)
    assert not same_form(three, other)


def scattered(seed: int, n: int) -> np.ndarray:
    """Unit vectors, some of them near to each other, and one without a length (n, 60)."""
    rng = np.random.default_rng(seed)
    plain = rng.normal(size=(n, 12)) @ rng.normal(size=(12, 60)) + 0.2 * rng.normal(size=(n, 60))
    copies = rng.integers(n, size=n // 3)
    plain[: n // 3] = plain[copies] + 0.3 * rng.normal(size=(n // 3, 60))
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    plain[n // 2] = 0.0
    return plain


@given(seed=seeds, n=st.sampled_from([1, 3, 24, 25, 60, 150]), threshold=st.floats(0, 2))
def test_known_set_gives_what_comparing_with_all_would(seed, n, threshold):
    vectors = scattered(seed, n)
    found = KnownSet(vectors)
    for asked in [*vectors[:3], *scattered(seed + 1, 3)]:
        apart = np.array([distance(one, asked) for one in vectors])
        near = found.within(asked, threshold)
        assert sorted(near) == np.flatnonzero(apart < threshold).tolist()
        assert (np.diff(apart[near]) >= -1e-12).all()
        assert found.has(asked, threshold) == bool((apart < threshold).any())
        assert found.distance(asked) == pytest.approx(apart.min(), abs=1e-12)


def test_known_set_compares_few_in_full(monkeypatch):
    """Otherwise every question would read all fingerprints."""
    full = []
    compare = KnownSet._distances

    def spy(self, places, vector):
        full.append(len(places))
        return compare(self, places, vector)

    monkeypatch.setattr(KnownSet, "_distances", spy)
    vectors = scattered(0, 2000)
    found = KnownSet(vectors)
    for asked in vectors[:40]:
        found.within(asked)
    assert sum(full) < 40 * 0.02 * len(vectors)
    full.clear()
    for asked in scattered(1, 40):
        found.distance(asked)
    assert sum(full) < 40 * 0.2 * len(vectors)


def test_known_set_refuses_other_elements():
    found = KnownSet([fingerprint(rutile())])
    with pytest.raises(ValueError, match="expected a fingerprint"):
        found.add(fingerprint(bulk("Si")))
    assert len(found) == 1
    assert KnownSet().distance(fingerprint(bulk("Si"))) == 2.0


def test_no_fingerprint_before_its_formula_is_asked_for():
    class Untouched:
        formula = "AuCu"

        @property
        def fingerprint(self):
            raise AssertionError("nobody has asked for AuCu")

    found = KnownCrystals([Untouched(), known("Au", bulk("Au"))])
    assert found.within(known("Au", bulk("Au"))) == [1]

"""The structure that settings are tried on."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from hypothesis import given
from hypothesis import strategies as st

from aga.converge.probe import RATTLE, probe, read_structure, vanishing
from aga.yaml_source import ConfigError
from tests.crystals import random_crystal

RUTILE = crystal(
    ["Ti", "O"],
    [(0, 0, 0), (0.305, 0.305, 0)],
    spacegroup=136,
    cellpar=[4.6, 4.6, 2.96, 90, 90, 90],
)


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si"),
        bulk("Cu"),
        bulk("NaCl", "rocksalt", a=5.6),
        bulk("Cu", cubic=True).repeat(2),
        bulk("Mg", "hcp"),
    ],
)
def test_forces_that_symmetry_forbids(atoms):
    assert vanishing(atoms)


def test_forces_that_symmetry_allows():
    assert not vanishing(RUTILE)  # oxygen may move along a diagonal
    assert not vanishing(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]))


@given(st.integers(0, 1000))
def test_a_crystal_without_symmetry_is_left_alone(seed):
    atoms = random_crystal(np.random.default_rng(seed), ["Cu"] * 4)
    found = probe(atoms)
    assert found.change == ""
    assert found.atoms == atoms


def test_silicon_is_rattled_a_little_and_always_the_same():
    atoms = bulk("Si")
    found = probe(atoms)
    moved = np.abs(found.atoms.positions - atoms.positions)
    assert 0 < moved.max() < 4 * RATTLE
    assert found.atoms == probe(bulk("Si")).atoms
    assert not vanishing(found.atoms)
    assert "rattled" in found.change
    assert atoms == bulk("Si")


def test_forces_of_the_rattled_crystal_are_there():
    from ase.calculators.emt import EMT

    found = probe(bulk("Cu")).atoms
    found.calc = EMT()
    assert np.linalg.norm(found.get_forces(), axis=1).min() > 0.05


def test_one_atom_becomes_two_along_the_shortest_vector():
    atoms = Atoms("Cu", cell=[4.0, 2.6, 5.0], pbc=True)
    found = probe(atoms)
    assert len(found.atoms) == 2
    np.testing.assert_allclose(found.atoms.cell.lengths(), [4.0, 5.2, 5.0])
    assert "doubled" in found.change


# files


def refused(path, index=None):
    with pytest.raises(ConfigError) as caught:
        read_structure(path, index)
    return str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    assert refused(tmp_path / "none.cif") == f"{tmp_path / 'none.cif'}: no such file"
    assert "expected a file" in refused(tmp_path)
    (tmp_path / "odd.qqq").write_text("nothing")
    assert "does not know" in refused(tmp_path / "odd.qqq")
    (tmp_path / "broken.xyz").write_text("3\n\nCu 0.0 0.0\n")
    assert "broken.xyz: frame 1: promises 3 atoms" in refused(tmp_path / "broken.xyz")
    (tmp_path / "broken.xyz").write_text("1\n\nCu 0.0 0.0\n")
    assert "broken.xyz: cannot be read" in refused(tmp_path / "broken.xyz")
    (tmp_path / "empty.cif").write_text("data_x\n")
    assert "found none with atoms" in refused(tmp_path / "empty.cif")
    Atoms("Cu", pbc=True).write(tmp_path / "flat.json")
    assert "three independent cell vectors" in refused(tmp_path / "flat.json")


def test_several_structures_ask_for_an_index(tmp_path):
    path = tmp_path / "two.extxyz"
    from ase.io import write

    write(path, [bulk("Cu"), bulk("Al")])
    assert "holds 2 structures; say which: --index 0 to 1" in refused(path)
    assert read_structure(path, 1).get_chemical_formula() == "Al"
    assert read_structure(path, -2).get_chemical_formula() == "Cu"
    assert "holds 2 structures" in refused(path, 2)


def test_nothing_but_the_structure_is_read(tmp_path):
    from ase.calculators.emt import EMT

    atoms = bulk("Cu")
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.write(tmp_path / "one.extxyz")
    assert read_structure(tmp_path / "one.extxyz").calc is None

"""The judge of two crystals against pymatgen's own way to it."""

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from aga.search import seeds
from aga.search.matching import matches
from aga.search.space import Space

ONES = seeds.many(Space({"Au": 2, "Cu": 2}), 8, np.random.default_rng(3))


def plain(atoms):
    return Structure(Lattice(atoms.cell.array), list(atoms.symbols), atoms.get_scaled_positions())


def rattled(atoms, size):
    other = atoms.copy()
    other.rattle(size, seed=4)
    return other


def test_what_pymatgen_matches_is_matched():
    """The converse does not hold: a supercell may be found to be one at a wider tolerance only."""
    matcher = StructureMatcher(ltol=0.2, stol=0.2, angle_tol=5, primitive_cell=True, scale=True)
    others = [rattled(one, 0.05) for one in ONES]
    found = np.array([[matches(one, two) for two in others] for one in ONES])
    expected = np.array([[matcher.fit(plain(one), plain(two)) for two in others] for one in ONES])
    assert (found >= expected).all()
    assert expected.diagonal().all()
    assert found.sum() < found.size / 2


@pytest.mark.parametrize("one", ONES[:4])
def test_a_crystal_is_what_it_is_in_any_cell(one):
    shape = np.array([[1, 0, 0], [1, 2, 0], [0, 1, 1]])
    assert matches(one, make_supercell(one, shape))
    assert matches(make_supercell(one, shape), one)


def test_a_distorted_supercell_is_recognised():
    diamond = bulk("Si", "diamond", a=5.43)
    cube = rattled(bulk("Si", "diamond", a=5.43, cubic=True), 0.06)
    assert matches(diamond, cube)


def test_a_verdict_belongs_to_the_atoms_as_they_were():
    one, two = bulk("Cu", "fcc", a=3.6), bulk("Cu", "fcc", a=3.6)
    assert matches(one, two)
    two.set_cell(np.diag([2.0, 2.0, 6.0]), scale_atoms=True)
    assert not matches(one, two)
    assert matches(one, bulk("Cu", "fcc", a=3.6))

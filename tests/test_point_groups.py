"""Point groups against pymatgen's, and restoring them."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.cluster import Icosahedron, Octahedron
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search import cluster_seeds
from aga.search.point_groups import operations, pointgroup, symbol, symmetrise
from aga.search.symmetry import spacegroup
from aga.search.symmetry import symmetrise as restored
from tests.crystals import rotations

MOLECULES = (
    *("CH4", "H2O", "NH3", "C2H4", "C2H6", "C6H6", "H2O2", "CH3OH", "CO2", "N2O", "C2H2", "O3"),
    *("bicyclobutane", "cyclobutane", "H2COH", "SiH4", "trans-butane", "Si2H6"),
)


def oracle(atoms: Atoms) -> str:
    from pymatgen.core import Molecule
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    made = Molecule(atoms.get_chemical_symbols(), atoms.positions)
    return str(PointGroupAnalyzer(made, tolerance=0.02).sch_symbol).replace("*", "inf")


@pytest.mark.parametrize("name", MOLECULES)
def test_symbols_are_those_of_pymatgen(name):
    atoms = molecule(name)
    assert pointgroup(atoms, 0.02).replace("_", "") == oracle(atoms)


@pytest.mark.parametrize("place", range(len(cluster_seeds.groups())))
def test_groups_that_seeds_are_drawn_from(place):
    """Images of general positions have the group, and no operation more."""
    group = cluster_seeds.groups()[place]
    rng = np.random.default_rng(place)
    # three orbits of unlike atoms: fewer may have more symmetry than was asked for
    points = [group @ rng.normal(size=3) * 3 for _ in range(3)]
    symbols = np.repeat(["Cu", "Ag", "Au"], len(group)).tolist()
    atoms = Atoms(symbols, np.concatenate(points))
    found = operations(atoms, 0.01)
    assert len(found) == len(group)
    assert symbol(found.matrices) == symbol(group)
    for matrix, target in zip(found.matrices, found.targets, strict=True):
        centred = atoms.positions - atoms.positions.mean(axis=0)
        assert centred @ matrix.T == pytest.approx(centred[target], abs=1e-6)


def test_groups_are_closed_and_orthogonal():
    for group in cluster_seeds.groups():
        products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 3, 3)
        apart = np.abs(products[:, None] - group).max(axis=(2, 3)).min(axis=1)
        assert apart.max() < 1e-6
        assert group @ group.transpose(0, 2, 1) == pytest.approx(np.array([np.eye(3)] * len(group)))


@pytest.mark.parametrize(
    ("atoms", "name", "order"),
    [(Icosahedron("Cu", 2), "I_h", 120), (Octahedron("Cu", 4, cutoff=1), "O_h", 48)],
    ids=["icosahedron", "octahedron"],
)
@settings(max_examples=10, deadline=None)
@given(turn=rotations(), seed=st.integers(0, 999))
def test_a_rattled_cluster_is_restored(atoms, name, order, turn, seed):
    start = Atoms(atoms.numbers, atoms.positions @ turn.T + 3.0)
    start.positions += np.random.default_rng(seed).normal(0, 0.01, start.positions.shape)
    assert pointgroup(start, 1e-4) == "C_1"
    found = symmetrise(start, 0.1)
    assert len(operations(found, 1e-4)) == order
    assert pointgroup(found, 1e-4) == name
    assert np.abs(found.positions - start.positions).max() < 0.1
    assert found.positions.mean(axis=0) == pytest.approx(start.positions.mean(axis=0))


def test_atoms_that_have_no_group_of_matrices():
    assert pointgroup(Atoms("Cu"), 0.1) == "K_h"
    assert pointgroup(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), 0.1) == "D_infh"
    assert pointgroup(Atoms("CuAu", [[0, 0, 0], [0, 0, 2]]), 0.1) == "C_infv"
    assert symmetrise(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), 0.1) is None
    assert symmetrise(Atoms("Cu"), 0.1) is None


def test_a_flat_cluster_has_the_mirror_in_its_plane():
    triangle = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [1.25, 2.5 * 3**0.5 / 2, 0]])
    assert pointgroup(triangle, 0.01) == "D_3h"
    assert len(operations(triangle, 0.01)) == 12


def test_unlike_atoms_are_not_taken_to_each_other():
    square = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [2.5, 2.5, 0], [0, 2.5, 0]])
    assert pointgroup(square, 0.01) == "D_4h"
    square.symbols = ["Cu", "Au", "Cu", "Au"]
    assert pointgroup(square, 0.01) == "D_2h"
    square.symbols = ["Cu", "Cu", "Au", "Au"]
    assert pointgroup(square, 0.01) == "C_2v"


def test_clusters_pass_through_the_functions_for_crystals():
    atoms = Icosahedron("Cu", 2)
    assert spacegroup(atoms) == "I_h"
    assert len(operations(restored(atoms, 0.1), 1e-6)) == 120

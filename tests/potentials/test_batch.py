"""Neighbour pairs against ASE's, and batches against one structure at a time."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from potentials.batch import UnknownElementError, make_batch, neighbours
from tests.crystals import crystals
from tests.tolerances import ROUNDING_ABS

ELEMENTS = (29, 79)


@given(
    crystals(),
    st.sampled_from([2.0, 4.5, 8.0]),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.booleans(),
)
def test_pairs_equal_those_of_ase(atoms, cutoff, periodic, left_handed):
    """Cells are smaller than the larger cutoffs, skewed, and of either handedness."""
    if left_handed:
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
    atoms.pbc = periodic
    first, second, shifts = neighbours(atoms.positions, atoms.cell.array, periodic, cutoff)
    expected = neighbor_list("ijS", atoms, cutoff)
    found = sorted(map(tuple, np.column_stack([first, second, shifts]).tolist()))
    assert found == sorted(map(tuple, np.column_stack(expected).tolist()))
    assert (np.diff(first) >= 0).all()


def test_one_atom_alone_in_its_cell_sees_its_images():
    atoms = Atoms("Cu", cell=[2.5, 2.5, 2.5], pbc=True)
    batch = make_batch([atoms], ELEMENTS, 2.6)
    assert len(batch.pairs.first) == 6
    assert torch.linalg.vector_norm(batch.vectors(), dim=1).tolist() == [2.5] * 6


def test_far_atoms_have_no_pairs():
    batch = make_batch([Atoms("Cu", cell=[20, 20, 20], pbc=True), Atoms("Au")], ELEMENTS, 4.0)
    assert len(batch.pairs.first) == 0
    assert batch.n_atoms.tolist() == [1, 1]


@given(st.lists(crystals(), min_size=2, max_size=4))
def test_pairs_of_a_batch_stay_within_their_structure(structures):
    batch = make_batch(structures, ELEMENTS, 4.0)
    assert batch.n_atoms.tolist() == [len(atoms) for atoms in structures]
    assert (batch.system[batch.pairs.first] == batch.system[batch.pairs.second]).all()
    vectors, start = batch.vectors(), 0
    for atoms in structures:
        own = make_batch([atoms], ELEMENTS, 4.0)
        stop = start + len(own.pairs.first)
        assert torch.allclose(vectors[start:stop], own.vectors(), rtol=0, atol=ROUNDING_ABS)
        start = stop
    assert start == len(vectors)


def test_unknown_elements_are_named():
    with pytest.raises(UnknownElementError, match=r"CuZn holds Zn.*knows Cu, Au.*train"):
        make_batch([Atoms("CuZn", positions=[[0, 0, 0], [0, 0, 2]])], ELEMENTS, 4.0)

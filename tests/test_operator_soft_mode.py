"""Soft modes: springs against the second derivatives of a real potential."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search.operators.soft_mode import SoftMode, soft_modes
from aga.search.space import Space
from tests.crystals import random_crystal

BCC = bulk("Cu", "bcc", a=2.86, cubic=True)


def hessian(atoms: Atoms, step: float = 1e-3) -> np.ndarray:
    """Second derivatives of the EMT energy by central differences (3 N, 3 N)."""
    rows = []
    for place in range(3 * len(atoms)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[place // 3, place % 3] += sign * step
            moved.calc = EMT()
            ends.append(moved.get_forces().ravel())
        rows.append((ends[1] - ends[0]) / (2 * step))
    return np.array(rows)


@pytest.mark.parametrize("cells", [(2, 2, 1), (2, 2, 2)])
def test_the_softest_modes_of_bcc_copper_are_those_it_is_unstable_against(cells):
    atoms = BCC.repeat(cells)
    values, vectors = np.linalg.eigh(hessian(atoms))
    unstable = vectors[:, values < -0.1]
    assert unstable.shape[1] > 0
    stiffness, modes = soft_modes(atoms)
    softest = modes[: unstable.shape[1]].reshape(-1, 3 * len(atoms))
    assert stiffness[len(softest)] > 1.1 * stiffness[len(softest) - 1]
    np.testing.assert_allclose(np.linalg.norm(softest @ unstable, axis=1), 1.0, atol=1e-6)


def test_a_child_along_the_softest_mode_of_bcc_copper_lies_lower():
    atoms = BCC.repeat((2, 2, 1))
    operator = SoftMode(mean_rank=1e-6, least_a=0.04, most_a=0.08)
    for seed in range(3):
        child = operator.vary([atoms.copy()], Space({"Cu": 8}), np.random.default_rng(seed))
        energies = [EMT().get_potential_energy(one) for one in (atoms, child)]
        assert energies[1] < energies[0] - 2e-4


def test_the_octahedra_of_a_perovskite_turn_as_one_of_its_softest_modes():
    """Rigid rotations about c, neighbours in opposite senses: Glazer's a0a0c+."""
    cell = bulk("SrTi", "cesiumchloride", a=3.905).cell.array
    small = Atoms(
        "SrTiO3",
        scaled_positions=[[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]],
        cell=cell,
        pbc=True,
    )
    atoms = small.repeat((2, 2, 1))
    turn = np.zeros((len(atoms), 3))
    for place, (x, y, z) in enumerate(np.round(atoms.positions / (3.905 / 2)).astype(int)):
        sense = (-1) ** ((x // 2) + (y // 2))
        if atoms.symbols[place] == "O" and z % 2 == 0:
            turn[place] = [0, sense, 0] if x % 2 else [-sense, 0, 0]
    turn /= np.linalg.norm(turn)
    stiffness, modes = soft_modes(atoms)
    share = np.einsum("mna,na->m", modes, turn) ** 2
    assert share.sum() == pytest.approx(1.0)
    # nearly all of it in the softest third, at a tenth of the stiffness of a bond that stretches
    assert share[: len(share) // 3].sum() > 0.95
    assert share @ stiffness < 0.1 * stiffness[-1]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 6))
def test_modes_are_orthonormal_stable_and_move_no_crystal_as_a_whole(seed, count):
    atoms = random_crystal(np.random.default_rng(seed), ["Cu"] * count)
    stiffness, modes = soft_modes(atoms)
    flat = modes.reshape(len(modes), -1)
    assert len(modes) == 3 * count - 3
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-8)
    np.testing.assert_allclose(modes.sum(axis=1), 0.0, atol=1e-8)
    assert (np.diff(stiffness) >= -1e-9).all()
    assert (stiffness >= 0).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_atom_moved_most_moves_as_far_as_asked(seed):
    operator = SoftMode(least_a=0.5, most_a=0.9)
    parent = BCC.repeat((2, 1, 1))
    child = operator.vary([parent.copy()], Space({"Cu": 4}), np.random.default_rng(seed))
    assert 0.5 <= np.linalg.norm(child.positions - parent.positions, axis=1).max() <= 0.9
    assert (child.cell.array == parent.cell.array).all()


def test_a_single_atom_has_no_modes():
    lone = bulk("Cu")
    assert SoftMode().propose([lone], Space({"Cu": 1}), np.random.default_rng(0)) is None

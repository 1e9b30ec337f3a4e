"""Neighbour lists on the device: the pairs ASE finds, and never one missed while they hold."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from hypothesis import given
from hypothesis import strategies as st

from potentials.device.neighbours import build, empty, images
from potentials.device.state import state_of
from tests.crystals import crystals, random_crystal
from tests.tolerances import ROUNDING_ABS

CUTOFF, RADIUS = 4.0, 4.5
ELEMENTS = (29, 79)


def state(structures, *, bulk=True):
    return state_of(structures, ELEMENTS, 1, torch.float64, crystals=bulk)


def lists(made, width=200, radius=RADIUS):
    most = int(images(made, radius, CUTOFF).max())
    return build(made, cutoff=CUTOFF, radius=radius, width=width, most=most, dtype=torch.float64)


def vectors(made, found, row):
    """Neighbours of one structure as sorted rows: atom, other, vector."""
    turn = made.deformation[row].T
    atom, place = torch.nonzero(found.there[row], as_tuple=True)
    other = found.other[row, atom, place]
    apart = made.positions[row, other] - made.positions[row, atom] + found.offset[row, atom, place]
    return rows(atom.numpy(), other.numpy(), (apart @ turn).numpy())


def rows(first, second, apart):
    table = np.column_stack([first, second, np.round(apart, 6) + 0.0])
    return table[np.lexsort(table.T[::-1])]


def from_ase(atoms, radius=RADIUS):
    return rows(*neighbor_list("ijD", atoms, radius))


@given(crystals(max_size=4))
def test_the_pairs_are_those_of_ase(atoms):
    made = state([atoms])
    found = lists(made)
    np.testing.assert_allclose(vectors(made, found, 0), from_ase(atoms), atol=2e-6)
    counts = np.bincount(neighbor_list("i", atoms, RADIUS), minlength=len(atoms))
    assert int(found.crowd[0]) == counts.max()


def odd_cells():
    rng = np.random.default_rng(2)
    thin = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.4, 0.3, 0.2]], cell=[9, 7, 1.5], pbc=True)
    left = random_crystal(rng, ["Cu", "Au"])
    left.set_cell(left.cell.array[[1, 0, 2]])
    outside = random_crystal(rng, ["Cu", "Cu", "Au"])
    outside.positions += [[40.0, -30.0, 3.0], [0.0, 0.0, 0.0], [-7.0, 90.0, 11.0]]
    steep = Atoms("Cu", cell=[[3, 0, 0], [7, 3, 0], [5, -8, 3]], pbc=True)
    sheet = random_crystal(rng, ["Cu", "Au"])
    sheet.pbc = (True, False, True)
    dimer = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 2.5]])
    single = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    return {
        "thin": thin,
        "left-handed": left,
        "outside": outside,
        "steep": steep,
        "sheet": sheet,
        "molecule": dimer,
        "nothing near": single,
    }


@pytest.mark.parametrize("name", odd_cells())
def test_odd_cells(name):
    """Each in the company of all others, which have other numbers of atoms and images."""
    everyone = list(odd_cells().values())
    made = state(everyone, bulk=False)
    row = list(odd_cells()).index(name)
    np.testing.assert_allclose(vectors(made, lists(made), row), from_ase(everyone[row]), atol=2e-6)


def test_deformed_structures():
    """Positions and cells are those after deformation."""
    atoms = random_crystal(np.random.default_rng(0), ["Cu", "Au", "Au"])
    made = state([atoms])
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, (3, 3))
    made.deformation[0] += torch.as_tensor(noise)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + noise).T, scale_atoms=True)
    np.testing.assert_allclose(vectors(made, lists(made), 0), from_ase(atoms), atol=2e-6)


@given(crystals(min_size=2, max_size=4))
def test_the_mirror_of_a_pair_is_the_pair_seen_from_the_neighbour(atoms):
    made = state([atoms])
    found = lists(made)
    there, width = found.there[0].flatten(), found.width
    apart = made.positions[0, found.other[0]] - made.positions[0][:, None] + found.offset[0]
    apart, mirror, other = apart.reshape(-1, 3), found.mirror[0], found.other[0].flatten()
    own = torch.arange(len(mirror)) // width
    assert (mirror[mirror] == torch.arange(len(mirror))).all()
    assert (mirror[~there] == torch.arange(len(mirror))[~there]).all()
    assert (other[mirror][there] == own[there]).all()
    assert float((apart[mirror] + apart)[there].abs().max()) < ROUNDING_ABS


def test_too_many_neighbours_are_counted_and_do_not_hold():
    atoms = [Atoms("Cu", cell=np.eye(3) * side, pbc=True) for side in (2.0, 4.0)]
    made = state(atoms)
    counts = [len(neighbor_list("i", one, RADIUS)) for one in atoms]
    found = lists(made, width=counts[1])
    assert found.crowd.tolist() == counts
    assert (found.use(made, CUTOFF, RADIUS) < 1.0).tolist() == [False, True]


def test_an_empty_list_does_not_hold():
    made = state([Atoms("Cu", cell=np.eye(3) * 3, pbc=True)])
    assert float(empty(made, 8).use(made, CUTOFF, RADIUS)) >= 1.0


@pytest.mark.parametrize("flaw", [np.nan, np.inf])
def test_what_has_no_sound_cell_has_no_neighbours(flaw):
    good = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 4], pbc=True)
    made = state([good] * 4)
    made.positions[1, 0, 0] = flaw
    made.cells[2, 0, 0] = flaw
    made.cells[3] = 0.0
    found = lists(made)
    assert found.there.flatten(1).any(dim=1).tolist() == [True, False, False, False]
    assert found.use(made, CUTOFF, RADIUS)[0] < 1.0


@given(crystals(min_size=1, max_size=3), st.integers(0, 2**31 - 1), st.floats(0.0, 0.15))
def test_while_a_list_holds_no_pair_is_missed(atoms, seed, size):
    made = state([atoms])
    found = lists(made)
    rng = np.random.default_rng(seed)
    made.positions.add_(torch.as_tensor(rng.uniform(-size, size, made.positions.shape)))
    made.deformation.add_(torch.as_tensor(0.3 * rng.uniform(-size, size, (1, 3, 3))))
    use = float(found.use(made, CUTOFF, RADIUS))
    positions, cells = made.now()
    moved = Atoms(atoms.numbers, positions=positions[0].numpy(), cell=cells[0].numpy(), pbc=True)
    needed = {tuple(row) for row in from_ase(moved, CUTOFF - 1e-5).round(4).tolist()}
    listed = {tuple(row) for row in vectors(made, found, 0).round(4).tolist()}
    assert use >= 1.0 or needed <= listed
    assert use < 1.0 or size > 0.01


def test_use_grows_with_what_has_moved():
    """By its own formula: twice the largest move, and the cutoff times the strain."""
    made = state([Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 4], pbc=True)])
    found = lists(made)
    assert float(found.use(made, CUTOFF, RADIUS)) < 1e-9
    made.positions[0, 1, 2] += 0.1
    assert float(found.use(made, CUTOFF, RADIUS)) == pytest.approx(0.2 / 0.5, rel=1e-3)
    made.deformation[0, 0, 0] = 1.0 / 1.01
    assert float(found.use(made, CUTOFF, RADIUS)) == pytest.approx(0.24 / 0.5, rel=1e-3)

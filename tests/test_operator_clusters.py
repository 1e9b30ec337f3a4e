"""What operators do to clusters."""

import numpy as np
import pytest
from ase import Atoms
from ase.cluster import Icosahedron, Octahedron
from hypothesis import given, settings

from aga.search.cluster_similarity import apart
from aga.search.operators import spun
from aga.search.operators.cut_and_splice import CutAndSplice, _halves
from aga.search.operators.soft_mode import soft_modes
from aga.search.operators.surface_move import SurfaceMove
from aga.search.operators.twist import Twist
from aga.search.space import Space
from tests.crystals import rotations

SPACE = Space({"Cu": 38}, dimension="cluster")


def octahedron() -> Atoms:
    """The truncated octahedron of 38 atoms."""
    found = Octahedron("Cu", 4, cutoff=1)
    return Atoms(found.symbols, found.positions - found.positions.mean(axis=0))


def icosahedron() -> Atoms:
    found = Icosahedron("Cu", 2)
    return Atoms(found.symbols, found.positions - found.positions.mean(axis=0))


def shortest(atoms: Atoms) -> float:
    return float(np.sort(atoms.get_all_distances(), axis=1)[:, 1].min())


def test_spun_turns_and_does_nothing_else():
    atoms = octahedron()
    atoms.positions += [3.0, 1.0, -2.0]
    turned = Atoms(atoms.numbers, spun(atoms, np.random.default_rng(0)))
    assert turned.get_all_distances() == pytest.approx(atoms.get_all_distances())
    assert turned.positions.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    # no mirror images: the handedness of four atoms stays
    sides = [
        np.linalg.det(np.diff(one.positions[[0, 5, 11, 30]], axis=0)) for one in (atoms, turned)
    ]
    assert sides[0] == pytest.approx(sides[1])


def test_random_rotations_are_even():
    """The mean of the third component of a turned vector and of its square: 0 and 1/3."""
    rng = np.random.default_rng(1)
    pair = Atoms("Cu2", [[0, 0, 1.0], [0, 0, -1.0]])
    heights = np.array([spun(pair, rng)[0, 2] for _ in range(4000)])
    assert heights.mean() == pytest.approx(0.0, abs=0.04)
    assert (heights**2).mean() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_a_cut_leaves_the_share_of_both_parents_below(share):
    parents = [octahedron(), octahedron()]
    positions, inside = _halves(parents, share, np.random.default_rng(0))
    assert inside[:38].sum() == pytest.approx(38 * share, abs=4)  # layers may lie in the cut
    assert inside[38:].sum() == pytest.approx(38 * (1 - share), abs=4)
    assert positions[:38][inside[:38], 2].max() < 0 <= positions[38:][inside[38:], 2].min()


def test_cut_and_splice_keeps_the_order_within_both_parts():
    """Both parts of the child are parts of a parent: their distances are found there."""
    parents = [octahedron(), octahedron()]
    raw = CutAndSplice().vary(parents, SPACE, np.random.default_rng(3))
    known = np.unique(octahedron().get_all_distances().round(4))
    for part in (raw.positions[:, 2] < 0, raw.positions[:, 2] >= 0):
        found = raw[part].get_all_distances()
        assert np.abs(found[..., None] - known).min(axis=-1).max() < 1e-3


def test_twist_turns_one_side():
    atoms = octahedron()
    raw = Twist(rattle_a=0.0).vary([atoms.copy()], SPACE, np.random.default_rng(0))
    before, after = atoms.get_all_distances(), raw.get_all_distances()
    kept = np.abs(before - after) < 1e-9
    # two rigid parts, so that every atom keeps its distances to all of its own
    parts = {tuple(row) for row in kept}
    assert len(parts) == 2
    assert sum(map(sum, parts)) == 38


def test_surface_move_takes_a_loose_atom_to_where_it_is_bound_well():
    """An atom on a corner of the icosahedron is the loosest; the hollows are the best places."""
    core = icosahedron()
    bond = shortest(core)
    loose = core.positions[1] / np.linalg.norm(core.positions[1]) * (2 * bond)
    atoms = Atoms("Cu14", np.concatenate([core.positions, [loose]]))
    space = Space({"Cu": 14}, dimension="cluster")
    neighbours = []
    for seed in range(20):
        raw = SurfaceMove(max_moved=1).vary([atoms.copy()], space, np.random.default_rng(seed))
        moved = np.flatnonzero(np.linalg.norm(raw.positions - atoms.positions, axis=1) > 1e-9)
        assert len(moved) == 1
        if moved[0] == 13:
            distances = raw.get_all_distances()[13]
            neighbours.append(((distances > 0) & (distances < 1.25 * bond)).sum())
    assert len(neighbours) > 10
    assert np.mean(neighbours) > 2.5


def test_a_single_atom_is_not_cut():
    assert not CutAndSplice().applicable(Space({"Cu": 1}, dimension="cluster"))
    assert CutAndSplice().applicable(Space({"Cu": 2}, dimension="cluster"))
    pair = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    space = Space({"Cu": 2}, dimension="cluster")
    child = CutAndSplice().propose([pair, pair], space, np.random.default_rng(0))
    assert child is None or len(child) == 2


def test_surface_move_leaves_small_clusters_alone():
    operator, space = SurfaceMove(), Space({"Cu": 3}, dimension="cluster")
    assert not operator.applicable(space)
    triangle = Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [1.2, 2.2, 0]])
    assert operator.propose([triangle], space, np.random.default_rng(0)) is None


@pytest.mark.parametrize(
    ("atoms", "modes"),
    [(icosahedron(), 33), (Atoms("Cu3", [[0, 0, 0], [0, 0, 2.5], [0, 0, 5.0]]), 4)],
    ids=["icosahedron", "line"],
)
def test_soft_modes_of_a_cluster_neither_move_nor_turn_it(atoms, modes):
    stiffness, moves = soft_modes(atoms)
    assert moves.shape == (modes, len(atoms), 3)
    assert np.abs(moves.sum(axis=1)).max() < 1e-8
    arms = atoms.positions - atoms.positions.mean(axis=0)
    assert np.abs(np.cross(arms, moves).sum(axis=1)).max() < 1e-6
    assert (np.diff(stiffness) >= 0).all()


def test_a_single_atom_has_no_soft_mode():
    assert len(soft_modes(Atoms("Cu"))[0]) == 0


@settings(max_examples=10)
@given(turn=rotations())
def test_soft_modes_do_not_depend_on_the_orientation(turn):
    atoms = octahedron()
    turned = Atoms(atoms.numbers, atoms.positions @ turn.T)
    assert soft_modes(turned)[0] == pytest.approx(soft_modes(atoms)[0], abs=1e-8)


def test_cut_and_splice_of_one_parent_finds_it_again():
    """Halves of one cluster in one orientation are the cluster: the null of the cut."""
    atoms = octahedron()

    class Still:
        """A generator whose rotations are the identity."""

        def normal(self, size):
            return np.eye(3)

    positions, inside = _halves([atoms, atoms], 0.5, Still())
    whole = Atoms(["Cu"] * int(inside.sum()), positions[inside])
    assert len(whole) == 38
    assert apart(whole, atoms) < 1e-9

"""Random clusters, the space they lie in, and when two of them are the same."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.cluster import Icosahedron, Octahedron
from ase.optimize import FIRE
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search import cluster_seeds, seeds, similarity
from aga.search.cluster_similarity import apart
from aga.search.point_groups import pointgroup
from aga.search.space import Space, Spaces, tidied
from potentials.gates import connected
from tests.crystals import rotations

COMPOSITIONS = [{"Cu": 1}, {"Cu": 2}, {"Cu": 13}, {"Au": 5, "Cu": 8}, {"O": 6, "Ti": 3}]


def space(composition: dict[str, int], **settings: object) -> Space:
    return Space(composition, dimension="cluster", **settings)


def octahedron() -> Atoms:
    return tidied(Octahedron("Cu", 4, cutoff=1))


class TestSeeds:
    @pytest.mark.parametrize("composition", COMPOSITIONS, ids="".join)
    def test_clusters_are_proposable(self, composition):
        own = space(composition)
        for atoms in seeds.many(own, 8, np.random.default_rng(0)):
            assert not own.proposable(atoms)
            assert Counter(atoms.symbols) == Counter(composition)
            assert not atoms.pbc.any()
            assert atoms.cell.rank == 0

    def test_the_rng_alone_decides(self):
        own = space({"Au": 5, "Cu": 8})
        first, second = (seeds.many(own, 5, np.random.default_rng(7)) for _ in range(2))
        other = seeds.many(own, 5, np.random.default_rng(8))
        assert all((a.positions == b.positions).all() for a, b in zip(first, second, strict=True))
        assert not any(
            np.allclose(a.positions, b.positions) for a, b in zip(first, other, strict=True)
        )

    def test_most_have_a_point_group_and_some_have_none(self):
        found = seeds.many(space({"Cu": 13}), 40, np.random.default_rng(0))
        plain = sum(pointgroup(atoms, 0.05) == "C_1" for atoms in found)
        assert 4 <= plain <= 28
        assert len({pointgroup(atoms, 0.05) for atoms in found}) >= 6

    def test_the_middle_is_taken_once_at_most(self):
        own = space({"Au": 1, "Cu": 12})
        for seed in range(30):
            atoms = cluster_seeds.packed(own, np.random.default_rng(seed))
            if atoms is not None:
                assert (np.linalg.norm(atoms.positions, axis=1) < 1e-6).sum() <= 1

    def test_orbits_make_up_the_number_of_atoms(self):
        groups = {len(one): one for one in cluster_seeds.groups()}
        # orbits of the icosahedral group: 12 corners, 20 faces, 30 edges, 60 and 120
        assert cluster_seeds._fits(groups[120], (13,))
        assert cluster_seeds._fits(groups[120], (12, 20))
        assert cluster_seeds._fits(groups[120], (1, 12))
        assert not cluster_seeds._fits(groups[120], (14,))
        assert not cluster_seeds._fits(groups[120], (13, 13))

    def test_an_impossible_space_says_what_failed(self):
        own = space({"Cu": 13}, min_distance={("Cu", "Cu"): 9.0})
        with pytest.raises(ValueError, match=r"expected a cluster .* none in 5 tries \("):
            seeds.random_crystal(own, np.random.default_rng(0), tries=5)

    def test_lowest_minima_of_lennard_jones_are_among_few_seeds(self):
        """Without a point group the icosahedron needs some ten times as many."""
        energies = []
        for atoms in seeds.many(space({"Cu": 13}), 12, np.random.default_rng(0)):
            atoms.calc = LennardJones(sigma=2.34, epsilon=0.4, rc=100.0)
            FIRE(atoms, logfile=None).run(fmax=0.02, steps=300)
            energies.append(atoms.get_potential_energy() / 0.4)
        assert min(energies) == pytest.approx(-44.3268, abs=0.005)


class TestSpace:
    def test_what_it_refuses(self):
        own = space({"Cu": 13})
        good = tidied(Icosahedron("Cu", 2))
        assert not own.proposable(good)
        evaporated, stretched, crystal = good.copy(), good.copy(), good.copy()
        outer = int(np.linalg.norm(good.positions, axis=1).argmax())
        evaporated.positions[outer] *= 2.4
        assert own.feasible(evaporated) == "in pieces"
        stretched.positions *= 6
        assert own.feasible(stretched).startswith("longer than")
        crystal.set_cell([20] * 3)
        crystal.pbc = True
        assert own.feasible(crystal) == "periodic, which a cluster is not"
        assert Space({"Cu": 13}).feasible(good) == "not periodic in three directions"
        assert own.feasible(good[:12]).startswith("composition")
        close = good.copy()
        close.positions *= 0.5
        assert "Å apart" in own.feasible(close)
        astray = good.copy()
        astray.positions[0] = np.nan
        assert own.feasible(astray) == "a position is not finite"

    def test_pressure_is_refused(self):
        with pytest.raises(ValueError, match="no volume"):
            space({"Cu": 13}, pressure=0.1)

    def test_gates_are_those_of_clusters(self):
        own = space({"Au": 5, "Cu": 8})
        gates = own.gates()
        assert gates == Spaces([own]).gates()
        assert gates.bonds == own.bonds
        assert gates.max_length == pytest.approx(3 * own.diameter)
        assert gates.volume_per_atom == (0.0, np.inf)
        assert not Space({"Cu": 4}).gates().bonds

    def test_tidied_puts_a_cluster_around_the_origin(self):
        atoms = octahedron()
        atoms.positions += 7.0
        atoms.set_cell([30, 30, 30])
        found = tidied(atoms)
        assert found.positions.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-12)
        assert found.cell.rank == 0
        assert found.get_all_distances() == pytest.approx(atoms.get_all_distances())

    def test_connected_follows_chains_and_elements(self):
        chain = Atoms("Cu3O", [[0, 0, 0], [2.5, 0, 0], [5, 0, 0], [7.5, 0, 0]])
        assert not connected(chain, {("Cu", "Cu"): 3.0})
        assert connected(chain, {("Cu", "Cu"): 3.0, ("Cu", "O"): 3.0})
        assert not connected(chain, {("Cu", "Cu"): 2.4, ("Cu", "O"): 3.0})
        assert connected(Atoms("Cu"), {})


class TestSimilarity:
    @settings(max_examples=20, deadline=None)
    @given(turn=rotations(), seed=st.integers(0, 10**6), mirrored=st.booleans())
    def test_rotations_mirrors_and_orders_do_not_matter(self, turn, seed, mirrored):
        rng = np.random.default_rng(seed)
        atoms = seeds.random_crystal(space({"Au": 5, "Cu": 8}), np.random.default_rng(seed % 5))
        matrix = -turn if mirrored else turn
        order = rng.permutation(len(atoms))
        other = Atoms(atoms.numbers[order], (atoms.positions @ matrix.T + 4.0)[order])
        one, two = similarity.fingerprint(atoms), similarity.fingerprint(other)
        assert similarity.distance(one, two) < 1e-9
        assert np.linalg.norm(one) == pytest.approx(1.0)
        assert similarity.same(atoms, other)
        assert similarity.near(atoms, one, other, two)

    @pytest.mark.parametrize(("size", "limit"), [(0.02, 0.01), (0.05, 0.06)])
    def test_rattled_clusters_are_near(self, size, limit):
        atoms = octahedron()
        for seed in range(10):
            other = atoms.copy()
            other.positions += np.random.default_rng(seed).normal(0, size, other.positions.shape)
            first, second = similarity.fingerprint(atoms), similarity.fingerprint(other)
            assert similarity.distance(first, second) < limit
            assert similarity.same(atoms, other)

    def test_minima_that_differ_in_one_atom_are_told_apart(self):
        """Two atoms on the icosahedron over some of its faces."""
        core = tidied(Icosahedron("Cu", 3, latticeconstant=3.3))[:13]
        rng = np.random.default_rng(0)
        ends: list[Atoms] = []
        for _ in range(12):
            away = rng.normal(size=(2, 3))
            away *= 4.6 / np.linalg.norm(away, axis=1, keepdims=True)
            atoms = Atoms("Cu15", np.concatenate([core.positions, away]))
            atoms.calc = LennardJones(sigma=2.34, epsilon=0.4, rc=100.0)
            FIRE(atoms, logfile=None).run(fmax=0.005, steps=500)
            ends.append(atoms)
        energies = [one.get_potential_energy() for one in ends]
        # the oracle: minima of other energies are others
        pairs = [
            (i, j) for i in range(12) for j in range(i) if abs(energies[i] - energies[j]) > 1e-2
        ]
        assert len(pairs) > 10
        for i, j in pairs:
            assert not similarity.same(ends[i], ends[j])
            views = [similarity.fingerprint(ends[place]) for place in (i, j)]
            assert similarity.distance(*views) > similarity.DUPLICATE
        alike = [
            (i, j) for i in range(12) for j in range(i) if abs(energies[i] - energies[j]) < 1e-4
        ]
        assert alike
        assert all(similarity.same(ends[i], ends[j]) for i, j in alike)

    def test_exchanged_atoms_are_another_structure(self):
        atoms = tidied(Icosahedron("Cu", 2))
        atoms.symbols = ["Au"] + ["Cu"] * 12
        other = atoms.copy()
        other.symbols = ["Cu", "Au"] + ["Cu"] * 11
        assert not similarity.same(atoms, other)
        assert similarity.distance(*map(similarity.fingerprint, (atoms, other))) > 0.1
        assert apart(atoms, atoms[:12]) == np.inf

    def test_a_form_is_the_same_at_another_size(self):
        atoms = octahedron()
        larger = similarity.at_room(atoms, 1.15 * similarity.room(atoms))
        assert similarity.room(larger) == pytest.approx(1.15 * similarity.room(atoms))
        assert not similarity.same(atoms, larger)
        assert similarity.same_form(atoms, larger)
        assert not similarity.same_form(
            atoms, similarity.at_room(atoms, 1.3 * similarity.room(atoms))
        )

    def test_single_atoms(self):
        one = Atoms("Cu")
        assert similarity.same_form(one, Atoms("Cu", [[1, 2, 3]]))
        assert similarity.distance(*map(similarity.fingerprint, (one, one))) == 0

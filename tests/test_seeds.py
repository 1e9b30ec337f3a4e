"""Random symmetric crystals and separation."""

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from aga.search import seeds
from aga.search.ions import anion_distances, packed_volume
from aga.search.space import Space
from aga.search.symmetry import spacegroup

SPACES = [{"Si": 8}, {"O": 8, "Ti": 4}, {"Cu": 8, "Au": 8}]


@pytest.mark.parametrize("composition", SPACES, ids="".join)
def test_crystals_are_proposable_and_of_a_sensible_volume(composition):
    space = Space(composition)
    for atoms in seeds.many(space, 8, np.random.default_rng(0)):
        assert not space.proposable(atoms)
        assert 0.84 < atoms.get_volume() / len(atoms) / space.volume_per_atom < 1.26


def test_the_rng_alone_decides():
    space = Space({"O": 4, "Ti": 2})
    np.random.default_rng().random()
    first, second = (seeds.many(space, 5, np.random.default_rng(7)) for _ in range(2))
    other = seeds.many(space, 5, np.random.default_rng(8))
    assert all((a.positions == b.positions).all() for a, b in zip(first, second, strict=True))
    assert any(not np.array_equal(a.cell, b.cell) for a, b in zip(first, other, strict=True))


def test_global_random_states_are_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    seeds.many(Space({"Si": 4}), 3, np.random.default_rng(1))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_the_asked_space_group_is_there_after_separation():
    space = Space({"Si": 8}, spacegroups=(227, 62))
    found = {spacegroup(atoms, 0.01) for atoms in seeds.many(space, 6, np.random.default_rng(3))}
    assert "P1 (1)" not in found


def test_an_impossible_space_says_what_failed():
    space = Space({"Si": 8}, volume_per_atom=3.0)
    with pytest.raises(ValueError, match=r"none in 5 tries \(.*larger volume_per_atom"):
        seeds.random_crystal(space, np.random.default_rng(0), tries=5)


SILICON = {("Si", "Si"): 0.9 * 2 * 1.11}


def test_separate_parts_close_atoms_at_fixed_cell():
    atoms = Atoms("Si4", positions=np.zeros((4, 3)), cell=[4.6, 4.5, 4.4], pbc=True)
    atoms.positions += np.array([[0, 0, 0], [0.6, 0, 0], [0.2, 0.7, 0], [0, 0.3, 0.8]])
    before = atoms.positions.copy()
    apart = seeds.separate(atoms, SILICON)
    assert (atoms.positions == before).all()
    assert (apart.cell.array == atoms.cell.array).all()
    distances = apart.get_all_distances(mic=True)[np.triu_indices(4, 1)]
    assert distances.min() > 0.98 * SILICON["Si", "Si"]


def test_separate_parts_atoms_on_one_place():
    atoms = Atoms("Si2", positions=np.zeros((2, 3)), cell=[5, 5, 5], pbc=True)
    assert seeds.separate(atoms, SILICON).get_distance(0, 1, mic=True) > 1.9


def test_separate_leaves_a_good_structure_as_it_is():
    atoms = Atoms("Si2", positions=[[0, 0, 0], [2.5, 2.5, 2.5]], cell=[5, 5, 5], pbc=True)
    assert seeds.separate(atoms, SILICON).positions == pytest.approx(atoms.positions)


def test_separate_leaves_atoms_that_symmetry_holds_in_place():
    # pushed from both sides alike: only a rounding error, which doubles in two steps, says whereto
    atoms = Atoms("Si2", positions=[[0, 0, 0], [1.5, 1e-8, 0]], cell=[3, 9, 9], pbc=True)
    moved = seeds.separate(atoms, SILICON).positions - atoms.positions
    assert np.abs(moved).max() < 1e-6


@pytest.mark.parametrize("symbol", ["Cu", "Si", "O", "Mg"])
def test_prototypes_of_an_element(symbol):
    space = Space({symbol: 1})
    found = seeds.prototypes(space)
    groups = [spacegroup(atoms) for atoms in found]
    assert groups == ["Fm-3m (225)", "Im-3m (229)", "P6_3/mmc (194)", "Fd-3m (227)"]
    for atoms in found:
        assert not Space({symbol: len(atoms)}).feasible(atoms)
    ratio = found[3].get_volume() / 2 / found[0].get_volume()
    assert ratio == pytest.approx(1.35)
    # the element is guessed at the volume of its own form
    own = {"Si": 3}.get(symbol, 0)
    assert found[own].get_volume() / len(found[own]) == pytest.approx(space.volume_per_atom)


def test_compounds_have_no_prototypes():
    with pytest.raises(ValueError, match="one element, got OTi"):
        seeds.prototypes(Space({"Ti": 1, "O": 1}))


class TestAnions:
    """Random oxides and salts are drawn with their anions apart."""

    @pytest.mark.parametrize(
        ("composition", "pairs"),
        [
            ({"Ti": 4, "O": 8}, {("O", "O"): 2.24}),
            ({"Na": 1, "Cl": 1}, {("Cl", "Cl"): 2.896}),
            ({"Mg": 4, "Si": 4, "O": 12}, {("O", "O"): 2.24}),
            ({"Ti": 2, "O": 2, "F": 2}, {("F", "F"): 2.128, ("F", "O"): 2.184, ("O", "O"): 2.24}),
            # anions may be bonded (peroxides, disulfides, carbonates), or there are none
            ({"Li": 2, "O": 2}, {}),
            ({"Fe": 4, "S": 8}, {}),
            ({"Ca": 1, "C": 1, "O": 3}, {}),
            ({"H": 4, "O": 2}, {}),
            ({"O": 4}, {}),
            ({"Cu": 8, "Au": 8}, {}),
        ],
    )
    def test_which_are_known(self, composition, pairs):
        assert anion_distances(composition) == pytest.approx(pairs)

    @pytest.mark.parametrize(
        ("composition", "measured"),
        [({"Al": 2, "O": 3}, 8.5), ({"Ti": 1, "O": 2}, 10.4), ({"Mg": 1, "O": 1}, 9.4)],
    )
    def test_packed_anions_take_the_room_of_dense_oxides(self, composition, measured):
        assert packed_volume(composition) == pytest.approx(measured, rel=0.2)
        assert packed_volume({"Cu": 1, "Au": 1}) == 0.0

    def test_random_crystals_are_drawn_near_every_volume(self):
        space = Space({"Al": 4, "O": 6}, volume_per_atom=13.0, volumes=(9.0,))
        crystals = seeds.many(space, 30, np.random.default_rng(2))
        volumes = np.array([atoms.get_volume() / len(atoms) for atoms in crystals])
        assert (volumes < 0.85 * 13.0).mean() > 0.2
        assert (volumes > 1.25 * 9.0).mean() > 0.2
        assert 0.84 * 9.0 < volumes.min() < volumes.max() < 1.26 * 13.0

    def test_most_random_oxides_keep_them(self):
        space = Space({"Ti": 4, "O": 8})
        crystals = seeds.many(space, 40, np.random.default_rng(0))
        shortest = np.array([self.oxygens(atoms) for atoms in crystals])
        apart = shortest > space.anion_distance["O", "O"] / seeds.SEED_SCALE - 1e-9
        assert 0.6 < apart.mean() < 1.0
        assert shortest[~apart].min() > space.proposal_distance["O", "O"] - 1e-9

    def test_a_distance_that_the_user_gives_is_kept_where_it_is_longer(self):
        space = Space({"Ti": 4, "O": 8}, proposal_distance={("O", "O"): 2.3})
        crystals = seeds.many(space, 5, np.random.default_rng(1))
        assert min(map(self.oxygens, crystals)) > 2.3 - 1e-9

    def oxygens(self, atoms):
        return neighbor_list("d", atoms[atoms.numbers == 8], 4.0).min(initial=4.0)

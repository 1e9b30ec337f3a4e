"""The search space: guesses of the volume, and what is feasible."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aga.search.hull import Hull, Phase
from aga.search.space import Space, Spaces, heights, tidied
from aga.search.volumes import mixture_volume

MEASURED = {
    # measured volumes [Å^3/atom] of the stable crystals
    "Si": ({"Si": 8}, 20.0),
    "CuAu": ({"Cu": 1, "Au": 1}, 14.2),
    "TiO2": ({"Ti": 1, "O": 2}, 10.4),
    "NaCl": ({"Na": 1, "Cl": 1}, 22.4),
    "LiF": ({"Li": 1, "F": 1}, 8.2),
    "MgO": ({"Mg": 1, "O": 1}, 9.35),
    "CsCl": ({"Cs": 1, "Cl": 1}, 35.0),
    "MgSiO3": ({"Mg": 1, "Si": 1, "O": 3}, 10.4),
    "GaN": ({"Ga": 1, "N": 1}, 11.4),
    "SrTiO3": ({"Sr": 1, "Ti": 1, "O": 3}, 11.9),
}


def conventional() -> Atoms:
    return bulk("Si", "diamond", a=5.43, cubic=True)


@pytest.mark.parametrize("name", MEASURED)
def test_guessed_volume_is_within_a_fifth_of_the_measured_one(name):
    composition, measured = MEASURED[name]
    assert mixture_volume(composition) == pytest.approx(measured, rel=0.2)


def test_a_metal_shrinks_only_as_far_as_the_anions_take_its_electrons():
    pure, oxide = mixture_volume({"Mg": 1}), mixture_volume({"Mg": 1, "O": 1})
    rich = mixture_volume({"Mg": 12, "O": 1})
    # of twelve magnesium atoms one is oxidised
    assert rich == pytest.approx((11 * pure + 2 * oxide) / 13)
    assert mixture_volume({"Mg": 1, "O": 3}) == pytest.approx(
        (2 * oxide + 2 * mixture_volume({"O": 1})) / 4
    )


def test_every_element_up_to_plutonium_has_a_positive_volume():
    from ase.data import chemical_symbols

    for symbol in chemical_symbols[1:95]:
        assert 2 < mixture_volume({symbol: 1}) < 150, symbol


def test_space_fills_in_pairs_by_sorted_symbols():
    space = Space({"O": 2, "Ti": 1}, min_distance={("Ti", "O"): 1.8})
    assert list(space.composition) == ["O", "Ti"]
    assert space.n_atoms == 3
    assert set(space.min_distance) == {("O", "O"), ("O", "Ti"), ("Ti", "Ti")}
    assert space.min_distance["O", "Ti"] == 1.8
    # 0.75 x (0.66 + 1.60) is shorter than the gate asked for
    assert space.proposal_distance["O", "Ti"] == 1.8
    assert space.proposal_distance["O", "O"] == pytest.approx(0.75 * 1.32)
    assert space.gates().min_distance == space.min_distance
    assert space.gates().volume_per_atom == space.volume_window


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"composition": {"Sj": 1}}, "'Sj' is not a chemical symbol"),
        ({"composition": {"Si": 0}}, "at least one atom"),
        ({"composition": {"Si": 1}, "spacegroups": (0, 5)}, "1-230"),
        ({"composition": {"Si": 1}, "volume_range": (2.0, 0.5)}, "0 < low < high"),
    ],
)
def test_space_refuses_what_holds_no_structure(values, says):
    with pytest.raises(ValueError, match=says):
        Space(**values)


def test_a_good_crystal_is_feasible():
    assert not Space({"Si": 8}).feasible(conventional())
    assert not Space({"Si": 8}).proposable(conventional())
    assert not Space({"Si": 2}).feasible(bulk("Si", "diamond", a=5.43))


def _left_handed(atoms):
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])


def _squeezed(atoms):
    atoms.set_cell(atoms.cell.array * 0.7, scale_atoms=True)


def _close(atoms):
    atoms.positions[1] = atoms.positions[0] + [0.7, 0, 0]


def _lost(atoms):
    atoms.positions[0, 0] = np.nan


def _flat(atoms):
    atoms.set_cell(np.diag([13.3, 11.0, 1.09]), scale_atoms=True)


def _long(atoms):
    atoms.set_cell(np.diag([44.0, 1.8, 2.0]), scale_atoms=True)


def _other(atoms):
    atoms.symbols[0] = "C"


def _slab(atoms):
    atoms.pbc = [True, True, False]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_left_handed, "left-handed"),
        (_squeezed, "volume"),
        (_close, "Si-Si 0.70 Å apart"),
        (_lost, "not finite"),
        (_flat, "faces"),
        (_long, "longer"),
        (_other, "composition"),
        (_slab, "periodic"),
    ],
)
def test_feasible_names_the_reason(spoil, says):
    atoms = conventional()
    spoil(atoms)
    assert says in Space({"Si": 8}).feasible(atoms)


def test_an_atom_too_close_to_its_own_image_is_found():
    atoms = Atoms("Si", cell=[1.25, 4.0, 4.0], pbc=True)
    assert "Si-Si 1.25" in Space({"Si": 1}).feasible(atoms)


def test_tidied_keeps_the_crystal_and_shortens_the_cell():
    from aga.search.similarity import distance, fingerprint

    atoms = conventional()
    skewed = atoms.copy()
    skewed.set_cell(np.array([[1, 0, 0], [3, 1, 0], [-2, 4, -1]]) @ atoms.cell.array)
    tidy = tidied(skewed)
    assert np.linalg.det(tidy.cell.array) > 0
    assert tidy.cell.lengths() == pytest.approx([5.43] * 3)
    assert heights(tidy) == pytest.approx([5.43] * 3)
    assert distance(fingerprint(tidy), fingerprint(atoms)) < 1e-9


def test_tidied_refuses_a_flat_cell():
    with pytest.raises(ValueError, match="flat cell"):
        tidied(Atoms("Si", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True))


def test_spaces_are_drawn_by_their_chances():
    members = [Space({"Cu": 1}), Space({"Cu": 2}), Space({"Au": 1})]
    spaces = Spaces(members, [0.7, 0.3, 0.0])
    rng = np.random.default_rng(0)
    drawn = [spaces.draw(rng).name for _ in range(400)]
    assert 240 < drawn.count("Cu") < 320
    assert set(drawn) == {"Cu", "Cu2"}


def test_a_single_space_takes_nothing_from_chance():
    rng = np.random.default_rng(0)
    Spaces([Space({"Cu": 1})]).draw(rng)
    assert rng.random() == np.random.default_rng(0).random()


def test_gates_of_several_spaces_hold_for_each():
    copper, gold = Space({"Cu": 1}), Space({"Au": 2, "Cu": 1})
    gates = Spaces([copper, gold]).gates()
    assert gates.volume_per_atom == (copper.volume_window[0], gold.volume_window[1])
    assert set(gates.min_distance) == {("Au", "Au"), ("Au", "Cu"), ("Cu", "Cu")}
    assert Spaces([gold]).gates() == gold.gates()


def test_spaces_stand_on_the_hull():
    hull = Hull([Phase("Cu", {"Cu": 1}, -3.5), Phase("Au", {"Au": 1}, -3.0)])
    assert Spaces([Space({"Cu": 1})]).ground({"Cu": 1}) == 0.0
    spaces = Spaces([Space({"Au": 1, "Cu": 1})], hull=hull)
    assert spaces.ground({"Au": 1, "Cu": 1}) == pytest.approx(-3.25)


@pytest.mark.parametrize(("n", "chances"), [(0, None), (2, [1.0]), (2, [0.5, 0.6])])
def test_chances_that_are_none_are_refused(n, chances):
    with pytest.raises(ValueError, match="a probability for each"):
        Spaces([Space({"Cu": 1})] * n, chances)

"""Labels, frames and structures as plain data: exact, checked at birth, the same key anywhere."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from potentials.structures import (
    Frame,
    Label,
    atoms_from_dict,
    atoms_to_dict,
    bare,
    content_key,
    rounded,
)
from tests.crystals import crystals, emt_label

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def labels(draw):
    n_atoms = draw(st.integers(0, 4))
    return Label(
        energy=draw(NUMBERS),
        forces=draw(arrays(np.float64, (n_atoms, 3), elements=NUMBERS)),
        stress=draw(st.none() | arrays(np.float64, 6, elements=NUMBERS)),
        engine=draw(st.text(max_size=8)),
        seconds=draw(NUMBERS),
        magmoms=draw(st.none() | arrays(np.float64, n_atoms, elements=NUMBERS)),
        magnetization=draw(st.none() | NUMBERS),
    )


def same(one, other):
    """Equal to the last bit, -0.0 and all."""
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and one.tobytes() == other.tobytes()


@given(labels())
def test_label_survives_json_to_the_last_bit(label):
    again = Label.from_dict(json.loads(json.dumps(label.to_dict())))
    assert np.float64(again.energy).tobytes() == np.float64(label.energy).tobytes()
    assert again.seconds == label.seconds
    assert again.magnetization == label.magnetization
    assert again.engine == label.engine
    assert same(again.forces, label.forces)
    assert same(again.stress, label.stress)
    assert same(again.magmoms, label.magmoms)


@given(crystals())
def test_atoms_survive_json_to_the_last_bit(atoms):
    again = atoms_from_dict(json.loads(json.dumps(atoms_to_dict(atoms))))
    assert same(again.positions, atoms.positions)
    assert same(again.cell.array, atoms.cell.array)
    assert (again.numbers == atoms.numbers).all()
    assert (again.pbc == atoms.pbc).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy": float("nan")}, "not finite"),
        ({"forces": np.array([[np.inf, 0.0, 0.0]])}, "not finite"),
        ({"stress": np.full(6, np.nan)}, "not finite"),
        ({"magmoms": np.array([np.nan])}, "not finite"),
        ({"magnetization": np.inf}, "not finite"),
        ({"forces": np.zeros(3)}, "must be \\(N, 3\\)"),
        ({"forces": np.zeros((2, 2))}, "must be \\(N, 3\\)"),
        ({"stress": np.zeros((3, 3))}, "full_3x3_to_voigt_6_stress"),
        ({"magmoms": np.zeros(2)}, "one moment per atom"),
    ],
)
def test_bad_labels_are_refused_at_birth(changes, message):
    fields = {"energy": 0.0, "forces": np.zeros((1, 3)), "stress": None, "engine": "x"}
    with pytest.raises(ValueError, match=message):
        Label(**(fields | changes))


def test_frame_refuses_the_label_of_another_structure():
    label = Label(0.0, np.zeros((2, 3)), None, "x")
    with pytest.raises(ValueError, match=r"'a': 1 atoms.*forces on 2"):
        Frame("a", Atoms("Cu"), label)


def test_largest_force_is_a_vector_length():
    forces = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 4.5]])
    assert Label(0.0, forces, None, "x").fmax == 5.0
    assert Label(0.0, np.zeros((0, 3)), None, "x").fmax == 0.0


def test_bare_drops_all_but_the_structure():
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 4], pbc=True)
    atoms.calc, atoms.info["x"] = EMT(), 1
    atoms.set_constraint(FixAtoms([0]))
    atoms.arrays["extra"] = np.zeros(2)
    made = bare(atoms)
    assert made == atoms
    assert made.calc is None
    assert not made.info
    assert not made.constraints
    assert set(made.arrays) == {"numbers", "positions"}
    made.positions += 1.0
    assert atoms.positions[0, 0] == 0.0


def test_content_key_is_the_same_on_every_machine():
    assert content_key({"b": 1, "a": [0.1, None]}) == content_key({"a": [0.1, None], "b": 1})
    # written down once: a key that changes would orphan every stored label
    assert content_key("x", {"a": [1, 0.1, None, True]}) == "052e9b331b21e3ca4dd5"
    with pytest.raises(ValueError, match="JSON compliant"):
        content_key(float("nan"))


@given(crystals())
def test_key_of_a_structure_forgives_rounding_only(atoms):
    nudged, moved = atoms.copy(), atoms.copy()
    nudged.positions = np.round(nudged.positions, 6) + 1e-9
    moved.positions[0, 0] += 1e-3
    assert content_key(rounded(nudged)) == content_key(rounded(atoms))
    assert content_key(rounded(moved)) != content_key(rounded(atoms))


def test_minus_zero_and_zero_have_one_key():
    plus = Atoms("H", positions=[[0.0, 0.0, 0.0]])
    minus = Atoms("H", positions=[[-0.0, -1e-9, 0.0]])
    assert json.dumps(rounded(minus)) == json.dumps(rounded(plus))


@given(arrays(np.float64, 6, elements=st.floats(-10, 10)))
def test_voigt_round_trip(stress):
    assert (full_3x3_to_voigt_6_stress(voigt_6_to_full_3x3_stress(stress)) == stress).all()


def test_compression_gives_negative_diagonal_stress():
    atoms = Atoms("Cu", cell=[[0, 1.7, 1.7], [1.7, 0, 1.7], [1.7, 1.7, 0]], pbc=True)
    assert (emt_label(atoms).stress[:3] < 0).all()

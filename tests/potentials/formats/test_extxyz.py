"""Extended XYZ: which keys count, in which shape and sign, and what is refused in which words."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write as ase_write
from hypothesis import given
from hypothesis import strategies as st

from potentials.acceptance import Rejection
from potentials.formats import extxyz
from potentials.formats.lines import FormatError
from potentials.structures import Frame, Label
from tests.crystals import crystals, emt_frames

STRESS = np.array([[1.0, 0.4, 0.5], [0.4, 2.0, 0.6], [0.5, 0.6, 3.0]])
VOIGT = [1.0, 2.0, 3.0, 0.6, 0.5, 0.4]
VOLUME = 24.0

LATTICE = 'Lattice="2 0 0 0 3 0 0 0 4"'
COLUMNS = "Properties=species:S:1:pos:R:3:{forces}:R:3"
ATOMS = "Cu 0 0 0 0.1 0.2 0.3\nAu 1 1.5 2 -0.1 -0.2 -0.3\n"


def text(comment, forces="forces", atoms=ATOMS):
    """A file of one frame."""
    return f"2\n{LATTICE} {COLUMNS.format(forces=forces)} {comment}\n{atoms}"


@pytest.fixture
def file(tmp_path):
    def make(content):
        path = tmp_path / "data.extxyz"
        path.write_text(content, encoding="utf-8")
        return path

    return make


def numbers(array):
    return " ".join(map(str, np.ravel(array)))


def test_what_ase_writes_is_read(tmp_path):
    atoms = Atoms("CuAu", [[0, 0, 0], [1, 1.5, 2]], cell=[2, 3, 4], pbc=True)
    forces = np.arange(6.0).reshape(2, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=forces, stress=np.array(VOIGT))
    ase_write(tmp_path / "a.extxyz", [atoms, atoms])
    frames = extxyz.read(tmp_path / "a.extxyz")
    assert len(frames) == 2
    for frame in frames:
        assert frame.label.energy == -1.5
        np.testing.assert_array_equal(frame.label.forces, forces)
        np.testing.assert_allclose(frame.label.stress, VOIGT)
        np.testing.assert_array_equal(frame.atoms.numbers, [29, 79])
        assert frame.label.engine == "unknown"
        assert frame.atoms.calc is None


@pytest.mark.parametrize(
    ("comment", "forces"),
    [
        (f'energy=1 stress="{numbers(STRESS)}"', "forces"),
        (f'energy=1 stress="{numbers(VOIGT)}"', "forces"),
        (f'energy=1 virial="{numbers(-VOLUME * STRESS)}"', "forces"),
        (f'REF_energy=1 REF_stress="{numbers(STRESS)}"', "REF_forces"),
        (f'REF_energy=1 REF_stress="{numbers(VOIGT)}"', "REF_forces"),
        (f'REF_energy=1 REF_virial="{numbers(-VOLUME * STRESS)}"', "REF_forces"),
        (f'REF_energy=1 REF_virials="{numbers(-VOLUME * np.array(VOIGT))}"', "REF_forces"),
    ],
)
def test_usual_keys_and_shapes(file, comment, forces):
    label = extxyz.read(file(text(comment, forces)))[0].label
    assert label.energy == 1.0
    np.testing.assert_allclose(label.stress, VOIGT)
    np.testing.assert_array_equal(label.forces, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])


def test_any_key_by_option(file):
    path = file(text(f'dft_E=2 dft_virial="{numbers(-VOLUME * STRESS)}"', "dft_F"))
    label = extxyz.read(
        path, energy_key="dft_E", forces_key="dft_F", stress_key="dft_virial", engine="mine"
    )[0].label
    assert (label.energy, label.engine) == (2.0, "mine")
    np.testing.assert_allclose(label.stress, VOIGT)


def test_a_reference_comes_before_a_models_prediction(file):
    both = (
        "2\n{} Properties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3 energy=7 REF_energy=1\n{}"
    )
    rows = "Cu 0 0 0 9 9 9 1 2 3\nAu 1 1 1 9 9 9 4 5 6\n"
    path = file(both.format(LATTICE, rows))
    label = extxyz.read(path)[0].label
    assert (label.energy, label.fmax) == (1.0, pytest.approx(np.sqrt(77)))
    assert extxyz.read(path, energy_key="energy", forces_key="forces")[0].label.energy == 7.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (text("Energy=1"), "frame 1: no energy under 'energy' (did you mean 'Energy'?)"),
        (text("Energy=1"), "found: Energy, forces; say which with --energy-key"),
        (text("energy=1", "dft"), "no forces under 'forces'; found: dft, energy; say which"),
        (text("REF_energy=1"), "no forces under 'REF_forces' (did you mean 'forces'?)"),
        (text("REF_energy=1", "REF_forces") + text("energy=1"), "frame 2: no energy under 'REF_"),
        (text('energy="1 2"'), "energy: expected one number, got (2,)"),
        (text("energy"), "energy: expected numbers, got 'True'"),
        (text("energy=low"), "energy: expected numbers, got 'low'"),
        (text("energy=1").replace("forces:R:3", "forces:R:2"), "expected three numbers an atom"),
        (text('energy=1 stress="1 2 3"'), "expected 3x3 numbers, 9, or 6"),
        (text('energy=1 stress="1 2 0 0 1 0 0 0 1"'), "that should be equal differ by 2;"),
        (text("energy=1").replace("Au", "Xx"), "frame 1: not readable as extended XYZ"),
        (text("energy=1").replace("Au", "X"), "atom 2 is of no element"),
        (text("energy=1").replace(LATTICE, 'pbc="T T T"'), "periodic along a, but there is no"),
        (text("energy=1").replace("0 3 0", "4 0 0"), "the cell vectors span no volume"),
        (text("energy=1")[:-30], "frame 1: promises 2 atoms, but the file ends after 1"),
        ("", "no structures in it"),
        ("two\nlines\n", "not readable as extended XYZ"),
        ("0\nenergy=1\n", "has no atoms"),
    ],
)
def test_what_is_refused(file, content, said):
    path = file(content)
    with pytest.raises(FormatError) as error:
        extxyz.read(path)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        extxyz.read(tmp_path / "none.extxyz")
    with pytest.raises(FormatError, match="got a folder"):
        extxyz.read(tmp_path)


def test_a_named_stress_is_required_of_crystals_only(file):
    box = text(f'energy=1 s="{numbers(STRESS)}"')
    free = text("energy=1").replace(LATTICE, "")
    frames = extxyz.read(file(box + free), stress_key="s")
    assert [frame.label.stress is None for frame in frames] == [False, True]
    with pytest.raises(FormatError, match="frame 2: no stress under 's'"):
        extxyz.read(file(box + text("energy=1")), stress_key="s")


def test_a_molecule_needs_no_cell_and_has_no_stress(tmp_path):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(
        atoms, energy=-3.0, forces=np.zeros((3, 3)), stress=np.zeros(6)
    )
    ase_write(tmp_path / "m.extxyz", atoms)
    frame = extxyz.read(tmp_path / "m.extxyz")[0]
    assert not frame.atoms.pbc.any()
    assert frame.label.stress is None


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        (text("energy=nan"), "energy"),
        (text("energy=1").replace("0.3", "inf", 1), "forces"),
        (text("energy=1").replace("1.5", "nan"), "positions"),
        (text(f'energy=1 stress="{numbers(np.full(9, np.nan))}"'), "stress"),
        (text("energy=1").replace("0 3 0", "0 nan 0"), "cell"),
    ],
)
def test_numbers_that_are_not_finite(file, wrong, part):
    path = file(text("energy=1") + wrong + text("energy=2"))
    found = extxyz.scan(path)
    assert [isinstance(one, Rejection) for one in found] == [False, True, False]
    assert found[1] == Rejection(2, "", "not finite", part)
    assert [found[0].label.energy, found[2].label.energy] == [1.0, 2.0]
    with pytest.raises(FormatError, match=rf"frame 2: not finite \({part}\); remove"):
        extxyz.read(path)


def test_ids_do_not_depend_on_the_order(file):
    one, two = text("energy=1"), text("energy=2")
    ids = [frame.id for frame in extxyz.read(file(one + two + one))]
    assert ids == [ids[0], ids[1], f"{ids[0]}-2"]
    assert [frame.id for frame in extxyz.read(file(two + one))] == [ids[1], ids[0]]


def test_ids_of_the_file_stay_text_and_become_unique(file):
    content = text("energy=1 id=5") + text('energy=2 id="1e5"') + text("energy=3 id=5")
    frames = extxyz.read(file(content + text('energy=4 id=5-2 engine="12"')))
    assert [frame.id for frame in frames] == ["5", "1e5", "5-2", "5-2-2"]
    assert [frame.label.engine for frame in frames] == ["unknown"] * 3 + ["12"]


@given(crystals(max_size=3), st.integers(0, 2**31 - 1))
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path_factory, atoms, seed):
    rng = np.random.default_rng(seed)
    count = len(atoms)
    label = Label(
        energy=float(rng.normal() * 1e3),
        forces=rng.normal(size=(count, 3)),
        stress=rng.normal(size=6) if seed % 2 else None,
        engine='a "b" \\ c=d',
        magmoms=rng.normal(size=count) if seed % 3 else None,
        magnetization=float(rng.normal()) if seed % 5 else None,
    )
    path = tmp_path_factory.mktemp("x") / "a.extxyz"
    extxyz.write(path, [Frame("7", atoms, label)])
    frame = extxyz.read(path)[0]
    assert frame.id == "7"
    assert frame.label.to_dict() == label.to_dict()
    for name in ("numbers", "positions", "pbc"):
        np.testing.assert_array_equal(getattr(frame.atoms, name), getattr(atoms, name))
    np.testing.assert_array_equal(frame.atoms.cell.array, atoms.cell.array)


def test_total_moment_as_ase_writes_it(file):
    """ASE calls the moment of the whole magmom; others keep those of the atoms under that name."""
    assert extxyz.read(file(text("energy=1 magmom=2.5")))[0].label.magnetization == 2.5
    assert extxyz.read(file(text('energy=1 magmom="1 2"')))[0].label.magnetization is None


def test_a_total_moment_that_is_not_finite_is_refused(file):
    with pytest.raises(FormatError, match="magnetization"):
        extxyz.read(file(text("energy=1 magmom=nan")))


def test_ase_reads_what_is_written(tmp_path):
    from ase.io import read as ase_read

    frames = emt_frames(2)
    extxyz.write(tmp_path / "a.extxyz", frames)
    atoms = ase_read(tmp_path / "a.extxyz", index=1)
    assert atoms.info["REF_energy"] == frames[1].label.energy
    np.testing.assert_array_equal(atoms.arrays["REF_forces"], frames[1].label.forces)
    assert atoms.pbc.all()


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "count", "stress"),
    [
        ("mlearn/extxyz/Si_train.extxyz", 214, True),
        ("mlearn/extxyz/Cu_train.extxyz", 262, True),
        ("mlearn/extxyz/Mo_test.extxyz", 23, True),
        ("pyxtal_ff/Si_pyxtal_rss.extxyz", 6887, False),
    ],
)
def test_published_sets_are_read_as_they_are(name, count, stress):
    if "AGA_REFERENCE_DATA" not in os.environ:
        pytest.skip("AGA_REFERENCE_DATA is not set: the folder of published data")
    frames = extxyz.read(Path(os.environ["AGA_REFERENCE_DATA"]) / name)
    assert len(frames) == len({frame.id for frame in frames}) == count
    assert all((frame.label.stress is not None) is stress for frame in frames)

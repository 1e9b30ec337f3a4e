"""Data sets written in every format and read back lose nothing; damaged ones say where."""

import json

import numpy as np
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potentials.formats import DATA, aenet, data_format, deepmd, potential_format, runner
from potentials.formats.lines import FormatError
from potentials.structures import Frame
from tests.crystals import crystals
from tests.potentials.formats.conftest import labelled, structures

#: units are converted there and back
CLOSE = 1e-14
#: formats with a place, or a comment, for everything
COMPLETE = sorted(set(DATA) - {"extxyz"})


def path_for(name, folder):
    return folder / {"runner": "input.data", "extxyz": "set.extxyz"}.get(name, "set")


@st.composite
def frame_lists(draw):
    """Crystals and molecules, with and without stress and moments."""
    made = []
    for index in range(draw(st.integers(1, 4))):
        atoms = draw(crystals(species=("Cu", "Au", "H"), max_size=4))
        stress, magmoms = draw(st.booleans()), draw(st.booleans())
        if draw(st.booleans()):
            atoms = Atoms(atoms.numbers, positions=atoms.positions)
            stress = False
        seconds = draw(st.sampled_from([0.0, 1.5]))
        made.append(labelled(atoms, index, stress=stress, magmoms=magmoms, seconds=seconds))
    return made


def assert_same(found, expected, rtol=CLOSE):
    def close(one, other):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * max(1, np.abs(other).max()))

    assert [frame.id for frame in found] == [frame.id for frame in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.atoms.numbers == other.atoms.numbers).all()
        assert (one.atoms.pbc == other.atoms.pbc).all()
        close(one.atoms.positions, other.atoms.positions)
        close(one.atoms.cell.array, other.atoms.cell.array)
        close(one.label.forces, other.label.forces)
        close(one.label.energy, other.label.energy)
        for name in ("engine", "seconds", "magnetization"):
            assert getattr(one.label, name) == getattr(other.label, name)
        for name in ("stress", "magmoms"):
            ours, theirs = getattr(one.label, name), getattr(other.label, name)
            assert (ours is None) == (theirs is None), name
            if theirs is not None:
                close(ours, theirs)


@pytest.mark.parametrize("name", COMPLETE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(frames=frame_lists())
def test_there_and_back_without_loss(name, frames, tmp_path_factory):
    path = path_for(name, tmp_path_factory.mktemp("set"))
    module = data_format(name)
    module.write(path, frames)
    found = module.read(path)
    if name == "deepmd":
        # systems hold structures of one kind
        found = sorted(found, key=lambda frame: frame.id)
    assert_same(found, frames)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(frames=frame_lists())
def test_mixed_type_there_and_back(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("set")
    deepmd.write(path, frames, mixed=True)
    assert_same(sorted(deepmd.read(path), key=lambda frame: frame.id), frames)


def test_mixed_type_makes_fewer_systems(tmp_path):
    frames = [
        labelled(Atoms(symbols, positions=[[0, 0, 0], [2, 0, 0]], cell=[9, 9, 9], pbc=True), index)
        for index, symbols in enumerate(["CuAu", "AuCu", "Cu2"])
    ]
    deepmd.write(tmp_path / "plain", frames)
    deepmd.write(tmp_path / "mixed", frames, mixed=True)
    assert len(list((tmp_path / "plain").iterdir())) == 3
    (system,) = (tmp_path / "mixed").iterdir()
    assert np.load(system / "set.000" / "real_atom_types.npy").tolist() == [[0, 1], [1, 0], [0, 0]]
    assert set((system / "type.raw").read_text().split()) == {"0"}


def test_virtual_atoms_are_left_out(tmp_path):
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [2, 0, 0]], cell=[9, 9, 9], pbc=True)
    deepmd.write(tmp_path, [labelled(atoms, 0)], mixed=True)
    path = tmp_path / "system.000" / "set.000" / "real_atom_types.npy"
    np.save(path, np.array([[0, -1]]))
    (frame,) = deepmd.read(tmp_path)
    assert frame.atoms.get_chemical_symbols() == ["Cu"]
    assert frame.label.forces.shape == (1, 3)


def test_runner_in_the_units_of_the_file(tmp_path):
    """What is written in bohr and hartree and read as angstrom and eV has other numbers."""
    frames = [labelled(structures(1)[0], 3)]
    runner.write(tmp_path / "input.data", frames)
    (found,) = runner.read(tmp_path, units="angstrom-ev")
    np.testing.assert_allclose(found.atoms.positions * 0.52917721, frames[0].atoms.positions)
    np.testing.assert_allclose(found.label.energy * 27.211386, frames[0].label.energy, rtol=1e-7)
    np.testing.assert_allclose(
        found.label.forces * 27.211386 / 0.52917721, frames[0].label.forces, rtol=1e-6
    )
    runner.write(tmp_path / "ev.data", frames, units="angstrom-ev")
    assert_same(runner.read(tmp_path / "ev.data", units="angstrom-ev"), frames, rtol=0)
    with pytest.raises(FormatError, match="did you mean 'bohr-hartree'"):
        runner.read(tmp_path / "ev.data", units="bohr-hartre")


def test_virial_is_minus_stress_times_volume(tmp_path):
    atoms = structures(1)[0]
    frame = labelled(atoms, 0, stress=True)
    deepmd.write(tmp_path, [frame])
    virial = np.load(tmp_path / "system.000" / "set.000" / "virial.npy").reshape(3, 3)
    xx, yy, zz, yz, xz, xy = -frame.label.stress * atoms.get_volume()
    np.testing.assert_allclose(virial, [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


@pytest.mark.parametrize("name", COMPLETE)
def test_files_of_others_get_an_engine_and_ids(name, tmp_path):
    """Without our comments: ids by content, the engine that the caller gives."""
    twice = labelled(structures(1)[0], 1)
    frames = [twice, twice, labelled(structures(2)[1], 2)]
    path = path_for(name, tmp_path)
    module = data_format(name)
    module.write(path, frames)
    for file in [path] if path.is_file() else list(path.rglob("*")):
        if file.name == "aga.json":
            file.unlink()
        elif file.suffix in (".data", ".xsf"):
            lines = file.read_text().splitlines()
            file.write_text("\n".join(line for line in lines if "aga {" not in line))
    found = module.read(path, engine="vasp")
    assert {frame.label.engine for frame in found} == {"vasp"}
    assert len({frame.id for frame in found}) == 3
    assert module.read(path)[0].label.engine == "unknown"
    assert sorted(f.id.removesuffix("-2") for f in found)[:2] != ["frame 1", "frame 1"]


@pytest.mark.parametrize("name", COMPLETE)
def test_a_slab_is_refused(name, tmp_path):
    atoms = structures(1)[0]
    atoms.pbc = (True, True, False)
    with pytest.raises(FormatError, match=r"frame 'frame 0': periodic in some directions only"):
        data_format(name).write(path_for(name, tmp_path), [labelled(atoms, 0)])


GOOD = """begin
comment of others
lattice 9 0 0
lattice 0 9 0
lattice 0 0 9
atom 0 0 0 Cu 0.0 0.0 1 2 3
energy -5
charge 0
end
"""


def test_a_plain_runner_file(tmp_path):
    (tmp_path / "input.data").write_text(GOOD.replace("begin", "begin set=train"))
    (frame,) = runner.read(tmp_path, units="angstrom-ev")
    assert frame.label.energy == -5.0
    assert frame.label.forces.tolist() == [[1, 2, 3]]
    assert frame.atoms.cell.lengths().tolist() == [9, 9, 9]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("begin", "start", "line 1: expected begin, got 'start'"),
        ("end\n", "", "expected end, got the end of the file"),
        ("end\n", "begin\nend\n", "line 9: expected end"),
        ("lattice 9 0 0\n", "", "line 1: expected 3 lattice vectors or none, got 2"),
        ("lattice 9 0 0", "lattice 9 0", "line 3: expected lattice x y z"),
        ("energy -5\n", "", "expected atoms and one energy, got 1 and 0"),
        ("energy -5", "energy nan", "line 7: expected energy E, all finite"),
        ("Cu", "Xx", "line 6: expected the symbol of an element"),
        ("1 2 3", "1 2", "line 6: expected atom x y z Element charge energy fx fy fz"),
        ("1 2 3", "1 2 inf", "line 6: .*all finite"),
        ("comment of others", "comment aga {", "expected JSON data"),
        ("comment of others", 'comment aga {"stress": [1]}', r"Voigt-6"),
    ],
)
def test_damaged_runner_files_say_where(old, new, says, tmp_path):
    assert old in GOOD
    (tmp_path / "input.data").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(FormatError, match=rf"input.data.*{says}"):
        runner.read(tmp_path)


XSF = """# total energy = -19.5 eV

CRYSTAL
PRIMVEC
9 0 0
0 9 0
0 0 9
PRIMCOORD
1 1
Cu 0 0 0 1 2 3
"""


def test_a_plain_xsf_file(tmp_path):
    (tmp_path / "one.xsf").write_text(XSF.replace("Cu", "29"))
    (frame,) = aenet.read(tmp_path / "one.xsf")
    assert frame.label.energy == -19.5
    assert frame.atoms.get_chemical_symbols() == ["Cu"]
    (tmp_path / "two.xsf").write_text(
        "# total energy = 1 eV\nATOMS\nH 0 0 0 0 0 0\nH 0 0 1 0 0 1\n"
    )
    frames = aenet.read(tmp_path)
    assert [len(frame.atoms) for frame in frames] == [1, 2]
    assert not frames[1].atoms.pbc.any()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# total energy = -19.5 eV", "", "expected a line '# total energy"),
        ("-19.5", "low", "line 1: expected # total energy = <number> eV, got 'low'"),
        ("CRYSTAL", "SLAB", "line 3: expected CRYSTAL or ATOMS"),
        ("9 0 0\n", "", "line 7: expected x y z, got 'PRIMCOORD'"),
        ("1 1\n", "2 1\n", "expected Element x y z fx fy fz, got the end of the file"),
        ("1 1\n", "0 1\n", "line 10: expected the end of the file after 0 atoms"),
        ("0 0 0 1 2 3", "0 0 0", "line 10: expected Element x y z fx fy fz"),
        ("Cu", "Qq", "line 10: expected the symbol of an element"),
    ],
)
def test_damaged_xsf_files_say_where(old, new, says, tmp_path):
    assert old in XSF
    (tmp_path / "one.xsf").write_text(XSF.replace(old, new, 1))
    with pytest.raises(FormatError, match=rf"one.xsf.*{says}"):
        aenet.read(tmp_path)


def break_shape(folder):
    np.save(folder / "set.000" / "force.npy", np.zeros((1, 5)))


def break_count(folder):
    np.save(folder / "set.000" / "energy.npy", np.zeros(7))


def break_file(folder):
    (folder / "set.000" / "coord.npy").write_text("no array")


def break_types(folder):
    (folder / "type.raw").write_text("0 5\n")


def break_words(folder):
    (folder / "type.raw").write_text("0 x\n")


def break_symbols(folder):
    (folder / "type_map.raw").write_text("Cu\nXx\n")


def break_sets(folder):
    (folder / "set.000").rename(folder / "sets")


def break_notes(folder):
    (folder / "aga.json").write_text("{}")


def break_numbers(folder):
    np.save(folder / "set.000" / "energy.npy", np.array([np.nan]))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (break_shape, r"force.npy: expected shape \(1, 6\), got \(1, 5\)"),
        (break_count, r"energy.npy: expected shape \(1, 1\), got \(7,\)"),
        (break_file, "coord.npy: expected an array"),
        (break_types, "type.raw: expected types from 0 to 1, got 0 to 5"),
        (break_words, "type.raw: expected whole numbers"),
        (break_symbols, "type_map.raw, line 2: expected the symbol"),
        (break_sets, "expected folders set.000"),
        (break_notes, "aga.json: expected a list"),
        (break_numbers, "structure 1: Label holds a number that is not finite"),
    ],
)
def test_damaged_deepmd_folders_say_where(damage, says, tmp_path):
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [2, 0, 0]], cell=[9, 9, 9], pbc=True)
    deepmd.write(tmp_path, [labelled(atoms, 0)])
    damage(tmp_path / "system.000")
    with pytest.raises(FormatError, match=says):
        deepmd.read(tmp_path)


def test_several_sets_and_column_energies(tmp_path):
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [2, 0, 0]], cell=[9, 9, 9], pbc=True)
    frames = [labelled(atoms, index) for index in range(2)]
    for index, frame in enumerate(frames):
        deepmd.write(tmp_path / f"part{index}", [frame])
    system = tmp_path / "part0" / "system.000"
    (tmp_path / "part1" / "system.000" / "set.000").rename(system / "set.001")
    energy = system / "set.001" / "energy.npy"
    np.save(energy, np.load(energy)[:, None])
    (system / "aga.json").write_text(json.dumps([{"id": "a"}, {"id": "b"}]))
    found = deepmd.read(tmp_path / "part0")
    assert [frame.id for frame in found] == ["a", "b"]
    assert [f.label.energy for f in found] == [f.label.energy for f in frames]


@pytest.mark.parametrize("name", ["aenet", "deepmd"])
def test_an_empty_folder_is_an_error(name, tmp_path):
    with pytest.raises(FormatError, match=r"expected (files|a folder)"):
        data_format(name).read(tmp_path)


@pytest.mark.parametrize("name", ["runner", "aenet"])
def test_a_missing_file_is_an_error(name, tmp_path):
    with pytest.raises(FormatError, match="nowhere: expected a text file"):
        data_format(name).read(tmp_path / "nowhere")


def test_every_format_of_the_tables_has_its_functions():
    for name in DATA:
        assert callable(data_format(name).read)
        assert callable(data_format(name).write)
    with pytest.raises(ValueError, match="did you mean 'deepmd'"):
        data_format("deepm")
    with pytest.raises(ValueError, match="did you mean 'simple-nn'"):
        potential_format("simple_nn")


def test_frames_stay_what_they_are_in_a_chain_of_formats(tmp_path):
    frames = [labelled(atoms, n, stress=True) for n, atoms in enumerate(structures(3))]
    found: list[Frame] = frames
    for name in ("aenet", "runner", "deepmd"):
        path = path_for(name, tmp_path / name)
        path.parent.mkdir(exist_ok=True)
        data_format(name).write(path, found)
        found = sorted(data_format(name).read(path), key=lambda frame: frame.id)
    assert_same(found, frames)

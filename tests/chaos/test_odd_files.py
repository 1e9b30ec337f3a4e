"""Structures, labels and models that are empty, cut, binary, malformed or absurd.

Every command that reads them works or refuses them with lines that name the file.
"""

import io
import shutil
from contextlib import suppress

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aga import cli
from aga.campaign.seeding import given as seeds_given
from aga.config import CampaignConfig
from aga.converge import walk
from aga.structure_files import read_structures
from aga.yaml_source import ConfigError
from calculators.outcome import Failure
from potentials.formats import data_format, extxyz
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec
from tests.pseudo_files import psp8

BINARY = bytes(range(256)) * 4
QUICK_SPEC = """\
descriptor: {kind: moments, cutoff: 4.5, radial: 5, angular: 2, degree: 3}
members: 2
network: {enabled: false}
"""
DEEP = settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: written by ASE, by ending
FORMATS = {"cif": "cif", "vasp": "vasp", "extxyz": "extxyz", "json": "json", "traj": "traj"}


def good(form, atoms=None):
    """A file of one crystal as bytes."""
    crystal = bulk("Si", cubic=True)[:4] if atoms is None else atoms
    stream = io.BytesIO() if form in ("traj", "cif") else io.StringIO()
    write(stream, crystal, format=form)
    content = stream.getvalue()
    return content if isinstance(content, bytes) else content.encode()


def spoilt(content):
    """The usual ways in which a file is broken."""
    third = len(content) // 3
    yield "empty", b""
    yield "blank", b"\n \n\n"
    yield "binary", BINARY
    yield "begun", content[:third]
    yield "cut", content[: 2 * third]
    yield "half binary", content[:third] + BINARY + content[third:]
    yield "no number", content.replace(b"0.0", b"nan").replace(b"0.2", b"****")
    yield "infinite", content.replace(b"0.0", b"1e999")
    yield "twice", content + content
    yield "no words", content.replace(b" ", b"")


@pytest.fixture
def aga(capsys):
    """Exit code and what was said; never a traceback."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        code = ended.value.code or 0
        assert code in {0, 1, 2}
        return code, said

    return run


# structures: a search, a convergence


@pytest.fixture
def searched(aga, tmp_path):
    """What `aga check` says of a search from a file."""

    def run(path):
        campaign = tmp_path / "campaign.yaml"
        campaign.write_text(
            "name: x\ncomposition: {Si: 4}\n"
            "engine: {kind: ase, path: ase.calculators.lj.LennardJones}\n"
            f"search: {{structures: ['{path.name}']}}\n",
            encoding="utf-8",
        )
        code, said = aga("check", campaign)
        assert code == 0 or f"search.structures: {path}: " in said
        return code, said

    return run


@pytest.fixture
def converged(aga, tmp_path, monkeypatch):
    """What `aga converge` says of a file, where every point it asks for fails."""
    monkeypatch.setattr(walk, "single_point", lambda *_, **__: Failure("transient", "no engine"))
    (tmp_path / "psp8").mkdir()
    psp8(tmp_path / "psp8" / "Si.psp8", 14)
    sets = ("--set", f"pseudo_dir={tmp_path / 'psp8'}", "--set", "command=env")

    def run(path):
        out = ("--out", tmp_path / "out")
        code, said = aga("converge", path, "--engine", "abinit", *sets, *out)
        assert code in {1, 2}
        assert code == 1 or said.startswith((f"{path}: ", "--engine abinit: "))
        return code, said

    return run


@pytest.mark.parametrize("form", FORMATS)
def test_broken_structure_files(searched, converged, tmp_path, form):
    path = tmp_path / f"a.{form}"
    path.write_bytes(good(FORMATS[form]))
    assert searched(path)[0] == 0
    assert converged(path)[0] == 1
    for name, content in spoilt(path.read_bytes()):
        path.write_bytes(content)
        code, _ = searched(path)
        assert code == 2 or name not in {"empty", "blank", "binary"}, name
        converged(path)


def cell_of(*vectors):
    return Atoms("Si2", [[0, 0, 0], [1.3, 1.3, 1.3]], cell=vectors, pbc=True)


STRANGE = {
    "flat": (cell_of([3, 0, 0], [6, 0, 0], [0, 0, 3]), "three independent cell vectors"),
    "nothing": (cell_of([0, 0, 0], [0, 0, 0], [0, 0, 0]), "three independent cell vectors"),
    "lost": (Atoms("X2", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True), "of no element (X)"),
    "empty": (Atoms(cell=[4, 4, 4], pbc=True), "none with atoms"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_structures_that_are_none(searched, converged, tmp_path, name):
    atoms, said = STRANGE[name]
    path = tmp_path / "a.traj"
    atoms.write(path)
    assert said in searched(path)[1]
    code, told = converged(path)
    assert code == 2
    assert said in told


@pytest.mark.parametrize(
    ("positions", "cell", "said"),
    [
        ([[0, 0, 0], [0, 0, 0]], np.eye(3) * 4, "apart"),
        ([[0, 0, 0], [0.1, 0, 0]], np.eye(3) * 4, "apart"),
        ([[0, 0, 0], [1, 1, 1]], np.eye(3) * 1e-1, "Å^3 per atom"),
        ([[0, 0, 0], [1, 1, 1]], np.eye(3) * 1e4, "Å^3 per atom"),
        ([[0, 0, 0], [1, 1, 1]], np.eye(3) * 1e9, "beyond 100000 Å"),
        ([[0, 0, 0], [1e200, 1, 1]], np.eye(3) * 4, "beyond 100000 Å"),
        ([[0, 0, 0], [1, 1, 1]], np.diag([4e4, 1e-2, 4]), "0.01 Å between two faces"),
    ],
)
def test_no_engine_is_asked_about_what_cannot_be(converged, tmp_path, positions, cell, said):
    path = tmp_path / "a.traj"
    Atoms("Si2", positions, cell=cell, pbc=True).write(path)
    code, told = converged(path)
    assert code == 2
    assert said in told


def test_a_left_handed_cell_is_a_cell(searched, converged, tmp_path):
    path = tmp_path / "a.traj"
    crystal = bulk("Si", cubic=True)
    crystal.set_cell(crystal.cell.array[[1, 0, 2]])
    assert crystal.cell.handedness == -1
    crystal.write(path)
    assert searched(path)[0] == 0
    assert converged(path)[0] == 1


def test_a_folder_is_no_structure(converged, tmp_path):
    assert "a folder, expected a file" in converged(tmp_path)[1]


SYMBOLS = {
    "D": "H",
    "Og": "Og",
    "si": None,
    "SI": None,
    "X": None,
    "14": None,
    "Zz": None,
    "é": None,
}


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("form", ["extxyz", "cif", "vasp"])
def test_odd_elements(searched, tmp_path, symbol, form):
    """Deuterium is hydrogen or unknown, by format; what is read is an element."""
    path = tmp_path / f"a.{form}"
    path.write_bytes(good(form).replace(b"Si", symbol.encode()))
    code, _ = searched(path)
    if code == 0:
        assert all((atoms.numbers > 0).all() for atoms in read_structures(path))


@pytest.mark.parametrize(
    "content",
    [
        b'999999999999\nLattice="4 0 0 0 4 0 0 0 4"\nSi 0 0 0\n',
        b"-3\n\nSi 0 0 0\n",
        b'1\nLattice="4 0 0 0 4 0 0 0"\nSi 0 0 0\n',
        b"1\nProperties=species:S:1:pos:R:2\nSi 0 0\n",
        b"1\nProperties=species:S:1:pos:R:999999\nSi 0 0 0\n",
        b"1\n" + b"[" * 3000 + b"\nSi 0 0 0\n",
    ],
)
def test_xyz_that_lies(searched, aga, tmp_path, content):
    path = tmp_path / "a.extxyz"
    path.write_bytes(content)
    searched(path)
    code, said = aga("convert", path, tmp_path / "out", "--from", "extxyz", "--to", "runner")
    assert code == 2
    assert said.startswith(f"convert: {path}: ")


def test_a_campaign_names_the_file_that_it_cannot_begin_from(tmp_path):
    path = tmp_path / "a.cif"
    path.write_bytes(b"data_x\n")
    config = CampaignConfig.model_validate(
        {
            "name": "x",
            "composition": {"Cu": 2},
            "engine": {"kind": "emt"},
            "search": {"structures": [str(path)]},
        }
    )
    found = seeds_given(config, {"volume_per_atom": 12.0})
    assert isinstance(found, Failure)
    assert str(path) in found.reason


# labels: training, errors, conversion


@pytest.fixture(scope="module")
def frames():
    return emt_frames(14)


@pytest.fixture(scope="module")
def model(frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "made"
    spec = quick_spec(network={"enabled": False})
    fit(spec, frames, np.random.default_rng(0)).save(folder)
    return folder


@pytest.fixture
def learned(aga, model, tmp_path):
    """Exit codes of commands that read labels; each command unless told which."""
    spec = tmp_path / "spec.yaml"
    spec.write_text(QUICK_SPEC, encoding="utf-8")
    out = tmp_path / "out"

    def run(path, form="extxyz", *, only=""):
        commands = (
            ("convert", path, out, "--from", form, "--to", "extxyz"),
            ("evaluate", model, path, "--json", "--from", form),
            ("train", path, "--out", out, "--config", spec, "--from", form),
        )
        codes = []
        for command in commands:
            if only in {"", command[0]}:
                shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
                code, said = aga(*command)
                assert code == 0 or (code == 2 and str(path) in said), (command[0], said)
                codes.append(code)
        return codes

    return run


LATTICE = 'Lattice="4 0 0 0 4 0 0 0 4"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
ROWS = "Cu 0 0 0 0 0 0\nCu 2 2 2 0 0 0\n"


def frame(comment, rows=ROWS, count=2):
    return f"{count}\n{comment}\n{rows}"


LABELS = {
    "no forces": frame(
        f"{LATTICE} Properties=species:S:1:pos:R:3 energy=1", "Cu 0 0 0\nCu 2 2 2\n"
    ),
    "two forces": frame(
        f"{LATTICE} Properties=species:S:1:pos:R:3:forces:R:2 energy=1",
        "Cu 0 0 0 0 0\nCu 2 2 2 0 0\n",
    ),
    "no energy": frame(f"{LATTICE} {COLUMNS}"),
    "nan energy": frame(f"{LATTICE} {COLUMNS} energy=nan"),
    "text for energy": frame(f"{LATTICE} {COLUMNS} energy=low"),
    "many energies": frame(f'{LATTICE} {COLUMNS} energy="1 2 3"'),
    "nan place": frame(f"{LATTICE} {COLUMNS} energy=1", "Cu nan 0 0 0 0 0\nCu 2 2 2 0 0 0\n"),
    "flat": frame(f'Lattice="4 0 0 8 0 0 0 0 4" {COLUMNS} energy=1'),
    "left-handed": frame(f'Lattice="0 4 0 4 0 0 0 0 4" {COLUMNS} energy=1'),
    "coincident": frame(f"{LATTICE} {COLUMNS} energy=1", "Cu 0 0 0 0 0 0\nCu 0 0 0 0 0 0\n"),
    "dense": frame(f'Lattice="0.01 0 0 0 0.01 0 0 0 0.1" {COLUMNS} energy=1'),
    "thin": frame(f'Lattice="1e-5 0 0 0 1e4 0 0 0 1e4" {COLUMNS} energy=1'),
    "wide": frame(f'Lattice="1e30 0 0 0 1e30 0 0 0 1e30" {COLUMNS} energy=1'),
    "far": frame(f"{COLUMNS} energy=1", "Cu 0 0 0 0 0 0\nCu 1e300 2 2 0 0 0\n"),
    "huge energy": frame(f"{LATTICE} {COLUMNS} energy=1e305"),
    "huge force": frame(f"{LATTICE} {COLUMNS} energy=1", "Cu 0 0 0 1e300 0 0\nCu 2 2 2 0 0 0\n"),
    "huge stress": frame(f'{LATTICE} {COLUMNS} energy=1 stress="{" ".join(["1e300"] * 9)}"'),
    "huge virial": frame(f'{LATTICE} {COLUMNS} energy=1 virial="{" ".join(["1e308"] * 9)}"'),
    "other element": frame(f"{LATTICE} {COLUMNS} energy=1", ROWS.replace("Cu", "Og")),
    "no element": frame(f"{LATTICE} {COLUMNS} energy=1", ROWS.replace("Cu", "X")),
    "lower case": frame(f"{LATTICE} {COLUMNS} energy=1", ROWS.replace("Cu", "cu")),
    "numbers": frame(f"{LATTICE} {COLUMNS} energy=1", ROWS.replace("Cu", "29")),
    "no atoms": frame(f"{LATTICE} {COLUMNS} energy=1", "", 0),
    "one label": frame(f"{LATTICE} {COLUMNS} energy=1"),
    "odd quotes": frame(f"{LATTICE} {COLUMNS} energy=1 id=\"a'b"),
}


@pytest.mark.parametrize("name", LABELS)
def test_odd_labels(learned, tmp_path, name):
    path = tmp_path / "a.extxyz"
    path.write_text(LABELS[name], encoding="utf-8")
    learned(path)


@pytest.mark.parametrize("name", [name for name in LABELS if name.startswith("huge")])
def test_odd_labels_among_sane_ones_are_left_out(aga, frames, model, tmp_path, name):
    path = tmp_path / "a.extxyz"
    extxyz.write(path, frames)
    odd = LABELS[name].replace("forces", "REF_forces").replace(" energy", " REF_energy")
    odd = odd.replace(" stress", " REF_stress").replace(" virial", " REF_virial")
    path.write_text(path.read_text(encoding="utf-8") + odd, encoding="utf-8")
    code, said = aga("evaluate", model, path, "--json")
    assert code == 0
    assert f"left out 1 of {len(frames) + 1} structures" in said


@pytest.mark.parametrize("form", ["extxyz", "runner", "aenet", "deepmd"])
def test_broken_sets(learned, frames, tmp_path, form):
    path = tmp_path / "set"
    data_format(form).write(path, frames[:2])
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for file in files:
        whole = file.read_bytes()
        for _, content in spoilt(whole):
            file.write_bytes(content)
            learned(path, form, only="convert")
        file.write_bytes(whole)
    assert learned(path, form, only="convert") == [0]


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b\x08\x00" + BINARY, b"BZh9" + BINARY, b"\xfd7zXZ\0"]
)
def test_broken_archives(learned, tmp_path, suffix, content):
    path = tmp_path / f"a.extxyz.{suffix}"
    path.write_bytes(content)
    assert learned(path) == [2, 2, 2]


@pytest.mark.parametrize("form", ["extxyz", "runner", "aenet", "deepmd"])
def test_nothing_and_a_folder_are_no_set(learned, tmp_path, form):
    assert learned(tmp_path / "none", form) == [2, 2, 2]
    (tmp_path / "folder").mkdir()
    assert learned(tmp_path / "folder", form) == [2, 2, 2]


def test_nothing_can_be_written_there(aga, frames, tmp_path):
    path = tmp_path / "a.extxyz"
    extxyz.write(path, frames[:2])
    for out in (path / "x", ".", "a" * 300):
        code, said = aga("convert", path, out, "--from", "extxyz", "--to", "runner")
        assert code == 2
        assert said.startswith("convert: ")


@pytest.mark.parametrize("file", ["ensemble.json", "weights.pt"])
def test_broken_models(aga, frames, model, tmp_path, file):
    path = tmp_path / "a.extxyz"
    extxyz.write(path, frames)
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    whole = (copy / file).read_bytes()
    for content in (b"", b"{}", b"[]", BINARY, whole[:100], whole[: len(whole) // 2]):
        (copy / file).write_bytes(content)
        code, said = aga("evaluate", copy, path)
        assert code == 2
        assert str(copy) in said
    (copy / file).unlink()
    assert aga("evaluate", copy, path)[0] == 2


# deeper


@st.composite
def damaged(draw, contents):
    """One of some files with bytes changed, removed, doubled."""
    content = draw(st.sampled_from(contents))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        upto = min(len(content), at + draw(st.integers(0, 30)))
        new = draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"nan", b"1e999", b"-1", b"0", b"9" * 30, b"\n", b"X", b'"', b"="]
                ),
                st.just(content[at:upto] * 2),
            )
        )
        content = content[:at] + new + content[upto:]
    return content


@pytest.mark.chaos
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.timeout(3000)
def test_structures_damaged_thousands_of_times(tmp_path, form):
    path = tmp_path / f"a.{form}"

    @DEEP
    @given(content=damaged([good(FORMATS[form])]))
    def once(content):
        path.write_bytes(content)
        with suppress(ConfigError):
            assert read_structures(path)

    once()


@pytest.mark.chaos
@given(content=damaged([one.encode() for one in LABELS.values()]))
@DEEP
@pytest.mark.timeout(3000)
def test_labels_damaged_thousands_of_times(aga, model, tmp_path, content):
    path = tmp_path / "a.extxyz"
    path.write_bytes(content)
    for command in (
        ("evaluate", model, path, "--json"),
        ("convert", path, tmp_path / "out", "--from", "extxyz", "--to", "runner"),
    ):
        (tmp_path / "out").unlink(missing_ok=True)
        code, said = aga(*command)
        assert code == 0 or str(path) in said

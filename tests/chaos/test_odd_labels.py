"""Labels and models that are empty, cut, binary, malformed or absurd: training, errors, conversion.

Every command that reads them works or refuses them with lines that name the file.
"""

import shutil

import numpy as np
import pytest
from hypothesis import given

from potentials.formats import data_format, extxyz
from potentials.training import fit
from tests.chaos.odd import BINARY, DEEP, damaged, spoilt
from tests.crystals import emt_frames, quick_spec

QUICK_SPEC = """\
descriptor: {kind: moments, cutoff: 4.5, radial: 5, angular: 2, degree: 3}
members: 2
network: {enabled: false}
"""


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
    "endless": frame(f'Lattice="1e300 0 0 0 1e30 0 0 0 1e30" {COLUMNS} energy=1'),
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

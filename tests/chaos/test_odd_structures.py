"""Structures that are empty, cut, binary, malformed or absurd.

Every command that reads them works or refuses them with lines that name the file.
"""

from contextlib import suppress

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given

from aga.campaign.seeding import given as seeds_given
from aga.config import CampaignConfig
from aga.converge import walk
from aga.structure_files import read_structures
from aga.yaml_source import ConfigError
from calculators.outcome import Failure
from tests.chaos.odd import DEEP, FORMATS, damaged, good, spoilt
from tests.pseudo_files import psp8


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

"""An engine of another distribution, found by its entry point, here and in child processes."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from tests.pseudo_files import potcar, psp8, upf

HERE = Path(__file__).parent


@pytest.fixture
def decaying(tmp_path, monkeypatch):
    """Makes the kind ``decaying`` known."""
    folder = tmp_path / "site" / "decaying-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: decaying\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[aga.engines]\ndecaying = decaying:Decaying\n")
    folders = [str(HERE), str(folder.parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))
    for name in folders:
        monkeypatch.syspath_prepend(name)


@pytest.fixture
def copper() -> Atoms:
    """Four atoms with forces."""
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, rng=np.random.default_rng(1))
    return atoms


@pytest.fixture
def file(tmp_path, copper) -> Path:
    copper.write(tmp_path / "copper.extxyz")
    return tmp_path / "copper.extxyz"


@pytest.fixture
def sets(tmp_path):
    """Settings with which engines find pseudopotentials of silicon and oxygen, and a program."""
    for number, symbol in ((14, "Si"), (8, "O")):
        for name in ("espresso", "abinit", "cp2k"):
            (tmp_path / name).mkdir(exist_ok=True)
        upf(tmp_path / "espresso" / f"{symbol}.upf", symbol)
        psp8(tmp_path / "abinit" / f"{symbol}.psp8", number)
        potcar(tmp_path / "vasp", symbol, cutoff={"Si": 245.0, "O": 400.0}[symbol])
    for name, entry in (("BASIS_MOLOPT", "DZVP-MOLOPT-SR-GTH"), ("GTH_POTENTIALS", "GTH-PBE")):
        (tmp_path / "cp2k" / name).write_text(f"Si {entry}\nO {entry}\n", encoding="utf-8")
    found = {
        name: {"pseudo_dir": str(tmp_path / name), "command": sys.executable}
        for name in ("espresso", "abinit", "vasp")
    }
    return {**found, "cp2k": {"data_dir": str(tmp_path / "cp2k"), "command": sys.executable}}

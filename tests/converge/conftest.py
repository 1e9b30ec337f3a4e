"""An engine of another distribution, found by its entry point, here and in child processes."""

import os
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

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

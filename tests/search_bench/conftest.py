import importlib
import sys

import pytest

from tests.search_bench.made import BENCH, TINY, tetragonal


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """The benchmark's folder importable."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])


@pytest.fixture
def script():
    return importlib.import_module


@pytest.fixture
def tiny(tmp_path):
    """A system file of four atoms with EMT."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


@pytest.fixture
def judge(script):
    """A judge whose goal is L1_0 at -1 eV/atom."""
    found = script("search.judge")
    return found.Judge(
        [
            found.Reference("B2", -0.9, tetragonal(1.0, 3.1)),
            found.Reference("L1_0", -1.0, tetragonal()),
        ]
    )

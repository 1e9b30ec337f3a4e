"""`make` from a bare checkout."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def make(*arguments, **environment):
    return subprocess.run(
        [MAKE, "-C", ROOT, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


def test_the_default_lists_the_targets():
    listed = make().stdout
    for target in ("search", "search-chgnet", "test", "lint"):
        assert f"make {target} " in listed


def test_search_without_a_compiler_stops_and_says_what_else_works(tmp_path):
    done = make("search", f"VENV={tmp_path}/venv", PATH=str(tmp_path))
    assert done.returncode == 2
    assert "g++" in done.stderr
    assert "make search-chgnet" in done.stderr
    assert "engine: {kind: chgnet}" in done.stderr
    assert not (tmp_path / "venv").exists()

"""Fixtures of the tests of labels and relaxations."""

import numpy as np
import pytest
from ase.build import bulk

from tests.labelling.fakes import TESTS


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Children find the fake calculators."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    monkeypatch.syspath_prepend(TESTS)  # for the check before the child


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, rng=np.random.default_rng(1))
    return atoms

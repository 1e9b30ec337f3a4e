"""What every test session is given: one thread, and examples that do not depend on the day."""

import importlib
import logging
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

BENCH = Path(__file__).parents[1] / "scripts" / "bench"


def pytest_configure() -> None:
    # before torch or BLAS are imported, here and in child processes: small work, many processes
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    settings.register_profile("aga", deadline=None, derandomize=True, max_examples=20)
    settings.load_profile("aga")


@pytest.fixture
def script(monkeypatch):
    """A script of scripts/bench as a module, its neighbours importable."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    return importlib.import_module


# threads of a Dask that a test has closed may still log, into the stream of a test that is over:
# the complaint about it would land in the output of another test
logging.raiseExceptions = False

"""What every test session is given: one thread, and examples that do not depend on the day."""

import logging
import os

from hypothesis import settings


def pytest_configure() -> None:
    # before torch or BLAS are imported, here and in child processes: small work, many processes
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    settings.register_profile("aga", deadline=None, derandomize=True, max_examples=20)
    settings.load_profile("aga")


# threads of a Dask that a test has closed may still log, into the stream of a test that is over:
# the complaint about it would land in the output of another test
logging.raiseExceptions = False

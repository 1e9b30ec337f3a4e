"""A real Slurm where there can be one, and stand-ins for the other batch systems."""

import pytest

from tests.batch.slurm_site import Site, missing, until
from tests.campaign.conftest import runs  # noqa: F401 - a fixture
from tests.campaign.processes import ROOT


@pytest.hookimpl(trylast=True)  # after -m has chosen
def pytest_collection_modifyitems(items):
    """Of Slurm's tests the longest first, so that processes that share them end together."""
    if all(item.get_closest_marker("slurm") for item in items):
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def site():
    """A Slurm of our own; tests are skipped where there can be none."""
    if reason := missing():
        pytest.skip(reason)
    made = Site()
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def slurm(site, monkeypatch):
    """The same, for one test, after which no job may be left."""
    monkeypatch.setenv("SLURM_CONF", str(site.conf))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield site
    left = site.jobs("PD", "CF", "R", "S")
    if left:
        site.run("scancel", *left)
    until(lambda: not site.jobs("PD", "CF", "R", "S", "CG"), "the jobs to end")
    assert not left

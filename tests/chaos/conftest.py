"""Fixtures of the tests of faults."""

import pytest

from tests.campaign.conftest import quick_labels, runs  # noqa: F401 - fixtures here too
from tests.chaos.disk import disk


@pytest.fixture
def own_disk(tmp_path):
    """A small disk of its own."""
    with disk(tmp_path / "disk", 64) as made:
        if made is None:
            pytest.skip("only root may mount a disk")
        yield made

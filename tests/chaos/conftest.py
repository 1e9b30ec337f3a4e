"""Fixtures of the tests of faults."""

import pytest

from aga import cli
from tests.campaign.conftest import quick_labels, runs  # noqa: F401 - fixtures here too
from tests.chaos.disk import disk


@pytest.fixture
def own_disk(tmp_path):
    """A small disk of its own."""
    with disk(tmp_path / "disk", 64) as made:
        if made is None:
            pytest.skip("only root may mount a disk")
        yield made


@pytest.fixture
def aga(capsys):
    """Exit code and what was said; never a traceback."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        code = ended.value.code or 0
        assert code in {0, 1, 2}
        return code, said

    return run

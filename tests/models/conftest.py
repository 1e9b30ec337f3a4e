"""Files of labels and a saved ensemble that several tests share; none of them is changed."""

import numpy as np
import pytest
import torch

from aga import cli
from potentials.formats import extxyz
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec

#: settings that fit in a moment
QUICK = """\
descriptor: {kind: moments, cutoff: 4.5, radial: 5, angular: 2, degree: 3}
members: 3
network: {enabled: false}
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def aga(capsys):
    """Run the command line; exit code, standard output and standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def frames():
    return emt_frames(30)


@pytest.fixture(scope="session")
def data(frames, tmp_path_factory):
    """Two sets of labels."""
    folder = tmp_path_factory.mktemp("data")
    extxyz.write(folder / "train.extxyz", frames[:22])
    extxyz.write(folder / "test.extxyz", frames[22:])
    return folder


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def ensemble(frames):
    return fit(quick_spec(network={"enabled": False}), frames[:22], np.random.default_rng(0))


@pytest.fixture(scope="session")
def model(ensemble, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "made"
    ensemble.save(folder)
    return folder

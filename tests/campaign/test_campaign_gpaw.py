"""A short campaign with real DFT."""

import importlib.util

import numpy as np
import pytest

from aga.campaign.run import FINISHED, start
from tests.campaign.builders import config, stored

pytestmark = [
    pytest.mark.gpaw,
    pytest.mark.skipif(importlib.util.find_spec("gpaw") is None, reason="GPAW is not installed"),
]


def test_silicon_with_seven_labels(tmp_path):
    settings = config(
        composition={"Si": 2},
        engine={"kind": "gpaw", "ecut_ev": 150.0, "kpts_density": 1.0},
        overlap=False,
        search={"initial_labels": 3, "batch": 2},
        budget={"labels": 7, "confirm_reserve": 2},
        confirm={"structures": 1},
    )
    assert start(settings, tmp_path) == FINISHED
    state = stored(tmp_path)
    assert 5 <= len(state.labelled) <= 7
    assert state.failures == []
    assert state.models
    first = state.labelled[0]
    assert first.label.engine == settings.engine.key()
    assert np.isfinite(first.label.forces).all()
    assert first.label.seconds > 0
    # the search does better than chance
    assert state.ranking[0].best.enthalpy <= min(one.known.enthalpy for one in state.labelled[:3])

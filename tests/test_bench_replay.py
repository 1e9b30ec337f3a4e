"""The measurement of replay: what it sees of a fit is what the fit did."""

from pathlib import Path

import numpy as np
import pytest

from potentials.replay import short_keys
from tests.crystals import emt_frames, quick_spec

BENCH = Path(__file__).parents[1] / "scripts" / "bench"


@pytest.fixture
def bench(script):
    network = {"hidden": (6, 5), "epochs": 5, "min_labels": 8, "batch": 4}
    spec = quick_spec(network=network, linear={"enabled": False})
    plan = script("focal_problem").Plan(region=12, unseen=6, old_test=8)
    return script("replay").Bench(emt_frames(60), spec, plan, 30, 0)


def test_old_and_new_structures_are_trained_on_and_others_tested(bench):
    own = bench.own
    sides = [own.old, own.old_test, own.new, own.unseen]
    assert [len(side) for side in sides] == [30, 8, 6, 6]
    assert len({place for side in sides for place in side}) == 50
    assert bench.before().trained_on == short_keys(f.id for f in bench.some(own.old))


def test_the_networks_at_the_end_of_the_way_are_those_of_the_fit(bench):
    """Each epoch was the best so far, and there is no linear term beside."""
    row = bench.run("0.5", 4, 5)
    assert row["warm"]
    assert row["kept"]
    assert row["best"] == row["epochs"] == 5
    assert [epoch for epoch, _ in row["curve"]] == [0, 1, 2, 3, 4, 5]
    assert len(row["way"]) == 6
    ends = (row["way"][-1], row["errors"]["networks"], row["errors"]["final"])
    for group in ("new", "old"):
        for one in ends[1:]:
            np.testing.assert_allclose(one[group], ends[0][group], rtol=1e-4)


def test_settings_begin_alike_and_part(bench, script, capsys):
    rows = [bench.run(setting, 4, 3) for setting in ("0", "0.5", "anew", "linear")]
    plain, replay, anew, linear = rows
    assert plain["way"][0] == replay["way"][0] != anew["way"][0]
    assert plain["way"][-1] != replay["way"][-1]
    assert replay["steps"] > plain["steps"] == anew["steps"]
    assert linear["errors"]["networks"] is None
    script("replay").table(script("replay").summary(rows), as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_epochs_to_the_error_of_the_plain_training(script):
    def row(setting, errors):
        curve = [(8 * i, error) for i, error in enumerate(errors)]
        none = {"before": None, "networks": None, "final": None}
        times = {"seconds": 1.0, "training": 1.0, "epochs": 16, "best": 16}
        about = {"setting": setting, "seed": 0, "kept": False}
        return about | times | {"curve": curve, "errors": none}

    rows = [row("0", [3.0, 2.0, 1.0]), row("0.5", [3.0, 1.0, 0.5]), row("anew", [3.0, 2.0, 1.5])]
    found = script("replay").summary(rows)
    assert [one["reached"] for one in found] == [16, 8, float("inf")]

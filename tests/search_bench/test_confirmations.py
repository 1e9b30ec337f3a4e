"""What a confirmation took, next to the engine's own relaxation."""

import pytest
from ase.build import bulk

from aga.config import CampaignConfig


@pytest.fixture
def module(script):
    return script("search.confirmations")


@pytest.fixture
def config():
    return CampaignConfig(name="c", composition={"Cu": 4}, engine={"kind": "emt"})


@pytest.fixture
def strained():
    atoms = bulk("Cu", cubic=True, a=3.75)
    atoms.positions[1] += [0.1, 0.05, 0.0]
    return atoms


def test_the_engine_is_counted_without_its_start(module, config, strained):
    points, relaxed = module.by_engine(config, strained)
    assert relaxed
    assert 2 <= points < module.POINTS
    assert module.by_engine(config, bulk("Cu", cubic=True, a=3.59)) == (0, True)


def test_a_relaxation_that_is_not_done_says_so(module, config, strained, monkeypatch):
    monkeypatch.setattr(module, "POINTS", 1)
    assert module.by_engine(config, strained) == (1, False)


def test_the_table_has_medians_by_cell(module):
    found = [
        module.Confirmation("Cu4", 1, True, 5, True),
        module.Confirmation("Au4", 2, True, 3, True),
        module.Confirmation("Cu4", 4, False, 60, False),
    ]
    assert module.table(found).splitlines()[2:] == [
        "| Au4 | 1 | 2 | 1 | 3 | 1 |",
        "| Cu4 | 2 | 2.5 | 1 | 32.5 | 1 |",
    ]


def test_a_kept_campaign_is_measured(module, script, tiny, tmp_path, capsys):
    kept = tmp_path / "kept"
    given = ["--system", str(tiny), "--method", "aga", "--budget", "17", "--whole"]
    given += ["--cache", str(tmp_path / "cache"), "--keep", str(kept)]
    # so strict that what the search has labelled is not confirmed by that
    given += ["--set", "confirm.fmax_ev_per_a=0.01"]
    assert script("search.run").main(given) == 0
    capsys.readouterr()
    assert module.main([str(folder) for folder in kept.glob("*/campaign")]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert len(rows) == 1
    _, structures, labels, _, alone, relaxed = rows[0].strip("| ").split(" | ")
    assert int(structures) >= 1
    assert float(labels) >= 1
    assert float(alone) >= 1
    assert int(relaxed) == int(structures)


def test_a_folder_without_a_campaign_is_refused(module, tmp_path, capsys):
    with pytest.raises(SystemExit):
        module.main([str(tmp_path)])
    assert "found no campaign.db there" in capsys.readouterr().err

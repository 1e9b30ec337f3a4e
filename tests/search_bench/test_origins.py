"""What each operator brought, counted over the records of a campaign."""

import json
from types import SimpleNamespace

import pytest

#: first labels of a campaign
SEEDS = 8


@pytest.fixture
def module(script):
    return script("search.origins")


def labelled(identity, height, purpose="search"):
    known = SimpleNamespace(id=identity, height=height)
    return SimpleNamespace(known=known, purpose=purpose)


def evolved(**record):
    return SimpleNamespace(kind="evolve", progress="done", ok={"record": record})


def test_labels_belong_to_who_made_the_structure_and_count_if_lower_than_all_before(module):
    made = {
        "e0": {"origin": "slip", "parents": ["s0"]},
        "e1": {"origin": "carried", "parents": ["e0"]},
        "e2": {"origin": "strain", "parents": ["s1"]},
    }
    records = [evolved(slip=(9, 2), strain=(4, 0)), evolved(slip=(1, 1))]
    records.append(SimpleNamespace(kind="evolve", progress="failed"))
    labels = [
        labelled("s0", 0.0, "seed"),
        labelled("s1", -0.1, "seed"),
        labelled("e1", -0.15),
        labelled("e2", -0.1505),  # by less than counts
        labelled("e0", -0.12),
    ]
    tally = module.Tally()
    module.count(SimpleNamespace(records=records, labelled=labels), made, tally)
    assert module.markdown(tally).splitlines()[2:] == [
        "| `slip` | 10 | 3 | 30.0 % | 2 | 1 |",
        "| `strain` | 4 | 0 | 0.0 % | 1 | 0 |",
    ]


def test_a_kept_campaign_is_tallied(module, script, tiny, tmp_path, capsys):
    kept = tmp_path / "kept"
    given = ["--system", str(tiny), "--method", "aga", "--budget", "18", "--whole", "--json"]
    given += ["--cache", str(tmp_path / "cache"), "--keep", str(kept)]
    assert script("search.run").main(given) == 0
    row = json.loads(capsys.readouterr().out)
    assert module.main([str(folder) for folder in kept.glob("*/campaign")]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert sum(int(line[4]) for line in lines) == row["labels"] - SEEDS
    assert sum(int(line[1]) for line in lines) >= 60


def test_a_folder_without_a_campaign_is_refused(module, tmp_path, capsys):
    with pytest.raises(SystemExit):
        module.main([str(tmp_path)])
    assert "found no campaign.db there" in capsys.readouterr().err

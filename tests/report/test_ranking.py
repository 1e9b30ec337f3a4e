"""Rows of the ranked table: order, flags, and what the engine may be called."""

import pytest
from ase.units import GPa

from aga.report import ranking
from calculators.engines import build
from tests.crystals import emt_label
from tests.report.conftest import RELAXED, Campaign, bcc, config, fcc


def test_lowest_first_with_what_each_is(campaign):
    rows = ranking.rows(campaign.store.state())
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
    assert [row.enthalpy for row in rows] == sorted(row.enthalpy for row in rows)
    best = rows[0]
    assert (best.id, best.formula, best.spacegroup) == ("p0", "Cu4", "Fm-3m (225)")
    assert best.above == 0.0
    assert best.enthalpy == pytest.approx(emt_label(fcc()).energy / 4)
    other = next(row for row in rows if row.id == "s0")
    assert other.spacegroup == "Im-3m (229)"
    assert other.above == pytest.approx(other.enthalpy - best.enthalpy)
    worst = abs(emt_label(bcc()).stress).max() / GPa
    assert other.stress_gpa == pytest.approx(worst)


def test_only_what_the_engine_finds_relaxed_is_confirmed(campaign):
    rows = ranking.rows(campaign.store.state())
    assert [row.id for row in rows if row.confirmed] == ["p0"]


def test_labels_of_one_structure_are_one_row(campaign):
    rows = ranking.rows(campaign.store.state())
    assert rows[0].labels == 2  # strained copper and its confirmation
    assert sum(row.labels for row in rows) == 5
    assert "e0" not in [row.id for row in rows]


def test_a_label_without_stress_shows_none(campaign):
    row = next(row for row in ranking.rows(campaign.store.state()) if row.id == "e1")
    assert row.stress_gpa is None
    assert "-" in row.cells()


def test_the_confirmed_label_represents_a_structure_within_the_tie(tmp_path):
    strict = {"confirm": {"stress_gpa": 1e-9}}
    campaign = Campaign(tmp_path / "run", config(**strict))
    campaign.label("lowest", fcc())
    [row] = ranking.rows(campaign.store.state())
    assert (row.id, row.confirmed) == ("lowest", False)
    campaign.label("believed", fcc(1.001 * RELAXED), stress=False)  # its forces are enough
    [row] = ranking.rows(campaign.store.state())
    assert (row.id, row.confirmed, row.labels) == ("believed", True, 2)
    assert row.above == 0.0
    campaign.close_store()


def test_limit(campaign):
    assert len(ranking.rows(campaign.store.state(), 2)) == 2


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ({"kind": "gpaw"}, "DFT"),
        ({"kind": "emt"}, "EMT (surrogate)"),
        ({"kind": "chgnet"}, "CHGNet 0.3.0 (surrogate)"),
        # the whole path pushed the last columns of a table out of the page
        ({"kind": "ase", "path": "ase.calculators.emt.EMT"}, "EMT (surrogate)"),
    ],
)
def test_only_dft_is_called_dft(engine, name):
    assert ranking.method(build(engine)) == name

"""What a campaign of several compositions shows: the hull in tables, pictures and exports."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from monty.serialization import loadfn
from pymatgen.analysis.phase_diagram import PhaseDiagram

from aga.campaign.progress import Progress
from aga.report import hull, ranking
from aga.report.export import export
from aga.report.finish import finish
from aga.report.html import write_report
from aga.report.status import load, print_status, status_json
from aga.search.hull import Hull, Phase
from tests.report.conftest import Campaign, config

REFERENCE = {"formula": "Au3Cu", "enthalpy_ev_per_atom": -0.02}


def several(**compositions):
    given = {"elements": ["Cu", "Au"], "atoms": [2, 4], "references": [REFERENCE], **compositions}
    return config(name="alloys", composition=None, compositions=given)


def l12(a=3.716):
    atoms = bulk("Cu", "fcc", a=a, cubic=True)
    atoms.symbols = ["Au", "Cu", "Cu", "Cu"]
    return atoms


def l10():
    return Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[2.72, 2.72, 3.7], pbc=True)


@pytest.fixture(scope="module")
def alloys(tmp_path_factory):
    made = Campaign(tmp_path_factory.mktemp("alloys") / "run", several())
    made.label("cu", bulk("Cu", "fcc", a=3.5903), purpose="seed", origin="end_member")
    made.label("au", bulk("Au", "fcc", a=4.06), purpose="seed", origin="end_member")
    made.label("loose", bulk("Cu", "fcc", a=3.75), purpose="seed")
    made.label("l10", l10(), predicted=0.0, spread=0.01)
    made.train(10.0)
    made.label("l12", l12(), predicted=0.0, spread=0.01)
    made.finish()
    made.close_store()
    return made.store.run_dir


@pytest.fixture
def run_dir(alloys, tmp_path):
    return shutil.copytree(alloys, tmp_path / "run")


def test_rows_are_ranked_by_their_height_above_the_hull(alloys):
    state = load(alloys)
    rows = ranking.rows(state)
    assert [row.above for row in rows] == sorted(row.above for row in rows)
    assert {row.formula for row in rows if row.above < 1e-9} == {"Cu", "Au", "AuCu3"}
    assert "above hull [meV/atom]" in ranking.columns(state)
    # the strained copper is the same form; gold-copper lies above the line to the reference
    assert rows[-1].formula == "AuCu"
    assert ranking.hull(state) == "on the hull: Au, AuCu3, Cu, Au3Cu (reference)"


def test_how_the_hull_came_down(alloys):
    state = load(alloys)
    found = hull.distances(state)
    assert np.isnan(found[0])  # gold was not labelled yet
    assert (np.diff(found[1:]) <= 0).all()
    assert found[-1] == pytest.approx(0.0, abs=1e-9)
    # before the last label: from Cu3Au to the line between copper and the reference
    assert found[-2] > 0.003


def test_status_and_end_name_the_hull(run_dir):
    out = io.StringIO()
    print_status(run_dir, out)
    finish(run_dir, out)
    assert out.getvalue().count("on the hull: Au, AuCu3, Cu, Au3Cu (reference)") == 2
    data = json.loads(json.dumps(status_json(run_dir), allow_nan=False))
    assert data["best"][0]["above_per_atom"] == pytest.approx(0.0, abs=1e-9)
    with (run_dir / "best" / "ranking.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["formula"] for row in table if row["above hull [meV/atom]"] == "0.0"]
    assert (run_dir / "report" / "hull.svg").is_file()


def test_before_the_hull_is_there_heights_are_unknown(tmp_path):
    made = Campaign(tmp_path / "run", several())
    made.label("cu", bulk("Cu", "fcc", a=3.6))
    made.label("l10", l10())
    made.close_store()
    data = json.loads(json.dumps(status_json(made.store.run_dir), allow_nan=False))
    assert [row["above_per_atom"] for row in data["best"]] != [None, None]
    assert write_report(made.store.run_dir).is_file()


def test_the_page_shows_the_hull_first(run_dir):
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert text.index('id="convex-hull"') < text.index('id="best-enthalpy-against-labels"')
    assert "On the hull: Au, AuCu3, Cu, Au3Cu (reference)." in text
    assert "Au-Cu, 6 compositions of 2 to 4 atoms at 0 GPa" in text
    picture = (run_dir / "report" / "hull.svg").read_text()
    for part in ("enthalpy of formation [meV/atom]", ">AuCu3<", ">Au3Cu<"):
        assert part in picture


def test_pymatgen_draws_the_same_hull_from_the_entries(run_dir, tmp_path):
    export(run_dir, "entries", tmp_path / "entries.json")
    entries = loadfn(tmp_path / "entries.json")
    diagram = PhaseDiagram(entries)
    assert {entry.composition.reduced_formula for entry in diagram.stable_entries} == {
        "Cu",
        "Au",
        "Cu3Au",
        "CuAu3",
    }
    for entry in entries:
        if entry.data:
            above = diagram.get_e_above_hull(entry)
            assert entry.data["above_hull_ev_per_atom"] == pytest.approx(above, abs=1e-7)


def test_the_axis_of_a_line_between_compounds():
    phases = [
        Phase("MgO", {"Mg": 2, "O": 2}, -6.0),
        Phase("SiO2", {"Si": 1, "O": 2}, -8.0),
        Phase("x", {"Mg": 1, "Si": 1, "O": 3}, -7.3),
    ]
    axis = hull._Axis(Hull(phases), (phases[0].counts, phases[1].counts))
    share, height = axis.place(phases[2].counts, phases[2].enthalpy)
    assert share == pytest.approx(0.6)
    assert height == pytest.approx(-100.0)


ELEMENTS = [Phase(symbol, {symbol: 1}, 0.0) for symbol in ("Al", "Cu", "Ni", "Ti")]
OXIDES = [
    Phase("MgO", {"Mg": 1, "O": 1}, -6.0),
    Phase("SiO2", {"Si": 1, "O": 2}, -7.0),
    Phase("Al2O3", {"Al": 2, "O": 3}, -8.0),
    Phase("MgSiO3", {"Mg": 1, "Si": 1, "O": 3}, -6.8),
]


@pytest.mark.parametrize("phases", [ELEMENTS[:3], OXIDES])
def test_three_end_members_make_a_triangle(alloys, monkeypatch, phases):
    monkeypatch.setattr(hull, "hull_of", lambda *_: Hull(phases))
    assert hull.picture(load(alloys)) is not None


@pytest.mark.parametrize("phases", [ELEMENTS, ELEMENTS[:1]])
def test_one_end_member_and_four_make_no_picture(alloys, monkeypatch, phases):
    monkeypatch.setattr(hull, "hull_of", lambda *_: Hull(phases))
    assert hull.picture(load(alloys)) is None


def test_progress_tells_of_the_hull(alloys, tmp_path):
    out = io.StringIO()
    state = load(alloys)
    with Progress(tmp_path, out) as progress:
        progress(state, None, [])
        progress(state, None, [])
    assert out.getvalue().count("on the hull: ") == 1
    assert "AuCu3 Pm-3m (221)" in out.getvalue()
    assert np.isfinite([one.height for one in state.known]).all()


@pytest.mark.parametrize("deep", [1.0, 3.7, 10.4, 250.0])
def test_the_depth_of_the_hull_can_be_read(deep):
    ticks = hull._ticks(deep)
    assert ticks == sorted(ticks)
    assert len(ticks) <= 13
    assert 0.0 in ticks
    assert ticks[0] <= -0.5 * deep
    assert ticks[-1] >= 300

"""What is left behind when a run ends: table, CIF files, report; whatever goes wrong."""

import csv
import io
import warnings

import pytest
from ase.io import read

from aga.report import cif, finish
from aga.report.html import write_report
from aga.report.ranking import rows
from aga.report.status import load
from aga.search.symmetry import spacegroup
from tests.report.conftest import Campaign, loose


def told(run_dir):
    out = io.StringIO()
    finish.finish(run_dir, out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(finish, "write_report", lambda run_dir: run_dir / "report" / "index.html")


def test_table_and_summary(run_dir, monkeypatch):
    monkeypatch.setattr(finish, "write_report", write_report)
    text = told(run_dir)
    assert "\x1b" not in text
    assert "Fm-3m (225)" in text
    assert "single points by emt: 6 spent, 1 of them failed; wall time" in text
    assert "finished: the best has not changed" in text
    assert str(run_dir / "report" / "index.html") in text
    assert (run_dir / "report" / "index.html").is_file()


def test_best_structures_are_symmetrised_cif(run_dir):
    told(run_dir)
    names = sorted(path.name for path in (run_dir / "best").glob("*.cif"))
    assert names[0] == "01_Fm-3m_Cu4.cif"
    state = load(run_dir)
    assert len(names) == len(state.groups)
    for row, name in zip(rows(state), names, strict=True):
        text = (run_dir / "best" / name).read_text(encoding="ascii")
        assert f"id {row.id}" in text
        assert f"enthalpy {row.enthalpy:.6f} eV/atom" in text
        assert f"confirmed by EMT (surrogate): {'yes' if row.confirmed else 'no'}" in text
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE on settings of space groups
            back = read(run_dir / "best" / name)
        assert spacegroup(back, 0.01) == row.spacegroup
        assert back.get_volume() / len(back) == pytest.approx(
            row.atoms.get_volume() / len(row.atoms), rel=cif.SAME_VOLUME
        )


def test_ranking_as_csv(run_dir):
    told(run_dir)
    with (run_dir / "best" / "ranking.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["rank"] for row in table] == [str(i + 1) for i in range(len(table))]
    assert table[0]["space group"] == "Fm-3m (225)"
    assert table[0]["confirmed by EMT (surrogate)"] == "yes"


def test_old_files_of_the_ranking_go_and_others_stay(run_dir):
    best = run_dir / "best"
    best.mkdir()
    for name in ("01_P1_Cu4.cif", "mine.cif", "notes.txt"):
        (best / name).write_text("")
    told(run_dir)
    names = {path.name for path in best.iterdir()}
    assert {"mine.cif", "notes.txt", "01_Fm-3m_Cu4.cif"} <= names
    assert "01_P1_Cu4.cif" not in names


def test_a_structure_that_cannot_be_symmetrised_is_written_as_it_is(run_dir, monkeypatch):
    writer = cif._cif

    def fails(structure, symprec=None):
        if symprec is not None:
            raise ValueError("no symmetry")
        return writer(structure)

    monkeypatch.setattr(cif, "_cif", fails)
    told(run_dir)
    text = (run_dir / "best" / "01_Fm-3m_Cu4.cif").read_text()
    assert "the cell as it was computed, P1" in text
    assert "_symmetry_Int_Tables_number   1\n" in text


def test_partial_results_of_a_stopped_run(campaign):
    text = told(campaign.store.run_dir)
    assert "stopped; the same `aga run` goes on with it" in text
    assert "Fm-3m (225)" in text


def test_a_run_without_labels(empty_dir):
    text = told(empty_dir)
    assert "no structure has been labelled yet" in text
    assert not (empty_dir / "best").exists()


def test_a_folder_that_never_began(tmp_path):
    assert told(tmp_path) == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no fonts"), "report: failed (RuntimeError: no fonts)"),
        (OSError(28, "disk full"), "disk full"),
        (KeyboardInterrupt(), "report: stopped; `aga report"),
    ],
)
def test_the_result_outlives_its_pictures(run_dir, monkeypatch, error, message):
    def fails(_):
        raise error

    monkeypatch.setattr(finish, "write_report", fails)
    text = told(run_dir)
    assert "Fm-3m (225)" in text
    assert message in text
    assert (run_dir / "best" / "01_Fm-3m_Cu4.cif").is_file()


def test_names_of_files_have_no_strokes(tmp_path):
    made = Campaign(tmp_path / "run")
    made.label("s0", loose())
    [row] = rows(made.store.state())
    object.__setattr__(row, "spacegroup", "P6_3/mmc (194)")
    assert cif.name(row) == "01_P63-mmc_Cu4"
    made.close_store()

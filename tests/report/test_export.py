"""Exports, read back by the programs they are for: energies, forces, and the sign of stress."""

import json

import numpy as np
import pytest
from ase.io import read
from ase.stress import voigt_6_to_full_3x3_stress

from aga.report.export import FORMATS, export
from aga.report.status import load
from aga.yaml_source import ConfigError
from potentials.formats import extxyz
from tests.crystals import emt_label
from tests.report.conftest import Campaign, bcc, config, fcc
from tests.tolerances import ROUNDING_ABS

#: extxyz holds eight decimals
EXTXYZ = 1e-8


@pytest.fixture
def labels(finished):
    return {one.known.id: one for one in load(finished).labelled}


@pytest.fixture
def exported(run_dir, tmp_path):
    def write(form):
        out = tmp_path / f"out.{form}"
        export(run_dir, form, out)
        return out

    return write


def check(found, label, tolerance=ROUNDING_ABS):
    """Energy, forces and stress (3, 3) or None against a label."""
    energy, forces, stress = found
    assert energy == pytest.approx(label.energy, abs=tolerance)
    np.testing.assert_allclose(forces, label.forces, rtol=0, atol=tolerance)
    assert (stress is None) == (label.stress is None)
    if stress is not None:
        full = voigt_6_to_full_3x3_stress(label.stress)
        np.testing.assert_allclose(np.reshape(stress, (3, 3)), full, rtol=0, atol=tolerance)


def results(atoms):
    found = atoms.calc.results
    stress = found.get("stress")
    full = None if stress is None else voigt_6_to_full_3x3_stress(stress)
    return found["energy"], found["forces"], full


def test_extxyz(exported, labels):
    path = exported("extxyz")
    frames = read(path, ":", format="extxyz")
    assert [atoms.info["id"] for atoms in frames] == sorted(labels)
    for atoms in frames:
        one = labels[atoms.info["id"]]
        stress = atoms.info.get("REF_stress")
        check((atoms.info["REF_energy"], atoms.arrays["REF_forces"], stress), one.label, EXTXYZ)
        assert atoms.calc is None  # nothing for ASE to swallow
        assert stress is None or stress.shape == (9,)
        assert atoms.info["config_type"] == one.purpose
        assert atoms.info["engine"] == one.label.engine
        np.testing.assert_allclose(atoms.positions, one.known.atoms.positions, atol=EXTXYZ)
        np.testing.assert_allclose(atoms.cell, one.known.atoms.cell, atol=EXTXYZ)
        assert atoms.pbc.all()
    assert "_JSON" not in path.read_text()


def test_traj(exported, labels):
    frames = read(exported("traj"), ":", format="traj")
    assert [atoms.info["label_id"] for atoms in frames] == sorted(labels)
    for atoms in frames:
        check(results(atoms), labels[atoms.info["label_id"]].label)


def test_db(exported, labels):
    from ase.db import connect

    with connect(exported("db"), type="db") as rows:
        found = list(rows.select())
    assert [row.label_id for row in found] == sorted(labels)
    for row in found:
        one = labels[row.label_id]
        check(results(row.toatoms()), one.label)
        assert row.enthalpy_per_atom == pytest.approx(one.known.enthalpy)
        assert row.config_type == one.purpose


def test_entries(exported, labels):
    from monty.serialization import loadfn

    path = exported("entries")
    assert isinstance(json.loads(path.read_text()), list)
    entries = loadfn(path, fmt="json")
    assert [entry.entry_id for entry in entries] == sorted(labels)
    for entry in entries:
        label = labels[entry.entry_id].label
        stress = entry.data["stress_voigt_ev_per_a3"]
        full = None if stress is None else voigt_6_to_full_3x3_stress(np.array(stress))
        check((entry.energy, np.array(entry.data["forces_ev_per_a"]), full), label)
        assert entry.composition.reduced_formula == "Cu"
        assert entry.energy_per_atom == pytest.approx(label.energy / 4)
        assert entry.structure.volume == pytest.approx(
            labels[entry.entry_id].known.atoms.get_volume()
        )


def test_cif(exported, finished):
    folder = exported("cif")
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == len(load(finished).groups)
    assert names[0] == "01_Fm-3m_Cu4.cif"
    from pymatgen.core import Structure

    back = Structure.from_file(folder / names[0])
    assert back.volume / len(back) == pytest.approx(fcc().get_volume() / 4, rel=1e-6)


def test_compression_is_negative_stress_in_every_format(tmp_path):
    """ASE and MACE: tension positive; a squeezed crystal wants to grow."""
    made = Campaign(tmp_path / "run", config(pressure_gpa=5.0))
    made.label("s0", fcc(3.4))
    made.close_store()
    export(made.store.run_dir, "extxyz", tmp_path / "a.xyz")
    export(made.store.run_dir, "traj", tmp_path / "a.traj")
    assert read(tmp_path / "a.xyz").info["REF_stress"][[0, 4, 8]].max() < -0.1
    assert read(tmp_path / "a.traj").get_stress()[:3].max() < -0.1
    assert read(tmp_path / "a.traj").get_potential_energy() == emt_label(fcc(3.4)).energy


def test_a_geometry_asked_for_twice_is_one_row(tmp_path):
    made = Campaign(tmp_path / "run")
    made.label("s0", bcc())
    made.label("s1", bcc())
    made.close_store()
    export(made.store.run_dir, "extxyz", tmp_path / "a.xyz")
    assert [atoms.info["id"] for atoms in read(tmp_path / "a.xyz", ":")] == ["s0"]


def test_crystals_are_not_written_as_clusters(run_dir, tmp_path):
    with pytest.raises(ConfigError, match=r"xyz is not for what is searched \(bulk\): take cif"):
        export(run_dir, "xyz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", [form for form in FORMATS if form not in ("cif", "xyz")])
def test_an_old_file_is_replaced_as_a_whole(run_dir, tmp_path, form, monkeypatch):
    out = tmp_path / "out"
    out.write_text("old")
    export(run_dir, form, out)
    first = out.read_bytes()
    assert first[:3] != b"old"
    monkeypatch.setattr("aga.report.export.distinct", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(run_dir, form, out)
    assert out.read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"out", "run"}


def test_while_the_campaign_runs(campaign, tmp_path):
    export(campaign.store.run_dir, "extxyz", tmp_path / "a.xyz")
    assert len(read(tmp_path / "a.xyz", ":")) == 5


def test_refusals(run_dir, empty_dir, tmp_path):
    with pytest.raises(ConfigError, match=r"got 'extxzy' \(did you mean 'extxyz'\?\)"):
        export(run_dir, "extxzy", tmp_path / "a")
    with pytest.raises(ConfigError, match="no labelled structures yet"):
        export(empty_dir, "traj", tmp_path / "a")
    with pytest.raises(ConfigError, match=r"traj writes a file, but .* is a folder"):
        export(run_dir, "traj", tmp_path)
    (tmp_path / "b").touch()
    with pytest.raises(ConfigError, match=r"cif writes a folder, but .* is a file"):
        export(run_dir, "cif", tmp_path / "b")
    assert not (tmp_path / "a").exists()


def test_moments_in_every_format(tmp_path):
    """Those of the atoms and that of the cell, which is not their sum; no other label has any."""
    from monty.serialization import loadfn

    moments = {"magmoms": np.array([1.0, -0.5, 0.25, 0.0]), "magnetization": 0.8}
    made = Campaign(tmp_path / "run")
    made.label("s0", fcc(), moments=moments)
    made.label("s1", bcc())
    made.close_store()
    for form in ("extxyz", "traj", "entries"):
        export(made.store.run_dir, form, tmp_path / f"a.{form}")
    one, other = (frame.label for frame in extxyz.read(tmp_path / "a.extxyz"))
    np.testing.assert_allclose(one.magmoms, moments["magmoms"])
    assert one.magnetization == 0.8
    assert (other.magmoms, other.magnetization) == (None, None)
    atoms = read(tmp_path / "a.traj", 0)
    np.testing.assert_allclose(atoms.get_magnetic_moments(), moments["magmoms"])
    assert atoms.get_magnetic_moment() == 0.8
    entries = loadfn(tmp_path / "a.entries", fmt="json")
    assert entries[0].data["magmoms"] == moments["magmoms"].tolist()
    assert [entry.data["magnetization"] for entry in entries] == [0.8, None]

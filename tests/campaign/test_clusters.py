"""A campaign of clusters from its first labels to its files."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.optimize import BFGS

from aga.campaign.run import FAILED, FINISHED, start
from aga.report.export import export
from aga.report.finish import finish
from aga.yaml_source import ConfigError
from tests.campaign.builders import config, stored

SMALL = {
    "dimension": "cluster",
    "composition": {"Cu": 7},
    "seed": 1,
    "overlap": False,
    "budget": {"labels": 14, "confirm_reserve": 4},
    "search": {"initial_labels": 4},
}
RING = [(np.cos(2 * np.pi * i / 5), np.sin(2 * np.pi * i / 5), 0.0) for i in range(5)]


def small(**changes):
    """Seven copper atoms; the other composition of the builders is left out."""
    data = config(**{**SMALL, **changes}).model_dump(mode="json")
    data["composition"] = SMALL["composition"]
    return type(config()).model_validate(data)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    assert start(small(), folder) == FINISHED
    return folder


def bipyramid():
    """The pentagonal bipyramid, the ground state of seven copper atoms by EMT."""
    atoms = Atoms("Cu7", 2.1 * np.array([*RING, (0, 0, 0.6), (0, 0, -0.6)]), calculator=EMT())
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=200)
    return atoms


def test_the_known_cluster_is_found_and_confirmed_by_its_forces(whole):
    state = stored(whole)
    best = state.ranking[0]
    assert best.best.enthalpy <= bipyramid().get_potential_energy() / 7 + 0.003
    confirmed = state.confirmed(best)
    assert confirmed.stress_error is None
    confirmed.atoms.calc = EMT()
    assert np.linalg.norm(confirmed.atoms.get_forces(), axis=1).max() <= 0.05
    assert confirmed.atoms.get_potential_energy() / 7 == pytest.approx(confirmed.enthalpy)


def test_all_that_was_labelled_is_a_cluster_in_free_space(whole):
    for one in stored(whole).labelled:
        assert not one.known.atoms.pbc.any()
        assert one.known.atoms.cell.rank == 0
        assert one.label.stress is None


def test_its_files_name_point_groups(whole, capsys):
    finish(whole)
    told = capsys.readouterr().out
    assert "point group" in told
    assert "D_5h" in told
    assert "GPa" not in told.partition("confirmed:")[2].splitlines()[0]
    files = sorted((whole / "best").glob("*.xyz"))
    assert files[0].name == "01_D5h_Cu7.xyz"
    assert not list((whole / "best").glob("*.cif"))
    best = read(files[0])
    assert best.info["point_group"] == "D_5h"
    assert best.info["confirmed"]
    assert not best.pbc.any()
    page = (whole / "report" / "index.html").read_text()
    assert "point group" in page
    assert "cluster Cu7, 7 atoms<" in page


def test_exports(whole, tmp_path):
    export(whole, "xyz", tmp_path / "found")
    assert (tmp_path / "found" / "01_D5h_Cu7.xyz").is_file()
    export(whole, "extxyz", tmp_path / "labels.extxyz")
    frames = read(tmp_path / "labels.extxyz", ":")
    assert len(frames) == len({one.key for one in stored(whole).labelled})
    assert not any(frame.pbc.any() or "REF_stress" in frame.info for frame in frames)
    for form in ("traj", "db"):
        export(whole, form, tmp_path / f"labels.{form}")
        assert len(read(tmp_path / f"labels.{form}", ":")) == len(frames)
    for form, instead in (("cif", "xyz"), ("entries", "extxyz")):
        with pytest.raises(ConfigError, match=f"{form} is not for .*take {instead}"):
            export(whole, form, tmp_path / form)


def test_a_user_begins_with_clusters(tmp_path):
    write(tmp_path / "mine.xyz", bipyramid())
    few = {"labels": 5, "confirm_reserve": 1}
    mine = {"structures": [str(tmp_path / "mine.xyz")], "initial_labels": 3}
    settings = small(search=mine, budget=few)
    assert start(settings, tmp_path / "run") == FINISHED
    first = stored(tmp_path / "run").seeds[0]
    assert first.origin == "user"
    assert first.atoms.get_all_distances() == pytest.approx(
        bipyramid().get_all_distances(), abs=1e-6
    )


def test_a_crystal_is_none_to_begin_with(tmp_path):
    write(tmp_path / "crystal.extxyz", bulk("Cu").repeat((7, 1, 1)))
    settings = small(search={"structures": [str(tmp_path / "crystal.extxyz")]})
    assert start(settings, tmp_path / "run") == FAILED
    assert "periodic, which a cluster is not" in stored(tmp_path / "run").finished

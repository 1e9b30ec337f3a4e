"""Clusters in the search benchmark: their references, their judge, their methods."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.cluster import Icosahedron, Octahedron

from aga.search.point_groups import pointgroup

SMALL = """
composition: {Cu: 5}
dimension: cluster
oracle:
  path: ase.calculators.lj.LennardJones
  arguments: {epsilon: 0.4, sigma: 2.34, rc: 100.0}
references:
  - name: bipyramid
    file: five.xyz
"""
#: published ground states (Wales & Doye 1997, doi:10.1021/jp970984n) [epsilon], and point groups
PUBLISHED = {
    "lj13": (-44.326801, "I_h"),
    "lj26": (-108.315616, "T_d"),
    "lj38": (-173.928427, "O_h"),
}


@pytest.fixture
def small(tmp_path):
    """Five atoms, whose ground state is the trigonal bipyramid."""
    ring = [[1.5 * np.cos(a), 1.5 * np.sin(a), 0] for a in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    Atoms("Cu5", [*ring, [0, 0, 2.1], [0, 0, -2.1]]).write(tmp_path / "five.xyz")
    file = tmp_path / "five.yaml"
    file.write_text(SMALL)
    return file


@pytest.mark.parametrize("name", PUBLISHED)
def test_references_are_the_published_minima(script, name):
    goal = script("search.references").judge(script("search.system").load(name)).goal
    energy, group = PUBLISHED[name]
    assert goal.enthalpy * len(goal.atoms) / 0.4 == pytest.approx(energy, abs=1e-3)
    assert pointgroup(goal.atoms, 0.02) == group


def test_the_published_forms_are_those_of_ase(script):
    """The judge knows the icosahedron and the octahedron however they are turned."""
    for name, built in (("lj13", Icosahedron("Cu", 2)), ("lj38", Octahedron("Cu", 4, cutoff=1))):
        judge = script("search.references").judge(script("search.system").load(name))
        goal = judge.goal
        built.positions *= goal.atoms.get_all_distances().max() / built.get_all_distances().max()
        order = np.random.default_rng(0).permutation(len(built))
        turned = Atoms("Cu" * len(built), -built.positions[order] + 3.0)
        turned.rotate(40, (1, 2, 3))
        assert judge.verdict(turned, goal.enthalpy + 0.004).strict
        assert not judge.verdict(turned, goal.enthalpy + 0.006).strict


class TestJudge:
    @pytest.fixture
    def judge(self, script):
        return script("search.references").judge(script("search.system").load("lj13"))

    @pytest.mark.parametrize("seed", range(3))
    def test_small_distortions_do_not_matter(self, judge, seed):
        off = judge.goal.atoms.copy()
        off.positions += np.random.default_rng(seed).normal(0, 0.03, off.positions.shape)
        assert judge.verdict(off, judge.goal.enthalpy + 0.003).strict

    def test_another_form_is_a_hit_in_energy_alone_or_lower(self, judge):
        other = judge.goal.atoms.copy()
        outer = int(np.linalg.norm(other.positions, axis=1).argmax())
        other.positions[outer] *= -1.9
        assert judge.verdict(other, judge.goal.enthalpy + 0.003).energy
        assert not judge.verdict(other, judge.goal.enthalpy + 0.003).found
        assert judge.verdict(other, judge.goal.enthalpy - 0.01).lower

    def test_elements_matter(self, script):
        kinds = script("search.judge")
        atoms = Icosahedron("Cu", 2)
        atoms = Atoms(atoms.symbols, atoms.positions)
        atoms.symbols[0] = "Au"
        judge = kinds.Judge([kinds.Reference("one", -1.0, atoms)])
        assert judge.verdict(atoms[::-1], -1.0).strict
        middle = int(
            np.linalg.norm(atoms.positions - atoms.positions.mean(axis=0), axis=1).argmin()
        )
        other = atoms.copy()
        other.symbols = ["Cu"] * 13
        other.symbols[1 if middle == 0 else middle] = "Au"
        assert not judge.verdict(other, -1.0).strict

    def test_a_reference_survives_the_way_to_a_child_process(self, judge):
        again = type(judge.goal).from_dict(json.loads(json.dumps(judge.goal.to_dict())))
        assert not again.atoms.pbc.any()
        assert np.array_equal(again.atoms.positions, judge.goal.atoms.positions)


class TestRuns:
    @pytest.fixture
    def measured(self, script, small, tmp_path, capsys):
        def run(*arguments):
            common = ["--system", str(small), "--json", "--cache", str(tmp_path / "cache")]
            assert script("search.run").main([*common, *arguments]) == 0
            return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        return run

    def test_random_search_finds_five_atoms(self, measured):
        (row,) = measured("--method", "random", "--budget", "1000")
        assert row["found"]
        assert row["strict_call"] == row["oracle_calls"] == row["calls_in_all"]

    def test_a_campaign(self, measured):
        (row,) = measured("--method", "aga", "--budget", "18")
        assert row["found"]
        assert row["labels"] + row["failed_calls"] == row["calls_in_all"] <= 18

    def test_peers(self, measured):
        pytest.importorskip("ase_ga", reason="ase_ga comes with the extra bench-search")
        (row,) = measured("--method", "ase-ga", "--budget", "2000")
        assert row["found"]

    def test_cryspy_is_refused(self, script, small, tmp_path, capsys):
        arguments = ["--system", str(small), "--method", "cryspy", "--cache", str(tmp_path)]
        assert script("search.run").main(arguments) == 2
        assert "crystals only" in capsys.readouterr().err

    def test_a_crystal_is_no_reference_of_a_cluster(self, script, small, tmp_path):
        crystal = Atoms("Cu5", np.eye(5, 3), cell=[9, 9, 9], pbc=True)
        crystal.write(tmp_path / "five.extxyz")
        small.write_text(SMALL.replace("five.xyz", "five.extxyz"))
        system = script("search.system")
        with pytest.raises(system.SystemFileError, match="expected a cluster"):
            script("search.references").judge(system.load(str(small)))

    def test_random_clusters_keep_their_distances(self, script):
        module = script("search.methods.random")
        atoms = module.cluster({"Au": 8, "Cu": 30}, 13.0, np.random.default_rng(0))
        assert atoms.get_chemical_formula() == "Au8Cu30"
        shortest = np.sort(atoms.get_all_distances(), axis=1)[:, 1].min()
        assert shortest > 0.5 * 2 * 1.32
        radius = np.cbrt(3 / (4 * np.pi) * 2 * 38 * 13.0)
        assert np.linalg.norm(atoms.positions, axis=1).max() <= radius

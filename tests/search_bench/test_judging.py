"""When a structure is the ground state, and which call found it."""

import json
import math

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from ase.units import GPa

from tests.search_bench.made import Oracle, tetragonal


class TestJudge:
    def test_any_cell_of_the_form_is_a_hit(self, judge):
        skewed = make_supercell(tetragonal(), [[2, 1, 0], [0, 2, 0], [1, 0, 2]])
        order = np.random.default_rng(0).permutation(len(skewed))
        turned = skewed[order]
        turned.rotate(37, (1, 2, 3), rotate_cell=True)
        turned.positions += 0.7
        verdict = judge.verdict(turned, -1.0)
        assert verdict.strict
        assert verdict.energy
        assert verdict.found
        assert not verdict.lower

    @pytest.mark.parametrize("seed", range(3))
    def test_small_distortions_do_not_matter(self, judge, seed):
        rng = np.random.default_rng(seed)
        off = tetragonal().repeat((2, 2, 1))
        off.set_cell(off.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        off.positions += rng.normal(0, 0.03, off.positions.shape)
        assert judge.verdict(off, -0.997).strict

    def test_what_is_far_off_is_another_form(self, judge):
        off = tetragonal().repeat((2, 2, 1))
        off.positions[::2] += [0.35, 0.0, 0.0]
        verdict = judge.verdict(off, -0.997)
        assert not verdict.strict
        assert verdict.energy

    def test_the_right_form_too_high_is_nothing(self, judge):
        assert judge.verdict(tetragonal(), -0.994) == type(judge.verdict(tetragonal(), -0.994))()

    def test_a_rival_within_the_window_is_a_hit_in_energy_alone(self, judge):
        verdict = judge.verdict(tetragonal(1.0, 3.1), -0.996)
        assert verdict.energy
        assert not verdict.found

    def test_another_ordering_of_the_same_lattice_is_no_hit(self, judge):
        layers = tetragonal().repeat((1, 1, 2))
        layers.symbols = ["Cu", "Cu", "Au", "Au"]
        assert not judge.verdict(layers, -1.0).strict

    def test_what_lies_lower_is_found(self, judge):
        verdict = judge.verdict(tetragonal(1.0, 3.1), -1.002)
        assert verdict.lower
        assert verdict.found
        assert not verdict.strict
        assert not judge.verdict(tetragonal(1.0, 3.1), -1.0001).found

    def test_any_form_will_do_where_the_system_says_so(self, script, judge):
        anything = script("search.judge").Judge(judge.references, any_form=True)
        rival = tetragonal(1.0, 3.1)
        assert anything.verdict(rival, -0.996).found
        assert anything.verdict(rival, -1.002).found
        assert not anything.verdict(rival, -0.994).found
        assert not anything.verdict(tetragonal(1.0, 1.5), -30.0).found

    def test_a_hole_of_the_oracle_is_nothing(self, judge):
        assert not judge.verdict(tetragonal(1.0, 1.5), -30.0).energy

    def test_no_number_is_nothing(self, judge):
        assert not judge.verdict(tetragonal(), math.nan).energy

    def test_references_that_tie_are_goals_alike(self, script):
        found = script("search.judge")
        diamond, other = bulk("Si"), bulk("Si", "sc", 2.7)
        pair = [found.Reference("a", -1.0, diamond), found.Reference("b", -0.9995, other)]
        assert found.Judge(pair).verdict(other, -0.9995).strict
        pair[1] = found.Reference("b", -0.998, other)
        assert not found.Judge(pair).verdict(other, -0.998).strict

    def test_a_reference_survives_the_way_to_a_child_process(self, judge, script):
        kind = script("search.judge").Reference
        again = kind.from_dict(json.loads(json.dumps(judge.goal.to_dict())))
        assert again.enthalpy == judge.goal.enthalpy
        assert np.array_equal(again.atoms.positions, judge.goal.atoms.positions)


class TestCounting:
    @pytest.fixture
    def ledger(self, script, judge, tmp_path):
        return script("search.oracle").Ledger(tmp_path, judge, 5)

    def counting(self, script, oracle, ledger, pressure=0.0):
        return script("search.oracle").Counting(oracle, ledger, pressure)

    def test_one_geometry_is_one_call(self, script, ledger):
        atoms, oracle = tetragonal(), Oracle(-0.5)
        atoms.calc = self.counting(script, oracle, ledger)
        atoms.get_potential_energy()
        atoms.get_forces()
        atoms.get_stress()
        assert (ledger.calls, oracle.asked) == (1, 1)
        atoms.positions[0] += 0.1
        atoms.get_forces()
        assert (ledger.calls, oracle.asked) == (2, 2)

    def test_what_it_gives_is_what_the_oracle_gives(self, script, ledger):
        atoms = tetragonal().repeat(2)
        atoms.rattle(0.05, seed=1)
        own = atoms.copy()
        own.calc, atoms.calc = EMT(), self.counting(script, EMT(), ledger)
        assert atoms.get_potential_energy() == own.get_potential_energy()
        assert np.array_equal(atoms.get_forces(), own.get_forces())
        assert np.array_equal(atoms.get_stress(), own.get_stress())

    def test_a_call_that_fails_counts(self, script, ledger):
        atoms = tetragonal()
        atoms.calc = self.counting(script, Oracle(smallest=100.0), ledger)
        with pytest.raises(RuntimeError, match="over-compressed"):
            atoms.get_forces()
        assert ledger.spent().failed == ledger.calls == 1

    def test_an_answer_that_is_not_finite_fails(self, script, ledger):
        atoms = tetragonal()
        atoms.calc = self.counting(script, Oracle(math.nan), ledger)
        with pytest.raises(RuntimeError, match="not finite"):
            atoms.get_potential_energy()
        assert ledger.spent().failed == 1

    def test_the_judge_sees_the_enthalpy(self, script, ledger):
        atoms = tetragonal()
        atoms.calc = self.counting(script, Oracle(-1.5), ledger, pressure=50 * GPa)
        atoms.get_potential_energy()
        expected = -1.5 + 50 * GPa * atoms.get_volume() / 2
        assert ledger.spent().best == pytest.approx(expected, abs=1e-12)

    def test_noise_is_of_the_geometry_and_the_judge_sees_none(self, script, ledger):
        noise = script("search.noise").Noise(0.01, 0.2, 1.0)
        kind = script("search.oracle").Counting
        answers = []
        for shift in (0.0, 0.0, 1e-3):
            atoms = tetragonal().repeat((16, 4, 4))
            atoms.positions[0] += shift
            exact = atoms.copy()
            exact.calc = EMT()
            atoms.calc = kind(EMT(), ledger, noise=noise)
            errors = atoms.get_forces() - exact.get_forces()
            answers.append((atoms.get_potential_energy(), errors, atoms.get_stress()))
        assert answers[0][0] == answers[1][0] != answers[2][0]
        assert np.array_equal(answers[0][1], answers[1][1])
        assert np.array_equal(answers[0][2], answers[1][2])
        assert answers[0][1].std() == pytest.approx(0.2, rel=0.1)
        exact = tetragonal()
        exact.calc = EMT()
        assert ledger.spent().best == pytest.approx(exact.get_potential_energy() / 2, abs=1e-5)

    def test_the_call_of_the_first_hit_is_kept(self, script, ledger, judge, tmp_path):
        ledger.answer(tetragonal(), -0.5, 0.0)
        ledger.answer(tetragonal(1.0, 3.1), -0.997, 0.0)
        assert not ledger.over
        ledger.answer(tetragonal(), -0.999, 0.0)
        ledger.answer(tetragonal(), -1.0, 0.0)
        spent = ledger.spent()
        assert (spent.energy, spent.strict, spent.found, spent.calls) == (2, 3, 3, 4)
        assert ledger.over
        assert spent.best == -1.0
        # another process sees the same, and hits again for nobody
        other = script("search.oracle").Ledger(tmp_path, judge, 5)
        assert other.over
        other.answer(tetragonal(), -1.0, 0.0)
        assert ledger.spent().found == 3
        assert ledger.calls == 5

    def test_the_budget_ends_a_run(self, script, judge, tmp_path):
        ledger = script("search.oracle").Ledger(tmp_path, judge, 2, first=False)
        ledger.answer(tetragonal(), -1.0, 0.25)
        assert not ledger.over
        ledger.failure(12345.678)
        assert ledger.over
        assert ledger.spent().seconds == pytest.approx(12345.928)


class TestRelaxation:
    @pytest.fixture
    def relaxer(self, script, judge, tmp_path, tiny, monkeypatch):
        def make(oracle, budget=50):
            module = script("search.relaxation")
            monkeypatch.setattr(script("search.oracle"), "build", lambda _: oracle)
            system = script("search.system").load(str(tiny))
            ledger = script("search.oracle").Ledger(tmp_path, judge, budget)
            return module.Relaxer(system, ledger), ledger

        return make

    def test_every_step_counts(self, relaxer):
        oracle = EMT()
        relax, ledger = relaxer(oracle)
        start = tetragonal(1.2, 2.9).repeat(2)
        found = relax(start)
        spent = ledger.spent()
        assert spent.relaxations == 1
        assert 3 < spent.calls <= 50
        assert found.enthalpy <= spent.best + 1e-9
        assert found.atoms.calc is None
        assert start.cell[0, 0] == pytest.approx(5.8)

    def test_a_failure_is_the_unrelaxed_structure_with_a_high_energy(self, relaxer, script):
        relax, ledger = relaxer(Oracle(smallest=100.0))
        start = tetragonal()
        found = relax(start)
        assert found.enthalpy == script("search.relaxation").HIGH
        assert not found.converged
        assert np.array_equal(found.atoms.positions, start.positions)
        assert ledger.calls == 1

    def test_it_stops_with_the_budget(self, relaxer):
        relax, ledger = relaxer(EMT(), budget=4)
        relax(tetragonal(1.0, 3.3))
        assert ledger.calls == 4

    def test_it_stops_with_the_first_hit(self, relaxer):
        relax, ledger = relaxer(Oracle(-1.0))
        relax(tetragonal())
        assert ledger.spent().found == ledger.calls == 1

"""The benchmark of searches: its judge, its counting, its systems, its tables, and tiny runs."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.units import GPa

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
L1_0 = """
  - name: L1_0
    spacegroup: 123
    cell: [2.75, 2.75, 3.75, 90, 90, 90]
    sites: [[Cu, 0, 0, 0], [Au, 0.5, 0.5, 0.5]]
"""
TINY = f"""
composition: {{Cu: 2, Au: 2}}
oracle: {{path: ase.calculators.emt.EMT}}
references: {L1_0}
"""


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """The benchmark's folder importable."""
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])


@pytest.fixture
def script():
    return importlib.import_module


@pytest.fixture
def tiny(tmp_path):
    """A system file of four atoms with EMT."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TINY)
    return file


def tetragonal(ratio=1.36, a=2.8):
    """L1_0; at a ratio of 1 it is B2."""
    return Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[a, a, a * ratio], pbc=True)


@pytest.fixture
def judge(script):
    """A judge whose goal is L1_0 at -1 eV/atom."""
    found = script("search.judge")
    return found.Judge(
        [
            found.Reference("B2", -0.9, tetragonal(1.0, 3.1)),
            found.Reference("L1_0", -1.0, tetragonal()),
        ]
    )


class Oracle(Calculator):
    """Energy of a number of eV per atom; raises for small volumes."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, energy=-1.0, smallest=0.0):
        super().__init__()
        self.energy, self.smallest, self.asked = energy, smallest, 0

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        if atoms.get_volume() / len(atoms) < self.smallest:
            raise ZeroDivisionError("over-compressed")
        self.results = {
            "energy": self.energy * len(atoms),
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
        }


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
            monkeypatch.setattr(module, "build", lambda _: oracle)
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


class TestSystems:
    def test_the_shipped_ones_can_be_built(self, script):
        module = script("search.system")
        names = module.shipped()
        assert {"si8_tersoff", "si8_chgnet", "cu8au8", "ti4o8", "al4o6", "mg4si4o12"} <= {*names}
        for name in names:
            system = module.load(name)
            for one in system.references:
                atoms = script("search.references").atoms_from(one)
                counts = {s: atoms.symbols.count(s) for s in system.composition}
                assert module.reduced(counts) == module.reduced(system.composition), one["name"]

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            ("[1]", "expected a mapping"),
            ("{", "not YAML"),
            (TINY.replace("oracle", "orakel"), "unknown key 'orakel'"),
            (TINY.replace("Cu: 2", "Kr: two"), "composition.Kr"),
            (TINY.replace("Cu: 2", "Xx: 2"), "'Xx' is no element"),
            (TINY.replace("Cu: 2", "Cu: [0, 4]"), "variable composition"),
            (TINY + "dimension: cluster\n", "only bulk crystals"),
            (TINY + "pressure_gpa: high\n", "pressure_gpa"),
            (TINY.replace("{path: ase.calculators.emt.EMT}", "emt"), "oracle: expected"),
            (TINY.replace("spacegroup", "bulk"), "expected one of file, bulk"),
            (TINY.replace("[Cu, 0, 0, 0], ", ""), "of all of Cu, Au"),
            (TINY.partition("references")[0], "references is missing"),
            (TINY + "  - {name: mine, file: nowhere.xyz}\n", "no such file"),
        ],
    )
    def test_errors_say_where(self, script, tmp_path, found, told):
        file = tmp_path / "wrong.yaml"
        file.write_text(found)
        module = script("search.system")
        with pytest.raises(module.SystemFileError, match=r"wrong\.yaml") as error:
            module.load(str(file))
        assert told in str(error.value)

    def test_an_unknown_name_lists_those_there_are(self, script):
        module = script("search.system")
        with pytest.raises(module.SystemFileError, match="cu8au8"):
            module.load("cu8au9")

    def test_references_are_relaxed_once(self, script, tiny, tmp_path, monkeypatch):
        references = script("search.references")
        system = script("search.system").load(str(tiny))
        first = references.judge(system, tmp_path / "cache").goal
        assert first.enthalpy == pytest.approx(-0.01144, abs=2e-5)
        monkeypatch.setattr(references, "_relax", None)
        again = references.judge(system, tmp_path / "cache").goal
        assert again.enthalpy == first.enthalpy

    def test_what_does_not_fit_into_the_cell_is_no_goal(self, script, tiny, capsys):
        tiny.write_text(TINY.replace("Cu: 2, Au: 2", "Cu: 1, Au: 1").replace(
            L1_0, L1_0 + "  - {name: big, file: big.extxyz}\n"))  # fmt: skip
        big = tetragonal().repeat((2, 1, 1))
        big.symbols = ["Cu", "Cu", "Au", "Au"]
        big.write(tiny.parent / "big.extxyz")
        goals = script("search.references").judge(script("search.system").load(str(tiny)))
        assert [one.name for one in goals.references] == ["L1_0"]
        assert "big" in capsys.readouterr().err

    def test_a_reference_of_another_formula_is_refused(self, script, tiny):
        tiny.write_text(TINY.replace("Cu: 2", "Cu: 3"))
        system = script("search.system")
        with pytest.raises(system.SystemFileError, match="L1_0 is"):
            script("search.references").judge(system.load(str(tiny)))

    @pytest.mark.parametrize(
        ("name", "length", "energy"), [("silicon", 5.432, -4.6296), ("carbon", 3.566, -7.3704)]
    )
    def test_tersoff_gives_the_crystals_of_its_papers(self, script, name, length, energy):
        atoms = bulk({"silicon": "Si", "carbon": "C"}[name], "diamond", length)
        atoms.calc = getattr(script("search.tersoff"), name)()
        assert atoms.get_potential_energy() / 2 == pytest.approx(energy, abs=5e-4)
        assert np.abs(atoms.get_stress()).max() < 0.5 * GPa


def made_up(method, calls, budget=100, seconds=1.0, **more):
    """Rows of a method; None: not found."""
    return [
        {
            "system": "s", "method": method, "seed": seed, "found": one is not None,
            "oracle_calls": one or budget, "calls_in_all": one or budget, "energy_call": one,
            "best_above_reference_mev": 0.5, "seconds": seconds, "oracle_seconds": 0.0,
            "budget": budget, **more,
        }
        for seed, one in enumerate(calls)
    ]  # fmt: skip


class TestTable:
    @pytest.fixture
    def module(self, script):
        return script("search.table")

    def test_the_interval_holds_the_median_and_shrinks_with_seeds(self, module):
        rng = np.random.default_rng(0)
        few, many = (rng.exponential(50, n) for n in (8, 80))
        spans = []
        for values in (few, many):
            low, high = module.interval(values)
            assert low <= np.median(values) <= high
            spans.append(high - low)
        assert spans[1] < spans[0]

    def test_failures_count_as_more_than_any_number(self, module):
        rows = made_up("random", [10, None, None, 20, None])
        assert module.bound(rows) == (100.0, False)
        assert module.interval(module.calls(rows))[1] == math.inf
        assert module.bound(made_up("random", [10, None, 30])) == (30.0, True)

    def test_the_ratio_is_to_the_best_peer(self, module):
        own = made_up("aga", [10, 20, 30])
        slow, quick = made_up("cryspy", [900] * 3, 1000), made_up("random", [300] * 3, 1000)
        assert module.ratio(own, [slow, quick]) == (15.0, True)
        assert module.ratio(own, []) is None
        # a peer that did not find it may have been about to
        lost = made_up("ase-ga", [None] * 3, 200)
        assert module.ratio(own, [quick, lost]) == (10.0, False)
        assert module.ratio(made_up("aga", [None] * 3), [quick]) is None

    def test_cells(self, module):
        rows = [*made_up("random", [None] * 3), *made_up("aga", [10, 20, None])]
        rows[-1].update(by_rule=True, final_found=False)
        own, peer = (dict(zip(module.HEAD, line, strict=True)) for line in module.table(rows))
        assert (own["found"], own["calls per hit"], own["ratio"]) == ("2/3", "65", "> 5.0")
        assert (peer["found"], peer["calls per hit"]) == ("0/3", "> 300")
        assert peer["calls [90 %]"] == "> 100 [> 100..> 100]"
        assert (own["method"], own["false stops"], peer["false stops"]) == ("aga", "1/3", "")

    def test_whole_campaigns_tell_what_came_after(self, module, tmp_path):
        file = tmp_path / "rows.jsonl"
        whole = made_up("aga", [10, 20], whole=True, by_rule=True, final_found=True)
        whole[0]["calls_in_all"], whole[1]["calls_in_all"] = 15, 40
        rows = [whole[0], *made_up("aga", [10, 20, 30]), whole[1]]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (line,) = module.table(module.read([file]))
        cells = dict(zip(module.HEAD, line, strict=True))
        # not one seed counts twice, and the third run does not say
        assert (cells["seeds"], cells["after"], cells["false stops"]) == ("3", "0.75", "0/3")

    def test_a_curve_ends_where_nothing_is_known(self, module):
        rows = made_up("random", [10, None, 60, 90])
        rows[1]["calls_in_all"] = 70
        x, y = module.curve(rows)
        assert x.tolist() == [1, 10, 60, 70]
        assert y.tolist() == [0, 0.25, 0.5, 0.5]
        x, y = module.curve(made_up("random", [None, None]))
        assert (x.tolist(), y.tolist()) == ([1, 100], [0, 0])

    def test_files_become_a_table_and_a_picture(self, module, tmp_path, capsys):
        file, picture = tmp_path / "rows.jsonl", tmp_path / "curves.svg"
        rows = [*made_up("aga", [10, 12]), *made_up("random", [50, None])]
        file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows]))
        assert module.main([str(file), "--plot", str(picture)]) == 0
        out = capsys.readouterr().out.splitlines()
        assert len(out) == 4
        assert out[2].startswith("| s | aga | 2 | 2/2 |")
        assert picture.read_text().count("<path") > 10


class TestRuns:
    @pytest.fixture
    def measured(self, script, tiny, tmp_path, capsys):
        def run(*arguments):
            common = ["--system", str(tiny), "--json", "--cache", str(tmp_path / "cache")]
            assert script("search.run").main([*common, *arguments]) == 0
            return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        return run

    def test_random_search(self, measured, tmp_path):
        results = ("--results", str(tmp_path / "rows.jsonl"))
        rows = measured("--method", "random", "--seeds", "2", "--budget", "20", *results)
        assert [row["seed"] for row in rows] == [0, 1]
        for row in rows:
            assert row["oracle_calls"] == row["calls_in_all"] <= 20
            assert row["found"] == (row["strict_call"] is not None)
            assert row["found"] or row["calls_in_all"] == 20
            assert row["relaxations"] >= 1
        # what is there is not run again
        more = measured("--method", "random", "--seeds", "3", "--budget", "20", *results)
        assert [row["seed"] for row in more] == [2]

    def test_random_search_is_the_same_again(self, measured):
        once, again = (measured("--method", "random", "--budget", "10")[0] for _ in range(2))
        assert once["best_above_reference_mev"] == again["best_above_reference_mev"]

    def test_a_campaign_to_the_first_hit(self, measured, tmp_path):
        pictures = tmp_path / "best"
        (row,) = measured(
            "--method", "aga", "--budget", "16", "--first", "3", "--structures", str(pictures)
        )
        assert row["seed"] == 3
        assert 8 <= row["labels"] + row["failed_calls"] <= row["calls_in_all"] <= 16
        assert row["found"] == (row["reason"] == "found")
        assert [file.name for file in pictures.iterdir()] == ["tiny-aga-3.extxyz"]

    def test_a_whole_campaign_says_how_it_ended(self, measured):
        (row,) = measured("--method", "aga", "--budget", "15", "--whole")
        assert row["whole"]
        assert row["reason"] != "found"
        assert row["final_found"] in (True, False)
        assert row["calls_in_all"] <= 15
        # every call is a label of the campaign, and the other way round
        assert row["calls_in_all"] == row["labels"] + row["failed_calls"]

    def test_a_child_counts_in_the_same_files(self, script, tiny, tmp_path):
        system = script("search.system").load(str(tiny))
        judge = script("search.references").judge(system)
        ledger = script("search.oracle").Ledger(tmp_path, judge, 25)
        run = script("search.task").Run(system, ledger, 0, tmp_path, 14.4)
        environment = script("peers.environments").Environment
        here = environment("search", tmp_path / "none", Path(sys.executable))
        told = script("search.children").search(run, "random", here)
        assert told == {}
        spent = ledger.spent()
        assert spent.calls == 25 or spent.found
        assert spent.relaxations >= 1
        with pytest.raises(script("peers.child").PeerError, match=r"status 1: .*nonsense"):
            script("search.children").search(run, "nonsense", here)

    def test_cryspy_is_told_to_stop_in_its_own_way(self, script, tiny, tmp_path, monkeypatch):
        system = script("search.system").load(str(tiny))
        judge = script("search.references").judge(system)
        ledger = script("search.oracle").Ledger(tmp_path, judge, 3)
        script("search.task").Run(system, ledger, 0, tmp_path, 14.4).write()
        monkeypatch.chdir(tmp_path)
        module = script("search.methods.cryspy")
        monkeypatch.setattr(module, "_RELAXER", [])
        start = tetragonal(1.0, 3.3).repeat((2, 1, 1))
        atoms, energy, converged = module.optimize_structure(start)
        assert atoms.calc is None
        assert math.isfinite(energy)
        assert not converged
        assert (tmp_path / "STOP_CRYSPY_HT").exists()
        assert ledger.calls == 3

    @pytest.mark.parametrize(("method", "library"), [("cryspy", "cryspy"), ("ase-ga", "ase_ga")])
    def test_peers(self, measured, method, library):
        pytest.importorskip(library, reason=f"{library} comes with the extra bench-search")
        (row,) = measured("--method", method, "--budget", "60")
        assert row["calls_in_all"] == 60 or row["found"]

    def test_a_peer_that_is_not_there_is_named(self, script, tiny, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(script("search.children"), "here", lambda named: named)
        arguments = ["--system", str(tiny), "--method", "cryspy", "--cache", str(tmp_path)]
        assert script("search.run").main(arguments) == 2
        assert "--setup" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--method", "aga", "--budget", "9"], "must cover search.initial_labels"),
            (["--method", "random", "--keep", "."], "choose another --keep"),
        ],
    )
    def test_what_cannot_be_run_is_said(
        self, script, tiny, tmp_path, capsys, monkeypatch, arguments, told
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "tiny-random-0").mkdir()
        common = ["--system", str(tiny), "--cache", str(tmp_path / "cache")]
        assert script("search.run").main([*common, *arguments]) == 2
        assert told in capsys.readouterr().err

    def test_a_wrong_system_ends_with_its_message(self, script, capsys):
        assert script("search.run").main(["--system", "nothing", "--method", "random"]) == 2
        assert "no such system" in capsys.readouterr().err

"""Hulls as the question: what the judge sees, what the methods are told."""

import json
import math

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from tests.search_bench.made import tetragonal

HULL = """
compositions: {elements: [Cu, Au], atoms: [2, 4]}
oracle: {path: ase.calculators.emt.EMT}
references:
  - {name: Cu, bulk: {name: Cu, crystalstructure: hcp, a: 2.54, c: 4.15}}
  - {name: Au, bulk: {name: Au, crystalstructure: fcc, a: 4.06}}
  - name: B19
    spacegroup: 51
    cell: [4.7, 2.75, 4.55, 90, 90, 90]
    sites: [[Cu, 0.25, 0, 0.17], [Au, 0.25, 0.5, 0.67]]
  - name: L1_2
    spacegroup: 221
    cell: [3.74, 3.74, 3.74, 90, 90, 90]
    sites: [[Au, 0, 0, 0], [Cu, 0.5, 0.5, 0]]
  - name: L1_0
    spacegroup: 123
    cell: [2.75, 2.75, 3.75, 90, 90, 90]
    sites: [[Cu, 0, 0, 0], [Au, 0.5, 0.5, 0.5]]
"""


def mixed(gold, copper, a=3.0):
    """A row of atoms, far enough from each other."""
    n = gold + copper
    fractions = [[0, 0, one / n] for one in range(n)]
    symbols = ["Au"] * gold + ["Cu"] * copper
    return Atoms(symbols, scaled_positions=fractions, cell=[a, a, a * n], pbc=True)


@pytest.fixture
def hulls(script):
    return script("search.hulls")


@pytest.fixture
def references(script):
    kind = script("search.judge").Reference
    return [
        kind("Cu", -3.0, bulk("Cu")),
        kind("Au", -2.0, bulk("Au")),
        kind("Au high", -1.9, bulk("Au")),
        kind("AuCu", -2.6, mixed(1, 1)),
        kind("AuCu high", -2.55, mixed(2, 2)),
        kind("AuCu3", -2.8, mixed(1, 3)),  # on the line from AuCu to Cu: falls apart
        kind("Au3Cu", -2.31, mixed(3, 1)),
    ]


@pytest.fixture
def judge(hulls, references):
    return hulls.HullJudge(references, ["Au", "Cu"])


@pytest.fixture
def file(tmp_path):
    found = tmp_path / "hull.yaml"
    found.write_text(HULL)
    return found


class TestGround:
    def test_against_pymatgen(self, hulls):
        """Ternary hulls by its Qhull."""
        from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
        from pymatgen.core import Composition

        rng = np.random.default_rng(0)
        drawn = rng.integers(0, 5, (12, 3))
        drawn[:, 0] += 1
        counts = np.vstack([np.eye(3, dtype=int), drawn])
        formed = [0.0] * 3 + rng.normal(-0.05, 0.1, 12).tolist()
        phases, entries = {}, []
        for one, value in zip(counts, formed, strict=True):
            shares = tuple((one / one.sum()).tolist())
            phases[shares] = min(value, phases.get(shares, math.inf))
            composition = Composition(dict(zip(["Cu", "Ag", "Au"], one.tolist(), strict=True)))
            entries.append(PDEntry(composition, value * one.sum()))
        diagram = PhaseDiagram(entries)
        for entry in entries:
            composition = entry.composition.fractional_composition
            shares = tuple(composition[symbol] for symbol in ("Cu", "Ag", "Au"))
            expected = diagram.get_hull_energy_per_atom(composition)
            assert hulls.ground(phases, shares) == pytest.approx(expected, abs=1e-8)


class TestHullJudge:
    def test_only_what_does_not_fall_apart_is_a_goal(self, judge):
        assert [one.name for one in judge.goal] == ["AuCu", "Au3Cu"]
        assert judge.title == "AuCu, Au3Cu"
        assert judge.elements == {"Au": -2.0, "Cu": -3.0}

    def test_a_run_has_the_elements(self, judge):
        # formation: AuCu -0.1, Au3Cu -0.06
        assert judge.height == pytest.approx(0.1)
        assert judge.details()["above_each_mev"] == {"AuCu": 100.0, "Au3Cu": 60.0}
        assert judge.answer == []

    def test_the_largest_difference_counts(self, judge):
        assert judge.news(mixed(1, 1), -2.6) == pytest.approx(0.01)  # Au3Cu: -0.05 of -0.06
        verdict = judge.verdict(mixed(1, 1), -2.6)
        assert not verdict.found
        assert not verdict.energy
        assert judge.news(mixed(3, 1), -2.306) == pytest.approx(0.004)
        assert judge.verdict(mixed(3, 1), -2.306).energy
        assert not judge.verdict(mixed(3, 1), -2.306).found
        assert judge.news(mixed(3, 1), -2.3092) == pytest.approx(0.0008)
        assert judge.verdict(mixed(3, 1), -2.3092).found

    def test_a_mixture_will_do(self, judge):
        """What is asked for is the hull, not a structure: lower neighbours carry it."""
        judge.news(mixed(3, 1), -2.31)
        assert judge.news(mixed(1, 3), -2.83) == pytest.approx(0.03)
        # of -0.08 at 1/4 and -0.06 at 3/4 half each
        assert judge.news(mixed(1, 3), -2.9) == pytest.approx(-0.0)
        assert judge.verdict(mixed(1, 3), -2.9).found
        assert judge.details()["below_mev"] == pytest.approx(100.0)

    @pytest.mark.parametrize("enthalpy", [math.nan, -2.49, -1.0])
    def test_what_does_not_lower_the_hull_is_no_news(self, judge, enthalpy):
        assert judge.news(mixed(1, 1), enthalpy) is None
        assert judge.height == pytest.approx(0.1)

    def test_a_hole_of_the_oracle_is_no_news(self, judge):
        assert judge.news(mixed(1, 1, a=1.0), -9.0) is None

    def test_the_answer_is_what_is_left_on_the_hull(self, judge):
        judge.news(mixed(1, 2), -2.68)
        judge.news(mixed(3, 1), -2.31)
        judge.news(mixed(2, 2), -2.6)
        assert [len(one) for one in judge.answer] == [4, 4]
        assert judge.fresh().answer == []

    def test_an_answer_is_judged_by_itself(self, judge):
        judge.news(mixed(1, 1), -2.6)
        verdict, above = judge.final([(mixed(3, 1), -2.31)])
        assert above == pytest.approx(0.06)
        assert not verdict.found
        assert judge.final([(mixed(3, 1), -2.31), (mixed(1, 1), -2.6)])[0].found

    def test_an_element_without_a_reference_is_said(self, hulls, references):
        with pytest.raises(ValueError, match="got none of Au"):
            hulls.HullJudge(references[:1], ["Au", "Cu"])

    def test_another_process_goes_on_with_what_was_found(self, script, judge, tmp_path):
        ledger = script("search.oracle").Ledger(tmp_path, judge, 9)
        ledger.answer(mixed(1, 1), -2.6, 0.0)
        ledger.answer(mixed(1, 1), -2.5, 0.0)
        other = script("search.oracle").Ledger(tmp_path, judge, 9)
        assert other.judge.height == pytest.approx(0.01)
        other.answer(mixed(3, 1), -2.31, 0.0)
        spent = other.spent()
        assert (spent.found, spent.strict, spent.energy, spent.calls) == (3, 3, 3, 3)
        assert spent.best == pytest.approx(0.0)
        assert other.over
        # what one run has found another has not
        assert judge.height == pytest.approx(0.1)


class TestHullSystems:
    def test_the_cells_are_all_compounds(self, script, file):
        system = script("search.system").load(str(file))
        names = [script("search.system").named(one) for one in system.cells]
        assert names == ["Au1Cu1", "Au2Cu1", "Au1Cu2", "Au3Cu1", "Au2Cu2", "Au1Cu3"]

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            (HULL + "composition: {Cu: 1}\n", "either composition or compositions"),
            (HULL.replace("atoms: [2, 4]", "size: 4"), "expected e.g. {elements"),
            (HULL.replace("[Cu, Au]", "[Cu]"), "expected two or more"),
            (HULL.replace("[Cu, Au]", "[Cu, Xx]"), "'Xx' is no element"),
            (HULL.replace("atoms: [2, 4]", "atoms: [4, 2]"), "expected [fewest, most]"),
            (HULL.replace("[Cu, Au]", "[Cu, Ag]"), "sites must be"),
        ],
    )
    def test_errors_say_where(self, script, file, found, told):
        file.write_text(found)
        module = script("search.system")
        with pytest.raises(module.SystemFileError, match=r"hull\.yaml") as error:
            module.load(str(file))
        assert told in str(error.value)

    def test_a_foreign_or_missing_element_is_refused(self, script, file):
        module = script("search.system")
        file.write_text(HULL.replace("name: Au, bulk: {name: Au", "name: Ag, bulk: {name: Ag"))
        with pytest.raises(module.SystemFileError, match="expected a crystal of Au, Cu"):
            script("search.references").judge(module.load(str(file)))
        file.write_text(HULL.replace("name: Au, bulk: {name: Au", "name: x, bulk: {name: Cu"))
        with pytest.raises(module.SystemFileError, match="got none of Au"):
            script("search.references").judge(module.load(str(file)))

    def test_what_fits_into_no_cell_is_no_goal(self, script, file, capsys):
        file.write_text(HULL.replace("[2, 4]", "[2, 3]"))
        judge = script("search.references").judge(script("search.system").load(str(file)))
        assert [one.name for one in judge.goal] == ["L1_0"]
        assert "L1_2" in capsys.readouterr().err

    def test_the_known_answer_for_copper_and_gold(self, script):
        system = script("search.system").load("cu_au_hull")
        judge = script("search.references").judge(system)
        assert judge.title == "Cu3Au D0_19, CuAu B19"
        # the elements alone: all of the enthalpies of formation is missing
        missing = judge.details()["above_each_mev"]
        assert missing == pytest.approx({"Cu3Au D0_19": 13.0, "CuAu B19": 10.46}, abs=0.02)
        assert len(system.cells) == sum(range(1, 12))


class TestHullRuns:
    @pytest.fixture
    def measured(self, script, file, tmp_path, capsys):
        def run(*arguments):
            common = ["--system", str(file), "--json", "--cache", str(tmp_path / "cache")]
            assert script("search.run").main([*common, *arguments]) == 0
            return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

        return run

    def test_random_search_draws_all_compositions(self, script, measured, tmp_path):
        kept = tmp_path / "best"
        (row,) = measured("--method", "random", "--budget", "150", "--structures", str(kept))
        assert row["calls_in_all"] == 150 or row["found"]
        assert row["best_above_reference_mev"] == max(row["above_each_mev"].values())
        assert sorted(row["above_each_mev"]) == ["B19", "L1_2"]
        random = script("search.methods.random")
        drawn = random.crystal({"Cu": 3, "Au": 1}, 12.0, np.random.default_rng(0))
        assert drawn.symbols.count("Cu") == 3

    def test_a_campaign_is_given_the_elements(self, measured):
        (row,) = measured("--method", "aga", "--budget", "18", "--whole")
        assert row["calls_in_all"] == row["labels"] + row["failed_calls"] <= 18
        # nothing was spent on the elements: their hull is there with the first label
        assert row["final_above_mev"] >= row["best_above_reference_mev"]

    @pytest.mark.parametrize("method", ["cryspy", "ase-ga"])
    def test_what_a_peer_cannot_do_is_said(self, script, file, capsys, method):
        assert script("search.run").main(["--system", str(file), "--method", method]) == 2
        assert "only" in capsys.readouterr().err

    def test_its_rows_are_drawn(self, script, measured, tmp_path, capsys):
        results = tmp_path / "rows.jsonl"
        measured("--method", "random", "--budget", "10", "--results", str(results))
        plot = tmp_path / "curves.svg"
        assert script("search.table").main([str(results), "--plot", str(plot)]) == 0
        assert "| hull | random | 1 | 0/1 |" in capsys.readouterr().out
        assert plot.exists()


def test_a_judge_of_one_composition_remembers_nothing(script):
    found = script("search.judge")
    judge = found.Judge([found.Reference("L1_0", -1.0, tetragonal())])
    assert judge.fresh() is judge
    assert judge.news(tetragonal(), -0.5) == -0.5
    assert judge.news(tetragonal(), -0.5, -0.6) is None
    assert judge.final([(tetragonal(), -0.9)])[1] == pytest.approx(0.1)

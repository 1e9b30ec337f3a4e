"""The scripts that measure potentials run on tiny data, go on from their results, and add up."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from aga.campaign.store import Store
from aga.search import seeds
from aga.search.space import Space
from potentials.descriptors import build
from tests.crystals import emt_frames, quick_spec

BENCH = Path(__file__).parents[1] / "scripts" / "bench"
QUICK = quick_spec().descriptor.model_dump()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def frames():
    return emt_frames(60)


@pytest.fixture
def data(script, frames):
    made = script("published").DataSet("tiny", frames[:40], frames[40:], {})
    return lambda name: made


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestRows:
    def test_a_row_is_found_again(self, script, tmp_path):
        rows, path = script("rows").Rows, tmp_path / "rows.jsonl"
        rows(path, ("name", "seed")).add({"name": "a", "seed": 1, "found": 2.5})
        again = rows(path, ("name", "seed"))
        assert again.has(name="a", seed=1)
        assert not again.has(name="a", seed=2)
        assert [row["found"] for row in again] == [2.5]

    def test_a_line_cut_short_by_a_crash_is_measured_again(self, script, tmp_path):
        rows, path = script("rows").Rows, tmp_path / "rows.jsonl"
        path.write_text('{"name": "a", "found": 1}\n{"name": "b", "fou')
        again = rows(path, ("name",))
        assert not again.has(name="b")
        again.add({"name": "b", "found": 2})
        assert [row["found"] for row in rows(path, ("name",))] == [1, 2]


class TestFocal:
    @pytest.fixture
    def bench(self, script, frames):
        problem = script("focal_problem")
        plan = problem.Plan(region=12, unseen=6, old_test=8, epochs=3, first_epochs=4, batch=8)
        found = problem.Data.of(frames, build(QUICK))
        return script("focal").Bench(found, plan, 0)

    def test_no_structure_is_on_two_sides(self, bench, frames):
        own = bench.own
        parts = [own.old, own.old_test, own.new, own.unseen]
        assert sorted(i for part in parts for i in part) == list(range(len(frames)))
        volume = [f.atoms.get_volume() / len(f.atoms) for f in frames]
        inside = min(volume[i] for i in own.new + own.unseen)
        assert inside >= max(volume[i] for i in own.old + own.old_test)

    def test_settings_begin_alike_and_part(self, bench):
        plain, focal, replay = (bench.run(s, 4) for s in ("gamma 0", "gamma 2", "replay"))
        for row in (plain, focal, replay):
            assert np.array(row["new_force"]).shape == (2, 4)
            assert np.isfinite(row["old_energy"]).all()
        first, last = (
            np.array([r["new_force"] for r in (plain, focal, replay)])[..., i] for i in (0, -1)
        )
        np.testing.assert_array_equal(first[0], first[1])
        np.testing.assert_array_equal(first[0], first[2])
        assert (np.ptp(last, axis=0) > 0.0).all()

    def test_errors_are_those_of_zero_energies(self, bench, script):
        silent = script("potentials.network_training").silent(bench.before())
        energy, force = bench.measured(silent)[:2]
        own = bench.own
        goals = [own.targets[i] for i in own.unseen]
        squares = [float(goal.forces.square().mean()) for goal in goals]
        np.testing.assert_allclose(force, np.mean(squares) ** 0.5, rtol=1e-4)
        squares = [float(goal.energy / (len(goal.forces) / 3)) ** 2 for goal in goals]
        np.testing.assert_allclose(energy, np.mean(squares) ** 0.5, rtol=1e-4)

    def test_a_run_is_not_repeated_and_the_table_adds_up(
        self, bench, script, tmp_path, capsys, monkeypatch
    ):
        focal, rows = script("focal"), script("rows").Rows
        kept = rows(tmp_path / "runs.jsonl", ("setting", "new", "seed"))
        asked = argparse.Namespace(seeds=1, new=[4], settings=["gamma 0", "gamma 1", "linear"])
        focal.measure(bench.data, bench.plan, kept, asked)
        monkeypatch.setattr(focal, "load", None)  # nothing is left to measure
        words = "--new 4 --seeds 1 --settings|gamma 0|gamma 1|linear|--json --targets 1000 1e-9"
        words = [
            w for part in words.split("|") for w in ([part] if "gamma" in part else part.split())
        ]
        focal.main(
            [*words, "--results", str(tmp_path / "runs.jsonl"), "--plot", str(tmp_path / "x.png")]
        )
        plain, _, linear = lines(capsys)
        assert plain["runs"] == 2
        assert plain["epochs"]["1000.0"] == {"median": 0, "range": [0, 0], "reached": 2}
        assert plain["epochs"]["1e-09"] == {"median": None, "range": None, "reached": 0}
        assert linear["epochs"] is None
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_runs_that_never_arrive_count_as_later(script):
    found = script("focal_tables")._spanned([7, None, 3, 5, None])
    assert found == {"median": 7, "range": [3, 7], "reached": 3}


class TestLearning:
    CHANGE = json.dumps(
        {
            "descriptor": QUICK,
            "members": 2,
            "network": {"hidden": [5], "epochs": 4, "min_labels": 8},
        }
    )

    def test_curve_and_envelope(self, script, data, monkeypatch, tmp_path, capsys):
        learning = script("learning")
        monkeypatch.setattr(learning, "load", data)
        words = ["--only", "tiny", "--sizes", "12", "999", "--change", self.CHANGE, "--json"]
        words += ["--results", str(tmp_path / "r.jsonl"), "--plot", str(tmp_path / "x.png")]
        learning.main(words)
        rows = lines(capsys)
        assert [row["size"] for row in rows] == [12] * 3 + [40] * 3
        linear, networks, both = rows[3:]
        lower = min(linear["force_rmse_ev_per_a"], networks["force_rmse_ev_per_a"])
        assert both["envelope"][1] == pytest.approx(both["force_rmse_ev_per_a"] / lower)
        assert linear["envelope"] is None
        assert (tmp_path / "x.png").exists()
        monkeypatch.setattr(learning, "fit", None)  # nothing is left to fit
        learning.main(words)
        assert lines(capsys) == rows

    def test_models_lack_what_they_say(self, script):
        learning = script("learning")
        change = {"linear": {"ridge": 1e-3}}
        alone = learning.settings("networks", change)
        assert not alone.linear.enabled
        assert alone.linear.ridge == 1e-3
        assert not learning.settings("linear", change).network.enabled
        both = learning.settings("both", change)
        assert both.linear.enabled
        assert both.network.enabled


class TestUncertainty:
    def test_rows_of_both_kinds(self, script, data, monkeypatch, tmp_path, capsys):
        uncertainty = script("uncertainty")
        monkeypatch.setattr(uncertainty, "load", data)
        words = ["--only", "tiny", "--regions", "tiny", "--default", "--shallow", "3"]
        words += ["--full", "2", "--json"]
        words += ["--change", TestLearning.CHANGE.replace('"members": 2, ', "")]
        words += ["--results", str(tmp_path / "r.jsonl"), "--plot", str(tmp_path / "x.png")]
        uncertainty.main(words)
        rows = lines(capsys)
        assert [(row["kind"], row["heads"], row["members"]) for row in rows] == [
            ("spread", "shallow", 3),
            ("spread", "full", 2),
            ("unseen", "shallow", 3),
            ("unseen", "full", 2),
        ]
        for row in rows[:2]:
            assert 0.0 < row["energy_coverage"][0] <= row["energy_coverage"][1] <= 1.0
            assert "energy_pairs" not in row
        for row in rows[2:]:
            assert row["unseen"] + row["others"] == 20 + 6
            assert 0.0 <= row["area"]["extrapolation"] <= 1.0
        assert (tmp_path / "x.png").exists()
        monkeypatch.setattr(uncertainty, "fit", None)  # nothing is left to fit
        uncertainty.main(words)
        assert lines(capsys) == rows

    def test_area_counts_pairs(self, script):
        area = script("uncertainty").area
        assert area(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1.0
        assert area(np.array([0.0, 0.0]), np.array([0.0, 0.0])) == 0.5
        assert area(np.array([1.0]), np.array([0.0, 2.0])) == 0.5

    def test_surprise_is_least_for_true_spreads(self, script):
        uncertainty, errors = script("uncertainty"), script("aga.models.errors")
        rng = np.random.default_rng(0)
        spread = rng.uniform(0.5, 1.5, 4000)
        off = spread[:, None] * rng.normal(size=(4000, 3)) / 3.0**0.5

        def surprise(factor):
            found = errors.Compared(np.zeros((4000, 3)), off, factor * spread)
            return uncertainty.surprise(found)

        assert surprise(1.0) < min(surprise(0.9), surprise(1.1))
        # the entropy of a normal distribution of three dimensions, by hand
        entropy = 1.5 * np.log(2.0 * np.pi * np.e) + 3.0 * np.mean(np.log(spread / 3.0**0.5))
        assert surprise(1.0) == pytest.approx(entropy, abs=0.1)


#: what rows of the speed table have in common
SPEED = {"system": "si8x32", "K": 4, "threads": 1, "precision": "float32"}


class TestSpeedBars:
    def test_bars_are_of_one_thread_and_single_precision_for_ours(self, script):
        own = SPEED | {"code": "ours", "us_per_atom": 3.0, "ratio": 1.0}
        rows = [
            own,
            own | {"threads": 2},
            own | {"precision": "float64"},
            own | {"system": "si216"},
            own | {"code": "peer", "precision": "float64", "us_per_atom": 60.0, "ratio": 20.0},
            own | {"code": "not there", "us_per_atom": None},
        ]
        found = script("speed_bars").bars(rows, "si8x32")
        assert found == [
            ("peer, K = 4", 60.0, 20.0, False),
            ("this program, K = 4", 3.0, 1.0, True),
        ]

    def test_a_picture_is_drawn(self, script, tmp_path):
        rows = [SPEED | {"code": "ours", "us_per_atom": 3.0, "ratio": 1.0}]
        script("speed_bars").draw(rows, tmp_path / "bars.png")
        assert (tmp_path / "bars.png").stat().st_size > 5000


class TestAccuracy:
    def test_table_and_picture(self, script, data, monkeypatch, tmp_path, capsys):
        bench = script("accuracy")
        monkeypatch.setattr(bench, "load", data)
        change = json.dumps({"descriptor": QUICK, "network": {"enabled": False}})
        picture = tmp_path / "parity.png"
        words = ["--only", "tiny", "--threads", "1", "--change", change, "--plot", str(picture)]
        monkeypatch.setattr(sys, "argv", ["accuracy.py", *words, "--json"])
        bench.main()
        [row] = lines(capsys)
        assert row["train"] == 40
        assert row["n_structures"] == 20
        assert 0 < row["energy_rmse_mev_per_atom"] < 1000
        assert picture.stat().st_size > 5000


class TestBookkeeping:
    """What the driver's own work costs: histories that it opens, and numbers for all of it."""

    @pytest.fixture
    def bench(self, script):
        return script("bookkeeping")

    @pytest.fixture
    def bases(self):
        space = Space({"Cu": 4, "Au": 4}, spacegroups=(1, 2))
        return seeds.many(space, 3, np.random.default_rng(0))

    @pytest.mark.parametrize(
        ("history", "structures", "labels"), [("labelled", 70, 10), ("proposed", 60, 12)]
    )
    def test_a_history_is_one_of_a_campaign(
        self, bench, bases, tmp_path, history, structures, labels
    ):
        bench.write(tmp_path, history, structures, bases)
        found = bench.measure(tmp_path, history, structures, bases) | bench.reported(tmp_path)
        assert found["labels"] == labels
        assert min(value for name, value in found.items() if name != "history") >= 0
        store = Store(tmp_path)
        state = store.state()
        # those of the history, and the four that were folded in
        assert len(state.labelled) == len(state.groups) == labels + 4
        assert len(state.generations) == 1
        assert state.models[-1].labels == labels - (4 if history == "proposed" else 0)
        store.close()

    def test_the_table_shows_how_each_number_grows(self, bench, capsys):
        sizes = (100, 1000, 10000)
        rows = [
            {"history": "x", "structures": n, "due": 1e-4 * n, "its group": 2e-3, "disk [MB]": 3}
            for n in sizes
        ]
        assert bench.exponents(rows[0], rows[-1]) == pytest.approx(
            {"due": 1.0, "its group": 0.0, "disk [MB]": 0.0}
        )
        bench.table(rows)
        lines = capsys.readouterr().out.splitlines()
        assert lines[2].split() == ["100", "1,000", "10,000", "exponent"]
        assert lines[3].split() == ["due", "10.00", "100.00", "1,000.00", "1.00"]


class TestProposals:
    def test_every_system_has_times_and_ratios(self, script, monkeypatch, capsys):
        bench = script("proposals")
        monkeypatch.setattr(bench, "MATCHED", 2)
        bench.main(["--crystals", "2", "--json"])
        rows = lines(capsys)
        assert [row["system"] for row in rows] == ["Si8", "Au8Cu8", "O8Ti4", "Mg4O12Si4"]
        for row in rows:
            assert row["crystal_ratio"] == pytest.approx(row["pyxtal_ms"] / row["crystal_ms"])
            assert row["again_ms"] < row["match_ms"]

    def test_no_crystals_are_refused(self, script, capsys):
        with pytest.raises(SystemExit):
            script("proposals").main(["--crystals", "0"])
        assert "at least 1" in capsys.readouterr().err


class TestCells:
    def test_every_cell_holds_the_same_crystal(self, script):
        from ase.calculators.emt import EMT

        made = script("cells").cells("al")
        energies = []
        for atoms in made.values():
            atoms.calc = EMT()
            energies.append(atoms.get_potential_energy() / len(atoms))
        np.testing.assert_allclose(energies, energies[0], atol=1e-9)
        assert len(made) == 4

    def test_a_coarse_mesh_is_seen_and_what_fails_is_told(self, script, capsys):
        pytest.importorskip("gpaw")
        cells = script("cells")
        assert cells.main(["--systems", "al", "--densities", "0.8", "--json"]) == 0
        (row,) = lines(capsys)
        assert set(row["energies"]) == {"primitive", "cubic", "1x2x2", "1x1x3"}
        assert min(row["energies"].values()) == 0.0
        assert row["span"] == max(row["energies"].values()) > 50.0
        assert cells.main(["--engine", "vasp", "--systems", "al", "--densities", "1"]) == 1
        assert "VASP" in capsys.readouterr().out.upper()

    def test_an_engine_without_k_points_is_refused(self, script, capsys):
        with pytest.raises(SystemExit):
            script("cells").main(["--engine", "emt"])
        assert "expected one with k-points, got emt" in capsys.readouterr().err

"""Tiny runs of every method, and what cannot be run."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from calculators.engines import build
from calculators.gates import LabelGates
from potentials.structures import atoms_to_dict
from tests.search_bench.made import tetragonal


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

    def test_a_relaxation_by_the_oracle_counts_every_point(self, script, tmp_path):
        """As a confirmation asks for it where that on the ensemble has stalled."""
        asked = []

        class Oracle(EMT):
            ledger = SimpleNamespace(relaxation=lambda: asked.append("relaxation"))

            def calculate(self, *arguments, **others):
                asked.append("call")
                super().calculate(*arguments, **others)

        job = {
            "mode": "relax",
            "atoms": atoms_to_dict(bulk("Cu", a=3.7)),
            "gates": LabelGates().to_dict(),
            "store": str(tmp_path / "labels"),
            "target": {"fmax": 0.05, "stress_gpa": 1.0, "max_steps": 30, "pressure": 0.0},
        }
        done = script("search.methods.aga")._answer(Oracle(), build({"kind": "emt"}), tmp_path, job)
        assert done["relaxation"]["converged"]
        assert asked.count("relaxation") == 1
        assert asked.count("call") >= len(done["relaxation"]["keys"]) > 1

    def test_a_hit_is_followed_back_to_the_operator_that_made_it(self, script, tmp_path):
        def one(identity, origin, *parents):
            return {"id": identity, "origin": origin, "parents": list(parents)}

        made = {
            "seed": {"candidates": [one("s0", "symmetric_random")], "pool": []},
            "first": {"candidates": [one("e0", "strain", "s0"), one("e1", "slip", "s0")]},
            "next": {"candidates": [one("e2", "carried", "e1"), one("e3", "relabel", "s0")]},
            "last": {"candidate": one("p0", "polish", "e2")},
        }
        for name, proposed in made.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(proposed))
        asked = ["s0", "e0", "e2", "e3", "p0", "r0"]
        labelled = [
            SimpleNamespace(ordinal=number, known=SimpleNamespace(id=identity))
            for number, identity in enumerate(asked)
        ]
        state = SimpleNamespace(labelled=labelled, failures=[])
        origin = script("search.methods.aga")._origin
        found = [origin(state, tmp_path, call) for call in (None, 1, 2, 3, 4, 5, 6)]
        assert found == [
            None, "symmetric_random", "strain", "slip", "symmetric_random", "polish",
            "engine_relaxation",
        ]  # fmt: skip

    @pytest.mark.parametrize("method", ["aga", "random"])
    def test_every_method_is_judged_by_enthalpy(self, measured, tiny, method):
        tiny.write_text(tiny.read_text() + "pressure_gpa: 50\n")
        (row,) = measured("--method", method, "--budget", "14")
        # the volume of an atom is worth 4 eV there
        assert row["best_above_reference_mev"] > -50

    def test_a_child_counts_in_the_same_files(self, script, tiny, tmp_path):
        system = script("search.system").load(str(tiny))
        judge = script("search.references").judge(system)
        ledger = script("search.oracle").Ledger(tmp_path, judge, 25)
        run = script("search.task").Run(system, ledger, 0, tmp_path, {"Au2Cu2": 14.4})
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
        script("search.task").Run(system, ledger, 0, tmp_path, {"Au2Cu2": 14.4}).write()
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

"""One structure becomes one label that can be trusted, or a failure that says why."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st

from calculators.attempt import environment
from calculators.engines import build
from calculators.labelling import (
    LabelGates,
    label_key,
    single_point,
)
from calculators.outcome import Failure
from calculators.results import publish_result, read_result, result_folder
from potentials.structures import Label, atoms_from_dict
from tests.labelling.fakes import TESTS, fake, killed_in_the_middle, starts


def failed(atoms, engine, store, gates=None):
    failure = single_point(atoms, engine, store, gates or LabelGates())
    assert isinstance(failure, Failure), failure
    return failure


# labels


def test_label_equals_the_calculator_and_is_cached(copper, tmp_path):
    from ase.calculators.emt import EMT

    engine = build({"kind": "emt"})
    label = single_point(copper, engine, tmp_path)
    again = single_point(copper, engine, tmp_path)
    copper.calc = EMT()
    assert label.energy == copper.get_potential_energy()
    np.testing.assert_array_equal(label.forces, copper.get_forces())
    np.testing.assert_array_equal(label.stress, copper.get_stress())
    assert again.to_dict() == label.to_dict()
    assert len(starts(tmp_path, label_key(copper, engine))) == 1


def test_result_says_everything(copper, tmp_path):
    engine = build({"kind": "emt"})
    before = time.time()
    label = single_point(copper, engine, tmp_path)
    key = label_key(copper, engine)
    result = read_result(tmp_path, key)
    assert (result["key"], result["kind"], result["status"]) == (key, "label", "ok")
    assert Label.from_dict(result["label"]).to_dict() == label.to_dict()
    np.testing.assert_array_equal(atoms_from_dict(result["atoms"]).positions, copper.positions)
    assert build(result["engine"]) == engine
    assert result["engine_key"] == label.engine == engine.key()
    assert [attempt["overrides"] for attempt in result["attempts"]] == [{}]
    assert before <= result["started"] <= result["finished"] <= time.time()
    assert result["pid"] == os.getpid()


def test_only_logs_stay_after_success(copper, tmp_path):
    engine = build({"kind": "emt"})
    single_point(copper, engine, tmp_path)
    folder = result_folder(tmp_path, label_key(copper, engine))
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "result.json",
        "starts",
        "attempt-0/log.txt",
    }


def test_a_label_has_the_threads_that_its_worker_may_use(copper, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert single_point(copper, fake("Threads"), tmp_path).energy == 3.0


def test_one_thread_where_nobody_says_more_and_for_programs_with_ranks(monkeypatch):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    given = {kind: environment(build({"kind": kind})) for kind in ("gpaw", "chgnet", "espresso")}
    assert {env[name] for env in given.values() for name in names} == {"1"}
    for name in names:
        monkeypatch.setenv(name, "4")
    for kind, count in (("gpaw", "4"), ("emt", "4"), ("espresso", "1"), ("cp2k", "1")):
        assert {environment(build({"kind": kind}))[name] for name in names} == {count}


def test_input_is_not_changed_and_constraints_do_not_count(copper, tmp_path):
    copper.set_constraint(FixAtoms([0]))
    before = copper.copy()
    label = single_point(copper, build({"kind": "emt"}), tmp_path)
    assert copper == before
    assert copper.calc is None
    assert np.abs(label.forces[0]).max() > 0.01


def test_stress_of_any_shape_becomes_voigt(copper, tmp_path):
    label = single_point(copper, fake("Spring"), tmp_path)
    np.testing.assert_allclose(label.stress, [1.0, 2.0, 3.0, 0.0, 0.5, 0.0])


def test_no_stress_where_the_method_or_the_structure_has_none(copper, tmp_path):
    assert single_point(copper, fake("NoStress"), tmp_path).stress is None
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]])
    assert single_point(molecule, build({"kind": "emt"}), tmp_path).stress is None


def test_no_stress_where_the_engine_says_it_is_not_converged(copper, tmp_path, monkeypatch):
    from calculators.engines.gpaw import GPAW
    from calculators.single_point import calculate

    monkeypatch.syspath_prepend(TESTS)
    from fake_calculators import Spring

    gates = LabelGates()
    assert calculate(copper, Spring(), GPAW(ecut_ev=400.0), gates).stress is None
    assert calculate(copper, Spring(), GPAW(ecut_ev=600.0), gates).stress is not None


def test_labelling_with_emt_imports_no_torch():
    code = "import sys, calculators.single_point; sys.exit(int('torch' in sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=True)


@given(st.floats(-4e-7, 4e-7))
def test_key_forgives_rounding_and_nothing_more(shift):
    engine = build({"kind": "emt"})
    atoms, moved, changed = (bulk("Cu", cubic=True) for _ in range(3))
    moved.positions += shift
    changed.positions[0, 0] += 2e-6
    assert label_key(moved, engine) == label_key(atoms, engine)
    assert label_key(changed, engine) != label_key(atoms, engine)


# failures of engines


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("NotFinite", "not finite"),
        ("NotFiniteForces", "not finite"),
        ("TooFewForces", "3 forces came back for 4 atoms"),
        ("FlatForces", "must be (N, 3)"),
        ("OddStress", "Voigt-6"),
        ("Violent", "exceeds the gate of 100"),
        ("Unconverged", "Did not converge!"),
        ("Speechless", 'assert "stress" not in'),
    ],
)
def test_wrong_answers_are_permanent_failures(copper, tmp_path, name, words):
    engine = fake(name)
    failure = failed(copper, engine, tmp_path)
    assert failure.kind == "permanent"
    assert words in failure.reason
    assert Path(failure.log).is_file()
    assert failed(copper, engine, tmp_path) == failure
    key = label_key(copper, engine)
    assert read_result(tmp_path, key)["status"] == "failure"
    assert len(starts(tmp_path, key)) == 1


@pytest.mark.parametrize(
    ("name", "words", "limits"),
    [
        ("Abort", "SIGABRT", {}),
        ("Killed", "SIGKILL", {}),
        ("Quit", "ended with status 0 and no result", {}),
        ("Exit", "ended with status 3 and no result", {}),
        ("Babble", "says: out of[31m paper", {}),
        ("Hang", "no result within the deadline", {"deadline_s": 1.0}),
        ("Hog", "raise memory_gb", {"memory_gb": 2.0}),
    ],
)
def test_dying_engines_are_transient_failures_after_two_attempts(
    copper, tmp_path, name, words, limits
):
    engine = fake(name, **limits)
    failure = failed(copper, engine, tmp_path)
    assert failure.kind == "transient"
    assert words in failure.reason
    assert Path(failure.log).is_file()
    assert failed(copper, engine, tmp_path) == failure
    assert len(starts(tmp_path, label_key(copper, engine))) == 2


def test_a_child_that_dies_once_costs_one_attempt(copper, tmp_path):
    engine = fake("DiesOnce", marker=str(tmp_path / "marker"))
    assert isinstance(single_point(copper, engine, tmp_path), Label)
    first, second = read_result(tmp_path, label_key(copper, engine))["attempts"]
    assert "SIGKILL" in first["failure"]["reason"]
    assert second["failure"] is None


def test_an_engine_that_is_not_installed_is_not_held_against_the_structure(copper, tmp_path):
    engine = build({"kind": "ase", "path": "no_such_module.Calculator"})
    assert "install it" in failed(copper, engine, tmp_path).reason
    assert list(tmp_path.iterdir()) == []


def test_a_stop_on_request_is_not_held_against_the_structure(copper, tmp_path):
    engine = fake("Waits", running=str(tmp_path / "running"), go=str(tmp_path / "go"))
    failure = single_point(copper, engine, tmp_path, should_stop=(tmp_path / "running").exists)
    assert isinstance(failure, Failure)
    assert failure.reason == "stopped on request"
    (tmp_path / "go").touch()
    assert isinstance(single_point(copper, engine, tmp_path), Label)


def test_failure_survives_json():
    failure = Failure("transient", "killed", "log.txt")
    assert Failure.from_dict(json.loads(json.dumps(failure.to_dict()))) == failure
    with pytest.raises(ValueError, match="got 'odd'"):
        Failure.from_dict({"kind": "odd", "reason": ""})


# gates before


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0]), "0.000 Å apart"),
        (lambda atoms: atoms.positions.__setitem__((0, 0), np.nan), "not finite"),
        (lambda atoms: atoms.set_cell(0.3 * atoms.cell.array), "0.318 Å^3 per atom"),
        (lambda atoms: atoms.set_cell(20.0 * atoms.cell.array), "per atom lies outside"),
        (lambda atoms: atoms.set_cell([1.0, 1.0, 0.0]), "three independent cell vectors"),
        (lambda atoms: atoms.__delitem__(slice(None)), "no atoms"),
    ],
)
def test_gates_before_cost_nothing(copper, tmp_path, spoil, words):
    spoil(copper)
    failure = failed(copper, build({"kind": "emt"}), tmp_path)
    assert failure.kind == "permanent"
    assert words in failure.reason
    assert list(tmp_path.iterdir()) == []


def test_gate_of_a_pair_counts_periodic_images():
    gates = LabelGates(min_distance={("Au", "Cu"): 2.4, ("Cu", "Cu"): 2.6})
    atoms = Atoms("CuAu", [[0, 0, 0.1], [0, 0, 3.9]], cell=[6, 6, 6], pbc=True)
    assert gates.before(atoms) == "Au and Cu are 2.200 Å apart, below the gate of 2.4 Å"
    atoms.positions[1, 2] = 3.1
    assert gates.before(atoms) == ""
    lone = Atoms("Cu", cell=[2.5, 6, 6], pbc=True)
    assert "Cu and Cu are 2.500 Å apart" in gates.before(lone)


def test_gates_survive_json():
    gates = LabelGates({("Au", "Cu"): 2.0}, 0.7, (3.0, 50.0), 20.0, (-5.0, 5.0))
    assert LabelGates.from_dict(json.loads(json.dumps(gates.to_dict()))) == gates


def test_a_pair_written_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="must be sorted"):
        LabelGates({("Cu", "Au"): 2.0})


def test_energy_window(copper, tmp_path):
    gates = LabelGates(energy_window=(-2.0, 0.5))
    assert "1 eV/atom lies outside" in failed(copper, fake("Spring"), tmp_path, gates).reason


# when the worker dies


def test_killed_worker_takes_its_child_along_and_loses_nothing(copper, tmp_path):
    running, go, store = tmp_path / "running", tmp_path / "go", tmp_path / "store"
    engine = fake("Waits", running=str(running), go=str(go))
    killed_in_the_middle("single_point", copper, engine, store, running)
    key = label_key(copper, engine)
    assert read_result(store, key) is None
    go.touch()
    assert isinstance(single_point(copper, engine, store), Label)
    assert len(starts(store, key)) == 2
    assert isinstance(single_point(copper, engine, store), Label)
    assert len(starts(store, key)) == 2


def test_the_first_of_two_results_stays(copper, tmp_path):
    engine = build({"kind": "emt"})
    label = single_point(copper, engine, tmp_path)
    folder = result_folder(tmp_path, label_key(copper, engine))
    late = publish_result(folder, {}, label={**label.to_dict(), "energy": 0.0})
    assert late["label"]["energy"] == label.energy
    assert single_point(copper, engine, tmp_path).energy == label.energy

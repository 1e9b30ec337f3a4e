"""One structure becomes one label that can be trusted, or a failure that says why."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms
from hypothesis import given
from hypothesis import strategies as st

from calculators.attempt import environment
from calculators.engines import build
from calculators.labelling import (
    EngineRelaxed,
    LabelGates,
    RelaxTarget,
    engine_relax,
    label_key,
    single_point,
)
from calculators.outcome import Failure
from calculators.results import publish_result, read_result, result_folder
from potentials.seal import opened, sealed
from potentials.structures import Label, atoms_from_dict, atoms_to_dict

HERE = Path(__file__).parent
ROOT = HERE.parent
PATIENCE = 60.0  # [s]


@pytest.fixture(autouse=True)
def fakes(monkeypatch):
    """Children find the fake calculators."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.syspath_prepend(HERE)  # for the check before the child


def fake(name, *, deadline_s=60.0, memory_gb=0.0, retries=(), **arguments):
    path = f"fake_calculators.{name}"
    limits = {"deadline_s": deadline_s, "memory_gb": memory_gb, "retries": [*retries]}
    return build({"kind": "ase", "path": path, "arguments": arguments, **limits})


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.05, rng=np.random.default_rng(1))
    return atoms


def starts(store, key):
    text = (result_folder(store, key) / "starts").read_text()
    return [json.loads(line) for line in text.splitlines()]


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

    monkeypatch.syspath_prepend(HERE)
    from fake_calculators import Spring

    gates = LabelGates()
    assert calculate(copper, Spring(), GPAW(ecut_ev=400.0), gates).stress is None
    assert calculate(copper, Spring(), GPAW(ecut_ev=600.0), gates).stress is not None


def test_labelling_with_emt_imports_no_torch():
    code = "import sys, calculators.single_point; sys.exit(int('torch' in sys.modules))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


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

WORKER = """
    from pathlib import Path
    from ase import Atoms
    from calculators.engines import build
    from calculators.labelling import RelaxTarget, engine_relax, single_point
    from potentials.structures import atoms_from_dict
    {call}(atoms_from_dict({atoms}), build({engine}), Path({store!r}), {more})
"""


def killed_in_the_middle(call, atoms, engine, store, running, more=""):
    """A worker is killed when its child has written its pid; the child ends with it."""
    code = WORKER.format(
        call=call,
        atoms=atoms_to_dict(atoms),
        engine=engine.model_dump(mode="json"),
        store=str(store),
        more=more,
    )
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=env)
    until = time.monotonic() + PATIENCE
    while not (running.exists() and running.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    child = psutil.Process(int(running.read_text()))
    worker.kill()
    worker.wait()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)


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


# relaxation by the engine


@pytest.fixture
def squeezed(copper):
    copper.set_cell(0.97 * copper.cell.array, scale_atoms=True)
    return copper


def test_relaxation_reaches_its_target(squeezed, tmp_path):
    engine, target = build({"kind": "emt"}), RelaxTarget(fmax=0.01, stress_gpa=0.05)
    before = squeezed.copy()
    relaxed = engine_relax(squeezed, engine, tmp_path, target)
    assert isinstance(relaxed, EngineRelaxed)
    assert relaxed.converged
    assert relaxed.label.fmax < target.fmax
    assert np.abs(relaxed.label.stress).max() < target.stress_gpa * units.GPa
    assert squeezed == before
    assert relaxed.keys[0] == label_key(squeezed, engine)
    assert relaxed.keys[-1] == label_key(relaxed.atoms, engine)


def test_every_single_point_of_a_relaxation_is_a_label(squeezed, tmp_path):
    engine = build({"kind": "emt"})
    relaxed = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    for key in relaxed.keys:
        result = read_result(tmp_path, key)
        atoms = atoms_from_dict(result["atoms"])
        assert label_key(atoms, engine) == key
        label = single_point(atoms, engine, tmp_path)
        assert label.to_dict() == Label.from_dict(result["label"]).to_dict()
        assert len(starts(tmp_path, key)) == 1


def test_relaxation_under_pressure(squeezed, tmp_path):
    pressure = 10.0 * units.GPa
    target = RelaxTarget(fmax=0.01, stress_gpa=0.05, pressure=pressure)
    relaxed = engine_relax(squeezed, build({"kind": "emt"}), tmp_path, target)
    assert relaxed.converged
    np.testing.assert_allclose(relaxed.label.stress[:3], -pressure, atol=0.05 * units.GPa)


def test_relaxation_out_of_steps_is_no_failure(squeezed, tmp_path):
    relaxed = engine_relax(squeezed, build({"kind": "emt"}), tmp_path, RelaxTarget(max_steps=2))
    assert not relaxed.converged
    assert len(relaxed.keys) == 3


def test_relaxation_is_not_repeated(squeezed, tmp_path):
    first, second = (
        engine_relax(squeezed, build({"kind": "emt"}), tmp_path, RelaxTarget(max_steps=3))
        for _ in range(2)
    )
    assert first.keys == second.keys
    assert all(len(starts(tmp_path, key)) == 1 for key in first.keys)
    assert second.atoms == first.atoms


def crashing(folder, calls, how="kill", **limits):
    """An engine that fails at a single point of each attempt."""
    return fake("CrashingEMT", marker=str(folder / "marker"), calls=calls, how=how, **limits)


def same_as_undisturbed(relaxed, atoms, folder):
    """Whether a relaxation has taken the very way of one that nothing has happened to."""
    alone = engine_relax(atoms, build({"kind": "emt"}), folder / "undisturbed", RelaxTarget())
    assert relaxed.converged
    assert len(relaxed.keys) == len(alone.keys)
    np.testing.assert_array_equal(relaxed.atoms.positions, alone.atoms.positions)
    np.testing.assert_array_equal(relaxed.atoms.cell.array, alone.atoms.cell.array)
    assert relaxed.label.energy == alone.label.energy


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_a_relaxation_whose_engine_dies_goes_on_where_it_was(squeezed, tmp_path, how):
    # an exception is answered by the next settings of the ladder, a crash by the same
    engine = crashing(tmp_path, [4], how, retries=[{"deadline_s": 61.0}])
    relaxed = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    same_as_undisturbed(relaxed, squeezed, tmp_path)
    # the single point that was cut off was started twice, the others once
    assert [len(starts(tmp_path, key)) for key in relaxed.keys[:5]] == [1, 1, 1, 2, 1]
    assert relaxed.found == 2, "the start does not count"


def test_a_relaxation_may_be_cut_off_as_often_as_it_comes_further(squeezed, tmp_path):
    engine = crashing(tmp_path, [2, 2, 2, 2])
    relaxed = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    same_as_undisturbed(relaxed, squeezed, tmp_path)
    assert [len(starts(tmp_path, key)) for key in relaxed.keys[:6]] == [1, 2, 2, 2, 2, 1]
    assert relaxed.found == 3


@pytest.fixture
def cut_off(squeezed, tmp_path):
    """A relaxation that was given up after three single points, and its engine."""
    engine = crashing(tmp_path, [4, 1])
    failure = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    assert isinstance(failure, Failure)
    assert failure.kind == "transient"
    assert "SIGKILL" in failure.reason
    return engine


def test_a_relaxation_that_was_given_up_can_be_asked_for_again(squeezed, tmp_path, cut_off):
    relaxed = engine_relax(squeezed, cut_off, tmp_path, RelaxTarget())
    same_as_undisturbed(relaxed, squeezed, tmp_path)
    assert [len(starts(tmp_path, key)) for key in relaxed.keys[:5]] == [1, 1, 1, 3, 1]
    assert relaxed.found == 2


def truncated(mine, other):
    return mine[: len(mine) // 2]


def of_another_structure(mine, other):
    return other


def of_another_engine(mine, other):
    data = opened(json.loads(mine), Path("mine"))
    return json.dumps(sealed({**data, "engine_key": "another"}))


@pytest.mark.parametrize("spoil", [truncated, of_another_structure, of_another_engine])
def test_a_step_that_is_no_step_of_this_is_not_used(squeezed, tmp_path, cut_off, spoil):
    first, _, third = sorted(
        tmp_path.glob("*/*/result.json"),
        key=lambda path: json.loads(path.read_text())["finished"],
    )
    third.write_text(spoil(third.read_text(), first.read_text()))
    relaxed = engine_relax(squeezed, cut_off, tmp_path, RelaxTarget())
    same_as_undisturbed(relaxed, squeezed, tmp_path)
    assert third.parent.name == relaxed.keys[2]
    assert [len(starts(tmp_path, key)) for key in relaxed.keys[:5]] == [1, 1, 2, 3, 1]
    assert relaxed.found == 1
    assert third.with_name("result.json.damaged").exists()
    logs = [log.read_text() for log in tmp_path.glob("*/*/attempt-*/log.txt")]
    why = ": damaged" if spoil is truncated else " is of another task"
    assert any(f"{third}{why}" in log for log in logs)


def test_a_relaxation_whose_worker_is_killed_goes_on_where_it_was(squeezed, tmp_path):
    engine, marker = crashing(tmp_path, [5], "wait"), tmp_path / "marker"
    killed_in_the_middle("engine_relax", squeezed, engine, tmp_path, marker, "RelaxTarget()")
    relaxed = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    same_as_undisturbed(relaxed, squeezed, tmp_path)
    assert [len(starts(tmp_path, key)) for key in relaxed.keys[:6]] == [1, 1, 1, 1, 2, 1]
    assert relaxed.found == 3
    (log,) = tmp_path.glob("*/*/attempt-1/log.txt")
    assert "goes on with single point 5: all before it are in the store" in log.read_text()


def test_relaxation_that_hangs_in_one_step_is_ended_by_the_deadline(squeezed, tmp_path):
    engine = fake("Hang", deadline_s=1.0)
    began = time.monotonic()
    failure = engine_relax(squeezed, engine, tmp_path, RelaxTarget(max_steps=1000))
    assert isinstance(failure, Failure)
    assert "deadline" in failure.reason
    assert time.monotonic() - began < 0.5 * 1000 * engine.deadline_s


def test_relaxation_stops_at_the_gates(squeezed, tmp_path):
    low = squeezed.get_volume() / len(squeezed)
    gates = LabelGates(volume_per_atom=(0.9 * low, 1.02 * low))
    failure = engine_relax(squeezed, build({"kind": "emt"}), tmp_path, RelaxTarget(), gates)
    assert isinstance(failure, Failure)
    assert "left the gates" in failure.reason


def test_of_a_cluster_the_positions_alone_are_relaxed(tmp_path):
    cluster = Atoms("Cu4", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0], [0, 0, 2.4]])
    target = RelaxTarget(fmax=0.01)
    relaxed = engine_relax(cluster, build({"kind": "emt"}), tmp_path, target)
    assert isinstance(relaxed, EngineRelaxed)
    assert relaxed.converged
    assert relaxed.label.stress is None
    assert relaxed.label.fmax < target.fmax
    assert relaxed.atoms.cell.rank == 0
    # the regular tetrahedron
    assert np.ptp(relaxed.atoms.get_all_distances()[np.triu_indices(4, 1)]) < 0.02


def test_what_repeats_in_some_directions_only_is_not_relaxed(tmp_path):
    layer = Atoms("Cu", cell=[2.5, 2.5, 10.0], pbc=[True, True, False])
    failure = engine_relax(layer, build({"kind": "emt"}), tmp_path, RelaxTarget())
    assert isinstance(failure, Failure)
    assert "cannot relax the cell" in failure.reason


def test_relaxation_needs_a_converged_stress(tmp_path):
    engine = build({"kind": "gpaw", "ecut_ev": 300.0})
    failure = engine_relax(bulk("MgO", "rocksalt", a=4.2), engine, tmp_path, RelaxTarget())
    assert isinstance(failure, Failure)
    assert "no converged stress" in failure.reason

"""The engine relaxes by itself; every step is a label, and none is computed twice."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from calculators.engine_relaxation import stuck
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
from calculators.results import read_result
from potentials.seal import opened, sealed
from potentials.structures import Label, atoms_from_dict
from tests.labelling.fakes import fake, killed_in_the_middle, starts


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


def test_forces_that_scatter_above_the_threshold_end_a_relaxation(squeezed, tmp_path):
    engine, target = fake("ScatteringEMT", scatter=0.03), RelaxTarget(fmax=0.01, max_steps=60)
    relaxed = engine_relax(squeezed.repeat((2, 1, 1)), engine, tmp_path, target)
    assert not relaxed.converged
    assert 12 <= len(relaxed.keys) < 40


def test_a_relaxation_gets_on_while_it_comes_lower_or_nearer():
    assert not stuck([0.0] * 11, [2.0] * 11)
    assert stuck([0.0] * 12, [2.0] * 12)
    assert not stuck([-1e-3 * i for i in range(40)], [2.0] * 40)
    assert not stuck([0.0] * 40, [2.0 - 0.01 * i for i in range(40)])
    # what it gained long ago does not count
    assert stuck([1.0, 0.5] + [0.0] * 12, [9.0, 3.0] + [3.1] * 12)


@given(st.integers(0, 2**32 - 1))
def test_no_damped_descent_is_ended_before_its_target(seed):
    rng = np.random.default_rng(seed)
    steps = np.arange(60)
    decay, wave = rng.uniform(0.7, 0.95), 1.0 + 0.2 * np.cos(rng.uniform(0.5, 3.0) * steps)
    distances = rng.uniform(2.0, 50.0) * decay**steps * wave
    end = int(np.argmax(distances < 1.0))
    enthalpies = 1e-3 * distances**2
    assert not any(stuck(enthalpies[:n].tolist(), distances[:n].tolist()) for n in range(end))


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
    relaxed = engine_relax(squeezed, build({"kind": "emt"}), tmp_path, RelaxTarget(), gates)
    assert "left the gates" in relaxed.failure.reason
    assert not relaxed.converged


def test_what_was_computed_before_the_engine_failed_is_kept(squeezed, tmp_path):
    """Paid for, and labels like any other."""
    whole = engine_relax(squeezed, build({"kind": "emt"}), tmp_path / "whole", RelaxTarget())
    engine = fake("FailsLater", after=3)
    relaxed = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    assert relaxed.failure.kind == "permanent"
    assert "no further" in relaxed.failure.reason
    assert not relaxed.converged
    assert len(relaxed.keys) == 3
    labels = [read_result(tmp_path, key)["label"] for key in relaxed.keys]
    before = [read_result(tmp_path / "whole", key)["label"] for key in whole.keys[:3]]
    assert [one["energy"] for one in labels] == [one["energy"] for one in before]
    assert relaxed.label.energy == labels[-1]["energy"]
    again = engine_relax(squeezed, engine, tmp_path, RelaxTarget())
    assert (again.keys, again.failure) == (relaxed.keys, relaxed.failure)
    assert all(len(starts(tmp_path, key)) == 1 for key in relaxed.keys)


def test_a_relaxation_that_fails_at_once_is_a_failure(squeezed, tmp_path):
    failure = engine_relax(squeezed, fake("FailsLater", after=0), tmp_path, RelaxTarget())
    assert isinstance(failure, Failure)
    assert "no further" in failure.reason


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

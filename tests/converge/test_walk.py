"""`aga converge` with an engine whose errors are known."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ruamel.yaml import YAML

from aga.cli import main
from aga.converge import walk
from aga.converge.ladder import Tolerance
from aga.converge.walk import CONVERGED, NOT_CONVERGED, STOPPED, Wanted, converge
from aga.yaml_source import ConfigError
from calculators import engines
from calculators.gates import LabelGates
from calculators.labelling import single_point
from calculators.outcome import Failure
from calculators.results import (
    document,
    label_key,
    point_key,
    publish_result,
    read_label,
    result_folder,
)
from calculators.single_point import calculate
from potentials.structures import Label

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("decaying")


@pytest.fixture
def quick(monkeypatch):
    """Points without a child process; returns what was computed."""
    asked = []

    def point(atoms, engine, store, *, every_stress):
        key = point_key(atoms, engine, every_stress=every_stress)
        if (known := read_label(store, key)) is not None:
            return known
        asked.append((engine.cutoff, engine.kpts))
        about = document("label", atoms, engine, 0.0, [])
        gates = LabelGates()
        folder = result_folder(store, key)
        try:
            found = calculate(
                atoms, engine.calculator(atoms, store), engine, gates, every_stress=every_stress
            )
        except RuntimeError as error:
            failure = Failure("transient" if engine.deadline_s < 1 else "permanent", str(error))
            publish_result(folder, about, failure=failure.to_dict())
            return failure
        publish_result(folder, about, label=found.to_dict())
        return found

    monkeypatch.setattr(walk, "single_point", point)
    return asked


def wanted(file, *settings, out=None, **changes):
    start = ("cutoff=100", "kpts=1") if "start" not in changes else changes.pop("start")
    out = out or file.parent / "out"
    return Wanted(file, "decaying", (*start, *settings), out=out, **changes)


def ran(one):
    out, told = io.StringIO(), io.StringIO()
    code = converge(one, out, told)
    return code, out.getvalue(), told.getvalue()


# errors of 1000, 233, 68, 14.3, 2.6, 0.66 and 0.15 meV/atom at
CUTOFFS = [100.0, 120.0, 140.0, 170.0, 210.0, 250.0, 300.0]


def test_exactly_what_is_needed(file, quick):
    code, out, told = ran(wanted(file, tolerance=Tolerance(5.0, 1e3, 1e3)))
    assert code == CONVERGED
    assert [cutoff for cutoff, kpts in quick if kpts == 1.0] == CUTOFFS
    assert YAML(typ="safe").load(out) == {
        "engine": {"kind": "decaying", "cutoff": 210, "kpts": pytest.approx(1.8)}
    }
    # errors of 100, 23 and 0.9 meV/atom; the first point of the second ladder was known
    assert quick[7:] == [(210.0, kpts) for kpts in (1.2, 1.8, 2.3, 2.9)]
    assert told.count("(known)") == 1
    assert (file.parent / "out" / "copper-decaying.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("tolerance", "cutoff"),
    [
        (Tolerance(1e3, 0.01, 1e3), 170),  # errors of 116, 34, 7.2, 1.3 meV/Å at 120 ...
        (Tolerance(1e3, 1e3, 1.0), 210),  # and of 23, 6.8, 1.43, 0.26 GPa
        (Tolerance(5.0, 0.01, 1.0), 210),
    ],
)
def test_forces_and_stress_decide_too(file, quick, tolerance, cutoff):
    code, out, _ = ran(wanted(file, tolerance=tolerance))
    assert code == CONVERGED
    assert YAML(typ="safe").load(out)["engine"]["cutoff"] == cutoff


def test_again_it_costs_nothing(file, quick):
    first = ran(wanted(file))
    count = len(quick)
    second = ran(wanted(file))
    assert len(quick) == count
    assert first[:2] == second[:2]


def test_what_can_be_copied_is_a_campaign(file, quick, tmp_path):
    from aga.config import load

    _, out, _ = ran(wanted(file, "hard=false", "failing=[170.0]"))
    path = tmp_path / "campaign.yaml"
    path.write_text(f"name: copied\ncomposition: {{Cu: 4}}\n{out}")
    assert load(path).engine.failing == (170.0,)


def test_a_stress_that_the_engine_does_not_vouch_for_is_judged_and_told(file, quick):
    code, out, told = ran(wanted(file, "hard=true", tolerance=Tolerance(1e3, 1e3, 1.0)))
    assert code == CONVERGED
    assert YAML(typ="safe").load(out)["engine"]["cutoff"] == 210
    assert "does not vouch for the stress of Cu4" in told


def test_a_failed_point_is_passed_over_and_told(file, quick):
    code, out, told = ran(wanted(file, "failing=[120.0]", tolerance=Tolerance(5.0, 1e3, 1e3)))
    assert code == CONVERGED
    assert "cutoff 120, kpts 1: failed: did not converge" in told
    assert YAML(typ="safe").load(out)["engine"]["cutoff"] == 210


def test_two_failures_in_a_row_are_the_end(file, quick):
    code, out, told = ran(wanted(file, "failing=[120.0, 140.0]"))
    assert (code, out) == (NOT_CONVERGED, "")
    assert "cutoff: 2 settings in a row failed, the last because: did not converge" in told


def test_a_lack_of_time_is_the_end_and_tried_again(file, quick):
    short = ("failing=[120.0]", "deadline_s=0.5")
    code, _, told = ran(wanted(file, *short))
    assert code == NOT_CONVERGED
    assert "did not converge" in told
    count = len(quick)
    ran(wanted(file, *short))
    assert quick[count:] == [(120.0, 1.0)]  # what is known is not computed again


def test_a_ladder_that_is_too_short(file, quick):
    code, out, told = ran(wanted(file, steps=4, tolerance=Tolerance(5.0, 1e3, 1e3)))
    assert (code, out) == (NOT_CONVERGED, "")
    assert "not converged up to 170, the last of 4 settings" in told
    assert "raise --steps" in told
    assert [cutoff for cutoff, _ in quick] == CUTOFFS[:4]


def test_without_a_beginning_it_is_below_the_defaults(file, quick):
    ran(wanted(file, start=()))
    assert quick[0] == (100.0, 1.0)  # of 150 and 3


def test_molecules_have_no_kpoints(tmp_path, quick):
    Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]]).write(tmp_path / "pair.xyz")
    code, out, told = ran(wanted(tmp_path / "pair.xyz", tolerance=Tolerance(5.0, 1e3, 1e3)))
    assert code == CONVERGED
    assert {kpts for _, kpts in quick} == {1.0}
    assert "no k-points to converge" in told
    assert YAML(typ="safe").load(out)["engine"]["kpts"] == 1


def test_what_was_done_to_the_structure_is_told(tmp_path, quick):
    bulk("Cu").write(tmp_path / "one.cif")
    _, out, told = ran(wanted(tmp_path / "one.cif"))
    assert "Cu2, 2 atoms" in told
    assert "by symmetry its forces are zero" in told
    assert "on Cu2 (one.cif)" in out


def test_a_full_disk_is_told(file, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(walk, "single_point", fail)
    assert "the disk is full; make room" in refused(wanted(file))


# refusals


def refused(one):
    with pytest.raises(ConfigError) as caught:
        ran(one)
    return str(caught.value)


def test_engines_and_settings_that_are_wrong(file, tmp_path):
    assert "did you mean 'gpaw'" in refused(Wanted(file, "gpw"))
    told = refused(Wanted(file, "emt"))
    assert "emt: it has no plane-wave cutoff" in told
    assert "abinit, cp2k, decaying, espresso, gpaw, vasp" in told
    assert "did you mean 'cutoff'" in refused(wanted(file, "cutof=3"))
    assert "--set kpts=1: kpts is set twice" not in refused(wanted(file, "hard=perhaps"))
    assert "--set kpts=2: kpts is set twice" in refused(wanted(file, "kpts=2"))
    assert "expected KEY=VALUE" in refused(wanted(file, "hard"))
    assert "not YAML" in refused(wanted(file, "hard=[1"))
    bulk("Sn").write(tmp_path / "tin.cif")
    assert "no tin here" in refused(wanted(tmp_path / "tin.cif"))
    assert not (tmp_path / "out").exists()


def test_on_the_command_line(file, tmp_path, capsys, quick):
    def aga(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["converge", *map(str, arguments)])
        return ended.value.code or 0

    common = (file, "--engine", "decaying", "--set", "cutoff=100", "--set", "kpts=1")
    options = ("--tolerance-energy", 5, "--tolerance-force", 9, "--tolerance-stress", 90)
    assert aga(*common, *options, "--out", tmp_path / "a") == 0
    out, err = capsys.readouterr()
    assert YAML(typ="safe").load(out)["engine"]["cutoff"] == 210
    assert "cutoff, with kpts 1" in err
    assert "210" in next(line for line in err.splitlines() if "enough" in line)
    assert aga(tmp_path / "none.cif", "--engine", "gpaw") == 2
    assert "no such file" in capsys.readouterr().err


# two thirds of what the hardest element needs, of CP2K of its grid [eV]
@pytest.mark.parametrize(
    ("kind", "cutoff"), [("espresso", 730.0), ("abinit", 670.0), ("vasp", 350.0), ("cp2k", 3600.0)]
)
def test_every_engine_with_plane_waves(tmp_path, sets, monkeypatch, kind, cutoff):
    """Their programs are elsewhere: what they are asked for, and the section that comes of it."""
    asked = []

    def point(atoms, engine, store, *, every_stress):
        values = [getattr(engine, name) for name in engine.accuracy]
        asked.append((engine, *values))
        assert engine.problems(set(atoms.symbols)) == []
        error = (values[0] / cutoff) ** -8 + values[1] ** -8
        shape = np.zeros((len(atoms), 3))
        return Label(len(atoms) * error, shape, 1e-3 * error * np.ones(6), engine.key(), 1.0)

    monkeypatch.setattr(walk, "single_point", point)
    path = tmp_path / "quartz.cif"
    oxide = Atoms("SiO2", [[0.1, 0, 0], [1.6, 0.1, 0], [0, 1.7, 0.1]], cell=[4, 4.2, 4.4], pbc=True)
    oxide.write(path)
    given = tuple(f"{name}={value}" for name, value in sets[kind].items())
    code, out, told = ran(Wanted(path, kind, given, out=tmp_path / "out"))
    assert code == CONVERGED, told
    cutoffs = [value for _, value, _ in asked]
    assert cutoffs[:2] == [cutoff, pytest.approx(1.2 * cutoff, rel=0.05)]
    points = {(value, kpts) for _, value, kpts in asked}
    assert len({engine.key() for engine, *_ in asked}) == len(points)
    section = YAML(typ="safe").load(out)["engine"]
    assert section["kind"] == kind
    made = engines.build(section).settled(["O", "Si"])
    found = [getattr(made, name) for name in made.accuracy]
    assert tuple(found) in points
    assert (tmp_path / "out" / f"quartz-{kind}.png").is_file()


# children


def test_points_are_computed_in_children(file, tmp_path):
    code, out, told = ran(wanted(file, tolerance=Tolerance(300.0, 1e3, 1e3)))
    assert code == CONVERGED
    assert YAML(typ="safe").load(out)["engine"]["cutoff"] == 120
    results = [json.loads(path.read_text()) for path in tmp_path.glob("out/labels/*/*/result.json")]
    assert {result["status"] for result in results} == {"ok"}
    assert len(results) == told.count(" eV/atom, largest force") - 1


def test_stopped_and_given_again(file, tmp_path):
    """Ctrl-C in the middle of a point; what was there before is known afterwards."""
    command = [sys.executable, "-m", "aga", "converge", str(file), "--engine", "decaying"]
    command += ["--set", "cutoff=100", "--set", "seconds=0.3", "--tolerance-energy", "300"]
    command += ["--tolerance-force", "9", "--tolerance-stress", "900", "--out", str(tmp_path / "o")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=env())
    finally:
        signal.signal(signal.SIGINT, before)
    lines = []
    while sum("eV/atom" in line for line in lines) < 2:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == STOPPED, rest
    assert "the same command goes on" in rest
    assert "Traceback" not in rest
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env(), check=True)
    assert done.stderr.count("(known)") >= 2
    assert "cutoff: 120" in done.stdout


def env():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])}


def test_labels_without_a_voucher_are_never_those_of_a_campaign(copper, tmp_path):
    engine = engines.build({"kind": "decaying", "hard": True})
    bold = single_point(copper, engine, tmp_path, every_stress=True)
    careful = single_point(copper, engine, tmp_path)
    assert isinstance(bold, Label)
    assert bold.stress is not None
    assert careful.stress is None
    assert read_label(tmp_path, label_key(copper, engine)).stress is None


@pytest.mark.gpaw
def test_silicon_with_gpaw(tmp_path):
    """Real DFT at the lowest price; diamond is rattled, so its forces are judged."""
    if problems := engines.build({"kind": "gpaw"}).problems(["Si"]):
        pytest.skip(" ".join(problems))
    bulk("Si").write(tmp_path / "si.cif")
    start = ("ecut_ev=120", "kpts_density=0.5")
    limits = Tolerance(5000.0, 2.0, 100.0)
    code, out, told = ran(Wanted(tmp_path / "si.cif", "gpaw", start, limits, out=tmp_path / "out"))
    assert code == CONVERGED, told
    assert YAML(typ="safe").load(out)["engine"] == {
        "kind": "gpaw",
        "ecut_ev": 120,
        "kpts_density": 0.5,
    }
    assert "rattled" in told
    assert told.count(" eV/atom, largest force") == 6  # three on each ladder, one of them on both
    assert "nan" not in told

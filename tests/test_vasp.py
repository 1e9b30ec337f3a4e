"""VASP without VASP: its input set as pymatgen reads it, and a vasprun.xml that the tests build."""

import sys

import numpy as np
import pytest
from ase import Atoms, units
from pydantic import ValidationError
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from calculators.engines import build
from calculators.engines._vasp import order, write_input
from calculators.labelling import single_point
from calculators.outcome import EngineError
from potentials.structures import Label
from tests.pseudo_files import potcar
from tests.vasp_files import outcar, vasprun


@pytest.fixture
def potcars(tmp_path):
    folder = tmp_path / "potcars"
    potcar(folder, "O", cutoff=400.0, valence=6.0)
    potcar(folder, "Ti_sv", cutoff=274.61, valence=12.0)
    potcar(folder, "Al", exchange="CA", valence=3.0)
    return folder


@pytest.fixture
def make(potcars):
    def build_one(**settings):
        given = {"command": sys.executable, "pseudopotentials": {"Ti": "Ti_sv"}, **settings}
        return build({"kind": "vasp", "pseudo_dir": str(potcars), **given}).settled(["Ti", "O"])

    return build_one


@pytest.fixture
def titania():
    """Elements in an order that POSCAR does not keep."""
    positions = [[0, 0, 0], [1.9, 0, 0], [0, 2.0, 2.1], [2.2, 2.2, 0.1]]
    return Atoms("TiOTiO", positions, cell=[4.0, 4.5, 3.0], pbc=True)


def written(engine, atoms, folder):
    write_input(engine, engine.chosen(atoms), atoms, folder)
    return folder


# the input set


def test_the_input_set_is_what_pymatgen_reads(make, titania, tmp_path):
    engine = make(magmoms={"Ti": 1.0}, incar={"lasph": True, "NCORE": 4}, kpts_density=1.0)
    folder = written(engine, titania, tmp_path)
    tags = Incar.from_file(folder / "INCAR")
    assert tags["ENCUT"] == 520.0  # 1.3 times ENMAX of oxygen
    assert (tags["ISMEAR"], tags["SIGMA"], tags["NELM"]) == (0, 0.1, 100)
    assert (tags["NSW"], tags["IBRION"], tags["ISIF"]) == (0, -1, 2)
    assert (tags["ISPIN"], tags["MAGMOM"]) == (2, [0.0, 0.0, 1.0, 1.0])
    assert (tags["LASPH"], tags["NCORE"], tags["LWAVE"]) == (True, 4, False)
    assert tags["EDIFF"] == pytest.approx(4e-7)
    points = Kpoints.from_file(folder / "KPOINTS")
    assert points.style.name == "Gamma"
    assert points.kpts == [(2, 2, 3)]
    assert points.kpts_shift == (0, 0, 0)
    structure = Poscar.from_file(folder / "POSCAR").structure
    assert [site.specie.symbol for site in structure] == ["O", "O", "Ti", "Ti"]
    np.testing.assert_allclose(structure.cart_coords, titania.positions[[1, 3, 0, 2]], atol=1e-9)
    titles = [line for line in (folder / "POTCAR").read_text().splitlines() if "TITEL" in line]
    assert [line.split()[3] for line in titles] == ["O", "Ti_sv"]
    assert (folder / "POTCAR.spec").read_text().split() == ["O", "Ti_sv"]


@pytest.mark.parametrize(
    ("settings", "tag", "value"),
    [
        ({"xc": "PBEsol"}, "GGA", "Ps"),
        ({"xc": "PBE"}, "GGA", "Pe"),
        ({"smearing": "methfessel-paxton"}, "ISMEAR", 1),
        ({"algo": "All"}, "ALGO", "All"),
        ({"symmetry": False}, "ISYM", 0),
        ({"mixing_beta": 0.1}, "AMIX", 0.1),
        ({"ecut_ev": 450.0}, "ENCUT", 450.0),
    ],
)
def test_settings_become_tags(make, titania, tmp_path, settings, tag, value):
    folder = written(make(**settings), titania, tmp_path)
    assert Incar.from_file(folder / "INCAR")[tag] == value


def test_tags_of_the_engine_are_not_yours():
    with pytest.raises(ValidationError, match="ENCUT, NSW may not stand in incar"):
        build({"kind": "vasp", "incar": {"encut": 300, "nsw": 5, "LASPH": True}})


def test_stress_needs_more_than_enmax(make, titania):
    assert make().stress_converged(titania)
    assert not make(ecut_ev=450.0).stress_converged(titania)
    assert make(ecut_ev=450.0).stress_converged(titania[[0, 2]])


def test_what_is_wrong_with_potcars(make):
    engine = make()
    assert engine.problems(["Ti", "O"]) == []
    assert "no 'Si/POTCAR' for Si" in engine.problems(["Si"])[0]
    assert "mix functionals (LDA, PBE)" in engine.problems(["Al", "O"])[0]
    assert "are of LDA, not of PBE" in engine.problems(["Al"])[0]


def test_the_environment_names_the_folder(potcars, monkeypatch):
    monkeypatch.setenv("VASP_PP_PATH", str(potcars.parent))
    potcars.rename(potcars.parent / "potpaw_PBE")
    engine = build({"kind": "vasp", "command": sys.executable})
    assert engine.settled(["O"]).problems(["O"]) == []
    assert "There is no folder" in engine.overridden({"xc": "LDA"}).problems(["O"])[0]


# what VASP leaves


def fake(folder, content, *, moments=None, status=0, says=""):
    """A vasp_std that leaves a vasprun.xml, and an OUTCAR where there are moments."""
    (folder / "kept.xml").write_text(content)
    lines = [
        f"#!{sys.executable}",
        "import pathlib, sys",
        f"print({says!r})",
        f"text = pathlib.Path({str(folder / 'kept.xml')!r}).read_text()",
        "text and pathlib.Path('vasprun.xml').write_text(text)",
    ]
    if moments is not None:
        lines.append(f"pathlib.Path('OUTCAR').write_text({outcar(*moments)!r})")
    path = folder / "vasp_std"
    path.write_text("\n".join([*lines, f"sys.exit({status})"]) + "\n")
    path.chmod(0o755)
    return str(path)


FORCES = 0.1 * np.arange(12).reshape(4, 3)
STRESS = np.array([[10.0, 1.0, 0.0], [1.0, 20.0, 0.0], [0.0, 0.0, -5.0]])  # [kbar]


def test_a_label_of_vasp(make, titania, tmp_path):
    grouped = titania[order(titania)]
    content = vasprun(grouped, FORCES, STRESS, ispin=2, energy=-40.0)
    command = fake(tmp_path, content, moments=([0.1, 0.2, 1.5, -1.6], 0.25))
    engine = make(command=command, magmoms={"Ti": 1.0})
    label = single_point(titania, engine, tmp_path / "store")
    assert isinstance(label, Label), label
    # extrapolated, although the last block of the file has another number there
    assert label.energy == pytest.approx(-40.0)
    np.testing.assert_allclose(label.forces, FORCES[[2, 0, 3, 1]])
    np.testing.assert_allclose(label.stress, -0.1 * units.GPa * np.array([10, 20, -5, 0, 0, 1]))
    np.testing.assert_allclose(label.magmoms, [1.5, 0.1, -1.6, 0.2])
    assert label.magnetization == 0.25


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 60}, "the SCF has not converged after 60 iterations"),
        ({"cut": 900}, "is not complete"),
        ({"empty": True}, "left no vasprun.xml"),
        ({"status": 1, "says": "Error EDDDAV: Call to ZHEGV failed"}, "vasp: Error EDDDAV"),
        (
            {
                "status": 1,
                "says": " |   The distance between atoms is   |\n |  I REFUSE TO CONTINUE |",
            },
            "vasp: The distance between atoms is",
        ),
    ],
)
def test_why_there_is_no_label(make, titania, tmp_path, change, words):
    content = vasprun(titania[order(titania)], FORCES, STRESS, steps=change.get("steps", 5))
    content = "" if change.get("empty") else content[: len(content) - change.get("cut", 0)]
    command = fake(tmp_path, content, status=change.get("status", 0), says=change.get("says", ""))
    engine = make(command=command)
    calculator = engine.calculator(titania, tmp_path)
    with pytest.raises(EngineError) as caught:
        calculator.calculate(titania)
    assert words in str(caught.value)

"""ABINIT and CP2K without the programs: what they are told and what is made of what they say."""

import sys

import pytest
from ase.build import bulk

from calculators.engines import build
from calculators.outcome import EngineError
from tests.pseudo_files import psp8

# as ABINIT 9 and CP2K 2023 write them
ABINIT_UNCONVERGED = """\
 scprqt:  WARNING -
  nstep=    3 was not enough SCF cycles to converge;
  maximum energy difference=  1.422E-04 exceeds toldfe=  3.675E-07
 ----iterations are completed or convergence reached----
"""
ABINIT_ERROR = """\
--- !ERROR
src_file: m_pspheads.F90
src_line: 139
mpi_rank: 0
message: |
    Fortran open returned iostat: 2 while opening file: ./Si.psp8
    Runtime error message: Cannot open file
...
"""
ABINIT_INPUT = """\
 chkinp: ERROR -
   The input keyword ecut is required to be positive

--- !ERROR
src_file: m_chkinp.F90
message: |
    Checking consistency of input data against itself gave 1 inconsistency.
...
"""
CP2K_ABORT = """\
 *******************************************************************************
 *   ___                                                                       *
 *  /   \\                                                                      *
 * [ABORT]                                                                     *
 *  \\___/  Matrix is not positive definite                                     *
 *    |                                                                        *
 *  O/|                                                                        *
 * /| |                                              cp_dbcsr_cholesky.F:121   *
 * / \\                                                                         *
 *******************************************************************************
"""
CP2K_UNCONVERGED = """\
  Step     Update method      Time    Convergence         Total energy    Change
  ------------------------------------------------------------------------------
     1 NoMix/Diag. 0.40E+00    0.6     0.61513089        -7.7503838446 -7.75E+00
     2 Broy./Diag. 0.40E+00    1.1     0.01138423        -7.7768137911 -2.64E-02
     3 Broy./Diag. 0.40E+00    1.1     0.05331206        -7.8396543093 -6.28E-02

  Leaving inner SCF loop after reaching     3 steps.

 *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***
"""


def script(folder, name, body):
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def abinit(tmp_path):
    psp8(tmp_path / "14_Si.psp8", 14)
    psp8(tmp_path / "26_Fe.psp8", 26, valence=16.0)

    def make(body="", **settings):
        command = script(tmp_path, "abinit", body)
        given = {"command": command, "pseudo_dir": str(tmp_path), **settings}
        return build({"kind": "abinit", **given}).settled(["Si", "Fe"])

    return make


def test_abinit_is_told_gamma(abinit, tmp_path):
    atoms = bulk("Si")
    engine = abinit(kpts_density=0.9, magmoms={"Si": 0.5})
    engine.calculator(atoms, tmp_path).write_inputfiles(atoms, ["energy"])
    text = " ".join((tmp_path / "abinit.in").read_text().split())
    assert "ngkpt 2 2 2" in text
    assert "shiftk 0.0 0.0 0.0" in text
    assert "0.5 0.5 0.5" not in text
    assert "spinat 0.00000000000000 0.00000000000000 0.50000000000000" in text
    assert "ecut 1200.0 eV" in text
    assert 'pseudos "14_Si.psp8"' in text
    assert f'pp_dirpath "{tmp_path}"' in text
    assert "chksymtnons 0" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ABINIT_UNCONVERGED, "abinit: the SCF has not converged after 3 iterations"),
        (ABINIT_ERROR, "abinit: Fortran open returned iostat: 2"),
        (ABINIT_INPUT, "abinit: The input keyword ecut is required to be positive"),
        ("bye", "bye"),
    ],
)
def test_why_abinit_gives_no_answer(abinit, tmp_path, text, words):
    atoms = bulk("Si")
    calculator = abinit(f"print({text!r}); sys.exit(14)").calculator(atoms, tmp_path)
    with pytest.raises(EngineError) as caught:
        calculator.calculate(atoms, ["energy"], [])
    assert str(caught.value).startswith(words)


def test_abinit_that_goes_on_unconverged_is_refused(abinit, tmp_path):
    """ABINIT ends with status 0, and ASE's reader looks for other words."""
    atoms = bulk("Si")
    body = (
        f"text = {ABINIT_UNCONVERGED!r}; print(text); pathlib.Path('abinit.abo').write_text(text)"
    )
    calculator = abinit(body).calculator(atoms, tmp_path)
    with pytest.raises(EngineError, match="has not converged after 3 iterations"):
        calculator.calculate(atoms, ["energy"], [])


@pytest.fixture
def cp2k(tmp_path):
    (tmp_path / "BASIS_MOLOPT").write_text(
        " Si  DZVP-MOLOPT-SR-GTH DZVP-MOLOPT-SR-GTH-q4\n 1\n O  SZV-MOLOPT-SR-GTH\n"
    )
    (tmp_path / "GTH_POTENTIALS").write_text(
        "#\nSi GTH-PBE-q4 GTH-PBE\n 2 2\nO GTH-PBE-q6 GTH-PBE\n"
    )

    def make(body="", **settings):
        command = script(tmp_path, "cp2k", body)
        return build({"kind": "cp2k", "command": command, "data_dir": str(tmp_path), **settings})

    return make


def test_cp2k_looks_for_elements_in_its_files(cp2k, tmp_path):
    assert cp2k().problems(["Si"]) == []
    (problem,) = cp2k().problems(["Si", "O"])
    assert "BASIS_MOLOPT has no DZVP-MOLOPT-SR-GTH for O" in problem
    basis, potential = cp2k().problems(["S"])  # not Si
    assert "for S:" in basis
    assert "has no GTH-PBE for S:" in potential
    (problem,) = cp2k(xc="BLYP").problems(["Si"])
    assert "has no GTH-BLYP for Si" in problem
    (problem,) = cp2k(basis_file="OTHER").problems(["Si"])
    assert "There is no OTHER" in problem


def test_cp2k_is_told_gamma(cp2k):
    from calculators.engines._cp2k import template

    atoms = bulk("Si")
    assert "SCHEME MACDONALD 2 2 2 0.25 0.25 0.25" in template(cp2k(kpts_density=0.9), atoms)
    assert "SCHEME MACDONALD 3 3 3 0 0 0" in template(cp2k(kpts_density=1.2), atoms)
    assert "KPOINTS" not in template(cp2k(kpts_density=0.2), atoms)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CP2K_UNCONVERGED, "cp2k: the SCF has not converged after 3 iterations"),
        (CP2K_ABORT, "cp2k: Matrix is not positive definite cp_dbcsr_cholesky.F:121"),
        ("", ""),
    ],
)
def test_why_cp2k_gives_no_answer(tmp_path, text, words):
    from calculators.engines._cp2k import reason

    (tmp_path / "cp2k.out").write_text(text)
    assert reason(tmp_path / "cp2k.out").startswith(words)


@pytest.mark.filterwarnings("ignore:CP2K-shell not ready")  # ASE's farewell to one that is gone
def test_a_cp2k_that_dies_in_the_talk_is_an_error_with_its_reason(cp2k, tmp_path):
    body = f"""
print("* READY", flush=True); sys.stdin.readline()
print("CP2K Shell Version: 6.0", flush=True); print("* READY", flush=True)
sys.stdin.readline(); print("* READY", flush=True)
sys.stdin.readline(); pathlib.Path("{tmp_path}/cp2k.out").write_text({CP2K_ABORT!r}); sys.exit(1)
"""
    calculator = cp2k(body).calculator(bulk("Si"), tmp_path)
    with pytest.raises(EngineError, match="Matrix is not positive definite"):
        calculator.calculate(bulk("Si"))

"""Conformance of every engine in the folder, and what is particular to each."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pydantic import ValidationError

from calculators import engines
from calculators.engines import Engine, build, kinds
from calculators.engines._grid import grid
from calculators.engines.gpaw import GPAW
from calculators.labelling import LabelGates, single_point
from calculators.outcome import Failure
from calculators.results import label_key, read_result
from potentials.structures import Label

ROOT = Path(__file__).parent.parent
LJ = {"path": "ase.calculators.lj.LennardJones", "arguments": {"sigma": 2.2, "epsilon": 0.05}}

# the least each kind needs besides its name, and a crystal it can compute quickly; programs of
# their own find their pseudopotentials by the environment (docs/engines.md) or are skipped
SETTINGS = {
    "ase": LJ,
    "gpaw": {"ecut_ev": 150.0, "kpts_density": 1.0},
    "espresso": {"kpts_density": 0.9},
    "abinit": {"kpts_density": 0.9},
    "cp2k": {"kpts_density": 0.45, "grid_ev": 3000.0, "basis": "SZV-MOLOPT-SR-GTH"},
}
CRYSTALS = {"emt": "Cu", "ase": "Cu"}
MARKS = {"gpaw": pytest.mark.gpaw, "chgnet": pytest.mark.chgnet, "cp2k": pytest.mark.slow}
KINDS = [pytest.param(kind, marks=MARKS.get(kind, ())) for kind in kinds()]


def engine_of(kind: str) -> Engine:
    return build({"kind": kind, **SETTINGS.get(kind, {})}).settled({"Si"})


def crystal_of(kind: str) -> Atoms:
    atoms = bulk(CRYSTALS.get(kind, "Si"))
    atoms = atoms if len(atoms) > 1 else atoms.repeat((2, 1, 1))
    atoms.rattle(0.08, rng=np.random.default_rng(5))
    return atoms


@pytest.fixture(params=KINDS)
def installed(request) -> str:
    """A kind whose program is there."""
    problems = engine_of(request.param).problems(crystal_of(request.param).symbols)
    if problems:
        pytest.skip(" ".join(problems))
    return request.param


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("labels")


def labelled(atoms: Atoms, engine: Engine, store: Path) -> Label:
    label = single_point(atoms, engine, store)
    assert isinstance(label, Label), label
    return label


# every kind, installed or not


@pytest.mark.parametrize("kind", list(kinds()))
def test_settings_survive_json(kind):
    engine = engine_of(kind)
    assert build(engine.model_dump(mode="json")) == engine


@pytest.mark.filterwarnings("ignore:Pydantic serializer")  # "changed" is of the wrong type
@pytest.mark.parametrize("kind", list(kinds()))
def test_key_ignores_limits_and_helpers_only(kind):
    engine = engine_of(kind)
    other = engine.model_copy(update={"deadline_s": 1.0, "memory_gb": 0.0, "retries": ()})
    assert other.key() == engine.key()
    decisive = set(type(engine).model_fields) - engine.helpers - engine.places
    for name in decisive - {"deadline_s", "memory_gb", "retries"}:
        assert engine.model_copy(update={name: "changed"}).key() != engine.key(), name
    for name in engine.helpers | engine.places:
        assert engine.model_copy(update={name: "changed"}).key() == engine.key(), name


def test_keys_of_kinds_differ():
    assert len({engine_of(kind).key() for kind in kinds()}) == len(kinds())


@pytest.mark.parametrize("kind", list(kinds()))
def test_unknown_settings_are_refused(kind):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        build({"kind": kind, **SETTINGS.get(kind, {}), "cutof": 1})


@pytest.mark.parametrize("kind", list(kinds()))
def test_description_is_one_line_that_owns_up_to_surrogates(kind):
    engine = engine_of(kind)
    text = engine.description()
    assert "\n" not in text
    if engine.surrogate and kind != "ase":
        assert "not DFT" in text


@pytest.mark.parametrize("kind", list(kinds()))
def test_the_ladder_holds_only_fields_of_the_engine(kind):
    cls = kinds()[kind]
    assert cls.ladder | cls.helpers <= set(cls.model_fields)
    assert cls.helpers <= cls.ladder
    assert cls.places <= set(cls.model_fields)
    assert not cls.places & cls.ladder


@pytest.mark.parametrize("kind", list(kinds()))
def test_settling_twice_changes_nothing(kind):
    engine = engine_of(kind)
    assert engine.settled({"Si"}) == engine
    assert engine.settled({"Si"}).key() == engine.key()


@pytest.mark.parametrize("kind", list(kinds()))
def test_checking_imports_no_engine(kind):
    code = (
        "import sys; from calculators.engines import build; "
        f"build({ ({'kind': kind} | SETTINGS.get(kind, {}))!r}).problems(['Si', 'Cu']); "
        "sys.exit(str(sorted({'torch', 'gpaw', 'chgnet', 'pymatgen'} & set(sys.modules))))"
    )
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_unknown_kind_names_the_nearest():
    with pytest.raises(ValueError, match=r"no Engine 'gpwa' \(did you mean 'gpaw'\?\)"):
        build({"kind": "gpwa"})


# every kind that is installed


def test_label_is_sane(installed, store):
    atoms, engine = crystal_of(installed), engine_of(installed)
    label = labelled(atoms, engine, store)
    assert label.forces.shape == (len(atoms), 3)
    assert label.stress is not None
    assert label.engine == engine.key()
    np.testing.assert_allclose(label.forces.sum(axis=0), 0.0, atol=2e-3)


def test_forces_are_the_slope_of_the_energy(installed, store):
    atoms, engine, step = crystal_of(installed), engine_of(installed), 0.02
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * step
        energies.append(labelled(moved, engine, store).energy)
    slope = -(energies[0] - energies[1]) / (2 * step)
    assert labelled(atoms, engine, store).forces[0, 0] == pytest.approx(slope, rel=0.02, abs=0.02)


def test_compressed_crystal_has_negative_stress(installed, store):
    atoms = crystal_of(installed)
    atoms.set_cell(0.92 * atoms.cell.array, scale_atoms=True)
    stress = labelled(atoms, engine_of(installed), store).stress
    assert stress is not None
    assert (stress[:3] < 0).all()


def test_versions_are_kept(installed, store):
    atoms, engine = crystal_of(installed), engine_of(installed)
    labelled(atoms, engine, store)
    result = read_result(store, label_key(atoms, engine))
    assert set(result["versions"]) == set(engine.distributions())
    assert all(result["versions"].values())


def test_an_even_grid_holds_gamma(installed, store):
    """Two points along an axis of one cell are one of the doubled cell: only if it is Gamma."""
    if "kpts_density" not in type(engine_of(installed)).model_fields:
        pytest.skip("no k-points")
    atoms = crystal_of(installed)
    engine = engine_of(installed).model_copy(update={"kpts_density": 0.9})
    assert grid(atoms, 0.9) == (2, 2, 2)
    assert grid(atoms.repeat((2, 1, 1)), 0.9) == (1, 2, 2)
    one, two = (labelled(cell, engine, store) for cell in (atoms, atoms.repeat((2, 1, 1))))
    assert two.energy / 4 == pytest.approx(one.energy / 2, abs=2e-3)
    np.testing.assert_allclose(two.forces[:2], one.forces, atol=2e-2)


@pytest.mark.parametrize("distance", [0.0, 0.05])
def test_atoms_on_top_of_each_other_are_no_label(installed, store, distance):
    atoms = crystal_of(installed)
    atoms.positions[1] = atoms.positions[0] + [distance, 0, 0]
    failure = single_point(atoms, engine_of(installed), store)
    assert isinstance(failure, Failure)
    assert failure.kind == "permanent"
    assert "Å apart" in failure.reason


# particular kinds


def test_emt_names_elements_without_parameters():
    (problem,) = build({"kind": "emt"}).problems(["Cu", "Si"])
    assert "no parameters for Si" in problem


def test_emt_elements_are_those_of_ase():
    from ase.calculators.emt import parameters

    from calculators.engines.emt import _ELEMENTS

    assert set(_ELEMENTS) == set(parameters)


def test_gpaw_missing_says_how_to_install(monkeypatch):
    monkeypatch.setattr(engines.gpaw, "find_spec", lambda name: None)
    (problem,) = GPAW().problems(["Si"])
    for words in (
        "pip install 'aga-search[gpaw]'",
        "needs only g++",
        "GPAW_CONFIG",
        "`engine: {kind: chgnet}`",
        "a surrogate of PBE, not DFT",
    ):
        assert words in problem


def test_chgnet_missing_says_how_to_install(monkeypatch):
    monkeypatch.setattr(engines.chgnet, "find_spec", lambda name: None)
    (problem,) = build({"kind": "chgnet"}).problems(["Si"])
    assert "pip install 'aga-search[chgnet]'" in problem


def test_chgnet_on_a_gpu_needs_its_address_space():
    engine = build({"kind": "chgnet", "device": "cuda"})
    assert any("set memory_gb: 0" in problem for problem in engine.problems(["Si"]))
    free = engine.overridden({"memory_gb": 0.0})
    assert not any("memory_gb" in problem for problem in free.problems(["Si"]))


def test_missing_gpaw_is_a_failure_that_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(engines.gpaw, "find_spec", lambda name: None)
    failure = single_point(bulk("Si"), GPAW(), tmp_path)
    assert isinstance(failure, Failure)
    assert "pip install 'aga-search[gpaw]'" in failure.reason
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """A GPAW with two datasets."""
    for name in ("Si.PBE.gz", "Si.LDA.gz", "C.PBE"):
        (tmp_path / name).touch()
    monkeypatch.setenv("GPAW_SETUP_PATH", str(tmp_path))
    real = engines.gpaw.find_spec
    monkeypatch.setattr(
        engines.gpaw, "find_spec", lambda name: None if name == "gpaw_data" else real("ase")
    )
    return tmp_path


def test_gpaw_names_missing_datasets(datasets):
    assert GPAW().problems(["Si", "C"]) == []
    (problem,) = GPAW().problems(["Tc", "Si"])
    assert "no PBE dataset for Tc" in problem
    assert str(datasets) in problem
    (problem,) = GPAW(xc="LDA").problems(["C", "Si"])
    assert "no LDA dataset for C" in problem


def test_gpaw_short_symbol_does_not_match_a_longer_one(datasets):
    assert "no PBE dataset for S " in GPAW().problems(["S"])[0]


@pytest.mark.parametrize(
    ("formula", "ecut", "converged"),
    [
        ("Si2", 150.0, True),
        ("TiO2", 600.0, False),
        ("MgO", 790.0, False),
        ("MgO", 800.0, True),
        ("Fe", 500.0, False),
        ("Fe", 600.0, True),
    ],
)
def test_gpaw_stress_needs_the_cutoff(formula, ecut, converged):
    assert GPAW(ecut_ev=ecut).stress_converged(Atoms(formula)) is converged


@pytest.mark.parametrize("kind", list(kinds()))
def test_crystals_are_computed_as_they_are(kind):
    atoms = crystal_of(kind)
    assert engine_of(kind).placed(atoms) == atoms


def test_gpaw_puts_clusters_into_a_box_that_repeats():
    atoms = Atoms("Li3", [[0, 0, 0], [3.0, 0, 0], [1.0, 2.8, 0.4]])
    boxed = GPAW().placed(atoms)
    assert boxed.pbc.all()
    assert boxed.get_all_distances() == pytest.approx(atoms.get_all_distances())
    # 3 Å wide, and 5 Å of vacuum on each side
    assert boxed.cell.cellpar() == pytest.approx([13, 13, 13, 90, 90, 90])
    assert boxed.positions.min() >= 5.0
    assert (boxed.cell.lengths() - boxed.positions.max(axis=0)).min() >= 5.0
    moved = atoms.copy()
    moved.positions += 2.0
    assert GPAW().placed(moved).positions == pytest.approx(boxed.positions)
    assert not atoms.pbc.any()


@pytest.mark.parametrize("kind", ["emt", "ase"])
def test_a_label_of_a_cluster_has_forces_and_no_stress(kind, tmp_path):
    atoms = Atoms("Cu4", [[0, 0, 0], [2.4, 0, 0], [0, 2.4, 0], [0.3, 0, 2.4]])
    engine = engine_of(kind)
    label = single_point(atoms, engine, tmp_path)
    assert isinstance(label, Label)
    assert label.stress is None
    atoms.calc = engine.calculator(atoms, tmp_path)
    assert label.energy == pytest.approx(atoms.get_potential_energy())
    np.testing.assert_allclose(label.forces, atoms.get_forces(), atol=1e-9)


def test_gpaw_default_ladder_keeps_the_physics():
    engine = GPAW()
    assert engine.retries
    for overrides in engine.retries:
        assert engine.overridden(overrides).key() == engine.key()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"ecut_ev": 200.0}, "'ecut_ev' may not be overridden"),
        ({"maxitr": 200}, "'maxitr' may not be overridden"),
        ({"maxiter": "many"}, "valid integer"),
        ({"retries": ()}, "'retries' may not be overridden"),
    ],
)
def test_ladder_is_checked_at_construction(overrides, words):
    with pytest.raises(ValidationError, match=words):
        GPAW(retries=({"maxiter": 100}, overrides))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module.Calculator", "cannot find the module 'no_such_module'"),
        ("ase.calculators.nowhere.LennardJones", "cannot find the module"),
        ("ase.calculators.lj.LennardJonse", "finds no 'LennardJonse'"),
    ],
)
def test_wrong_import_path_is_found_beforehand(path, words):
    (problem,) = build({"kind": "ase", "path": path}).problems(["Cu"])
    assert words in problem


@pytest.mark.gpaw
def test_gpaw_unconverged_scf_is_a_failure(store):
    engine = GPAW(**SETTINGS["gpaw"], maxiter=2, retries=({"maxiter": 3},))
    if problems := engine.problems(["Si"]):
        pytest.skip(" ".join(problems))
    atoms = crystal_of("gpaw")
    atoms.positions[0, 1] += 0.1
    failure = single_point(atoms, engine, store)
    assert isinstance(failure, Failure)
    assert failure.kind == "permanent"
    assert "KohnShamConvergenceError" in failure.reason
    attempts = read_result(store, label_key(atoms, engine))["attempts"]
    assert [attempt["overrides"] for attempt in attempts] == [{}, {"maxiter": 3}]


@pytest.mark.gpaw
def test_gpaw_default_ladder_is_understood_by_gpaw(tmp_path):
    engine = GPAW(**SETTINGS["gpaw"])
    if problems := engine.problems(["Si"]):
        pytest.skip(" ".join(problems))
    atoms = crystal_of("gpaw")
    plain = labelled(atoms, engine, tmp_path / "plain")
    last = engine.overridden(engine.retries[-1])
    label = labelled(atoms, last, tmp_path / "last")
    assert label.energy == pytest.approx(plain.energy, abs=1e-3)
    np.testing.assert_allclose(label.forces, plain.forces, atol=5e-3)


@pytest.mark.chgnet
def test_chgnet_nonsense_is_caught_after_the_gates_too(store):
    engine = build({"kind": "chgnet"})
    if problems := engine.problems(["Si"]):
        pytest.skip(" ".join(problems))
    atoms = crystal_of("chgnet")
    atoms.positions[1] = atoms.positions[0]
    failure = single_point(atoms, engine, store, LabelGates(shortest=0.0))
    assert isinstance(failure, Failure)
    assert "not finite" in failure.reason

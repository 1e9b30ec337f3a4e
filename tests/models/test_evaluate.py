"""`aga evaluate`: errors, what the spread is worth, pictures; JSON for programs."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aga.models import errors
from aga.models.errors import Compared, evaluate
from potentials.formats import extxyz
from potentials.structures import Frame, Label

KEYS = [
    "energy_rmse_mev_per_atom",
    "force_rmse_ev_per_a",
    "stress_rmse_gpa",
    "n_structures",
    "seconds",
]


def test_json_is_five_numbers_and_nothing_else(aga, model, data, ensemble, frames):
    code, printed, said = aga("evaluate", model, data / "test.extxyz", "--json")
    assert (code, said) == (0, "")
    found = json.loads(printed)
    assert list(found) == KEYS
    assert found["n_structures"] == 8
    wrong = {"energy": [], "forces": [], "stress": []}
    for frame in frames[22:]:  # one by one, so that no batch can mix them up
        atoms, label = frame.atoms, frame.label
        one = ensemble.predict([atoms])
        wrong["energy"].append([(float(one.energy[0]) - label.energy) / len(atoms)])
        wrong["forces"].append((one.forces.numpy() - label.forces).ravel())
        rows, columns = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
        wrong["stress"].append(one.stress[0].numpy()[rows, columns] - label.stress)
    rmse = {name: np.sqrt(np.mean(np.concatenate(part) ** 2)) for name, part in wrong.items()}
    assert found["energy_rmse_mev_per_atom"] == pytest.approx(1e3 * rmse["energy"])
    assert found["force_rmse_ev_per_a"] == pytest.approx(rmse["forces"])
    # 1 eV/Å^3 is 160.2 GPa
    assert found["stress_rmse_gpa"] == pytest.approx(160.21766 * rmse["stress"], rel=1e-6)


def test_without_stress_labels_it_is_null(aga, model, tmp_path, frames):
    bare = [
        Frame(f.id, f.atoms, Label(f.label.energy, f.label.forces, None, "emt")) for f in frames
    ]
    extxyz.write(tmp_path / "no.extxyz", bare)
    _, printed, _ = aga("evaluate", model, tmp_path / "no.extxyz", "--json")
    assert json.loads(printed)["stress_rmse_gpa"] is None
    assert "no labels" in aga("evaluate", model, tmp_path / "no.extxyz")[1]


def test_the_table_and_the_pictures(aga, model, data, tmp_path):
    code, printed, said = aga("evaluate", model, data / "test.extxyz", "--plots", tmp_path / "p")
    assert code == 0
    assert "energy [meV/atom]" in printed
    assert "rank corr." in printed
    names = ["energy", "forces", "stress", "spread"]
    assert [Path(line).stem for line in said.splitlines()] == names
    for name in names:
        with Image.open(tmp_path / "p" / f"{name}.png") as picture:
            assert min(picture.size) > 500
    assert len(list((tmp_path / "p").iterdir())) == 4  # no temporary file is left


def test_many_points_become_a_map(aga, model, data, tmp_path, monkeypatch):
    monkeypatch.setattr("aga.models.pictures.DOTS", 5)
    assert aga("evaluate", model, data / "test.extxyz", "--plots", tmp_path)[0] == 0
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_batches_change_nothing(ensemble, frames, monkeypatch):
    whole = evaluate(ensemble, frames, spread=True)
    monkeypatch.setattr(errors, "ATOMS", 5)
    parts = evaluate(ensemble, frames, spread=True)
    np.testing.assert_allclose(parts.energy.predicted, whole.energy.predicted, rtol=1e-12)
    np.testing.assert_allclose(parts.forces.spread, whole.forces.spread, rtol=1e-9)
    assert whole.forces.spread.shape == (len(whole.forces.computed),)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/none", "{data}/test.extxyz"], "none holds no ensemble"),
        (["{model}", "{tmp}/none.extxyz"], "none.extxyz: no such file"),
        (["{model}", "{data}/test.extxyz", "--forces-key", "F"], "no forces under 'F'"),
    ],
)
def test_what_is_refused(aga, model, data, tmp_path, arguments, said):
    filled = [word.format(tmp=tmp_path, data=data, model=model) for word in arguments]
    code, printed, err = aga("evaluate", *filled, "--json")
    assert (code, printed) == (2, "")
    assert said in err


def test_an_element_that_it_does_not_know(aga, model, tmp_path, frames):
    atoms = frames[0].atoms.copy()
    atoms.symbols[0] = "Ag"
    extxyz.write(tmp_path / "a.extxyz", [Frame("a", atoms, frames[0].label)])
    code, _, said = aga("evaluate", model, tmp_path / "a.extxyz", "--json")
    assert code == 2
    assert "holds Ag, which the ensemble was not trained on (it knows Cu, Au)" in said


def test_predictions_that_are_no_numbers(aga, model, tmp_path, frames):
    positions = frames[0].atoms.positions.copy()
    positions[1] = positions[0]
    atoms = frames[0].atoms.copy()
    atoms.positions = positions
    extxyz.write(tmp_path / "a.extxyz", [Frame("a", atoms, frames[0].label)])
    code, printed, said = aga("evaluate", model, tmp_path / "a.extxyz", "--json")
    assert (code, printed) == (2, "")
    assert "predicts numbers that are not finite; are there atoms on top" in said


def test_errors_by_hand():
    compared = Compared(
        np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 1.5]]), np.array([4.0, 1.0])
    )
    assert compared.rmse == pytest.approx(np.sqrt((9 + 16 + 0.25) / 4))
    assert compared.mae == pytest.approx(7.5 / 4)
    assert compared.largest == 4.0
    np.testing.assert_allclose(compared.deviation, [5.0, 0.5])
    assert [compared.coverage(k) for k in (0.4, 1.0, 2.0)] == [0.0, 0.5, 1.0]


def test_rank_correlation():
    error = np.array([0.1, 0.4, 0.2, 0.3])

    def of(spread):
        return Compared(np.zeros(4), error, np.asarray(spread)).rank_correlation()

    assert of(np.exp(error)) == pytest.approx(1.0)
    assert of(1.0 - error) == pytest.approx(-1.0)
    assert of([1.0, 4.0, 3.0, 2.0]) == pytest.approx(0.8)  # 1 - 6 sum d^2 / n(n^2 - 1)
    assert of(np.ones(4)) is None
    assert Compared(np.zeros(4), error).rank_correlation() is None
    assert Compared(np.zeros(4), error).coverage(1.0) is None


def test_forces_that_symmetry_forbids_do_not_count():
    """Their spread is rounding, and so the labels' own rounding would be never covered."""
    error = np.array([0.1, 0.4, 0.2, 0.3, 1e-5, 1e-5])
    spread = np.array([0.2, 0.3, 0.3, 0.4, 1e-6, 0.0])
    compared = Compared(np.zeros(6), error, spread, rounding=1e-5)
    assert compared.coverage(1.0) == pytest.approx(0.75)
    assert (
        compared.rank_correlation()
        == Compared(np.zeros(4), error[:4], spread[:4]).rank_correlation()
    )
    assert Compared(np.zeros(2), error[:2], np.zeros(2)).coverage(1.0) is None


@pytest.mark.reference
def test_the_published_silicon_network_has_its_published_errors(aga, tmp_path):
    """Zuo et al., J. Phys. Chem. A 124, 731 (2020): 6.93 meV/atom, 0.17 eV/Å on the test set."""
    if "AGA_REFERENCE_DATA" not in os.environ:
        pytest.skip("AGA_REFERENCE_DATA is not set: the folder of published data")
    mlearn = Path(os.environ["AGA_REFERENCE_DATA"]) / "mlearn"
    source = mlearn / "nnp_models" / "Si"
    assert aga("convert", source, tmp_path / "m", "--from", "runner", "--to", "aga")[0] == 0
    _, printed, _ = aga("evaluate", tmp_path / "m", mlearn / "extxyz" / "Si_test.extxyz", "--json")
    found = json.loads(printed)
    assert found["energy_rmse_mev_per_atom"] == pytest.approx(6.93, abs=0.005)
    assert found["force_rmse_ev_per_a"] == pytest.approx(0.1697, abs=5e-5)

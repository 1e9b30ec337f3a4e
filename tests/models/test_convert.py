"""`aga convert`: there and back again; what does not fit is refused and nothing is written."""

import numpy as np
import pytest

from potentials.ensemble import Ensemble
from potentials.formats import extxyz


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("runner", []),
        ("runner", ["--units", "angstrom-ev"]),
        ("aenet", []),
        ("deepmd", []),
        ("extxyz", []),
    ],
)
def test_a_data_set_there_and_back(aga, data, tmp_path, frames, form, options):
    there, back = tmp_path / "there", tmp_path / "back.extxyz"
    train = data / "train.extxyz"
    code, printed, said = aga("convert", train, there, "--from", "extxyz", "--to", form, *options)
    assert (code, printed) == (0, "")
    assert said == f"22 structures, extxyz to {form}: {there}\n"
    assert aga("convert", there, back, "--from", form, "--to", "extxyz", *options)[0] == 0
    found = {frame.id: frame for frame in extxyz.read(back)}
    for frame in frames[:22]:
        other = found[frame.id]
        assert other.label.engine == "emt"
        np.testing.assert_allclose(other.label.energy, frame.label.energy, rtol=1e-12)
        np.testing.assert_allclose(other.label.forces, frame.label.forces, atol=1e-12)
        np.testing.assert_allclose(other.label.stress, frame.label.stress, atol=1e-12)
        np.testing.assert_allclose(other.atoms.positions, frame.atoms.positions, atol=1e-12)


def test_one_of_our_ensembles_is_copied(aga, model, tmp_path, frames):
    code, _, said = aga("convert", model, tmp_path / "m", "--from", "aga", "--to", "aga")
    assert (code, said) == (0, f"3 members, aga to aga: {tmp_path / 'm'}\n")
    structure = [frames[0].atoms]
    same = [
        Ensemble.load(folder).predict(structure).member_energy for folder in (model, tmp_path / "m")
    ]
    assert same[0].equal(same[1])


@pytest.mark.parametrize(
    ("start", "end", "options", "said"),
    [
        ("extxzy", "runner", [], "no format 'extxzy' (did you mean 'extxyz'?)"),
        ("extxyz", "simple-nn", [], "extxyz holds data sets, simple-nn potentials"),
        ("aga", "deepmd", [], "aga holds potentials, deepmd data sets"),
        ("extxyz", "aenet", ["--units", "angstrom-ev"], "--units is for runner"),
        ("extxyz", "runner", ["--units", "miles"], "no pair of units 'miles'"),
        ("extxyz", "runner", ["--energy-key", "E"], "no energy under 'E'"),
        ("runner", "extxyz", ["--energy-key", "E"], "only extxyz has keys"),
        ("runner", "extxyz", [], "expected begin"),
        ("aga", "runner", [], "holds no ensemble"),
    ],
)
def test_what_is_refused(aga, data, tmp_path, start, end, options, said):
    arguments = [data / "train.extxyz", tmp_path / "out", "--from", start, "--to", end, *options]
    code, printed, err = aga("convert", *arguments)
    assert (code, printed) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_potential_that_the_format_cannot_hold(aga, model, tmp_path):
    code, _, said = aga("convert", model, tmp_path / "p", "--from", "aga", "--to", "simple-nn")
    assert code == 2
    assert "cannot hold this ensemble" in said
    assert list(tmp_path.iterdir()) == []


def test_keys_are_none_of_a_potentials_business(aga, model, tmp_path):
    code, _, said = aga(
        "convert", model, tmp_path / "p", "--from", "aga", "--to", "runner", "--stress-key", "s"
    )
    assert code == 2
    assert "--stress-key: a potential has no such keys" in said


def test_output_that_exists_stays_as_it_is(aga, data, tmp_path):
    out = tmp_path / "kept"
    out.write_text("mine", encoding="utf-8")
    code, _, said = aga("convert", data / "test.extxyz", out, "--from", "extxyz", "--to", "runner")
    assert code == 2
    assert "exists already" in said
    assert out.read_text(encoding="utf-8") == "mine"
    assert list(tmp_path.iterdir()) == [out]

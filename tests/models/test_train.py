"""`aga train`: an ensemble from a file, or lines that say what is wrong and nothing written."""

import io
import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from aga.models.progress import Bar
from aga.models.settings import load_spec
from aga.yaml_source import ConfigError
from potentials.ensemble import Ensemble
from potentials.formats import extxyz
from potentials.spec import EnsembleSpec
from potentials.structures import Frame


def test_a_file_becomes_an_ensemble(aga, data, quick, tmp_path, frames):
    out = tmp_path / "new" / "model"
    code, printed, said = aga(
        "train", data / "train.extxyz", "--test", data / "test.extxyz", "--out", out,
        "--config", quick, "--seed", 3,
    )  # fmt: skip
    assert (code, printed) == (0, "")
    assert "train (22)" in said
    assert "test (8)" in said
    assert "warning" not in said
    made = Ensemble.load(out)
    assert made.spec.members == 3
    assert made.elements == (29, 79)
    facts = made.facts
    assert facts["seed"] == 3
    found = made.predict([frame.atoms for frame in frames[22:]])
    size = np.array([len(frame.atoms) for frame in frames[22:]])
    wrong = (found.energy.numpy() - [frame.label.energy for frame in frames[22:]]) / size
    assert facts["test"]["energy_rmse_mev_per_atom"] == pytest.approx(
        1e3 * np.sqrt(np.mean(wrong**2))
    )


def test_the_seed_and_not_the_order_of_the_file_decides(aga, data, quick, tmp_path, frames):
    extxyz.write(tmp_path / "turned.extxyz", frames[21::-1])

    def energies(file, seed, name):
        assert (
            aga("train", file, "--out", tmp_path / name, "--config", quick, "--seed", seed)[0] == 0
        )
        return Ensemble.load(tmp_path / name).predict([frames[25].atoms]).member_energy

    first = energies(data / "train.extxyz", 1, "a")
    assert energies(tmp_path / "turned.extxyz", 1, "b").equal(first)
    assert not energies(data / "train.extxyz", 2, "c").equal(first)


def test_bad_labels_are_left_out_and_counted(aga, data, quick, tmp_path):
    text = (data / "train.extxyz").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    size = int(lines[0])
    energy = next(word for word in lines[1].split() if word.startswith("REF_energy="))
    broken = [lines[0], lines[1].replace(energy, "REF_energy=nan"), *lines[2 : size + 2]]
    path = tmp_path / "bad.extxyz"
    path.write_text(text + "".join(broken) + "".join(lines[: size + 2]), encoding="utf-8")
    code, _, said = aga("train", path, "--out", tmp_path / "m", "--config", quick)
    assert code == 0
    assert f"{path}: left out 2 of 24 structures:" in said
    assert "not finite (first: frame 23: energy)" in said
    assert "the same as one before (first: frame 24: frame 1)" in said
    assert Ensemble.load(tmp_path / "m").facts["labels"] == 22


def test_the_limit_of_the_forces_can_be_chosen(aga, data, quick, tmp_path, frames):
    largest = max(frame.label.fmax for frame in frames[:22])
    code, _, said = aga(
        "train", data / "train.extxyz", "--out", tmp_path / "m", "--config", quick,
        "--max-force", 0.9 * largest,
    )  # fmt: skip
    assert code == 0
    assert "left out" in said
    assert "largest force above" in said


def test_a_test_set_that_was_trained_on_is_told(aga, data, quick, tmp_path, frames):
    extxyz.write(tmp_path / "seen.extxyz", frames[20:24])
    arguments = ["--out", tmp_path / "m", "--config", quick, "--test", tmp_path / "seen.extxyz"]
    code, _, said = aga("train", data / "train.extxyz", *arguments)
    assert code == 0
    assert "warning: 2 of 4 test structures are trained on as well" in said


def refused(aga, tmp_path, *arguments):
    """What is said when training is refused; nothing may be left behind."""
    before = sorted(tmp_path.rglob("*"))
    code, printed, said = aga("train", *arguments)
    assert (code, printed) == (2, "")
    assert sorted(tmp_path.rglob("*")) == before
    return said


def test_files_that_are_wrong(aga, data, quick, tmp_path, frames):
    out = ["--out", tmp_path / "m", "--config", quick]
    assert "none.extxyz: no such file" in refused(aga, tmp_path, tmp_path / "none.extxyz", *out)
    train = data / "train.extxyz"
    said = refused(aga, tmp_path, train, *out, "--energy-key", "dft_energy")
    assert f"{train}: frame 1: no energy under 'dft_energy'" in said
    assert "found: REF_energy, REF_forces, REF_stress, engine, id" in said
    said = refused(aga, tmp_path, train, *out, "--from", "extxy")
    assert "no format of data sets 'extxy' (did you mean 'extxyz'?)" in said
    said = refused(aga, tmp_path, train, *out, "--from", "deepmd", "--energy-key", "e")
    assert "--energy-key: only extxyz has keys" in said
    said = refused(aga, tmp_path, train, *out, "--units", "bohr-ev")
    assert "--units: only runner" in said


def test_sets_that_do_not_belong_together(aga, data, quick, tmp_path, frames):
    out = ["--out", tmp_path / "m", "--config", quick]
    copper = [frame for frame in frames if set(frame.atoms.symbols) == {"Cu"}]
    atoms = frames[0].atoms.copy()
    atoms.symbols[:] = "Ag"
    strange = tmp_path / "strange.extxyz"
    extxyz.write(strange, [Frame("a", atoms, frames[0].label), *copper])
    said = refused(aga, tmp_path, data / "train.extxyz", "--test", strange, *out)
    assert "holds Ag, which" in said
    text = (data / "train.extxyz").read_text(encoding="utf-8")
    mixed = tmp_path / "mixed.extxyz"
    mixed.write_text(text.replace('engine="emt"', 'engine="vasp"', 1), encoding="utf-8")
    said = refused(aga, tmp_path, mixed, *out)
    assert "labels of 2 engine settings (emt, vasp) cannot be fitted together" in said


def test_settings_that_are_wrong_cost_no_time(aga, data, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("members: 3\nnetwrk: {steps: 5}\nlinear: {ridge: -1}\n", encoding="utf-8")
    said = refused(aga, tmp_path, data / "train.extxyz", "--out", tmp_path / "m", "--config", path)
    assert said.splitlines() == [
        f"{path}:2: netwrk: unknown key (did you mean 'network'?)",
        f"{path}:3: linear.ridge: expected a number greater than 0, got -1",
    ]


def test_an_existing_folder_is_never_touched(aga, data, quick, model, tmp_path):
    kept = (model / "ensemble.json").read_bytes()
    said = refused(aga, tmp_path, data / "train.extxyz", "--out", model, "--config", quick)
    assert f"{model} exists already; choose a new --out" in said
    assert (model / "ensemble.json").read_bytes() == kept
    empty = tmp_path / "empty"
    empty.mkdir()
    assert aga("train", data / "train.extxyz", "--out", empty, "--config", quick)[0] == 0
    assert json.loads((empty / "ensemble.json").read_text(encoding="utf-8"))["elements"] == [29, 79]


def test_settings_from_the_section_of_a_campaign_file(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_text("name: x\npotential:\n  members: 7\n  linear:\n    ridge: 0.5\n", "utf-8")
    spec = load_spec(path)
    assert (spec.members, spec.linear.ridge) == (7, 0.5)
    # labels of a data set count alike, unless a file says how they count
    alike = EnsembleSpec(labels={"energy_scale_ev_per_atom": None, "force_scale_ev_per_a": None})
    assert load_spec(None) == alike
    assert spec.labels == alike.labels
    path.write_text("labels: {energy_scale_ev_per_atom: 0.5}\n", "utf-8")
    assert load_spec(path).labels.energy_scale_ev_per_atom == 0.5
    path.write_text("name: x\npotential:\n  member: 7\n", "utf-8")
    with pytest.raises(ConfigError) as error:
        load_spec(path)
    assert error.value.messages == [f"{path}:3: member: unknown key (did you mean 'members'?)"]
    path.write_text("name: x\npotential: 7\n", "utf-8")
    with pytest.raises(ConfigError, match=":2: potential: expected a mapping of keys to values"):
        load_spec(path)


@dataclass(frozen=True)
class Step:
    """As a fit tells it."""

    stage: str
    step: int
    steps: int
    train_loss: float = 0.25
    held_out: float = 0.5


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_line_begins_each_stage_where_there_is_no_terminal():
    stream = io.StringIO()
    with Bar(stream) as bar:
        for step in (Step("networks", 1, 300), Step("networks", 2, 300), Step("polish", 1, 20)):
            bar(step)
    assert stream.getvalue() == "networks: at most 300 steps\npolish: at most 20 steps\n"


def test_a_stage_of_one_step_is_named_only():
    stream = io.StringIO()
    with Bar(stream) as bar:
        bar(Step("linear term", 0, 1))
    assert stream.getvalue() == "linear term\n"


def test_a_stage_is_over_when_the_next_begins():
    """Losses that are not known yet are not shown."""
    stream = Terminal()
    with Bar(stream) as bar:
        bar(Step("descriptors", 0, 80, math.nan, math.nan))
        bar(Step("networks", 1, 30))
    last = stream.getvalue()[-600:]
    assert "80/80" in last
    assert " 1/30" in last
    assert "nan" not in stream.getvalue()


def test_a_training_says_how_far_it_is(aga, data, quick, tmp_path):
    quick.write_text(quick.read_text().replace("enabled: false", "epochs: 4, min_labels: 8"))
    _, _, said = aga("train", data / "train.extxyz", "--out", tmp_path / "m", "--config", quick)
    stages = ["descriptors: at most 22 steps", "linear term", "networks: at most 4 steps"]
    assert [line for line in said.splitlines() if line in stages] == stages


def test_a_terminal_gets_a_bar_with_the_losses():
    stream = Terminal()
    with Bar(stream) as bar:
        bar(Step("networks", 150, 300))
    assert "150/300" in stream.getvalue()
    assert "loss 0.25, held out 0.5" in stream.getvalue()


def test_labels_that_a_settings_file_half_names_count_alike_otherwise(tmp_path):
    from aga.models.settings import load_spec

    path = tmp_path / "settings.yaml"
    path.write_text("labels: {force_scale_ev_per_a: 2.0}\n")
    labels = load_spec(path).labels
    assert labels.energy_scale_ev_per_atom is None
    assert labels.force_scale_ev_per_a == 2.0

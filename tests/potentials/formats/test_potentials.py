"""Potentials written for other codes and read back are the same; what cannot be is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.ensemble import Ensemble
from potentials.formats import potential_format, runner, simple_nn
from potentials.formats.lines import FormatError
from potentials.network import Networks
from potentials.wall import Wall
from tests.potentials.formats.conftest import exportable_ensemble, same_predictions

#: the same sums in another order, numbers written with all digits
IDENTICAL = 1e-12


@pytest.mark.parametrize("units", ["bohr-hartree", "angstrom-ev", "bohr-ev"])
def test_runner_there_and_back(exportable, units, tmp_path):
    folders = runner.write_potential(tmp_path / "model", exportable, units=units)
    assert [folder.name for folder in folders] == ["member-1", "member-2"]
    again = runner.read_potential(tmp_path / "model", units=units)
    assert again.elements == (29, 79)
    same_predictions(again, exportable, IDENTICAL)


def test_simple_nn_there_and_back(exportable, tmp_path):
    unshifted = exportable
    paths = simple_nn.write_potential(tmp_path / "potential_saved", unshifted)
    assert len(paths) == 2
    again = simple_nn.read_potential(paths)
    same_predictions(again, unshifted, IDENTICAL)
    same_predictions(simple_nn.read_potential(tmp_path), unshifted, IDENTICAL)


@pytest.mark.parametrize("name", ["runner", "simple-nn"])
def test_sums_over_ordered_couples_are_converted(name, tmp_path):
    ensemble = exportable_ensemble(summation="ordered")
    module = potential_format(name)
    paths = module.write_potential(tmp_path / "model", ensemble)
    again = module.read_potential(paths)
    assert again.spec.descriptor.summation == "unordered"
    same_predictions(again, ensemble, IDENTICAL)


@pytest.mark.parametrize("name", ["runner", "simple-nn"])
def test_one_member_is_written_where_it_was_asked_for(name, exportable, tmp_path):
    module = potential_format(name)
    paths = module.write_potential(tmp_path / "model", exportable)
    single = module.read_potential(paths[1])
    assert single.spec.members == 1
    assert module.write_potential(tmp_path / "single", single) == [tmp_path / "single"]
    again = module.read_potential(tmp_path / "single")
    both = exportable.predict([crystal()])
    assert float(again.predict([crystal()]).energy[0]) == pytest.approx(
        float(both.member_energy[1, 0]), rel=IDENTICAL
    )


def crystal():
    from tests.potentials.formats.conftest import structures

    return structures(2)[1]


def test_an_imported_potential_is_saved_and_loaded(exportable, tmp_path):
    runner.write_potential(tmp_path / "written", exportable)
    imported = runner.read_potential(tmp_path / "written", engine="pbe")
    imported.save(tmp_path / "saved")
    again = Ensemble.load(tmp_path / "saved")
    assert again.engine == "pbe"
    assert torch.equal(again.predict([crystal()]).forces, imported.predict([crystal()]).forces)


def test_the_range_of_the_data_survives(exportable, tmp_path):
    runner.write_potential(tmp_path / "model", exportable)
    again = runner.read_potential(tmp_path / "model")
    pressed = crystal()
    pressed.set_cell(pressed.cell * 0.85, scale_atoms=True)
    expected = exportable.predict([crystal(), pressed]).extrapolation
    assert expected[1] > 0.1
    np.testing.assert_allclose(
        again.predict([crystal(), pressed]).extrapolation, expected, atol=1e-9
    )


def test_replicas_with_other_scaling_and_width_share_one_ensemble(exportable, tmp_path):
    """The first layer takes up what differs."""
    folders = runner.write_potential(tmp_path / "model", exportable)
    path = folders[1] / "scaling.data"
    rows = [line.split() for line in path.read_text().splitlines()]
    path.write_text(
        "\n".join(" ".join([*r[:4], repr(float(r[4]) + 0.5), repr(2 * float(r[5]))]) for r in rows)
    )
    alone = runner.read_potential(folders[1]).predict([crystal()])
    together = runner.read_potential(tmp_path / "model").predict([crystal()])
    assert float(together.member_energy[1, 0]) == pytest.approx(float(alone.energy[0]), rel=1e-12)
    first = exportable.predict([crystal()]).member_energy[0, 0]
    assert float(together.member_energy[0, 0]) == pytest.approx(float(first), rel=1e-12)


@pytest.mark.parametrize(
    ("keywords", "scale"),
    [
        ("scale_symmetry_functions", lambda g, lo, hi, m, s: -1 + 3 * (g - lo) / (hi - lo)),
        ("center_symmetry_functions", lambda g, lo, hi, m, s: g - m),
        (
            "scale_symmetry_functions\ncenter_symmetry_functions",
            lambda g, lo, hi, m, s: -1 + 3 * (g - m) / (hi - lo),
        ),
        ("scale_symmetry_functions_sigma", lambda g, lo, hi, m, s: -1 + 3 * (g - m) / s),
        ("", lambda g, lo, hi, m, s: g),
    ],
)
def test_every_scaling_of_n2p2(keywords, scale, tmp_path):
    """A linear network by hand: E = w . scaled G + b, with normalisation and atom energy."""
    (tmp_path / "input.nn").write_text(
        f"mean_energy 0.5\nconv_energy 4.0\nnumber_of_elements 1\nelements Cu\n{keywords}\n"
        "atom_energy Cu -1.5\ncutoff_type 1\nscale_min_short -1\nscale_max_short 2\n"
        "global_hidden_layers_short 1\nglobal_nodes_short 2\nglobal_activation_short l l\n"
        "symfunction_short Cu 2 Cu 0.5 0.0 4.5  # the second of the two when sorted\n"
        "symfunction_short Cu 2 Cu 0.1 0.0 4.5\n"
    )
    bounds = [(0.2, 1.7, 0.9, 0.3), (0.1, 0.8, 0.4, 0.2)]
    (tmp_path / "scaling.data").write_text(
        "".join(f"1 {n} {' '.join(map(str, row))}\n" for n, row in enumerate(bounds, 1))
        + "  -1.0 2.0\n"
    )
    (tmp_path / "weights.029.data").write_text(
        "1.0 a 1 0 1 1 1\n0.0 a 2 0 1 1 2\n0.0 a 3 0 2 1 1\n1.0 a 4 0 2 1 2\n"
        "0.25 b 5 1 1\n0.0 b 6 1 2\n3.0 a 7 1 1 2 1\n-2.0 a 8 1 2 2 1\n0.125 b 9 2 1\n"
    )
    model = runner.read_potential(tmp_path, units="angstrom-ev")
    atoms = crystal()
    atoms.symbols[:] = "Cu"
    distances = distances_within(atoms, 4.5)
    fc = 0.5 * (np.cos(np.pi * distances / 4.5) + 1)
    energy = 0.0
    for eta, weight, row in ((0.1, 3.0, bounds[0]), (0.5, -2.0, bounds[1])):
        total = (np.exp(-eta * distances**2) * fc).sum()
        # every atom has its own sum; what is linear may be summed over atoms
        energy += weight * (
            scale(total, *row) if not keywords else summed(scale, total, len(atoms), row)
        )
    energy = (energy + len(atoms) * (3.0 * 0.25 + 0.125)) / 4.0 + len(atoms) * (0.5 - 1.5)
    assert float(model.predict([atoms]).energy[0]) == pytest.approx(energy, rel=1e-10)


def summed(scale, total, count, row):
    """Sum over atoms of a linear scaling of their values."""
    return scale(total, *row) + (count - 1) * scale(0.0, *row)


def distances_within(atoms, cutoff):
    from ase.neighborlist import neighbor_list

    return neighbor_list("d", atoms, cutoff)


def test_normalised_nodes(exportable, tmp_path):
    """Each sum is divided by the number of its terms' neurons."""
    (folder,) = runner.write_potential(tmp_path / "m", single_member(exportable))
    before = runner.read_potential(folder)
    text = (folder / "input.nn").read_text()
    (folder / "input.nn").write_text("normalize_nodes\n" + text)
    for path in folder.glob("weights.*.data"):
        sizes = {0: 11 if "079" in path.name else 10, 1: 6, 2: 5}
        rows = []
        for line in path.read_text().splitlines():
            words = line.split()
            layer = int(words[3]) if words[1] == "a" else int(words[3]) - 1
            rows.append(" ".join([repr(float(words[0]) * sizes[layer]), *words[1:]]))
        path.write_text("\n".join(rows))
    after = runner.read_potential(folder)
    same_energy = float(before.predict([crystal()]).energy[0])
    assert float(after.predict([crystal()]).energy[0]) == pytest.approx(same_energy, rel=1e-11)


def single_member(ensemble):
    networks = Networks(1, 2, ensemble.scaling.mean.shape[1], (6, 5), torch.Generator())
    with torch.no_grad():
        for mine, theirs in zip(networks.parameters(), ensemble.networks.parameters(), strict=True):
            mine.copy_(theirs[:, :1])
    return replace(
        ensemble,
        spec=ensemble.spec.model_copy(update={"members": 1}),
        linear=ensemble.linear[:1],
        constants=ensemble.constants[:1],
        networks=networks,
    )


def test_a_principal_component_layer_is_folded(exportable, tmp_path):
    (path,) = simple_nn.write_potential(tmp_path / "potential_saved", single_member(exportable))
    before = simple_nn.read_potential(path)
    text = with_identity_layer(path.read_text())
    path.write_text(text.replace("ELEM_LIST ", "# v1 lists the elements alone\n\n"))
    after = simple_nn.read_potential(path)
    assert after.spec.network.hidden == (6, 5)
    same = float(before.predict([crystal()]).energy[0])
    assert float(after.predict([crystal()]).energy[0]) == pytest.approx(same, rel=1e-12)


def with_identity_layer(text):
    """A layer ``linear PCA`` that shifts its inputs, and a first layer that shifts them back."""
    made = []
    for block in text.split("POT ")[1:]:
        head, first, rest = re.split(r"LAYER 0 (?=tanh)|(?=LAYER 1)", block)
        size = int(re.search(r"SYM (\d+)", head)[1])
        rows = np.array([line.split()[1:] for line in first.splitlines()[1::2]], dtype=float)
        shifts = np.array([line.split()[1] for line in first.splitlines()[2::2]], dtype=float)
        head = re.sub(r"NET 2", f"NET 3 {size}", head)
        made += [f"POT {head.strip()}", "LAYER 0 linear PCA", *units(np.eye(size), [0.5] * size)]
        made += ["LAYER 1 tanh", *units(rows, shifts - 0.5 * rows.sum(axis=1))]
        made.append(rest.replace("LAYER 2", "LAYER 3").replace("LAYER 1", "LAYER 2").strip())
    return "\n".join([text.split("POT ")[0].strip(), *made])


def units(rows, shifts):
    for number, (row, shift) in enumerate(zip(rows, shifts, strict=True)):
        yield f"w{number} {' '.join(map(repr, row.tolist()))}"
        yield f"b{number} {float(shift)!r}"


def test_parameters_there_and_back(exportable, tmp_path):
    descriptor = exportable.spec.descriptor
    paths = simple_nn.write_params(tmp_path, descriptor, ("Au", "Cu"))
    assert [path.name for path in paths] == ["params_Au", "params_Cu"]
    again = simple_nn.read_params({"Au": paths[0], "Cu": paths[1]})

    def listed(made, order):
        return [
            {
                (
                    f.kind,
                    f.eta,
                    f.shift,
                    f.cutoff or made.cutoff,
                    tuple(sorted(made.elements[p] for p in q)),
                )
                for f, q in made.components(2)[made.elements.index(symbol)]
            }
            for symbol in order
        ]

    assert listed(again, ("Au", "Cu")) == listed(descriptor, ("Au", "Cu"))


WRONG = [
    ({"linear": torch.ones(2, 2, 11, dtype=torch.float64)}, "linear term is not zero"),
    ({"wall": Wall(torch.ones(2, 2, dtype=torch.float64))}, "has a wall"),
    ({"networks": None}, "no networks"),
]


@pytest.mark.parametrize("name", ["runner", "simple-nn"])
@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_what_other_codes_cannot_hold_is_refused(name, changes, says, exportable, tmp_path):
    with pytest.raises(FormatError, match=rf"{says}.*train one with"):
        potential_format(name).write_potential(tmp_path / "m", replace(exportable, **changes))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["runner", "simple-nn"])
def test_other_descriptors_are_refused(name, linear, tmp_path):
    with pytest.raises(FormatError, match=r"descriptor is 'moments'.*acsf"):
        potential_format(name).write_potential(tmp_path / "m", linear)


def test_settings_that_only_one_format_knows(exportable, tmp_path):
    poly = exportable_ensemble(envelope="poly2", inner=0.2)
    with pytest.raises(FormatError, match="SIMPLE-NN knows no cutoff function 'poly2'"):
        simple_nn.write_potential(tmp_path / "m", poly)
    runner.write_potential(tmp_path / "poly", poly)
    same_predictions(runner.read_potential(tmp_path / "poly"), poly, IDENTICAL)
    with pytest.raises(FormatError, match="none with an inner radius"):
        runner.write_potential(tmp_path / "t", exportable_ensemble(envelope="tanh3", inner=0.2))
    for activation, module, fits in (("swish", simple_nn, True), ("swish", runner, False)):
        made = Networks(2, 2, 11, (6, 5), torch.Generator(), activations=(activation, "tanh"))
        made.load_state_dict(exportable.networks.state_dict())
        other = replace(exportable, networks=made)
        if fits:
            paths = module.write_potential(tmp_path / "s", other)
            same_predictions(module.read_potential(paths), other, IDENTICAL)
        else:
            with pytest.raises(FormatError, match="no activation 'swish'"):
                module.write_potential(tmp_path / "r", other)


def damaged(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("input.nn", "elements Cu Au", "elements Cu Xx", r"input.nn, line 2: expected the symbol"),
        ("input.nn", "cutoff_type 1", "cutoff_type 11", "expected a cutoff type"),
        (
            "input.nn",
            "global_activation_short t",
            "global_activation_short q",
            "expected global_activation_short with 3 of l t",
        ),
        ("input.nn", "global_nodes_short 6 5", "global_nodes_short 6", "2 whole numbers"),
        ("input.nn", "symfunction_short Cu 2", "symfunction_short Cu 22", "type 2, 3 or 9"),
        ("input.nn", "symfunction_short Cu 2 Cu", "symfunction_short Zn 2 Cu", "lists"),
        ("input.nn", "cutoff_type", "cutof_type", "expected a line 'cutoff_type"),
        ("scaling.data", "1 1 ", "9 9 ", "function 1 of element 1, got none"),
        ("scaling.data", "1 2 ", "1 2 x", r"scaling.data, line 2.*e_index sf_index"),
        ("weights.029.data", " a 3 ", " c 3 ", r"weights.029.data, line 3.*value a\|b"),
        ("weights.029.data", " a 3 0 1", " a 3 0 99", "a place in a network of 10-6-5-1"),
        ("weights.029.data", " b ", " # ", "value a"),
    ],
)
def test_damaged_runner_files_say_where(name, old, new, says, exportable, tmp_path):
    folder = runner.write_potential(tmp_path / "m", exportable)[0]
    damaged(folder / name, old, new)
    with pytest.raises(FormatError, match=says):
        runner.read_potential(folder)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("ELEM_LIST Au", "ELEM_LIST Xx", "line 1: expected the symbol"),
        ("POT Cu", "POT Zn", "expected POT of one of Au Cu"),
        ("SYM 11", "SYM 12", "line 15: expected 2 cutoff eta"),
        ("SYM 11", "SYM 10", r"line 14: expected scale1"),
        ("scale2 ", "scale2 0.0 ", "widths other than zero"),
        ("scale1", "scale3", "expected scale1"),
        ("NET 2 6 5 1", "NET 2 6 5 2", "the last 1"),
        ("LAYER 0 tanh", "LAYER 0 tahn", "with one of linear"),
        ("w3", "w4", "expected w3 and 11 numbers"),
        ("w3 ", "w3 1.0 ", "expected w3 and 11 numbers"),
        ("POT Cu", "#", "expected POT <element>"),
    ],
)
def test_damaged_simple_nn_files_say_where(old, new, says, exportable, tmp_path):
    path = simple_nn.write_potential(tmp_path / "potential_saved", exportable)[0]
    damaged(path, old, new)
    with pytest.raises(FormatError, match=says):
        simple_nn.read_potential(path)


def test_a_cut_file_is_an_error(exportable, tmp_path):
    path = simple_nn.write_potential(tmp_path / "potential_saved", exportable)[0]
    path.write_text(path.read_text()[:2000])
    with pytest.raises(FormatError, match=r"end of the file|numbers"):
        simple_nn.read_potential(path)
    folder = runner.write_potential(tmp_path / "m", exportable)[0]
    lines = (folder / "weights.079.data").read_text().splitlines()
    (folder / "weights.079.data").write_text("\n".join(lines[:-3]))
    with pytest.raises(FormatError, match="3 missing"):
        runner.read_potential(folder)


def test_members_that_do_not_belong_together(exportable, tmp_path):
    folders = runner.write_potential(tmp_path / "m", exportable)
    damaged(folders[1] / "input.nn", "cutoff_type 1", "cutoff_type 2")
    with pytest.raises(FormatError, match="members of one ensemble share them"):
        runner.read_potential(folders)
    paths = simple_nn.write_potential(tmp_path / "potential_saved", exportable)
    damaged(paths[1], "2 4.5 0.4", "2 4.5 0.5")
    with pytest.raises(FormatError, match="members of one ensemble share them"):
        simple_nn.read_potential(paths)


@pytest.mark.parametrize("name", ["runner", "simple-nn"])
def test_an_empty_folder_is_an_error(name, tmp_path):
    with pytest.raises(FormatError, match=r"expected .*input.nn|expected files potential_saved"):
        potential_format(name).read_potential(tmp_path)

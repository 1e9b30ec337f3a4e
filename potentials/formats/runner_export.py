"""Ensembles as potentials of RuNNer and n2p2."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potentials.formats.assembly import ElementNetwork, networks_of, symmetry_functions_of
from potentials.formats.lines import FormatError, row
from potentials.formats.runner_functions import ENVELOPES, Entry, entries_of
from potentials.formats.runner_settings import ACTIVATIONS
from potentials.formats.runner_units import Units, units_named

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble


def write_potential(
    path: Path | str, ensemble: "Ensemble", *, units: str = "bohr-hartree"
) -> list[Path]:
    """Write one folder per member: ``path`` itself, or ``path/member-1`` ... for several.

    Args:
        path: folder to be made.
        ensemble: descriptor acsf, networks only.
        units: of the files, a key of `runner_units.UNITS`.

    Returns:
        The folders.

    Raises:
        FormatError: the format cannot hold the ensemble.
    """
    members = networks_of(ensemble, "RuNNer's format")
    scale = units_named(units)
    names = _letters(ensemble)
    order = sorted(range(len(ensemble.elements)), key=lambda e: ensemble.elements[e])
    entries = entries_of(symmetry_functions_of(ensemble), ensemble.elements)
    folders = [Path(path)]
    if len(members) > 1:
        width = len(str(len(members)))
        folders = [Path(path) / f"member-{k + 1:0{width}d}" for k in range(len(members))]
    for folder, networks in zip(folders, members, strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        text = _input_nn(ensemble, order, entries, networks, names, scale)
        (folder / "input.nn").write_text(text, encoding="utf-8")
        rows = _scaling_rows(ensemble, order, entries, networks)
        (folder / "scaling.data").write_text("\n".join([*rows, ""]), encoding="utf-8")
        for e in order:
            places = [entry.place for entry in entries[e]]
            text = _weights_text(networks[e], places, scale.energy)
            name = f"weights.{ensemble.elements[e]:03d}.data"
            (folder / name).write_text(text, encoding="utf-8")
    return folders


def _letters(ensemble: "Ensemble") -> list[str]:
    letters = {name: letter for letter, name in ACTIVATIONS.items()}
    names = ensemble.networks.activations if ensemble.networks is not None else ()
    if missing := [name for name in names if name not in letters]:
        raise FormatError(
            f"RuNNer knows no activation {missing[0]!r}; train with one of {', '.join(letters)}"
        )
    return [*(letters[name] for name in names), "l"]


def _input_nn(
    ensemble: "Ensemble",
    order: Sequence[int],
    entries: Sequence[Sequence[Entry]],
    networks: Sequence[ElementNetwork],
    letters: Sequence[str],
    units: Units,
) -> str:
    from ase.data import chemical_symbols

    symbols = [chemical_symbols[z] for z in ensemble.elements]
    widths = [str(len(layer.bias)) for layer in networks[0].layers[:-1]]
    descriptor = symmetry_functions_of(ensemble)
    number = {name: key for key, name in ENVELOPES.items()}[descriptor.envelope]
    lines = [
        f"number_of_elements {len(symbols)}",
        f"elements {' '.join(symbols[e] for e in order)}",
        *(f"atom_energy {symbols[e]} {networks[e].reference / units.energy!r}" for e in order),
        f"cutoff_type {number} {descriptor.inner!r}",
        "scale_symmetry_functions_sigma",
        "scale_min_short 0.0",
        "scale_max_short 1.0",
        f"global_hidden_layers_short {len(widths)}",
        f"global_nodes_short {' '.join(widths)}",
        f"global_activation_short {' '.join(letters)}",
        *(entry.text(symbols[e], units.length) for e in order for entry in entries[e]),
    ]
    return "\n".join([*lines, ""])


def _scaling_rows(
    ensemble: "Ensemble",
    order: Sequence[int],
    entries: Sequence[Sequence[Entry]],
    networks: Sequence[ElementNetwork],
) -> list[str]:
    """Lines of ``scaling.data``; RuNNer sums over j < k."""
    ordered = symmetry_functions_of(ensemble).summation == "ordered"
    rows = []
    for index, e in enumerate(order, 1):
        own = networks[e]
        for number, entry in enumerate(entries[e], 1):
            half = 0.5 if ordered and entry.kind != 2 else 1.0
            mean, spread = own.mean[entry.place] * half, own.spread[entry.place] * half
            low, high = (mean + spread * end[entry.place] for end in (own.low, own.high))
            rows.append(f"{index} {number} {row([low, high, mean, spread])}")
    return rows


def _weights_text(network: ElementNetwork, places: Sequence[int], energy: float) -> str:
    """Lines of a weights file: by layer, weights by starting neuron, then biases."""
    lines: list[str] = []
    last = len(network.layers)
    for number, layer in enumerate(network.layers, 1):
        scale = 1.0 / energy if number == last else 1.0
        weight = layer.weight[places] if number == 1 else layer.weight
        for (start, end), value in np.ndenumerate(weight * scale):
            lines.append(
                f"{float(value)!r} a {len(lines) + 1} {number - 1} {start + 1} {number} {end + 1}"
            )
        for (end,), value in np.ndenumerate(layer.bias * scale):
            lines.append(f"{float(value)!r} b {len(lines) + 1} {number} {end + 1}")
    return "\n".join([*lines, ""])

"""Potentials of RuNNer and n2p2: ``input.nn``, ``scaling.data``, ``weights.ZZZ.data``.

Elements are numbered by atomic number, inputs as in `runner_functions`. A data set may have been
normalised: with E* = conv_energy (E - N mean_energy) the networks give E*.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potentials.formats.assembly import UNKNOWN_RANGE, ElementNetwork, Layer, ensemble_of
from potentials.formats.frames import UNKNOWN_ENGINE
from potentials.formats.lines import FormatError, content
from potentials.formats.runner_functions import descriptor_of
from potentials.formats.runner_settings import Settings, settings_of
from potentials.formats.runner_units import units_named
from potentials.structures import FloatArray

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble

_WEIGHT = "value a|b index layer neuron [layer neuron]"


def read_potential(
    path: Path | str | Sequence[Path | str],
    *,
    units: str = "bohr-hartree",
    engine: str | None = None,
) -> "Ensemble":
    """The potential of a folder, or an ensemble of several with the same symmetry functions.

    Args:
        path: a folder with ``input.nn``, a folder of such folders, or a list of folders.
        units: of the files, a key of `runner_units.UNITS`.
        engine: key of the engine that was fitted.

    Raises:
        FormatError: a file does not follow the format, or members do not belong together.
    """
    folders = _members(path)
    settings = [settings_of(folder / "input.nn", units_named(units)) for folder in folders]
    descriptors = [descriptor_of(s.elements, s.entries, s.envelope, s.inner) for s in settings]
    for folder, descriptor in zip(folders, descriptors, strict=True):
        if descriptor != descriptors[0]:
            raise FormatError(
                f"{folder}/input.nn: other symmetry functions than {folders[0]}/input.nn; "
                "members of one ensemble share them"
            )
    members = [_networks(f, s) for f, s in zip(folders, settings, strict=True)]
    facts = {"origin": "runner", "folders": [folder.name for folder in folders]}
    return ensemble_of(
        descriptors[0], settings[0].elements, members, engine or UNKNOWN_ENGINE, facts
    )


def _members(path: Path | str | Sequence[Path | str]) -> list[Path]:
    if not isinstance(path, str | Path):
        return [Path(folder) for folder in path]
    if (Path(path) / "input.nn").is_file():
        return [Path(path)]
    folders = sorted(found.parent for found in Path(path).glob("*/input.nn"))
    if not folders:
        raise FormatError(f"{path}: expected a folder with input.nn, or a folder of such folders")
    return folders


def _networks(folder: Path, settings: Settings) -> list[ElementNetwork]:
    scaling = _scaling(folder / "scaling.data", settings) if settings.scaling else {}
    made = []
    for z in settings.elements:
        size = len(settings.entries[z])
        mean, spread, low, high = scaling.get(
            z, (np.zeros(size), np.ones(size), np.full(size, -np.inf), np.full(size, np.inf))
        )
        layers = _layers(folder / f"weights.{z:03d}.data", size, settings)
        last = layers[-1]
        if last.activation != "linear":
            layers.append(Layer(np.eye(1) * settings.energy, np.zeros(1), "linear"))
        else:
            weight, bias = last.weight * settings.energy, last.bias * settings.energy
            layers[-1] = Layer(weight, bias, "linear")
        made.append(
            ElementNetwork(
                layers=tuple(layers),
                mean=mean,
                spread=spread,
                low=np.clip((low - mean) / spread, -UNKNOWN_RANGE, UNKNOWN_RANGE),
                high=np.clip((high - mean) / spread, -UNKNOWN_RANGE, UNKNOWN_RANGE),
                reference=settings.reference[z],
            )
        )
    return made


def _scaling(
    path: Path, settings: Settings
) -> dict[int, tuple[FloatArray, FloatArray, FloatArray, FloatArray]]:
    """Mean, spread (so that inputs are (G - mean) / spread), smallest and largest G by element."""
    expected = "e_index sf_index min max mean sigma"
    table: dict[tuple[int, int], FloatArray] = {}
    for line in content(path):
        # the last line of a file may hold energies
        if len(line.words) >= 6:
            place = line.integer(0, expected), line.integer(1, expected)
            table[place] = line.numbers(2, 4, expected)
    width = settings.scale_max - settings.scale_min
    found = {}
    for e, z in enumerate(settings.elements, 1):
        places = [(e, s) for s in range(1, len(settings.entries[z]) + 1)]
        if missing := [place for place in places if place not in table]:
            raise FormatError(
                f"{path}: expected a line for function {missing[0][1]} of element {e}, got none"
            )
        low, high, mean, sigma = np.array([table[place] for place in places]).T
        spread, centre = (high - low) / width, low
        if settings.scaling == "sigma":
            spread, centre = sigma / width, mean
        elif "center" in settings.scaling:
            spread, centre = spread if "scale" in settings.scaling else np.ones_like(mean), mean
        if (spread <= 0).any():
            raise FormatError(
                f"{path}: function {int(np.argmin(spread)) + 1} of element {e} does not vary; "
                "n2p2 cannot scale it either: remove it"
            )
        start = settings.scale_min if settings.scaling != "center" else 0.0
        found[z] = (centre - start * spread, spread, low, high)
    return found


def _layers(path: Path, size: int, settings: Settings) -> list[Layer]:
    """The layers as the file gives them."""
    widths = [size, *settings.widths, 1]
    weights = [np.full(shape, np.nan) for shape in pairwise(widths)]
    biases = [np.full(width, np.nan) for width in widths[1:]]
    for line in content(path):
        words = line.words
        if len(words) < 5 or words[1] not in ("a", "b") or (words[1] == "a" and len(words) < 7):
            raise line.error(_WEIGHT)
        value = line.number_at(0, _WEIGHT)
        layer, neuron = line.integer(3, _WEIGHT), line.integer(4, _WEIGHT) - 1
        try:
            if words[1] == "a":
                weights[layer][neuron, line.integer(6, _WEIGHT) - 1] = value
            else:
                biases[layer - 1][neuron] = value
        except IndexError as error:
            raise line.error(f"a place in a network of {'-'.join(map(str, widths))}") from error
    left = sum(int(np.isnan(part).sum()) for part in (*weights, *biases))
    if left:
        shape = "-".join(map(str, widths))
        raise FormatError(f"{path}: expected all weights of a network of {shape}, {left} missing")
    made = []
    for weight, bias, name in zip(weights, biases, settings.activations, strict=True):
        by = len(weight) if settings.normalise_nodes else 1
        made.append(Layer(weight / by, bias / by, name))
    return made

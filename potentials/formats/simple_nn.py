"""SIMPLE-NN: ``params_X`` (symmetry functions) and ``potential_saved`` (potentials), v1 and v2.

    ELEM_LIST Si O                        (v1: the symbols alone)
    POT Si 6.0                            element, largest cutoff
    SYM 70
    2 6.0 0.003214 0.0 0.0 Si             G2: cutoff eta r_s 0 neighbour
    4 6.0 0.000357 1.0 -1.0 Si O          G4 (5: G5): cutoff eta zeta lambda neighbours
    scale1 ...                            centre of each function
    scale2 ...                            width of each function
    NET 2 30 30 1                         hidden layers, units of all layers
    LAYER 0 sigmoid                       then a line w and a line b per unit
    w0 ...
    b0 ...

Lengths in Å, energies in eV. A layer ``linear PCA`` at the start is folded into the next one.
There is no data set of its own: SIMPLE-NN reads the output of engines.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potentials.acsf_parameters import Angular, Radial
from potentials.formats.assembly import (
    UNKNOWN_RANGE,
    ElementNetwork,
    Layer,
    ensemble_of,
    networks_of,
    symmetry_functions_of,
)
from potentials.formats.frames import UNKNOWN_ENGINE
from potentials.formats.lines import FormatError, Line, Reader, atomic_number, content, row

if TYPE_CHECKING:
    from potentials.descriptors.acsf import Acsf, Component
    from potentials.ensemble import Ensemble

#: activations that a ``potential_saved`` may name
ACTIVATIONS = ("linear", "sigmoid", "tanh", "relu", "selu", "swish")
#: longest line that SIMPLE-NN's LAMMPS pair style reads
LONGEST_LINE = 50_000
_KINDS = {4: "narrow", 5: "wide"}
_FUNCTION = "2 cutoff eta r_s 0 neighbour, or 4|5 cutoff eta zeta lambda neighbour neighbour"
_PARAMS = "type neighbour neighbour cutoff p1 p2 p3"


def read_potential(
    path: Path | str | Sequence[Path | str], *, engine: str | None = None
) -> "Ensemble":
    """The potential of a ``potential_saved``, or an ensemble of several of them.

    Args:
        path: a file, or a list of files with the same symmetry functions (replicas).
        engine: key of the engine that was fitted.

    Raises:
        FormatError: a file does not follow the format, or members do not belong together.
    """
    from ase.data import chemical_symbols

    paths = [Path(path)] if isinstance(path, str | Path) else [Path(p) for p in path]
    if paths[0].is_dir():
        paths = sorted(paths[0].glob("potential_saved*"))
    if not paths:
        raise FormatError(f"{path}: expected files potential_saved..., got none")
    found = [_potential(own) for own in paths]
    elements = sorted(found[0])
    functions = [f for z in elements for f in found[0][z][0]]
    for own, one in zip(paths, found, strict=True):
        if sorted(one) != elements or [f for z in elements for f in one[z][0]] != functions:
            raise FormatError(
                f"{own}: other elements or symmetry functions than {paths[0]}; "
                "members of one ensemble share them"
            )
    symbols = tuple(chemical_symbols[z] for z in elements)
    facts = {"origin": "simple-nn", "files": [own.name for own in paths]}
    return ensemble_of(
        _descriptor(functions, symbols),
        elements,
        [[one[z][1] for z in elements] for one in found],
        engine or UNKNOWN_ENGINE,
        facts,
    )


def _descriptor(functions: Sequence[Radial | Angular], symbols: tuple[str, ...]) -> "Acsf":
    from potentials.descriptors.acsf import Acsf

    return Acsf(
        cutoff=max(f.cutoff or 0.0 for f in functions),
        functions=tuple(functions),
        elements=symbols,
    )


def _potential(path: Path) -> dict[int, tuple[list[Radial | Angular], ElementNetwork]]:
    """Functions and network of every element (atomic number)."""
    reader = Reader(path)
    line = reader.take("ELEM_LIST <symbols>")
    words = line.words[1:] if line.words[0] == "ELEM_LIST" else line.words
    listed = [atomic_number(word, line) for word in words]
    found = {}
    while reader.more:
        pot = reader.keyword("POT", "POT <element> <cutoff>")
        z = atomic_number((pot.words + [""] * 2)[1], pot)
        if z not in listed:
            raise pot.error(f"POT of one of {' '.join(words)}")
        count = reader.keyword("SYM", "SYM <number>").integer(1, "SYM <number>")
        functions = [_function(reader.take(_FUNCTION), pot.words[1]) for _ in range(count)]
        mean = reader.keyword("scale1", "scale1 <numbers>").numbers(1, count, f"{count} numbers")
        line = reader.keyword("scale2", "scale2 <numbers>")
        spread = line.numbers(1, count, f"{count} numbers")
        if (spread == 0).any():
            raise line.error("widths other than zero")
        unknown = np.full(count, UNKNOWN_RANGE)
        layers = tuple(_layers(reader, count))
        found[z] = (functions, ElementNetwork(layers, mean, spread, -unknown, unknown))
    if missing := [word for word, z in zip(words, listed, strict=True) if z not in found]:
        raise FormatError(f"{path}: expected POT {missing[0]}, got the end of the file")
    return found


def _function(line: Line, centre: str) -> Radial | Angular:
    kind = line.integer(0, _FUNCTION)
    cutoff, eta, second, third = line.numbers(1, 4, _FUNCTION)
    names = line.words[5:]
    for name in names:
        atomic_number(name, line)
    return _made(line, centre, kind, (cutoff, eta, second, third), names)


def _made(
    line: Line, centre: str, kind: int, numbers: tuple[float, ...], names: Sequence[str]
) -> Radial | Angular:
    cutoff, eta, second, third = map(float, numbers)
    if kind == 2 and len(names) == 1 and eta >= 0 and cutoff > 0:
        return Radial(eta=eta, shift=second, cutoff=cutoff, centre=centre, neighbour=names[0])
    if kind in _KINDS and len(names) == 2 and eta >= 0 and cutoff > 0 and second >= 1:
        return Angular.model_validate(
            {
                "kind": _KINDS[kind],
                "eta": eta,
                "zeta": second,
                "lam": third,
                "cutoff": cutoff,
                "centre": centre,
                "neighbours": tuple(names),
            }
        )
    raise line.error(f"{_FUNCTION}, eta >= 0, zeta >= 1")


def _layers(reader: Reader, size: int) -> list[Layer]:
    line = reader.keyword("NET", "NET <hidden layers> <units of all layers>")
    count = line.integer(1, "NET <hidden layers> <units of all layers>") + 1
    expected = f"NET {count - 1} and {count} numbers of units, the last 1"
    widths = [int(width) for width in line.numbers(2, count, expected)]
    if min(widths) < 1 or widths[-1] != 1 or len(line.words) != count + 2:
        raise line.error(expected)
    layers = []
    for index, (inputs, outputs) in enumerate(zip([size, *widths[:-1]], widths, strict=True)):
        line = reader.keyword("LAYER", f"LAYER {index} <activation>")
        name = (line.words + [""] * 3)[2]
        if name not in ACTIVATIONS:
            raise line.error(f"LAYER {index} with one of {' '.join(ACTIVATIONS)}")
        weight, bias = np.empty((inputs, outputs)), np.empty(outputs)
        for unit in range(outputs):
            expected = f"w{unit} and {inputs} numbers"
            line = reader.keyword(f"w{unit}", expected)
            if len(line.words) != inputs + 1:
                raise line.error(f"{expected} ({len(line.words) - 1} there)")
            weight[:, unit] = line.numbers(1, inputs, expected)
            bias[unit] = reader.keyword(f"b{unit}", f"b{unit} <number>").number_at(1, "a number")
        layers.append(Layer(weight, bias, name))
    return layers


def write_potential(path: Path | str, ensemble: "Ensemble") -> list[Path]:
    """Write a ``potential_saved`` per member: ``path`` itself, or ``path-1`` ... for several.

    Args:
        path: the file.
        ensemble: descriptor acsf with the cosine cutoff, networks only.

    Returns:
        The files.

    Raises:
        FormatError: the format cannot hold the ensemble.
    """
    from ase.data import chemical_symbols

    members = networks_of(ensemble, "SIMPLE-NN's format")
    symbols = [chemical_symbols[z] for z in ensemble.elements]
    components = _exportable(ensemble)
    paths = [Path(path)]
    if len(members) > 1:
        paths = [Path(f"{path}-{k + 1}") for k in range(len(members))]
    for own, networks in zip(paths, members, strict=True):
        lines = [f"ELEM_LIST {' '.join(symbols)}"]
        for symbol, parts, network in zip(symbols, components, networks, strict=True):
            lines += _potential_lines(symbol, symbols, parts, network, ensemble)
        if (longest := max(map(len, lines))) > LONGEST_LINE:
            raise FormatError(
                f"{own}: a line of {longest} characters, SIMPLE-NN's LAMMPS style reads "
                f"{LONGEST_LINE}; use fewer functions or units"
            )
        own.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return paths


def _exportable(ensemble: "Ensemble") -> tuple[tuple["Component", ...], ...]:
    """The descriptor's components, where SIMPLE-NN knows them."""
    descriptor, networks = symmetry_functions_of(ensemble), ensemble.networks
    names = () if networks is None else networks.activations
    wrong = ""
    if descriptor.envelope != "cos" or descriptor.inner:
        wrong = f"cutoff function {descriptor.envelope!r} with inner {descriptor.inner}"
    components = descriptor.components(len(ensemble.elements))
    if any(isinstance(f, Angular) and f.shift for own in components for f, _ in own):
        wrong = "angular functions with a shift"
    for name in names:
        if name not in ACTIVATIONS:
            wrong = f"activation {name!r}"
    if wrong:
        raise FormatError(
            f"SIMPLE-NN knows no {wrong}; train with envelope: cos, inner: 0, unshifted angular "
            f"functions and activations of {', '.join(ACTIVATIONS)}"
        )
    return components


def _potential_lines(
    symbol: str,
    symbols: Sequence[str],
    parts: Sequence["Component"],
    network: ElementNetwork,
    ensemble: "Ensemble",
) -> list[str]:
    """All lines of one element; SIMPLE-NN sums over j < k, and has no energies of atoms."""
    descriptor = symmetry_functions_of(ensemble)
    ordered = descriptor.summation == "ordered"
    half = np.array([0.5 if ordered and isinstance(f, Angular) else 1.0 for f, _ in parts])
    lines = [f"POT {symbol} {descriptor.cutoff!r}", f"SYM {len(parts)}"]
    for function, partners in parts:
        names = " ".join(symbols[index] for index in partners)
        number, radius, numbers = _numbers(function, descriptor)
        lines.append(f"{number} {radius!r} {numbers} {names}")
    lines += [f"scale1 {row(network.mean * half)}", f"scale2 {row(network.spread * half)}"]
    widths = [len(layer.bias) for layer in network.layers]
    lines.append(f"NET {len(widths) - 1} {' '.join(map(str, widths))}")
    for index, layer in enumerate(network.layers):
        lines.append(f"LAYER {index} {layer.activation}")
        last = index == len(widths) - 1
        bias = layer.bias + network.reference if last else layer.bias
        for unit, value in enumerate(bias):
            lines += [f"w{unit} {row(layer.weight[:, unit])}", f"b{unit} {float(value)!r}"]
    return lines


def _numbers(function: Radial | Angular, descriptor: "Acsf") -> tuple[int, float, str]:
    """Type, cutoff and the three parameters of a function, in SIMPLE-NN's order."""
    radius = function.cutoff or descriptor.cutoff
    if isinstance(function, Radial):
        return 2, radius, f"{function.eta!r} {function.shift!r} 0.0"
    number = {"narrow": 4, "wide": 5}[function.kind]
    return number, radius, f"{function.eta!r} {function.zeta!r} {function.lam!r}"


def read_params(paths: Mapping[str, Path | str]) -> "Acsf":
    """The descriptor of files ``params_X``.

    Args:
        paths: file by element; their order is that of the numbers in the files (the order of
            ``params`` in SIMPLE-NN's input.yaml).

    Raises:
        FormatError: a file does not follow the format.
    """
    from ase.data import atomic_numbers

    symbols = list(paths)
    functions = []
    for centre, path in paths.items():
        for line in content(Path(path)):
            kind = line.integer(0, _PARAMS)
            places = [line.integer(1 + index, _PARAMS) for index in range(2)]
            numbers = tuple(line.numbers(3, 4, _PARAMS))
            places = places[:1] if kind == 2 else places
            if not all(1 <= place <= len(symbols) for place in places):
                raise line.error(f"neighbours from 1 to {len(symbols)}")
            names = [symbols[place - 1] for place in places]
            functions.append(_made(line, centre, kind, numbers, names))
    return _descriptor(functions, tuple(sorted(symbols, key=lambda s: int(atomic_numbers[s]))))


def write_params(folder: Path | str, descriptor: "Acsf", symbols: Sequence[str]) -> list[Path]:
    """Write ``params_X`` for every element; neighbours are numbered in the order of ``symbols``.

    Args:
        folder: where to write.
        descriptor: the symmetry functions.
        symbols: elements in the order of the element index.
    """
    paths = []
    for symbol, parts in zip(symbols, descriptor.components(len(symbols)), strict=True):
        lines = []
        for function, partners in parts:
            places = [index + 1 for index in partners] + [0]
            number, radius, numbers = _numbers(function, descriptor)
            lines.append(f"{number} {places[0]} {places[1]} {radius!r} {numbers}")
        paths.append(Path(folder) / f"params_{symbol}")
        paths[-1].write_text("\n".join([*lines, ""]), encoding="utf-8")
    return paths

"""What an ``input.nn`` of RuNNer or n2p2 says, in eV and Å."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from potentials.formats.lines import FormatError, Line, atomic_number, content
from potentials.formats.runner_functions import ENVELOPES, Entry, entry_of
from potentials.formats.runner_units import Units

#: activations by RuNNer's letter
ACTIVATIONS = {
    "l": "linear",
    "t": "tanh",
    "s": "sigmoid",
    "p": "softplus",
    "r": "relu",
    "g": "gaussian",
    "c": "cos",
    "S": "reverse_sigmoid",
    "e": "exp",
    "h": "harmonic",
}
#: settings that change the model in ways an ensemble has not
_FOREIGN = (
    "global_symfunction_short",
    "element_symfunction_short",
    "element_hidden_layers_short",
    "element_nodes_short",
    "element_activation_short",
    "nnp_type",
    "use_electrostatics",
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The model of a folder without its weights.

    Attributes:
        elements: atomic numbers, ascending: n2p2 numbers elements so.
        entries: sorted functions by central element.
        envelope, inner: number of the cutoff function, and its inner radius as a share.
        widths: units of the hidden layers.
        activations: of the hidden layers and the output.
        reference: energy that every atom of an element adds [eV].
        energy: what one unit of the networks' output is worth [eV].
        normalise_nodes: whether sums are divided by the number of neurons.
        scaling: parts of "scale+center", "sigma", or nothing.
        scale_min, scale_max: range of scaled inputs.
    """

    elements: list[int]
    entries: dict[int, list[Entry]]
    envelope: int
    inner: float
    widths: list[int]
    activations: list[str]
    reference: dict[int, float]
    energy: float
    normalise_nodes: bool
    scaling: str
    scale_min: float
    scale_max: float


class _Rows:
    """The lines of a file by keyword."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, list[Line]] = {}
        for line in content(path):
            self.lines.setdefault(line.words[0], []).append(line)

    def every(self, name: str) -> list[Line]:
        return self.lines.get(name, [])

    def has(self, name: str) -> bool:
        return name in self.lines

    def one(self, name: str, expected: str) -> Line:
        if name not in self.lines:
            raise FormatError(f"{self.path}: expected a line '{name} {expected}', got none")
        return self.lines[name][0]

    def number(self, name: str, default: float) -> float:
        if name not in self.lines:
            return default
        return self.lines[name][0].number_at(1, f"{name} <number>")


def settings_of(path: Path, units: Units) -> Settings:
    """Read an ``input.nn``.

    Raises:
        FormatError: a line is missing or wrong, or asks for what an ensemble has not.
    """
    rows = _Rows(path)
    _refuse_foreign(rows)
    line = rows.one("elements", "<symbols>")
    elements = sorted(atomic_number(word, line) for word in line.words[1:])
    line = rows.one("cutoff_type", "<number> [<inner>]")
    envelope = line.integer(1, "cutoff_type <number>")
    if envelope not in ENVELOPES:
        raise line.error(f"a cutoff type of {', '.join(map(str, ENVELOPES))}")
    widths, activations = _architecture(
        rows.one("global_hidden_layers_short", "<number>"),
        rows.one("global_nodes_short", "<numbers>"),
        rows.one("global_activation_short", "<letters>"),
    )
    return Settings(
        elements=elements,
        entries=_entries(path, rows.every("symfunction_short"), elements, units.length),
        envelope=envelope,
        inner=line.number_at(2, "cutoff_type <number> <inner>") if len(line.words) > 2 else 0.0,
        widths=widths,
        activations=activations,
        reference=_references(rows, elements, units.energy),
        energy=units.energy / rows.number("conv_energy", 1.0),
        normalise_nodes=rows.has("normalize_nodes"),
        scaling=_scaling(rows),
        scale_min=rows.number("scale_min_short", 0.0),
        scale_max=rows.number("scale_max_short", 1.0),
    )


def _refuse_foreign(rows: _Rows) -> None:
    for name in _FOREIGN:
        if rows.has(name):
            raise rows.one(name, "").error(f"no keyword {name} (not supported)")
    for line in rows.every("nnp_generation"):
        if line.words[1:] != ["2"]:
            raise line.error("nnp_generation 2 (charges are not supported)")


def _references(rows: _Rows, elements: Sequence[int], energy: float) -> dict[int, float]:
    """Energies of atoms and the mean of a normalised set [eV]."""
    mean = energy * rows.number("mean_energy", 0.0)
    reference = dict.fromkeys(elements, mean)
    expected = "atom_energy <element> <number>"
    for line in rows.every("atom_energy"):
        if len(line.words) < 3:
            raise line.error(expected)
        reference[atomic_number(line.words[1], line)] = mean + energy * line.number_at(2, expected)
    return reference


def _scaling(rows: _Rows) -> str:
    if rows.has("scale_symmetry_functions_sigma"):
        return "sigma"
    return "+".join(n for n in ("scale", "center") if rows.has(f"{n}_symmetry_functions"))


def _architecture(layers: Line, nodes: Line, letters: Line) -> tuple[list[int], list[str]]:
    """Units of the hidden layers, activations of these and of the output."""
    count = layers.integer(1, "global_hidden_layers_short <number>")
    expected = f"global_nodes_short with {count} whole numbers"
    widths = [nodes.integer(1 + index, expected) for index in range(count)]
    names = letters.words[1 : 2 + count]
    if len(names) < count + 1 or any(name not in ACTIVATIONS for name in names):
        raise letters.error(f"global_activation_short with {count + 1} of {' '.join(ACTIVATIONS)}")
    return widths, [ACTIVATIONS[name] for name in names]


def _entries(
    path: Path, rows: Sequence[Line], elements: Sequence[int], length: float
) -> dict[int, list[Entry]]:
    """Sorted functions by central element."""
    entries: dict[int, list[Entry]] = {z: [] for z in elements}
    for place, line in enumerate(rows):
        centre, entry = entry_of(line, place, length)
        if not {centre, *entry.partners} <= set(elements):
            raise line.error("elements that the line 'elements' lists")
        entries[centre].append(entry)
    for z, own in entries.items():
        if not own:
            raise FormatError(
                f"{path}: expected symfunction_short for the element of Z = {z}, got none"
            )
        own.sort()
    return entries

"""`aga convert`: data sets and potentials from one format to another."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from aga.models.data import Source, load
from aga.models.measure import load_ensemble
from aga.models.refusals import refusals
from aga.yaml_source import ConfigError
from potentials import formats
from potentials.acceptance import NO_LIMITS
from potentials.roles import unknown

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble

#: our own folders of ensembles
OWN = "aga"
POTENTIALS = (OWN, *formats.POTENTIALS)
ALL = sorted({*formats.DATA, *POTENTIALS})


@dataclass(frozen=True, slots=True)
class Conversion:
    """What becomes what.

    Attributes:
        path: what to read.
        out: file or folder to be made, as the format has it.
        start: format of the input.
        end: format of the output.
        keys: names of energy, forces and stress in extxyz, by the names of `Source`.
        units: of RuNNer's files, which do not name them; none: bohr and hartree.
    """

    path: Path
    out: Path
    start: str
    end: str
    keys: dict[str, str | None]
    units: str | None = None

    def options(self, name: str) -> dict[str, Any]:
        """What the module of a format takes beside path and content."""
        return {"units": self.units} if self.units is not None and name == "runner" else {}


def convert(wanted: Conversion, stream: TextIO | None = None) -> None:
    """Read in one format and write in another; all of the output or nothing.

    Args:
        wanted: what to do.
        stream: where to say what was done; standard error if None.

    Raises:
        ConfigError: an unknown format, formats of different things, input that cannot be read or
            held by the other format, or output that exists.
    """
    out = stream or sys.stderr
    kind = _kind(wanted)
    if wanted.units is not None and "runner" not in (wanted.start, wanted.end):
        raise ConfigError(["convert: --units is for runner; all others are in eV and Å"])
    if not wanted.out.name:
        raise ConfigError([f"convert: {wanted.out}: expected the name of a new file or folder"])
    with refusals("convert"):
        wanted.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        refusals("convert"),
        tempfile.TemporaryDirectory(dir=wanted.out.parent, prefix=".aga-") as folder,
    ):
        target = Path(folder) / wanted.out.name
        said = _potential(wanted, target) if kind == "potential" else _data(wanted, target, out)
        made = _publish(Path(folder), wanted.out.parent)
    out.write(f"{said}, {wanted.start} to {wanted.end}: {', '.join(map(str, made))}\n")


def _kind(wanted: Conversion) -> str:
    """What is converted: "data" or "potential"."""
    for name in (wanted.start, wanted.end):
        if name not in ALL:
            raise ConfigError([f"convert: {unknown('format', name, ALL)}"])
    both = [
        kind
        for kind, names in (("data", formats.DATA), ("potential", POTENTIALS))
        if wanted.start in names and wanted.end in names
    ]
    if not both:
        kinds = ["data sets" if n in formats.DATA else "potentials" for n in _names(wanted)]
        raise ConfigError(
            [
                f"convert: {wanted.start} holds {kinds[0]}, {wanted.end} {kinds[1]}; data sets: "
                f"{', '.join(formats.DATA)}; potentials: {', '.join(POTENTIALS)}"
            ]
        )
    if len(both) == 2:  # a format that has both, on either side
        return "potential" if (wanted.path / "input.nn").is_file() else "data"
    return both[0]


def _names(wanted: Conversion) -> tuple[str, str]:
    return wanted.start, wanted.end


def _data(wanted: Conversion, target: Path, stream: TextIO) -> str:
    units = wanted.options(wanted.start).get("units")
    source = Source(wanted.path, wanted.start, **wanted.keys, units=units)
    frames = load(source, NO_LIMITS, stream)
    formats.data_format(wanted.end).write(target, frames, **wanted.options(wanted.end))
    return f"{len(frames)} structures"


def _potential(wanted: Conversion, target: Path) -> str:
    given = [name for name, key in wanted.keys.items() if key is not None]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError([f"convert: {names}: a potential has no such keys"])
    ensemble = _read_potential(wanted)
    if wanted.end == OWN:
        ensemble.save(target)
    else:
        writer = formats.potential_format(wanted.end)
        writer.write_potential(target, ensemble, **wanted.options(wanted.end))
    members = len(ensemble.constants)
    return f"{members} member{'s' if members > 1 else ''}"


def _read_potential(wanted: Conversion) -> "Ensemble":
    if wanted.start == OWN:
        return load_ensemble(wanted.path)
    reader = formats.potential_format(wanted.start)
    made: Ensemble = reader.read_potential(wanted.path, **wanted.options(wanted.start))
    return made


def _publish(folder: Path, parent: Path) -> list[Path]:
    """Move all that was made to where it belongs; a potential may be several files."""
    moves = [(path, parent / path.name) for path in sorted(folder.iterdir())]
    for _, target in moves:
        if target.exists():
            raise ConfigError([f"convert: {target} exists already; choose another, or remove it"])
    for path, target in moves:
        path.replace(target)
    return [target for _, target in moves]

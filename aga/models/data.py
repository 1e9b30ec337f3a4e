"""Labelled structures from a file of any format, ready for a fit or for measuring errors."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from aga.yaml_source import ConfigError
from potentials import formats
from potentials.acceptance import Limits, Rejection, accepted, summary
from potentials.formats import extxyz
from potentials.roles import unknown
from potentials.structures import Frame


@dataclass(frozen=True, slots=True)
class Source:
    """Where labels come from.

    Attributes:
        path: file or folder.
        form: a format of `potentials.formats`.
        energy_key: name of the energy in extxyz; none: the usual ones.
        forces_key: the same for the forces.
        stress_key: the same for stress or virial.
        units: of RuNNer's files, which do not name them; none: bohr and hartree.
    """

    path: Path
    form: str = "extxyz"
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    units: str | None = None

    def __post_init__(self) -> None:
        """Refuse options that the format would pass over in silence."""
        if self.form not in formats.DATA:
            raise ConfigError([unknown("format of data sets", self.form, formats.DATA)])
        named = {"energy": self.energy_key, "forces": self.forces_key, "stress": self.stress_key}
        given = [f"--{name}-key" for name, key in named.items() if key is not None]
        if given and self.form != "extxyz":
            raise ConfigError([f"{', '.join(given)}: only extxyz has keys, not {self.form}"])
        if self.units is not None and self.form != "runner":
            raise ConfigError([f"--units: only runner needs it; {self.form} is always in eV and Å"])


def load(source: Source, limits: Limits, stream: TextIO) -> list[Frame]:
    """The labels of a source that are within the limits; a line for each kind of the others.

    Raises:
        FormatError: the file cannot be read.
    """
    found = read(source)
    frames, rejected = accepted(found, limits)
    for line in summary(rejected, len(found)):
        stream.write(f"{source.path}: {line}\n")
    return frames


def read(source: Source) -> list[Frame | Rejection]:
    """All structures in the order of the file; those that are not finite as rejections.

    Raises:
        FormatError: the file cannot be read.
    """
    if source.form == "extxyz":
        return extxyz.scan(
            source.path,
            energy_key=source.energy_key,
            forces_key=source.forces_key,
            stress_key=source.stress_key,
        )
    options: dict[str, Any] = {} if source.units is None else {"units": source.units}
    return list(formats.data_format(source.form).read(source.path, **options))

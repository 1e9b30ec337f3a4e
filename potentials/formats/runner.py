"""RuNNer and n2p2: the data set ``input.data``, and potentials (see `runner_potential`).

    begin
    comment ...
    lattice x y z        three times for a crystal, not at all for a molecule
    atom x y z El charge 0.0 fx fy fz
    energy E
    charge Q
    end

The file does not say its units; they are bohr and hartree unless the reader knows better.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from potentials.formats.frames import Raw, extra_of, frames_of, note, periodic
from potentials.formats.lines import FormatError, Line, Reader, atomic_number, row
from potentials.formats.runner_export import write_potential
from potentials.formats.runner_potential import read_potential
from potentials.formats.runner_units import units_named
from potentials.structures import Frame

__all__ = ["read", "read_potential", "write", "write_potential"]

_ATOM = "atom x y z Element charge energy fx fy fz"


def read(
    path: Path | str, *, units: str = "bohr-hartree", engine: str | None = None
) -> list[Frame]:
    """All structures of an ``input.data``.

    Args:
        path: the file, or the folder that holds it.
        units: of the file, a key of `runner_units.UNITS`.
        engine: engine of the labels.

    Raises:
        FormatError: the file does not follow the format; units are unknown.
    """
    path = Path(path)
    path = path / "input.data" if path.is_dir() else path
    return frames_of(_structures(path, units), engine)


def _structures(path: Path, units: str) -> Iterator[Raw]:
    reader = Reader(path, comment="")
    while reader.more:
        begin = reader.keyword("begin", "begin")
        body = []
        while (line := reader.take("end")).words[0] != "end":
            if line.words[0] == "begin":
                raise line.error("end")
            body.append(line)
        yield _structure(begin, body, units)


def _structure(begin: Line, body: Sequence[Line], units: str) -> Raw:
    scale = units_named(units)
    rows: dict[str, list[Line]] = {}
    for line in body:
        rows.setdefault(line.words[0], []).append(line)
    where = f"{begin.path}, structure at line {begin.number}"
    lattice = [line.numbers(1, 3, "lattice x y z") for line in rows.get("lattice", [])]
    atoms, energy = rows.get("atom", []), rows.get("energy", [])
    if len(lattice) not in (0, 3):
        raise FormatError(f"{where}: expected 3 lattice vectors or none, got {len(lattice)}")
    if not atoms or len(energy) != 1:
        raise FormatError(
            f"{where}: expected atoms and one energy, got {len(atoms)} and {len(energy)}"
        )
    numbers = [atomic_number((line.words + [""] * 5)[4], line) for line in atoms]
    made = Atoms(
        numbers,
        positions=np.array([line.numbers(1, 3, _ATOM) for line in atoms]) * scale.length,
        cell=np.array(lattice) * scale.length if lattice else None,
        pbc=bool(lattice),
    )
    extra: dict[str, Any] = {}
    for line in rows.get("comment", []):
        extra |= extra_of(line.text.removeprefix("comment"), where)
    return Raw(
        where=where,
        atoms=made,
        energy=energy[0].number_at(1, "energy E") * scale.energy,
        forces=np.array([line.numbers(7, 3, _ATOM) for line in atoms])
        * (scale.energy / scale.length),
        extra=extra,
    )


def write(path: Path | str, frames: Sequence[Frame], *, units: str = "bohr-hartree") -> None:
    """Write ``input.data``; stress, moments and engine stand in the comment.

    Args:
        path: the file.
        frames: structures periodic in all directions or in none.
        units: of the file, a key of `runner_units.UNITS`.

    Raises:
        FormatError: a structure is periodic in some directions only; units are unknown.
    """
    scale = units_named(units)
    parts = []
    for frame in frames:
        atoms, label = frame.atoms, frame.label
        parts += ["begin", f"comment {note(frame)}"]
        if periodic(frame, "input.data"):
            parts += [f"lattice {row(vector / scale.length)}" for vector in atoms.cell.array]
        forces = label.forces * (scale.length / scale.energy)
        for symbol, place, force in zip(
            atoms.get_chemical_symbols(), atoms.positions / scale.length, forces, strict=True
        ):
            parts.append(f"atom {row(place)} {symbol} 0.0 0.0 {row(force)}")
        parts += [f"energy {label.energy / scale.energy!r}", "charge 0.0", "end"]
    Path(path).write_text("\n".join([*parts, ""]), encoding="utf-8")

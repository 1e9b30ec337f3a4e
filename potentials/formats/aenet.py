"""Structures of aenet: one XCrySDen file (.xsf) each, with the energy in its first line.

    # total energy = -19074.58973157 eV

    CRYSTAL
    PRIMVEC
    x y z                 three rows
    PRIMCOORD
    n 1
    El x y z fx fy fz     n rows

Isolated structures have ``ATOMS`` and rows alone. Lengths in Å, energies in eV.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from potentials.formats.frames import Raw, extra_of, frames_of, note, periodic
from potentials.formats.lines import FormatError, Line, Reader, atomic_number, content, row
from potentials.structures import Frame

_ENERGY = re.compile(r"total energy\s*=\s*(\S+)")
_FIRST = "# total energy = <number> eV"
_ROW = "Element x y z fx fy fz"


def read(path: Path | str, *, engine: str | None = None) -> list[Frame]:
    """The structure of a file, or all of a folder (``*.xsf``, sorted by name).

    Args:
        path: a file or a folder.
        engine: engine of the labels.

    Raises:
        FormatError: a file does not follow the format; a folder holds none.
    """
    path = Path(path)
    paths = sorted(path.glob("*.xsf")) if path.is_dir() else [path]
    if not paths:
        raise FormatError(f"{path}: expected files *.xsf in the folder, got none")
    return frames_of((_structure(own) for own in paths), engine)


def _structure(path: Path) -> Raw:
    energy, extra = _head(path)
    reader = Reader(path)
    line = reader.take("CRYSTAL or ATOMS")
    cell = None
    if line.words[0] == "CRYSTAL":
        reader.keyword("PRIMVEC", "PRIMVEC")
        cell = [reader.take("a cell vector x y z").numbers(0, 3, "x y z") for _ in range(3)]
        reader.keyword("PRIMCOORD", "PRIMCOORD")
        count = reader.take("<number of atoms> 1").integer(0, "<number of atoms> 1")
        rows = [reader.take(_ROW) for _ in range(count)]
        if (more := reader.peek()) is not None:
            raise more.error(f"the end of the file after {count} atoms")
    elif line.words[0] == "ATOMS":
        rows = []
        while reader.more:
            rows.append(reader.take(_ROW))
    else:
        raise line.error("CRYSTAL or ATOMS")
    if not rows:
        raise FormatError(f"{path}: expected atoms, got none")
    numbers = np.array([own.numbers(1, 6, _ROW) for own in rows])
    kinds = [atomic_number(own.words[0], own) for own in rows]
    atoms = Atoms(kinds, positions=numbers[:, :3], cell=cell, pbc=cell is not None)
    return Raw(str(path), atoms, energy, numbers[:, 3:], extra=extra)


def _head(path: Path) -> tuple[float, dict[str, Any]]:
    """Energy and what `note` wrote, from the comments."""
    energy: float | None = None
    extra: dict[str, Any] = {}
    for line in content(path, comment=""):
        if line.text.startswith("#"):
            text = line.text[1:].strip()
            extra |= extra_of(text, f"{path}, line {line.number}")
            if energy is None and (found := _ENERGY.match(text)):
                energy = Line(path, line.number, found[1]).number_at(0, _FIRST)
    if energy is None:
        raise FormatError(f"{path}: expected a line '{_FIRST}', got none")
    return energy, extra


def write(path: Path | str, frames: Sequence[Frame]) -> None:
    """Write one file per structure into a folder; stress, moments and engine in a comment.

    Args:
        path: the folder, made where there is none.
        frames: structures periodic in all directions or in none.

    Raises:
        FormatError: a structure is periodic in some directions only.
    """
    texts = [_text(frame) for frame in frames]
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    width = max(4, len(str(len(texts))))
    for number, text in enumerate(texts, 1):
        (folder / f"structure{number:0{width}d}.xsf").write_text(text, encoding="utf-8")


def _text(frame: Frame) -> str:
    atoms = frame.atoms
    lines = [f"# total energy = {frame.label.energy!r} eV", f"# {note(frame)}", ""]
    if periodic(frame, "xsf"):
        lines += ["CRYSTAL", "PRIMVEC", *(row(vector) for vector in atoms.cell.array)]
        lines += ["PRIMCOORD", f"{len(atoms)} 1"]
    else:
        lines.append("ATOMS")
    for symbol, place, force in zip(
        atoms.get_chemical_symbols(), atoms.positions, frame.label.forces, strict=True
    ):
        lines.append(f"{symbol} {row(place)} {row(force)}")
    return "\n".join([*lines, ""])

"""Frames from what a file holds, and what a format has no place for, kept in a comment.

Formats of other codes have no place for stress, moments or engine. These go into one comment as
JSON data, which other codes skip, so that a set survives the way there and back.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from potentials.acceptance import label_key
from potentials.formats.lines import FormatError
from potentials.structures import FloatArray, Frame, Label

#: a comment that starts with this word holds JSON data
MARK = "aga"
#: engine of labels that do not say where they come from
UNKNOWN_ENGINE = "unknown"
#: cell vectors that span less are no cell [Å^3]
NO_VOLUME = 1e-6


@dataclass(frozen=True, slots=True)
class Raw:
    """One labelled structure as read, in eV and Å.

    Attributes:
        where: file and place in it, for errors.
        atoms: the structure.
        energy: [eV].
        forces: [eV/Å] (N, 3).
        stress: Voigt-6 [eV/Å^3], or None.
        magmoms: [bohr magneton] (N,), or None.
        magnetization: of the whole [bohr magneton], or None.
        extra: what `note` wrote.
    """

    where: str
    atoms: Atoms
    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    magmoms: FloatArray | None = None
    magnetization: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def note(frame: Frame) -> str:
    """What formats without a place for it lose: id, engine, stress, moments, time; one line."""
    label = frame.label
    data: dict[str, Any] = {"id": frame.id, "engine": label.engine}
    if label.stress is not None:
        data["stress"] = label.stress.tolist()
    if label.magmoms is not None:
        data["magmoms"] = label.magmoms.tolist()
    if label.magnetization is not None:
        data["magnetization"] = label.magnetization
    if label.seconds:
        data["seconds"] = label.seconds
    return f"{MARK} {json.dumps(data)}"


def extra_of(comment: str, where: str) -> dict[str, Any]:
    """What `note` wrote; nothing for any other comment.

    Raises:
        FormatError: the comment starts like one of ours and is not JSON data.
    """
    text = comment.strip()
    if not text.startswith(f"{MARK} {{"):
        return {}
    try:
        data = json.loads(text.removeprefix(MARK))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: expected JSON data after {MARK!r}, got: {error}") from error
    return dict(data)


def frames_of(raws: Iterable[Raw], engine: str | None) -> list[Frame]:
    """Frames with different ids: their own, else a hash of structure and energy.

    Args:
        raws: what was read.
        engine: engine of those that do not name theirs; none: ``"unknown"``.

    Raises:
        FormatError: a label is not finite or of a wrong shape, or there is none at all.
    """
    taken: dict[str, int] = {}
    made = []
    for raw in raws:
        frame = _frame(raw, engine)
        first = name = str(raw.extra.get("id") or label_key(frame))
        while name in taken:
            taken[first] += 1
            name = f"{first}-{taken[first]}"
        taken[name] = 1
        made.append(Frame(name, frame.atoms, frame.label))
    return made


def check_atoms(atoms: Atoms, where: str) -> None:
    """Refuse what is no structure: no atoms, no elements, a crystal whose cell has no volume.

    Raises:
        FormatError: it is none.
    """
    if not len(atoms):
        raise FormatError(f"{where}: has no atoms")
    if (atoms.numbers < 1).any():
        raise FormatError(f"{where}: atom {int(np.argmin(atoms.numbers)) + 1} is of no element (X)")
    if atoms.pbc.all() and volume(atoms) < NO_VOLUME:
        raise FormatError(f"{where}: the cell vectors span no volume")


def volume(atoms: Atoms) -> float:
    """Of the cell [Å^3]; NaN where the cell is not finite, without a warning."""
    with np.errstate(invalid="ignore", over="ignore"):
        return float(abs(np.linalg.det(atoms.cell.array)))


def _frame(raw: Raw, engine: str | None) -> Frame:
    check_atoms(raw.atoms, raw.where)

    def array(name: str, own: FloatArray | None) -> FloatArray | None:
        value = raw.extra.get(name, own)
        return None if value is None else np.array(value, dtype=np.float64)

    total = raw.extra.get("magnetization", raw.magnetization)
    try:
        label = Label(
            energy=raw.energy,
            forces=raw.forces,
            stress=array("stress", raw.stress),
            engine=str(raw.extra.get("engine", engine or UNKNOWN_ENGINE)),
            seconds=float(raw.extra.get("seconds", 0.0)),
            magmoms=array("magmoms", raw.magmoms),
            magnetization=None if total is None else float(total),
        )
        return Frame("", raw.atoms, label)
    except (TypeError, ValueError) as error:
        raise FormatError(f"{raw.where}: {error}") from error


def periodic(frame: Frame, format_name: str) -> bool:
    """Whether a structure is a crystal (True) or a molecule (False).

    Raises:
        FormatError: it is periodic in some directions only.
    """
    flags = frame.atoms.pbc
    if flags.any() and not flags.all():
        raise FormatError(
            f"frame {frame.id!r}: periodic in some directions only, which {format_name} cannot "
            "hold; make it periodic in all, with vacuum"
        )
    return bool(flags.all())

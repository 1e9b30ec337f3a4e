"""Labelled structures in extended XYZ: any elements, any keys, and nothing silently left out.

Without keys named by the caller, ``REF_energy``, ``REF_forces`` and ``REF_stress`` (or
``REF_virial``, ``REF_virials``) are taken where the file has the first, else ``energy``,
``forces`` and ``stress`` (`potentials.formats.keyed` has the units and shapes).
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from potentials.acceptance import Rejection
from potentials.formats.frames import Raw, check_atoms, frames_of
from potentials.formats.keyed import choose, label_of
from potentials.formats.lines import FormatError, row
from potentials.structures import Frame, bare

#: ASE takes these keys out of the comment line and checks or halves them; here they stay whole
RAW = "label:"
_STANDARD = re.compile(r"(?:(?<=\s)|^)(energy|stress|virial|free_energy)(?==)")
#: text even where it looks like a number
_TEXT = re.compile(r'(?:(?<=\s)|^)(id|engine)=(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_COLUMNS = {"numbers", "positions"}


def read(
    path: Path | str,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    engine: str | None = None,
) -> list[Frame]:
    """All labelled structures of a file; the first number that is not finite is an error.

    Args:
        path: extended XYZ, plain or compressed (.gz, .bz2, .xz).
        energy_key: name of the total energy; none: see above.
        forces_key: name of the forces.
        stress_key: name of stress or virial; crystals must have it then.
        engine: engine of the frames that have no key ``engine``; none: ``"unknown"``.

    Returns:
        Frames in the order of the file. The id is the frame's key ``id``, else a hash of structure
        and energy, so that a fit does not depend on the order; copies end with ``-2``, ``-3``...
        Molecules need no cell; what is not periodic in three directions has no stress.

    Raises:
        FormatError: a file or frame that cannot be read, a missing key, a wrong shape, a stress
            that is not symmetric, a number that is not finite.
    """
    found = scan(
        path, energy_key=energy_key, forces_key=forces_key, stress_key=stress_key, engine=engine
    )
    frames = []
    for one in found:
        if isinstance(one, Rejection):
            raise FormatError(f"{path}: {one}; remove the frame or repair it")
        frames.append(one)
    return frames


def scan(
    path: Path | str,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    engine: str | None = None,
) -> list[Frame | Rejection]:
    """As `read`, but a frame with numbers that are not finite becomes a rejection in its place."""
    structures = list(_structures(Path(path)))
    if not structures:
        raise FormatError(f"{path}: no structures in it; expected extended XYZ")
    held = [_contents(atoms) for atoms in structures]
    keys = choose(held, energy_key, forces_key, stress_key)
    rejected: dict[int, Rejection] = {}
    sound: list[Raw] = []
    for number, (atoms, content) in enumerate(zip(structures, held, strict=True), 1):
        where = f"{path}: frame {number}"
        _check_structure(atoms, where)
        raw = label_of(bare(atoms), content, keys, where)
        if wrong := _not_finite(raw):
            rejected[number] = Rejection(number, raw.extra.get("id", ""), "not finite", wrong)
        else:
            sound.append(raw)
    frames = iter(frames_of(sound, engine))
    return [rejected.get(number) or next(frames) for number in range(1, len(held) + 1)]


def write(path: Path | str, frames: Sequence[Frame]) -> None:
    """Write frames so that `read` gives them back to the last bit, as ``REF_energy`` and so on."""
    with Path(path).open("w", encoding="utf-8") as file:
        for frame in frames:
            file.write(f"{len(frame.atoms)}\n{_comment(frame)}\n")
            label = frame.label
            columns = [frame.atoms.positions, label.forces]
            if label.magmoms is not None:
                columns.append(label.magmoms[:, None])
            symbols = frame.atoms.get_chemical_symbols()
            for symbol, numbers in zip(symbols, np.hstack(columns), strict=True):
                file.write(f"{symbol} {row(numbers)}\n")


def _comment(frame: Frame) -> str:
    """The second line: cell, columns and label."""
    atoms, label = frame.atoms, frame.label
    parts = []
    if atoms.cell.rank:
        parts.append(f'Lattice="{row(atoms.cell.array.ravel())}"')
    columns = "species:S:1:pos:R:3:REF_forces:R:3"
    if label.magmoms is not None:
        columns += ":REF_magmoms:R:1"
    flags = " ".join("T" if flag else "F" for flag in atoms.pbc)
    parts += [f"Properties={columns}", f'pbc="{flags}"', f"REF_energy={label.energy!r}"]
    if label.stress is not None:
        xx, yy, zz, yz, xz, xy = label.stress
        parts.append(f'REF_stress="{row([xx, xy, xz, xy, yy, yz, xz, yz, zz])}"')
    if label.magnetization is not None:
        parts.append(f"REF_magnetization={label.magnetization!r}")
    return " ".join([*parts, f'id="{_quoted(frame.id)}"', f'engine="{_quoted(label.engine)}"'])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def check_counts(path: Path) -> None:
    """Whether the atoms that the frames promise are there: ASE looks for them, however many.

    Raises:
        FormatError: the file ends before the last of them.
    """
    from ase.io.formats import open_with_compression

    with open_with_compression(str(path), "r") as file:
        number = 0
        while words := file.readline().split():
            number += 1
            if not words[0].isdecimal():
                return  # not a count: ASE says what is wrong
            promised = int(words[0]) if len(words[0]) < 16 else sys.maxsize
            file.readline()
            for found in range(promised):
                if not file.readline():
                    raise FormatError(
                        f"{path}: frame {number}: promises {words[0][:20]} atoms, but the file "
                        f"ends after {found}"
                    )


def _structures(path: Path) -> Iterator[Atoms]:
    """The frames as ASE reads them; every way to fail becomes one message."""
    from ase.io import iread

    number = 1
    try:
        check_counts(path)
        for atoms in iread(path, index=":", format="extxyz", properties_parser=_properties):
            yield atoms
            number += 1
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise FormatError(f"{path}: expected an extended XYZ file, got a folder") from error
    except FormatError:
        raise
    except Exception as error:  # ASE's reader and those of compressed files raise what they like
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise FormatError(
            f"{path}: frame {number}: not readable as extended XYZ: {said[0]}"
        ) from error


def _properties(line: str) -> dict[str, Any]:
    """The comment line as keys and values, the label's own keys under another name."""
    from ase.io.extxyz import key_val_str_to_dict

    found = dict(key_val_str_to_dict(_STANDARD.sub(RAW + r"\1", line)))
    for name, quoted, plain in _TEXT.findall(line):
        found[name] = re.sub(r"\\(.)", r"\1", quoted) or plain
    return found


def _contents(atoms: Atoms) -> dict[str, Any]:
    """Everything a frame holds beside the structure, by the key it has in the file."""
    held = {name.removeprefix(RAW): value for name, value in atoms.info.items()}
    held |= {name: value for name, value in atoms.arrays.items() if name not in _COLUMNS}
    if atoms.calc is not None:
        held |= atoms.calc.results
    return held


def _check_structure(atoms: Atoms, where: str) -> None:
    for axis, name in enumerate("abc"):
        # not by its length: the square of 1e300 is no number
        if atoms.pbc[axis] and not atoms.cell.array[axis].any():
            raise FormatError(
                f'{where}: periodic along {name}, but there is no such cell vector; give Lattice="'
                '..." or pbc="F F F"'
            )
    check_atoms(atoms, where)


def _not_finite(raw: Raw) -> str:
    """What holds a NaN or an infinite number, or ""."""
    parts = {
        "positions": raw.atoms.positions,
        "cell": raw.atoms.cell.array,
        "energy": np.array([raw.energy]),
        "forces": raw.forces,
        "stress": np.zeros(0) if raw.stress is None else raw.stress,
        "magmoms": np.zeros(0) if raw.magmoms is None else raw.magmoms,
        "magnetization": np.array([raw.magnetization or 0.0]),
    }
    return ", ".join(name for name, part in parts.items() if not np.isfinite(part).all())

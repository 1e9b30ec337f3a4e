"""DeePMD-kit's ``deepmd/npy``: folders ("systems") of arrays with one row per structure.

    type.raw, type_map.raw     index of every atom's element, symbols; nopbc marks molecules
    set.000/coord.npy          (frames, 3 N) [Å]
    set.000/box.npy            (frames, 9) [Å]
    set.000/energy.npy         (frames,) or (frames, 1) [eV]
    set.000/force.npy          (frames, 3 N) [eV/Å]
    set.000/virial.npy         (frames, 9) [eV]: -stress * volume, positive when compressed
    set.000/real_atom_types.npy   mixed type: (frames, N), -1 where there is no atom

Moments have no place that DeePMD-kit would read as such; they stand in ``magmom.npy`` beside the
others, ids and engines in ``aga.json``. A ``spin.npy`` of others is not read.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from potentials.formats.frames import NO_VOLUME, Raw, frames_of, note, periodic, volume
from potentials.formats.lines import FormatError, Line, atomic_number, content
from potentials.structures import FloatArray, Frame

_EXTRA = "aga.json"


def read(
    path: Path | str, *, engine: str | None = None, type_map: Sequence[str] | None = None
) -> list[Frame]:
    """All structures of a system, or of all systems below a folder (sorted by name).

    Args:
        path: a folder with ``type.raw``, or one that holds such folders at any depth.
        engine: engine of the labels.
        type_map: symbols by index, where a system has no ``type_map.raw``.

    Raises:
        FormatError: a folder does not follow the format.
    """
    path = Path(path)
    systems = sorted(found.parent for found in path.rglob("type.raw"))
    if not systems:
        raise FormatError(f"{path}: expected a folder with type.raw in it or below, got none")
    raws = (raw for system in systems for raw in _system(system, type_map))
    return frames_of(raws, engine)


def _system(folder: Path, type_map: Sequence[str] | None) -> Iterator[Raw]:
    numbers = _numbers(folder, type_map)
    types = _integers(folder / "type.raw", len(numbers))
    crystal = not (folder / "nopbc").exists()
    extra = _extra(folder)
    sets = sorted(own for own in folder.glob("set.*") if own.is_dir())
    if not sets:
        raise FormatError(f"{folder}: expected folders set.000, set.001 ..., got none")
    place = 0
    for own in sets:
        for raw in _set(own, types, numbers, crystal=crystal):
            known = extra[place] if place < len(extra) else {}
            yield replace(raw, extra=known)
            place += 1


def _extra(folder: Path) -> list[dict[str, Any]]:
    """What `write` noted of every frame."""
    path = folder / _EXTRA
    if not path.exists():
        return []
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: expected JSON data, got: {error}") from error
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise FormatError(f"{path}: expected a list, one mapping per structure")
    return data


def _numbers(folder: Path, type_map: Sequence[str] | None) -> list[int]:
    """Atomic number of every type."""
    path = folder / "type_map.raw"
    if path.exists():
        symbols: Sequence[str] = [word for line in content(path) for word in line.words]
    elif type_map is not None:
        symbols = type_map
    else:
        raise FormatError(
            f"{path}: expected the symbols of the types, got no such file; give type_map, e.g. O H"
        )
    return [atomic_number(s, Line(path, n, s)) for n, s in enumerate(symbols, 1)]


def _integers(path: Path, n_types: int) -> NDArray[np.int64]:
    """The types of all atoms."""
    try:
        types = np.array([int(word) for word in path.read_text(encoding="utf-8").split()])
    except ValueError as error:
        raise FormatError(f"{path}: expected whole numbers, got: {error}") from error
    _check_types(types, n_types, path, lowest=0)
    return types


def _check_types(types: NDArray[Any], n_types: int, path: Path, lowest: int) -> None:
    if types.size == 0 or types.min() < lowest or types.max() >= n_types:
        shown = f"{types.min()} to {types.max()}" if types.size else "none"
        raise FormatError(f"{path}: expected types from {lowest} to {n_types - 1}, got {shown}")


def _set(
    folder: Path, types: NDArray[np.int64], numbers: Sequence[int], *, crystal: bool
) -> Iterator[Raw]:
    n_atoms = len(types)
    coord = _array(folder / "coord.npy", None, 3 * n_atoms)
    count = len(coord)
    energy = _array(folder / "energy.npy", count, 1)[:, 0]
    force = _array(folder / "force.npy", count, 3 * n_atoms)
    box = _array(folder / "box.npy", count, 9) if crystal else None
    virial = _optional(folder / "virial.npy", count, 9)
    magmom = _optional(folder / "magmom.npy", count, n_atoms)
    mixed = _optional(folder / "real_atom_types.npy", count, n_atoms)
    if mixed is not None:
        _check_types(mixed, len(numbers), folder / "real_atom_types.npy", lowest=-1)
    for index in range(count):
        kinds = types if mixed is None else mixed[index].astype(np.int64)
        real = kinds >= 0
        atoms = Atoms(
            [numbers[kind] for kind in kinds[real]],
            positions=coord[index].reshape(-1, 3)[real],
            cell=None if box is None else box[index].reshape(3, 3),
            pbc=crystal,
        )
        where = f"{folder}, structure {index + 1}"
        yield Raw(
            where=where,
            atoms=atoms,
            energy=float(energy[index]),
            forces=force[index].reshape(-1, 3)[real],
            stress=None if virial is None or not crystal else _stress(virial[index], atoms, where),
            magmoms=None if magmom is None else magmom[index][real],
        )


def _optional(path: Path, rows: int, columns: int) -> FloatArray | None:
    return _array(path, rows, columns) if path.exists() else None


def _array(path: Path, rows: int | None, columns: int) -> FloatArray:
    """An array in float64, (rows, columns); a single column may lack its axis.

    Raises:
        FormatError: no such file, or it is no array of that shape.
    """
    try:
        found = np.load(path, allow_pickle=False)
        array = np.asarray(found, dtype=np.float64)
    except Exception as error:  # of a damaged file NumPy raises whatever its parts do
        raise FormatError(f"{path}: expected an array of numbers, got: {error}") from error
    array = array[:, None] if columns == 1 and array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != columns or rows not in (None, len(array)):
        expected = f"({'frames' if rows is None else rows}, {columns})"
        raise FormatError(f"{path}: expected shape {expected}, got {found.shape}")
    return array


def _stress(virial: FloatArray, atoms: Atoms, where: str) -> FloatArray:
    """Voigt-6 [eV/Å^3], tension positive, from a virial [eV] that is positive under pressure."""
    room = volume(atoms)
    if room < NO_VOLUME:
        raise FormatError(f"{where}: the cell vectors span no volume")
    full = -virial.reshape(3, 3) / room
    both = 0.5 * (full + full.T)
    return np.array([both[0, 0], both[1, 1], both[2, 2], both[1, 2], both[0, 2], both[0, 1]])


def write(path: Path | str, frames: Sequence[Frame], *, mixed: bool = False) -> None:
    """Write a system for every order of elements (mixed: every number of atoms) into a folder.

    Structures with and without stress or moments are kept apart, since a system has all or none.

    Args:
        path: the folder, made where there is none.
        frames: structures periodic in all directions or in none.
        mixed: mixed type, fewer and larger systems.

    Raises:
        FormatError: a structure is periodic in some directions only.
    """
    groups: dict[tuple[Any, ...], list[Frame]] = {}
    for frame in frames:
        label = frame.label
        kinds = len(frame.atoms) if mixed else tuple(frame.atoms.numbers.tolist())
        crystal = periodic(frame, "deepmd/npy")
        stress = crystal and label.stress is not None
        groups.setdefault((kinds, crystal, stress, label.magmoms is not None), []).append(frame)
    width = max(3, len(str(len(groups))))
    for number, ((_, crystal, stress, moments), own) in enumerate(groups.items()):
        folder = Path(path) / f"system.{number:0{width}d}"
        (folder / "set.000").mkdir(parents=True, exist_ok=True)
        _write_types(folder, own, mixed=mixed)
        if not crystal:
            (folder / "nopbc").write_text("", encoding="utf-8")
        for name, array in _arrays(own, crystal=crystal, stress=stress, moments=moments):
            np.save(folder / "set.000" / f"{name}.npy", array)


def _write_types(folder: Path, frames: Sequence[Frame], *, mixed: bool) -> None:
    from ase.data import chemical_symbols

    elements = sorted({int(z) for frame in frames for z in frame.atoms.numbers})
    place = {z: index for index, z in enumerate(elements)}
    types = np.array([[place[int(z)] for z in frame.atoms.numbers] for frame in frames])
    listed = np.zeros_like(types[0]) if mixed else types[0]
    (folder / "type.raw").write_text("\n".join(map(str, listed)) + "\n", encoding="utf-8")
    symbols = "\n".join(chemical_symbols[z] for z in elements)
    (folder / "type_map.raw").write_text(symbols + "\n", encoding="utf-8")
    if mixed:
        np.save(folder / "set.000" / "real_atom_types.npy", types)
    # the note starts with one word; stress and moments have arrays of their own
    notes = [json.loads(note(frame).split(" ", 1)[1]) for frame in frames]
    kept = [{k: v for k, v in n.items() if k not in ("stress", "magmoms")} for n in notes]
    (folder / _EXTRA).write_text(json.dumps(kept), encoding="utf-8")


def _arrays(
    frames: Sequence[Frame], *, crystal: bool, stress: bool, moments: bool
) -> Iterator[tuple[str, NDArray[Any]]]:
    count = len(frames)
    yield "coord", np.array([f.atoms.positions for f in frames]).reshape(count, -1)
    yield "energy", np.array([f.label.energy for f in frames])
    yield "force", np.array([f.label.forces for f in frames]).reshape(count, -1)
    if crystal:
        yield "box", np.array([f.atoms.cell.array for f in frames]).reshape(count, 9)
    if stress:
        yield "virial", np.array([_virial(frame) for frame in frames])
    if moments:
        yield "magmom", np.array([f.label.magmoms for f in frames])


def _virial(frame: Frame) -> FloatArray:
    """-stress * volume (9,) [eV]."""
    if frame.label.stress is None:
        raise FormatError(f"frame {frame.id!r}: no stress to write")
    xx, yy, zz, yz, xz, xy = frame.label.stress
    volume = abs(float(np.linalg.det(frame.atoms.cell.array)))
    return -volume * np.array([xx, xy, xz, xy, yy, yz, xz, yz, zz])

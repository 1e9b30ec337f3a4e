"""Labels by name: which key holds the energy, the forces, the stress, and in what shape.

Energies are totals [eV], forces [eV/Å], stress (1/V) dE/dstrain, tension positive [eV/Å^3]. A key
whose name holds "virial" is read as -stress times volume [eV], the sign that GAP, MACE and DeePMD
files have. Stress may be 3x3, nine numbers, or Voigt-6 in ASE's order (xx, yy, zz, yz, xz, xy).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms

from potentials.formats.frames import Raw, volume
from potentials.formats.lines import FormatError
from potentials.roles import nearest
from potentials.structures import FloatArray

#: how far a stress may be from symmetric, relative to its largest component and absolute [eV/Å^3]
ASYMMETRY, ASYMMETRY_ABS = 1e-3, 1e-5


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of the labels; ``stress`` in order of preference.

    ``required`` says that the caller named the stress, so that a crystal without is an error.
    """

    energy: str
    forces: str
    stress: tuple[str, ...]
    magmoms: str
    magnetization: str
    required: bool = False


REFERENCE = Keys(
    "REF_energy",
    "REF_forces",
    ("REF_stress", "REF_virial", "REF_virials"),
    "REF_magmoms",
    "REF_magnetization",
)
PLAIN = Keys("energy", "forces", ("stress", "virial", "virials"), "magmoms", "magmom")


def choose(
    held: Iterable[Mapping[str, Any]], energy: str | None, forces: str | None, stress: str | None
) -> Keys:
    """One family of keys for a whole file, with the names that the caller gave instead.

    `REFERENCE` where any structure has its energy, else `PLAIN`: beside a reference, plain names
    may hold a model's predictions, so families are not mixed unless the caller says so.
    """
    family = REFERENCE if any(REFERENCE.energy in one for one in held) else PLAIN
    named = replace(family, energy=energy or family.energy, forces=forces or family.forces)
    return named if stress is None else replace(named, stress=(stress,), required=True)


def label_of(atoms: Atoms, held: Mapping[str, Any], keys: Keys, where: str) -> Raw:
    """The label of a structure in our units and shapes, its numbers finite or not.

    Args:
        atoms: the structure.
        held: everything the file says of it, by name.
        keys: the names that count.
        where: file and place in it, for errors.

    Raises:
        FormatError: a key is missing, a shape is wrong, a stress is not symmetric.
    """
    energy = _array(_given(held, keys.energy, "energy", where), keys.energy, where)
    if energy.size != 1:
        raise FormatError(f"{where}: {keys.energy}: expected one number, got {energy.shape}")
    forces = _array(_given(held, keys.forces, "forces", where), keys.forces, where)
    if forces.shape != (len(atoms), 3):
        raise FormatError(
            f"{where}: {keys.forces}: expected three numbers an atom ({len(atoms)}, 3), got "
            f"{forces.shape}; a column of the file is named as in Properties=...:{keys.forces}:R:3"
        )
    magmoms = None
    if keys.magmoms in held:
        magmoms = _array(held[keys.magmoms], keys.magmoms, where)
        if magmoms.shape != (len(atoms),):
            raise FormatError(
                f"{where}: {keys.magmoms}: expected one number an atom ({len(atoms)},), got "
                f"{magmoms.shape}"
            )
    own = {name: str(held[name]) for name in ("id", "engine") if held.get(name)}
    stress = _stress(atoms, held, keys, where)
    total = _total(held, keys.magnetization)
    return Raw(where, atoms, float(energy.ravel()[0]), forces, stress, magmoms, total, own)


def _given(held: Mapping[str, Any], key: str, what: str, where: str) -> Any:
    """The value of a key, or an error that lists what there is."""
    if key in held:
        return held[key]
    names = sorted(held)
    # capitals differ more often than letters
    lower = {name.lower(): name for name in names}
    near = lower.get(nearest(key.lower(), lower), "")
    hint = f" (did you mean '{near}'?)" if near else ""
    raise FormatError(
        f"{where}: no {what} under '{key}'{hint}; found: {', '.join(names) or 'no keys at all'}; "
        f"say which with --{what}-key"
    )


def _array(value: Any, key: str, where: str) -> FloatArray:
    """A value as numbers; text, flags and empty values are refused."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        shown = str(value) if len(str(value)) < 40 else str(value)[:37] + "..."
        raise FormatError(f"{where}: {key}: expected numbers, got {shown!r}")
    return array.astype(np.float64)


def _total(held: Mapping[str, Any], key: str) -> float | None:
    """The moment of the whole; under the same name others keep those of the atoms."""
    array = np.asarray(held.get(key, ()))
    return float(array.ravel()[0]) if array.size == 1 and array.dtype.kind in "iuf" else None


def _stress(atoms: Atoms, held: Mapping[str, Any], keys: Keys, where: str) -> FloatArray | None:
    """Voigt-6 in ASE's order [eV/Å^3]; None without one, and for what is no crystal."""
    if not atoms.pbc.all():
        return None
    key = next((name for name in keys.stress if name in held), None)
    if key is None:
        if keys.required:
            _given(held, keys.stress[0], "stress", where)
        return None
    full = _full(_array(held[key], key, where), key, where)
    if np.isfinite(full).all():
        gap, size = np.abs(full - full.T).max(), np.abs(full).max()
        if gap > max(ASYMMETRY_ABS, ASYMMETRY * size):
            raise FormatError(
                f"{where}: {key}: a stress is symmetric, but two components that should be equal "
                f"differ by {gap:.3g}; is it in the order xx xy xz yx yy yz zx zy zz?"
            )
    if "virial" in key.lower():
        full = -full / volume(atoms)
    both = 0.5 * (full + full.T)
    return np.asarray(both[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], dtype=np.float64)


def _full(array: FloatArray, key: str, where: str) -> FloatArray:
    """3x3 from 3x3, nine numbers, or Voigt-6."""
    if array.shape == (6,):
        xx, yy, zz, yz, xz, xy = array
        return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    if array.shape in ((3, 3), (9,)):
        return array.reshape(3, 3)
    raise FormatError(
        f"{where}: {key}: expected 3x3 numbers, 9, or 6 (xx yy zz yz xz xy), got {array.shape}"
    )

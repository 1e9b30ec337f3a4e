"""Space groups: naming them, restoring them, primitive cells (spglib).

Clusters have point groups instead, which `aga.search.point_groups` names and restores.
"""

import os
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from numpy.random import Generator
from numpy.typing import NDArray

from aga.search import point_groups

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# a structure that was averaged over operations obeys them within this [Å]
_EXACT = 0.01


@dataclass(frozen=True, eq=False, slots=True)
class Operations:
    """What maps a crystal onto itself: a group of G operations on N atoms.

    Attributes:
        rotations: on fractional columns, x' = W x + w (G, 3, 3).
        translations: w (G, 3).
        targets: the atom that each atom falls on (G, N).
    """

    rotations: IntArray
    translations: FloatArray
    targets: IntArray

    def __len__(self) -> int:
        return len(self.rotations)

    def restored(self, atoms: Atoms) -> Atoms:
        """Metric and positions averaged over the operations; ``atoms`` is nearly that already."""
        fractions = atoms.get_scaled_positions(wrap=False)
        images = fractions @ self.rotations.transpose(0, 2, 1) + self.translations[:, None]
        offsets = images - fractions[self.targets]
        offsets -= np.round(offsets)
        # of every atom the images that fall on it
        sources = np.argsort(self.targets, axis=1)
        fallen = np.take_along_axis(offsets, sources[:, :, None], axis=1)
        total = len(self) * fractions + fallen.sum(axis=0)
        return Atoms(
            numbers=atoms.numbers,
            scaled_positions=total / len(self),
            cell=_averaged_cell(atoms.cell.array, self.rotations),
            pbc=True,
        )

    def cell(self, cell: FloatArray) -> FloatArray:
        """Cell vectors strained, without turning, to obey the operations [Å] (3, 3)."""
        return _averaged_cell(cell, self.rotations)

    def displacements(self, fractions: FloatArray) -> FloatArray:
        """The part of fractional displacements (N, 3) that breaks no operation.

        What moves the crystal as a whole, along a polar axis, is left out.
        """
        total = np.zeros_like(fractions)
        for rotation, target in zip(self.rotations, self.targets, strict=True):
            total[target] += fractions @ rotation.T
        kept = total / len(self)
        return np.asarray(kept - kept.mean(axis=0))

    def subgroup(self, generators: int, rng: Generator) -> "Operations":
        """The group that ``generators`` of the operations, drawn at random, make together.

        The identity, which makes none, is not drawn.
        """
        count = self.targets.shape[1]
        identity = np.eye(3, dtype=np.int64), np.zeros(3), np.arange(count)
        moving = (self.rotations != identity[0]).any(axis=(1, 2))
        others = np.flatnonzero(moving | (self.targets != identity[2]).any(axis=1))
        chosen = rng.choice(others, min(generators, len(others)), replace=False)
        # what an operation does to directions and atoms names it
        group: dict[tuple[bytes, bytes], tuple[IntArray, FloatArray, IntArray]] = {}
        new = [identity]
        while new:
            rotation, translation, target = new.pop()
            name = rotation.tobytes(), target.tobytes()
            if name in group:
                continue
            group[name] = rotation, translation, target
            for one in chosen:
                turn = self.rotations[one]
                shift = turn @ translation + self.translations[one]
                new.append((turn @ rotation, shift % 1, self.targets[one][target]))
        return Operations(*(np.array(part) for part in zip(*group.values(), strict=True)))


def spacegroup(atoms: Atoms, symprec: float = 0.01) -> str:
    """Symbol and number, e.g. "Fd-3m (227)"; "P1 (1)" where no symmetry is found.

    Of a cluster the point group, e.g. "T_d".

    Args:
        atoms: the structure.
        symprec: how far atoms may be off [Å].
    """
    if not atoms.pbc.any():
        return point_groups.pointgroup(atoms, symprec)
    dataset = _dataset(atoms, symprec)
    return "P1 (1)" if dataset is None else f"{dataset.international} ({dataset.number})"


def symmetrise(atoms: Atoms, symprec: float = 0.1) -> Atoms | None:
    """The nearest structure that has exactly the symmetry found within ``symprec``.

    Number, order and orientation of atoms stay.

    Args:
        atoms: the structure.
        symprec: how far atoms may be off [Å].

    Returns:
        A new structure, or None where no symmetry beyond the identity is found.
    """
    if not atoms.pbc.any():
        return point_groups.symmetrise(atoms, symprec)
    found = operations(atoms, symprec)
    return None if found is None else found.restored(atoms)


def operations(atoms: Atoms, symprec: float) -> Operations | None:
    """All operations within ``symprec`` [Å], centring translations of the cell among them.

    None where none beyond the identity is found, or the atoms are too far off to be paired.
    """
    dataset = _dataset(atoms, symprec)
    if dataset is None or len(dataset.rotations) < 2:
        return None
    rotations = np.asarray(dataset.rotations, dtype=np.int64)
    translations = np.asarray(dataset.translations)
    targets = _assignments(rotations, translations, atoms, symprec)
    return None if targets is None else Operations(rotations, translations, targets)


def exact(atoms: Atoms, symprec: float) -> tuple[Atoms, Operations] | None:
    """`symmetrise`, and the operations that the structure then has; they are a group."""
    nearest = symmetrise(atoms, symprec)
    found = None if nearest is None else operations(nearest, _EXACT)
    return None if nearest is None or found is None else (nearest, found)


def primitive(atoms: Atoms, symprec: float) -> Atoms:
    """The primitive cell found within ``symprec`` [Å]; the structure itself where none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = _spglib().find_primitive(_as_tuple(atoms), symprec=symprec)
    if found is None:
        return atoms
    cell, fractions, numbers = found
    return Atoms(numbers=numbers, scaled_positions=fractions, cell=cell, pbc=True)


@lru_cache(maxsize=1)
def _spglib() -> Any:
    """Spglib, which is not to write to stderr whenever a tolerance is too wide for it."""
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    import spglib

    return spglib


def _as_tuple(atoms: Atoms) -> tuple[FloatArray, FloatArray, IntArray]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _dataset(atoms: Atoms, symprec: float) -> Any:
    """Spglib's findings, or None; its change of error handling only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return _spglib().get_symmetry_dataset(_as_tuple(atoms), symprec=symprec)


def _averaged_cell(cell: FloatArray, rotations: IntArray) -> FloatArray:
    """The cell strained, without turning, to the metric averaged over the rotations.

    With rows L and fractional rotations W (columns x' = W x) the metric G = L L^T obeys
    W^T G W = G; the symmetric stretch F with L F (L F)^T = G' is the root of L^-1 G' L^-T.
    """
    metric = cell @ cell.T
    averaged = (rotations.transpose(0, 2, 1) @ metric @ rotations).mean(axis=0)
    inverse = np.linalg.inv(cell)
    values, vectors = np.linalg.eigh(inverse @ averaged @ inverse.T)
    stretch = (vectors * np.sqrt(values)) @ vectors.T
    return np.asarray(cell @ stretch)


def _assignments(
    rotations: IntArray, translations: FloatArray, atoms: Atoms, symprec: float
) -> IntArray | None:
    """Which atom the image of each falls on (G, N), or None where one is not one to one."""
    fractions = atoms.get_scaled_positions(wrap=False)
    count, numbers = len(atoms), atoms.numbers
    images = fractions @ rotations.transpose(0, 2, 1) + translations[:, None]
    targets = np.empty((len(rotations), count), dtype=np.int64)
    farthest = 0.0
    for number in np.unique(numbers):
        own = np.flatnonzero(numbers == number)
        offsets = images[:, own, None] - fractions[own]
        offsets -= np.round(offsets)
        apart = ((offsets @ atoms.cell.array) ** 2).sum(axis=3)
        targets[:, own] = own[apart.argmin(axis=2)]
        farthest = max(farthest, float(apart.min(axis=2).max()))
    # spglib's tolerance is per operation; a pair of atoms may be off by a little more
    if farthest > (4 * symprec) ** 2 or (np.sort(targets, axis=1) != np.arange(count)).any():
        return None
    return targets

"""Space groups: naming them, restoring them, primitive cells (spglib)."""

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def spacegroup(atoms: Atoms, symprec: float = 0.01) -> str:
    """Symbol and number, e.g. "Fd-3m (227)"; "P1 (1)" where no symmetry is found.

    Args:
        atoms: the structure.
        symprec: how far atoms may be off [Å].
    """
    dataset = _dataset(atoms, symprec)
    return "P1 (1)" if dataset is None else f"{dataset.international} ({dataset.number})"


def symmetrise(atoms: Atoms, symprec: float = 0.1) -> Atoms | None:
    """The nearest structure that has exactly the symmetry found within ``symprec``.

    Metric and positions are averaged over the operations; number, order and orientation of atoms
    stay.

    Args:
        atoms: the structure.
        symprec: how far atoms may be off [Å].

    Returns:
        A new structure, or None where no symmetry beyond the identity is found.
    """
    dataset = _dataset(atoms, symprec)
    if dataset is None or len(dataset.rotations) < 2:
        return None
    cell = _averaged_cell(atoms.cell.array, dataset.rotations)
    fractions = atoms.get_scaled_positions(wrap=False)
    total = np.zeros_like(fractions)
    for rotation, translation in zip(dataset.rotations, dataset.translations, strict=True):
        images = fractions @ rotation.T + translation
        target = _assignment(images, fractions, atoms, symprec)
        if target is None:
            return None
        offset = images - fractions[target]
        total[target] += fractions[target] + offset - np.round(offset)
    return Atoms(
        numbers=atoms.numbers,
        scaled_positions=total / len(dataset.rotations),
        cell=cell,
        pbc=True,
    )


def primitive(atoms: Atoms, symprec: float) -> Atoms:
    """The primitive cell found within ``symprec`` [Å]; the structure itself where none is."""
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.find_primitive(_as_tuple(atoms), symprec=symprec)
    if found is None:
        return atoms
    cell, fractions, numbers = found
    return Atoms(numbers=numbers, scaled_positions=fractions, cell=cell, pbc=True)


def _as_tuple(atoms: Atoms) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    return atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers


def _dataset(atoms: Atoms, symprec: float) -> Any:
    """Spglib's findings, or None; its change of error handling only warns."""
    import spglib

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return spglib.get_symmetry_dataset(_as_tuple(atoms), symprec=symprec)


def _averaged_cell(cell: FloatArray, rotations: NDArray[np.int64]) -> FloatArray:
    """The cell strained, without turning, to the metric averaged over the rotations.

    With rows L and fractional rotations W (columns x' = W x) the metric G = L L^T obeys
    W^T G W = G; the symmetric stretch F with L F (L F)^T = G' is the root of L^-1 G' L^-T.
    """
    metric = cell @ cell.T
    averaged = np.mean([rotation.T @ metric @ rotation for rotation in rotations], axis=0)
    inverse = np.linalg.inv(cell)
    values, vectors = np.linalg.eigh(inverse @ averaged @ inverse.T)
    stretch = (vectors * np.sqrt(values)) @ vectors.T
    return np.asarray(cell @ stretch)


def _assignment(
    images: FloatArray, fractions: FloatArray, atoms: Atoms, symprec: float
) -> NDArray[np.int64] | None:
    """Which atom each image falls on (N,), or None where that is not one to one."""
    offsets = images[:, None] - fractions[None]
    offsets -= np.round(offsets)
    apart = np.linalg.norm(offsets @ atoms.cell.array, axis=2)
    apart[atoms.numbers[:, None] != atoms.numbers[None]] = np.inf
    target = apart.argmin(axis=1)
    # spglib's tolerance is per operation; a pair of atoms may be off by a little more
    if len(set(target)) < len(atoms) or apart.min(axis=1).max() > 4 * symprec:
        return None
    return np.asarray(target, dtype=np.int64)

"""Point groups of clusters: finding, naming and restoring them.

A cluster is looked at from the mean of its positions. Two atoms that are not on a line with it are
taken to any two like them, which leaves one proper and one improper operation to be tried.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

#: symbols of one atom, and of atoms on a line
ATOM, LINE, MIRRORED_LINE = "K_h", "C_infv", "D_infh"
#: atoms this near a line through the middle are on it [Å]
_ON_LINE = 1e-3
#: reference atoms lie at least this share of the largest distance from the middle and from a line
_OUTER = 0.4
#: rounds of fitting operations to positions and positions to operations
_ROUNDS = 4
#: rotations by 360 degrees over so many times a whole number are told apart
_ORDERS = 60


@dataclass(frozen=True, eq=False, slots=True)
class PointGroup:
    """What maps a cluster of N atoms onto itself: G operations, the identity among them.

    Attributes:
        matrices: orthogonal, on columns (G, 3, 3).
        targets: the atom that each atom falls on (G, N).
    """

    matrices: FloatArray
    targets: IntArray

    def __len__(self) -> int:
        return len(self.matrices)


def pointgroup(atoms: Atoms, symprec: float) -> str:
    """Schoenflies symbol, e.g. "I_h"; "C_1" where no symmetry is found.

    Args:
        atoms: a cluster; its cell is not looked at.
        symprec: how far atoms may be off [Å].
    """
    positions = _centred(atoms)
    if len(atoms) == 1:
        return ATOM
    if _off_line(positions) < max(symprec, _ON_LINE):
        mirrored = _assignment(-positions, positions, atoms.numbers, symprec)
        return LINE if mirrored is None else MIRRORED_LINE
    return symbol(operations(atoms, symprec).matrices)


def operations(atoms: Atoms, symprec: float) -> PointGroup:
    """All operations within ``symprec`` [Å]; of atoms on a line the identity alone."""
    positions, numbers = _centred(atoms), atoms.numbers
    identity = np.arange(len(atoms), dtype=np.int64)
    found = {_name(identity, np.eye(3)): (np.eye(3), identity)}
    for rough in _candidates(positions, numbers, symprec):
        target = _assignment(positions @ rough.T, positions, numbers, 4 * symprec)
        if target is None:
            continue
        matrix = _fitted(positions, positions[target], rough)
        target = _assignment(positions @ matrix.T, positions, numbers, symprec)
        if target is not None:
            found.setdefault(_name(target, matrix), (matrix, target))
    return PointGroup(*(np.array(part) for part in zip(*found.values(), strict=True)))


def symmetrise(atoms: Atoms, symprec: float) -> Atoms | None:
    """The nearest cluster that has the symmetry found within ``symprec`` [Å].

    Number, order, middle and orientation of atoms stay. None where nothing but the identity is
    found.
    """
    group = operations(atoms, symprec)
    if len(group) < 2:
        return None
    positions, matrices = _centred(atoms), group.matrices
    for _ in range(_ROUNDS):
        total = np.zeros_like(positions)
        for matrix, target in zip(matrices, group.targets, strict=True):
            total[target] += positions @ matrix.T
        positions = total / len(group)
        matrices = np.array(
            [
                _fitted(positions, positions[target], matrix)
                for matrix, target in zip(matrices, group.targets, strict=True)
            ]
        )
    restored = atoms.copy()
    restored.positions = positions + atoms.positions.mean(axis=0)
    return restored


def symbol(matrices: FloatArray) -> str:
    """Schoenflies symbol of a group of orthogonal matrices (G, 3, 3)."""
    proper = matrices[np.linalg.det(matrices) > 0]
    orders = np.array([_order(matrix) for matrix in proper])
    threefold, inverted = int((orders == 3).sum()), any(_is_inversion(one) for one in matrices)
    improper = len(proper) < len(matrices)
    if (orders == 5).sum() >= 24:
        return "I_h" if improper else "I"
    if threefold == 8:
        if (orders == 4).any():
            return "O_h" if improper else "O"
        return "T" if not improper else "T_h" if inverted else "T_d"
    return _axial(matrices, proper, orders)


def _axial(matrices: FloatArray, proper: FloatArray, orders: IntArray) -> str:
    """The symbol of a group with one main axis, or none."""
    mirrors = [_axis(-one) for one in matrices if np.linalg.det(one) < 0 and _order(-one) == 2]
    n = int(orders.max())
    if n == 1:
        if mirrors:
            return "C_s"
        return "C_i" if len(matrices) > 1 else "C_1"
    main = _axis(proper[int(orders.argmax())])
    across = any(abs(mirror @ main) > 0.9 for mirror in mirrors)
    along = any(abs(mirror @ main) < 0.1 for mirror in mirrors)
    if len(proper) > n:
        return f"D_{n}" + ("h" if across else "d" if along else "")
    if across or along:
        return f"C_{n}" + ("h" if across else "v")
    return f"S_{2 * n}" if len(matrices) > n else f"C_{n}"


def _order(matrix: FloatArray) -> int:
    """How often a rotation must be made to come back; 1 for the identity."""
    cosine = np.clip((np.trace(matrix) - 1) / 2, -1.0, 1.0)
    # a rotation by 144 degrees is of order 5 as well
    turns = np.arccos(cosine) / (2 * np.pi)
    whole = np.abs(turns * np.arange(1, _ORDERS) - np.round(turns * np.arange(1, _ORDERS)))
    return int(np.flatnonzero(whole < 0.02)[0]) + 1


def _axis(rotation: FloatArray) -> FloatArray:
    """Unit vector along the axis of a rotation that is not the identity."""
    values, vectors = np.linalg.eig(rotation)
    return np.asarray(vectors[:, np.argmin(np.abs(values - 1))].real)


def _is_inversion(matrix: FloatArray) -> bool:
    return bool(np.trace(matrix) < -2.9)


def _centred(atoms: Atoms) -> FloatArray:
    return np.asarray(atoms.positions - atoms.positions.mean(axis=0))


def _off_line(positions: FloatArray) -> float:
    """How far atoms lie off the line that fits best, root of the sum of squares [Å]."""
    sizes = np.linalg.svd(positions, compute_uv=False)
    return float(np.linalg.norm(sizes[1:]))


def _name(target: IntArray, matrix: FloatArray) -> tuple[bytes, bool]:
    """A flat cluster is also mapped onto itself by the mirror in its plane."""
    return target.tobytes(), bool(np.linalg.det(matrix) > 0)


def _candidates(positions: FloatArray, numbers: IntArray, symprec: float) -> Iterator[FloatArray]:
    """Operations that take two reference atoms to two others of the same distances."""
    radii = np.linalg.norm(positions, axis=1)
    if len(positions) < 2 or _off_line(positions) < max(symprec, _ON_LINE):
        return
    alike = (numbers[:, None] == numbers) & (np.abs(radii[:, None] - radii) < 2 * symprec)
    first, second = _reference(positions, radii, alike)
    frame = _frame(positions[first], positions[second])
    apart = np.linalg.norm(positions[:, None] - positions, axis=2)
    near = np.abs(apart - apart[first, second]) < 4 * symprec
    for one, two in np.argwhere(alike[first][:, None] & alike[second] & near):
        if one == two or _flat(positions[one], positions[two]) < 0.05:
            continue
        other = _frame(positions[one], positions[two])
        for side in (1.0, -1.0):
            yield np.asarray(other.T @ np.diag([1.0, 1.0, side]) @ frame)


def _reference(
    positions: FloatArray, radii: FloatArray, alike: NDArray[np.bool_]
) -> tuple[int, int]:
    """One atom far from the middle, one far from the line through both, and few like them."""
    outer = np.flatnonzero(radii >= _OUTER * radii.max())
    along = positions[outer] / radii[outer, None]
    off = np.linalg.norm(np.cross(along[:, None], positions), axis=2)
    few = alike.sum(axis=1)
    cost = np.where(off > _OUTER * off.max(), np.multiply.outer(few[outer], few), np.inf)
    one, two = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(outer[one]), int(two)


def _flat(one: FloatArray, two: FloatArray) -> float:
    """Sine of the angle between two directions from the middle; 0 where one has none."""
    size = np.linalg.norm(one) * np.linalg.norm(two)
    return float(np.linalg.norm(np.cross(one, two)) / size) if size > 0 else 0.0


def _frame(one: FloatArray, two: FloatArray) -> FloatArray:
    """A right-handed frame of which the first vectors span two directions; rows (3, 3)."""
    along = one / np.linalg.norm(one)
    aside = two - (two @ along) * along
    aside /= np.linalg.norm(aside)
    return np.array([along, aside, np.cross(along, aside)])


def _assignment(
    images: FloatArray, positions: FloatArray, numbers: IntArray, limit: float
) -> IntArray | None:
    """Which atom each image falls on (N,), or None where one is farther off than ``limit`` [Å]."""
    apart = np.linalg.norm(images[:, None] - positions, axis=2)
    apart[numbers[:, None] != numbers] = np.inf
    target = apart.argmin(axis=1)
    if apart.min(axis=1).max() > limit:
        return None
    if len(set(target)) < len(target):
        from scipy.optimize import linear_sum_assignment  # slow to import

        # atoms closer to each other than the tolerance: the cheapest that is one to one
        target = linear_sum_assignment(np.where(np.isinf(apart), 1e6, apart))[1]
        if apart[np.arange(len(target)), target].max() > limit:
            return None
    return np.asarray(target, dtype=np.int64)


def _fitted(positions: FloatArray, images: FloatArray, rough: FloatArray) -> FloatArray:
    """The operation, proper as ``rough`` is, that takes positions nearest to images.

    Kabsch 1976, https://doi.org/10.1107/S0567739476001873.
    """
    left, _, right = np.linalg.svd(images.T @ positions)
    side = np.sign(np.linalg.det(rough) * np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, side]) @ right)

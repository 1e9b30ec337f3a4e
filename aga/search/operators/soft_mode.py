"""Atoms moved along a soft mode."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.neighbours import neighbours
from aga.search.operators import Operator
from aga.search.space import Dimension, Space

FloatArray = NDArray[np.float64]

# decay of bond valence with distance (Brown & Altermatt 1985, doi:10.1107/S0108768185002063)
_DECAY = 0.37
# springs are cut where they are a thousandth of that of a bond
_REACH = 2.5
# modes whose stiffness differs by less than this share of the stiffest are one
_DEGENERATE = 1e-4


class SoftMode(Operator):
    """Move atoms along one of the softest modes of the bonds; a cell stays fixed.

    After Lyakhov, Oganov & Valle 2010, https://doi.org/10.1016/j.cpc.2010.06.007: every pair of
    atoms is a spring along their line, its constant the bond valence exp((R - d) / 0.37 Å) with R
    the sum of covalent radii. Such springs tell soft from stiff directions (rigid units, rows and
    layers that slide) and need no potential, which knows least of all about barriers. Masses are
    left out: they do not change where the energy falls.
    """

    parents: ClassVar[int] = 1
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk", "cluster")

    kind: Literal["soft_mode"] = "soft_mode"
    mean_rank: float = Field(
        4.0, gt=0, description="Mean number of softer modes passed over (drawn exponentially)."
    )
    least_a: float = Field(0.4, gt=0, description="Smallest displacement of the atom moved most.")
    most_a: float = Field(1.6, gt=0, description="Largest displacement of the atom moved most [Å].")

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        child = parents[0]
        stiffness, modes = soft_modes(child)
        if not len(stiffness):
            return None
        rank = min(int(rng.exponential(self.mean_rank)), len(stiffness) - 1)
        # of modes of one stiffness any mixture is one as well
        alike = np.abs(stiffness - stiffness[rank]) < _DEGENERATE * stiffness[-1]
        move = np.tensordot(rng.normal(size=int(alike.sum())), modes[alike], axes=1)
        move /= np.linalg.norm(move, axis=1).max()
        child.positions += rng.uniform(self.least_a, self.most_a) * move
        return child


def soft_modes(atoms: Atoms) -> tuple[FloatArray, FloatArray]:
    """Modes at Gamma of a structure whose bonds are springs, softest first.

    Translations, and rotations of a cluster, are left out.

    Returns:
        Stiffness (M,) in units of that of a bond as long as the sum of covalent radii, and
        displacements of norm 1 (M, N, 3), with M = 3 N - 3; of a cluster 3 N - 6, of one
        on a line 3 N - 5.
    """
    count = len(atoms)
    matrix = _springs(atoms)
    # what moves the whole, made stiffer than all else, comes last
    whole = _whole(atoms)
    matrix += (1.0 + np.trace(matrix)) * whole @ whole.T
    stiffness, vectors = np.linalg.eigh(matrix)
    left = 3 * count - whole.shape[1]
    return np.maximum(stiffness[:left], 0.0), vectors.T[:left].reshape(-1, count, 3)


def _whole(atoms: Atoms) -> FloatArray:
    """Orthonormal displacements that move the structure as a whole (3 N, W)."""
    moves = np.tile(np.eye(3), (len(atoms), 1))
    if not atoms.pbc.any():
        arms = atoms.positions - atoms.positions.mean(axis=0)
        turns = np.cross(np.eye(3)[None], arms[:, None]).transpose(0, 2, 1)
        moves = np.concatenate([moves, turns.reshape(-1, 3)], axis=1)
    left, sizes, _ = np.linalg.svd(moves, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-6 * sizes[0]])


def _springs(atoms: Atoms) -> FloatArray:
    """Second derivatives of the springs at rest by positions (3 N, 3 N)."""
    count = len(atoms)
    radii = covalent_radii[atoms.numbers]
    pairs = neighbours(atoms, float(2 * radii.max()) + _REACH)
    bond = radii[pairs.first] + radii[pairs.second]
    # bonds shorter than the sum of radii are stiff enough
    constants = np.exp(np.minimum((bond - pairs.distances) / _DECAY, 1.0))
    along = pairs.vectors / np.maximum(pairs.distances, 1e-6)[:, None]
    blocks = constants[:, None, None] * along[:, :, None] * along[:, None, :]
    matrix = np.zeros((count, count, 3, 3))
    np.add.at(matrix, (pairs.first, pairs.first), blocks)
    np.add.at(matrix, (pairs.second, pairs.second), blocks)
    np.add.at(matrix, (pairs.first, pairs.second), -blocks)
    np.add.at(matrix, (pairs.second, pairs.first), -blocks)
    return matrix.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)

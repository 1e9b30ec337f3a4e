"""A cluster whose loosest atoms sit elsewhere."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.operators import Operator
from aga.search.space import Dimension, Space

FloatArray = NDArray[np.float64]

# decay of bond valence with distance (Brown & Altermatt 1985, doi:10.1107/S0108768185002063)
_DECAY = 0.37
#: a site is free where no atom is nearer than this, over the length of a bond
_FREE = 0.9


class SurfaceMove(Operator):
    """Move one or a few of the least bound atoms to the best free places on the surface.

    How well an atom is bound is the sum of its bond valences exp((R - d) / 0.37 Å), with R the sum
    of covalent radii scaled to the shortest distances of the cluster. Most low minima differ in
    where the last atoms of the outer shell sit (the surface operator of Takeuchi 2006,
    https://doi.org/10.1021/ci600206k).
    """

    parents: ClassVar[int] = 1
    dimensions: ClassVar[tuple[Dimension, ...]] = ("cluster",)

    kind: Literal["surface_move"] = "surface_move"
    max_moved: int = Field(4, ge=1, description="Most atoms moved; 1 to this many are drawn.")
    sites: int = Field(200, ge=1, description="Places that are tried for each.")
    best: int = Field(4, ge=1, description="Each goes to one of so many of the best, by chance.")

    def applicable(self, space: Space) -> bool:
        """There must be a surface that is not all there is."""
        return super().applicable(space) and space.n_atoms > 3

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        if not self.applicable(space):
            return None
        child = parents[0]
        radii = covalent_radii[child.numbers] * _scale(child)
        moved = min(int(rng.integers(1, self.max_moved + 1)), len(child) - 3)
        bound = [
            _bound(child.positions, child.positions[i], radii + radii[i], i)
            for i in range(len(child))
        ]
        # the loosest mostly, not always
        order = np.argsort(np.array(bound) + rng.gumbel(0.0, 0.3, len(child)))
        left = order[moved:].tolist()
        for atom in order[:moved]:
            places = self._places(child.positions[left], radii[left] + radii[atom], rng)
            if not len(places):
                return None
            child.positions[atom] = places[int(rng.integers(min(self.best, len(places))))]
            left.append(int(atom))
        return child

    def _places(self, positions: FloatArray, bonds: FloatArray, rng: Generator) -> FloatArray:
        """Free places a bond away from an atom, the best bound first (P, 3)."""
        base = rng.integers(len(positions), size=self.sites)
        direction = rng.normal(size=(self.sites, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        places = positions[base] + bonds[base, None] * direction
        apart = np.linalg.norm(places[:, None] - positions, axis=2)
        free = (apart > _FREE * bonds).all(axis=1)
        bound = np.exp(np.minimum((bonds - apart) / _DECAY, 1.0)).sum(axis=1)
        return np.asarray(places[free][np.argsort(-bound[free], kind="stable")])


def _scale(atoms: Atoms) -> float:
    """Median of the shortest distance of each atom over the sum of covalent radii."""
    radii = covalent_radii[atoms.numbers]
    ratios = atoms.get_all_distances() / (radii[:, None] + radii)
    np.fill_diagonal(ratios, np.inf)
    return float(np.median(ratios.min(axis=1)))


def _bound(positions: FloatArray, place: FloatArray, bonds: FloatArray, own: int) -> float:
    """Sum of bond valences of an atom."""
    apart = np.linalg.norm(positions - place, axis=1)
    valence = np.exp(np.minimum((bonds - apart) / _DECAY, 1.0))
    return float(valence.sum() - valence[own])

"""One part of each of two crystals or clusters."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.data import atomic_numbers
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.operators import Operator, spun
from aga.search.space import Dimension, Space, tidied

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class CutAndSplice(Operator):
    """Join slabs of two parents in a mixed cell, or parts of two clusters on both sides of a plane.

    Of a few random origins of the parents those are taken whose slabs together come nearest to the
    composition: each atom put in or left out to repair it spoils what was inherited. Clusters are
    cut around their middle after a random rotation each.

    Deaven & Ho 1995, https://doi.org/10.1103/PhysRevLett.75.288; with a mixed cell after
    Glass, Oganov & Hansen 2006, https://doi.org/10.1016/j.cpc.2006.07.020.
    """

    parents: ClassVar[int] = 2
    dimensions: ClassVar[tuple[Dimension, ...]] = ("bulk", "cluster")

    kind: Literal["cut_and_splice"] = "cut_and_splice"
    least_share: float = Field(
        0.25, gt=0, le=0.5, description="Smallest share of the child that one parent gives."
    )
    origins: int = Field(10, ge=1, description="Origins of the parents drawn for the best match.")

    def applicable(self, space: Space) -> bool:
        """A single atom has no two sides."""
        return super().applicable(space) and (space.dimension == "bulk" or space.n_atoms > 1)

    def vary(self, parents: list[Atoms], space: Space, rng: Generator) -> Atoms | None:
        """One raw child."""
        share = float(rng.uniform(self.least_share, 1 - self.least_share))
        if space.dimension == "cluster":
            return self._of_clusters(parents, share, space, rng)
        first, second = (_turned(parent, rng) for parent in parents)
        cell = _mixed_cell(first, second, share)
        numbers = np.concatenate([first.numbers, second.numbers])
        cuts = (_cut(first, second, share, rng) for _ in range(self.origins))
        fractions, inside = min(cuts, key=lambda cut: _missing(numbers[cut[1]], space))
        chosen = _repaired(numbers, inside, _depth(fractions[:, 0], share), space)
        return Atoms(
            numbers=numbers[chosen], scaled_positions=fractions[chosen], cell=cell, pbc=True
        )

    def _of_clusters(
        self, parents: list[Atoms], share: float, space: Space, rng: Generator
    ) -> Atoms:
        """What lies below a plane of one cluster, and above it of another."""
        numbers = np.concatenate([parent.numbers for parent in parents])
        cuts = (_halves(parents, share, rng) for _ in range(self.origins))
        positions, inside = min(cuts, key=lambda cut: _missing(numbers[cut[1]], space))
        chosen = _repaired(numbers, inside, np.abs(positions[:, 2]), space)
        return Atoms(numbers=numbers[chosen], positions=positions[chosen])


def _halves(
    parents: list[Atoms], share: float, rng: Generator
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """All atoms around the point where the cut meets the axis (N, 3), and which are on their side.

    Both parents are turned at random; in each the cut leaves the share of its atoms below.
    """
    parts, inside = [], []
    for parent, below in zip(parents, (True, False), strict=True):
        positions = spun(parent, rng)
        heights = np.sort(positions[:, 2])
        place = min(max(round(share * len(heights)), 1), len(heights) - 1)
        positions[:, 2] -= heights[place - 1 : place + 1].mean()
        parts.append(positions)
        inside.append((positions[:, 2] < 0) == below)
    return np.concatenate(parts), np.concatenate(inside)


def _turned(atoms: Atoms, rng: Generator) -> Atoms:
    """The same crystal with cell vectors in random order, the first along x."""
    atoms = tidied(atoms)
    order = rng.permutation(3)
    fractions = atoms.get_scaled_positions()[:, order]
    # lengths and angles suffice: an odd order gives the mirror image, as low as the crystal
    cell = Cell.fromcellpar(Cell(atoms.cell.array[order]).cellpar())
    return Atoms(numbers=atoms.numbers, scaled_positions=fractions, cell=cell, pbc=True)


def _mixed_cell(first: Atoms, second: Atoms, share: float) -> FloatArray:
    """Cell vectors and volume between those of the parents."""
    cell = share * first.cell.array + (1 - share) * second.cell.array
    volume = share * first.get_volume() + (1 - share) * second.get_volume()
    return np.asarray(cell * np.cbrt(volume / abs(np.linalg.det(cell))))


def _cut(
    first: Atoms, second: Atoms, share: float, rng: Generator
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Fractions of all atoms from random origins (N, 3), and which lie in the slab they are for."""
    parts = [parent.get_scaled_positions() + rng.random(3) for parent in (first, second)]
    parts = [part - np.floor(part) for part in parts]
    inside = [parts[0][:, 0] < share, parts[1][:, 0] >= share]
    return np.concatenate(parts), np.concatenate(inside)


def _missing(numbers: IntArray, space: Space) -> int:
    """Atoms too many and too few for the composition."""
    return sum(
        abs(int((numbers == atomic_numbers[symbol]).sum()) - count)
        for symbol, count in space.composition.items()
    )


def _depth(height: FloatArray, share: float) -> FloatArray:
    """Distance to the nearest cut, at 0 and at ``share``, in cell vectors (N,)."""
    return np.asarray(np.minimum.reduce([height, np.abs(height - share), 1 - height]))


def _repaired(
    numbers: IntArray, inside: NDArray[np.bool_], depth: FloatArray, space: Space
) -> IntArray:
    """Atoms of the child, by element: those near a cut leave or join until the count is right."""
    chosen: list[int] = []
    for symbol in space.symbols:
        number = atomic_numbers[symbol]
        # inside first, deepest first; then outside, nearest to the cut first
        of_element = np.flatnonzero(numbers == number)
        rank = np.where(inside[of_element], -depth[of_element], 1.0 + depth[of_element])
        order = of_element[np.argsort(rank, kind="stable")]
        chosen += order[: space.composition[symbol]].tolist()
    return np.array(chosen, dtype=np.int64)

"""One part of each of two crystals or clusters."""

from typing import ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.data import atomic_numbers
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from aga.search.compositions import Counts, counts_of
from aga.search.operators import Operator, spun
from aga.search.space import Dimension, Space, tidied
from aga.search.symmetric import repeated
from aga.search.volumes import mixture_volume

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class CutAndSplice(Operator):
    """Join slabs of two parents in a mixed cell, or parts of two clusters on both sides of a plane.

    Of a few random origins of the parents those are taken whose slabs together come nearest to the
    composition: each atom put in or left out to repair it spoils what was inherited. Clusters are
    cut around their middle after a random rotation each.

    Parents may have other compositions than the child, if together they have its atoms: small cells
    are repeated to about its size. Where 66 cells are searched two parents of one are rare; for
    Cu6Au2 by EMT, parents of any composition gave the ground state as often as two of its own (2
    and 3 of 40 children).

    Deaven & Ho 1995, https://doi.org/10.1103/PhysRevLett.75.288; with a mixed cell after
    Glass, Oganov & Hansen 2006, https://doi.org/10.1016/j.cpc.2006.07.020.
    """

    parents: ClassVar[int] = 2
    any_composition: ClassVar[bool] = True
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
        """One raw child; None where the parents have too few atoms of an element."""
        share = float(rng.uniform(self.least_share, 1 - self.least_share))
        if space.dimension == "cluster":
            return self._of_clusters(parents, share, space, rng)
        first, second = (_turned(_grown(parent, space, rng), rng) for parent in parents)
        cell = _mixed_cell(first, second, share, space)
        numbers = np.concatenate([first.numbers, second.numbers])
        cuts = (_cut(first, second, share, rng) for _ in range(self.origins))
        fractions, inside = min(cuts, key=lambda cut: _missing(numbers[cut[1]], space))
        chosen = _repaired(numbers, inside, _depth(fractions[:, 0], share), space)
        if len(chosen) < space.n_atoms:
            return None
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


def _grown(atoms: Atoms, space: Space, rng: Generator) -> Atoms:
    """A small cell repeated to about as many atoms as the child has, in a random shape."""
    return repeated(atoms, max(1, round(space.n_atoms / len(atoms))), rng)


def _turned(atoms: Atoms, rng: Generator) -> Atoms:
    """The same crystal with cell vectors in random order, the first along x."""
    atoms = tidied(atoms)
    order = rng.permutation(3)
    fractions = atoms.get_scaled_positions()[:, order]
    # lengths and angles suffice: an odd order gives the mirror image, as low as the crystal
    cell = Cell.fromcellpar(Cell(atoms.cell.array[order]).cellpar())
    return Atoms(numbers=atoms.numbers, scaled_positions=fractions, cell=cell, pbc=True)


def _mixed_cell(first: Atoms, second: Atoms, share: float, space: Space) -> FloatArray:
    """Cell vectors between those of the parents, and volume, both for the atoms of the child."""
    cell = share * first.cell.array + (1 - share) * second.cell.array
    wanted = _room(dict(sorted(space.composition.items())))
    one, two = (
        parent.get_volume() * (wanted / _room(counts_of(parent))) for parent in (first, second)
    )
    volume = share * one + (1 - share) * two
    return np.asarray(cell * np.cbrt(volume / abs(np.linalg.det(cell))))


def _room(counts: Counts) -> float:
    """What atoms take by their elements [Å^3]; counts in alphabetical order."""
    return mixture_volume(counts) * sum(counts.values())


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

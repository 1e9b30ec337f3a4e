"""When two clusters are the same: what `aga.search.similarity` is for crystals.

Both questions are asked of what the atoms see: the distances from every atom to all others, sorted.
The judge matches the atoms of one cluster to those of the other by them (pointwise distance
distributions, which tell all clusters in general position apart: Widdowson & Kurlin 2023,
https://doi.org/10.1109/CVPR52729.2023.00129). The fingerprint sorts the first of these distances
over all atoms, then the second, and so on, and puts each on a circle, so that the cosine distance
of two is 1/2 (k d)^2 where these numbers differ by d as root mean square. Mirror images are the
same.

Distances of all pairs together, smeared as for crystals, do not do: of 26 Lennard-Jones atoms with
bonds of 2.6 Å, many low minima differ in a single far pair. Measured there and with 13 and 38
atoms: rattling by 0.02 / 0.05 / 0.1 Å moves the fingerprint by 0.003 / 0.017 / 0.07 (median) and
what atoms see by 0.025 / 0.06 / 0.12 Å; of hundreds of low minima few pairs lie nearer than 0.05
and 0.12 Å, the nearest at 0.017 and 0.09 Å.
"""

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: the same where what atoms see differs by less, as root mean square [Å]
SAME = 0.1
#: size of what has none [Å]
_POINT = 0.1
#: how far a distance of 1 Å goes around the circle: 0.05 Å make a fingerprint distance of 0.02
_TURN = 4.0


def fingerprint(atoms: Atoms) -> FloatArray:
    """A unit vector that is the same for every rotation, reflection and order of the atoms.

    Returns:
        Two numbers per ordered pair of atoms (2 N (N - 1),); comparable between clusters of one
        composition.
    """
    numbers = np.unique(atoms.numbers)
    seen = _seen(atoms)
    # the distance to itself comes first among its own
    own = np.cumsum([0, *((atoms.numbers == number).sum() for number in numbers)])
    rows = []
    for place, number in enumerate(numbers):
        others = np.delete(seen[atoms.numbers == number], own[place], axis=1)
        rows.append(np.sort(others, axis=0).ravel())
    angles = _TURN * np.concatenate(rows)
    if not len(angles):
        return np.ones(1)
    return np.asarray(np.concatenate([np.cos(angles), np.sin(angles)]) / np.sqrt(len(angles)))


def same(one: Atoms, two: Atoms) -> bool:
    """Whether two clusters are one, small distortions aside."""
    return apart(one, two) < SAME


def room(atoms: Atoms) -> float:
    """Volume of an even ball whose atoms are as far from the middle [Å^3/atom]; never zero."""
    size = np.sqrt(5 / 3 * atoms.positions.var(axis=0).sum())
    return float(4 / 3 * np.pi * max(float(size), _POINT) ** 3 / len(atoms))


def apart(one: Atoms, two: Atoms) -> float:
    """How much the distances differ that matched atoms see, as root mean square [Å].

    Infinite where the atoms are others.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    if sorted(one.numbers) != sorted(two.numbers):
        return float("inf")
    total = 0.0
    views = _seen(one), _seen(two)
    for number in np.unique(one.numbers):
        first, second = views[0][one.numbers == number], views[1][two.numbers == number]
        cost = ((first[:, None] - second) ** 2).sum(axis=2)
        total += float(cost[linear_sum_assignment(cost)].sum())
    return float(np.sqrt(total / max(1, len(one) * (len(one) - 1))))


def _seen(atoms: Atoms) -> FloatArray:
    """Distances from each atom to all and itself, by element and sorted [Å] (N, N)."""
    distances = np.linalg.norm(atoms.positions[:, None] - atoms.positions, axis=2)
    parts = [np.sort(distances[:, atoms.numbers == n], axis=1) for n in np.unique(atoms.numbers)]
    return np.concatenate(parts, axis=1)

"""What ASE's genetic algorithm is made of where clusters are searched: its tutorial's recipe.

Cut and splice, rattling and mirroring in equal parts, and permutations where there are two elements
or more; candidates are the same where their sorted distances are. Everything lies in a cubic box
that repeats nowhere.
"""

from typing import Any

import numpy as np
from ase import Atoms

#: side of the box over the diameter of a ball that holds the atoms
_BOX = 3.0
#: side of the cube that first candidates are placed in, over the same
_CUBE = 1.0


def slab(volume: float) -> Atoms:
    """The empty box around atoms that take a volume [Å^3]."""
    return Atoms("", cell=np.eye(3) * _BOX * _diameter(volume), pbc=False)


def start(symbols: list[str], volume: float, closest: Any, rng: Any) -> Any:
    """What makes the first candidates."""
    from ase_ga.startgenerator import StartGenerator

    side = _CUBE * _diameter(volume)
    corner = 0.5 * (_BOX * _diameter(volume) - side) * np.ones(3)
    return StartGenerator(
        slab(volume), symbols, closest, box_to_place_in=[corner, np.eye(3) * side], rng=rng
    )


def comparator(n: int) -> Any:
    """When two candidates are the same."""
    from ase_ga.standard_comparators import InteratomicDistanceComparator

    return InteratomicDistanceComparator(
        n_top=n, pair_cor_cum_diff=0.015, pair_cor_max=0.7, dE=0.02, mic=False
    )


def operators(symbols: list[str], volume: float, closest: Any, rng: Any) -> Any:
    """The choice among all."""
    from ase_ga.cutandsplicepairing import CutAndSplicePairing
    from ase_ga.offspring_creator import OperationSelector
    from ase_ga.standardmutations import MirrorMutation, PermutationMutation, RattleMutation

    n = len(symbols)
    found = [
        CutAndSplicePairing(slab(volume), n, closest, rng=rng),
        RattleMutation(closest, n, rng=rng),
        MirrorMutation(closest, n, rng=rng),
    ]
    if len(set(symbols)) > 1:
        found.append(PermutationMutation(n, blmin=closest, rng=rng))
    return OperationSelector([1.0] * len(found), found, rng=rng)


def _diameter(volume: float) -> float:
    return float(np.cbrt(6 / np.pi * volume))

"""Symmetric random search: PyXtal's crystals, relaxed one after another with the oracle.

Space groups are drawn evenly from 2 to 230, volumes from 0.85 to 1.25 times the guess that every
method starts from; of several compositions one is drawn evenly, too. It is what anyone would write
with PyXtal: this program's own generator, which pushes close atoms apart and gives up on slow space
groups, is not used, so that the null owes it nothing.

Clusters are atoms that lie evenly in a ball twice as large as they need, none nearer to another
than half a bond: PyXtal's point groups take minutes for one cluster of 38 atoms.
"""

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from numpy.random import Generator

from search.relaxation import Relaxer
from search.task import Run

VOLUMES = (0.85, 1.25)
#: volume of the ball over that of the atoms
ROOM = 2.0
#: shortest distance in it, over the sum of covalent radii
CLOSEST = 0.5
GROUPS = (2, 231)


def search(run: Run) -> dict[str, Any]:
    """Relax random crystals until the run is over."""
    rng = np.random.default_rng([run.seed, 77])
    relax = Relaxer(run.system, run.ledger)
    cells = run.system.cells
    while not run.ledger.over:
        cell = cells[int(rng.integers(len(cells)))] if len(cells) > 1 else cells[0]
        made = crystal if run.system.dimension == "bulk" else cluster
        relax(made(cell, run.volume(cell), rng))
    return {}


def cluster(composition: dict[str, int], volume_per_atom: float, rng: Generator) -> Atoms:
    """The next random cluster; an atom that lies too close to another is drawn again.

    Args:
        composition: of the cluster.
        volume_per_atom: guess [Å^3].
        rng: of all choices.
    """
    symbols = [symbol for symbol, count in composition.items() for _ in range(count)]
    radius = np.cbrt(3 / (4 * np.pi) * ROOM * len(symbols) * volume_per_atom)
    radii = covalent_radii[[atomic_numbers[symbol] for symbol in symbols]]
    placed = np.zeros((0, 3))
    while len(placed) < len(symbols):
        place = rng.uniform(-radius, radius, 3)
        nearest = CLOSEST * (radii[: len(placed)] + radii[len(placed)])
        if (
            np.linalg.norm(place) <= radius
            and (np.linalg.norm(placed - place, axis=1) > nearest).all()
        ):
            placed = np.concatenate([placed, [place]])
    return Atoms(symbols, positions=placed)


def crystal(composition: dict[str, int], volume_per_atom: float, rng: Generator) -> Atoms:
    """The next random crystal; where a space group does not fit, another is drawn.

    Args:
        composition: of its cell.
        volume_per_atom: guess [Å^3].
        rng: of all choices.
    """
    while True:
        volume = sum(composition.values()) * volume_per_atom * float(rng.uniform(*VOLUMES))
        made = _attempt(composition, int(rng.integers(*GROUPS)), volume, rng)
        if made is not None:
            return made


def _attempt(
    composition: dict[str, int], group: int, volume: float, rng: Generator
) -> Atoms | None:
    """A crystal of this space group and volume [Å^3], or None."""
    from pyxtal.msg import Comp_CompatibilityError, VolumeError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyXtal warns whenever it draws a cell again
        try:
            made = _generator()(
                dim=3,
                group=group,
                species=list(composition),
                numIons=list(composition.values()),
                factor=volume,
                random_state=rng,
            )
        except (Comp_CompatibilityError, VolumeError, RuntimeError):
            return None
    if not made.valid:
        return None
    symbols = [site.specie for site in made.atom_sites for _ in site.coords]
    fractions = np.concatenate([np.asarray(site.coords) for site in made.atom_sites])
    return Atoms(symbols, scaled_positions=fractions, cell=made.lattice.matrix, pbc=True)


@lru_cache(maxsize=1)
def _generator() -> Any:
    """PyXtal's generator at a volume that is asked for: its own range is fourfold wide."""
    from pyxtal.crystal import random_crystal

    # PyXtal has no types, so that its classes are Any where it is installed and missing elsewhere
    class AtVolume(random_crystal):  # type: ignore[misc, unused-ignore]
        def set_volume(self) -> None:
            self.volume = self.factor

    return AtVolume

"""The test systems, the same for all codes: silicon, rutile, and random skewed cells."""

import numpy as np
from ase import Atoms
from ase.build import bulk

#: cutoff of every code [Å]
CUTOFF = 6.0
#: volume of random silicon cells [Å^3/atom] and their shortest distance [Å]
VOLUME, SHORTEST = 20.0, 2.0
SYSTEMS = ("si8", "si8x32", "random8x32", "si216", "tio2_24", "tio2_24x32", "si8x1024")


def structures(system: str) -> list[Atoms]:
    """The structures of one of `SYSTEMS`, or of "checks": small ones of both materials."""
    name, _, times = system.partition("x")
    count = int(times or 1)
    if name == "random8":
        return random_cells(count)
    make = {"si8": silicon, "si216": lambda: silicon(3), "tio2_24": rutile}[name]
    return [_rattled(make(), np.random.default_rng(seed)) for seed in range(count)]


def elements(system: str) -> tuple[str, ...]:
    """Symbols in a system, by atomic number."""
    return ("O", "Ti") if system.startswith("tio2") else ("Si",)


def silicon(repeat: int = 1) -> Atoms:
    """Diamond structure, 8 atoms per cubic cell."""
    return bulk("Si", "diamond", 5.43, cubic=True) * (repeat, repeat, repeat)


def rutile() -> Atoms:
    """Titanium dioxide, 24 atoms; u = 0.305."""
    u = 0.305
    oxygen = [[u, u, 0], [-u, -u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    places = [[0, 0, 0], [0.5, 0.5, 0.5], *oxygen]
    cell = Atoms("Ti2O4", scaled_positions=places, cell=[4.594, 4.594, 2.959], pbc=True)
    return cell * (2, 1, 2)


def _rattled(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def random_cells(count: int, seed: int = 7) -> list[Atoms]:
    """Skewed cells of 8 silicon atoms at random, none closer than `SHORTEST`."""
    rng = np.random.default_rng(seed)
    made: list[Atoms] = []
    while len(made) < count:
        cell = np.eye(3) + 0.3 * rng.uniform(-1.0, 1.0, (3, 3))
        cell *= (8 * VOLUME / np.linalg.det(cell)) ** (1 / 3)
        atoms = _filled(cell, rng)
        if atoms is not None:
            made.append(atoms)
    return made


def _filled(cell: np.ndarray, rng: np.random.Generator, tries: int = 2000) -> Atoms | None:
    """Eight atoms put in one by one, or None where the last do not fit."""
    shifts = (np.array(list(np.ndindex(3, 3, 3))) - 1) @ cell
    images = shifts[np.any(shifts != 0.0, axis=1)]
    if np.linalg.norm(images, axis=1).min() < SHORTEST:
        return None
    places: list[np.ndarray] = []
    for _ in range(tries):
        place = rng.random(3) @ cell
        if places:
            vectors = np.array(places)[:, None, :] - place + shifts
            if np.linalg.norm(vectors, axis=2).min() < SHORTEST:
                continue
        places.append(place)
        if len(places) == 8:
            return Atoms("Si8", positions=places, cell=cell, pbc=True)
    return None

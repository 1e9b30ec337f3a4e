"""Does a code do what it is timed for? Forces and stress against energies, small cells too.

A code that drops periodic images, or leaves out the stress, would be fast for the wrong reason.
"""

from collections.abc import Callable, Sequence

import numpy as np
from ase import Atoms

from peers.prepared import Prepared

#: displacement [Å] and strain of the differences
STEP, STRAIN = 0.02, 0.005


def differences(prepare: Callable[[Sequence[Atoms]], Prepared], atoms: Atoms) -> dict[str, float]:
    """Relative differences that must be small.

    Args:
        prepare: makes structures ready.
        atoms: a periodic structure with forces.

    Returns:
        ``forces``: of the force along itself and the change of energy; ``stress``: of its trace
        and the change of energy with volume; ``images``: of the energies of the cell and of two
        cells, in units of the largest force times 1 Å.
    """
    energy, forces, stress = _plain(prepare, atoms)
    size = float(np.linalg.norm(forces))
    if not np.isfinite(size) or size == 0.0:
        return {"forces": float("inf"), "stress": float("inf"), "images": float("inf")}
    direction = forces / size
    moved = [_moved(atoms, sign * STEP * direction) for sign in (1.0, -1.0)]
    strained = [_strained(atoms, sign * STRAIN) for sign in (1.0, -1.0)]
    plus, minus, wide, narrow, double = (
        found.energy for found in prepare([*moved, *strained, atoms * (2, 1, 1)]).results()
    )
    trace = atoms.get_volume() * float(np.trace(stress))
    return {
        "forces": abs((minus - plus) / (2 * STEP) / size - 1.0),
        "stress": abs((wide - narrow) / (2 * STRAIN) / trace - 1.0) if trace else float("inf"),
        "images": abs(double - 2 * energy) / size,
    }


def _plain(
    prepare: Callable[[Sequence[Atoms]], Prepared], atoms: Atoms
) -> tuple[float, np.ndarray, np.ndarray]:
    found = prepare([atoms]).results()[0]
    return found.energy, np.asarray(found.forces), np.asarray(found.stress)


def _moved(atoms: Atoms, shift: np.ndarray) -> Atoms:
    made = atoms.copy()
    made.positions += shift
    return made


def _strained(atoms: Atoms, strain: float) -> Atoms:
    made = atoms.copy()
    made.set_cell(atoms.cell.array * (1.0 + strain), scale_atoms=True)
    return made

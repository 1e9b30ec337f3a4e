"""Labels as real calculations give them: each a little off, the same geometry always alike.

Grids of k-points and of the density, cutoffs and unfinished SCF cycles leave errors that differ
from cell to cell and cannot be averaged away by asking again. The judge sees the oracle without.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.units import GPa

#: decimals of cell and positions that make a geometry [Å]
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Noise:
    """Standard deviations of normal errors.

    Attributes:
        energy_ev_per_atom: of the energy.
        forces_ev_per_a: of each component of the force on each atom.
        stress_gpa: of each component of the stress.
    """

    energy_ev_per_atom: float = 0.0
    forces_ev_per_a: float = 0.0
    stress_gpa: float = 0.0

    def __call__(
        self, atoms: Atoms, energy: float, forces: np.ndarray, stress: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """The answer for a geometry with its errors.

        Args:
            atoms: the geometry, which alone says what the errors are.
            energy: [eV].
            forces: (n, 3) [eV/Å].
            stress: (6,), Voigt order [eV/Å^3].
        """
        if self == Noise():
            return energy, forces, stress
        draw = np.random.default_rng(_seed(atoms)).standard_normal
        return (
            energy + len(atoms) * self.energy_ev_per_atom * float(draw()),
            forces + self.forces_ev_per_a * draw(forces.shape),
            stress + self.stress_gpa * GPa * draw(stress.shape) * atoms.pbc.any(),
        )


def _seed(atoms: Atoms) -> int:
    parts = (atoms.cell.array, atoms.positions, atoms.numbers.astype(float))
    # adding zero makes -0.0 and 0.0 the same bytes
    data = b"".join((np.round(part, _DIGITS) + 0.0).tobytes() for part in parts)
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")

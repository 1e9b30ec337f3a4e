"""What a compiled relaxation is told, and what it tells."""

from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from potentials.fire import MIXING, START_STEP
from potentials.gates import Gates
from potentials.kernels.arrays import Bundle
from potentials.kernels.gathering import FloatArray, IntArray
from potentials.kernels.relaxation import RUNNING, Moving, Rules
from potentials.kernels.structure import Batch


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a relaxation stops.

    Attributes:
        pressure: [eV/Å^3].
        fmax: converged when all gradients are below it [eV/Å].
        max_steps: largest number of steps of each structure.
        gates: bounds of a sane crystal, or None.
        elements: atomic numbers in the order of the element index.
    """

    pressure: float
    fmax: float
    max_steps: int
    gates: Gates | None
    elements: tuple[int, ...]

    def rules(self) -> Rules:
        """The same for one thread of compiled code."""
        gates = self.gates or Gates(min_distance={}, volume_per_atom=(0.0, np.inf))
        symbols = [chemical_symbols[number] for number in self.elements]
        shortest = [
            [gates.min_distance.get((min(a, b), max(a, b)), 0.0) ** 2 for b in symbols]
            for a in symbols
        ]
        return Rules(
            pressure=float(self.pressure),
            fmax=float(self.fmax),
            max_steps=int(self.max_steps),
            gated=int(self.gates is not None),
            volume_low=float(gates.volume_per_atom[0]),
            volume_high=float(gates.volume_per_atom[1]),
            min_height=float(gates.min_height),
            max_length=float(gates.max_length),
            shortest=np.array(shortest),
            inverse=np.zeros((3, 3)),
            pull=np.zeros((3, 3)),
        )


@dataclass(frozen=True, eq=False, slots=True)
class Ended:
    """Ends of the relaxations of M structures of N atoms.

    Attributes:
        positions, cells: [Å] (N, 3), (M, 3, 3).
        energy: mean over the members [eV] (M,).
        spread: calibrated standard deviation over the members [eV/atom] (M,).
        fmax: largest force [eV/Å] (M,).
        steps: made (M,).
        status: `CONVERGED`, `STEPS` or `GATE` of `potentials.kernels.relaxation` (M,).
        reason: the gate that was left, else "" (M entries).
    """

    positions: FloatArray
    cells: FloatArray
    energy: FloatArray
    spread: FloatArray
    fmax: FloatArray
    steps: IntArray
    status: IntArray
    reason: list[str]


def at_rest(given: Batch, members: int, offsets: tuple[FloatArray, FloatArray] | None) -> Moving:
    """Structures at rest and undeformed."""
    count = len(given.cells)
    positions, cells = given.positions, given.cells
    now = given._replace(positions=positions.copy(), cells=cells.copy())
    forces, stress = offsets or (np.zeros_like(positions), np.zeros_like(cells))
    return Moving(
        batch=Bundle(now),
        positions=positions,
        cells=cells,
        force_offset=np.ascontiguousarray(forces, dtype=np.float64),
        stress_offset=np.ascontiguousarray(stress, dtype=np.float64),
        deformation=np.tile(np.eye(3), (count, 1, 1)),
        velocity=np.zeros_like(positions),
        cell_velocity=np.zeros_like(cells),
        step=np.full(count, START_STEP),
        mixing=np.full(count, MIXING),
        downhill=np.zeros(count, dtype=np.int64),
        steps=np.zeros(count, dtype=np.int64),
        status=np.full(count, RUNNING),
        reason=np.zeros(count, dtype=np.int64),
        energy=np.zeros((count, members)),
        fmax=np.zeros(count),
    )

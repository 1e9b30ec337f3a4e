"""Small systems, structures and oracles for the tests of the search benchmark."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
L1_0 = """
  - name: L1_0
    spacegroup: 123
    cell: [2.75, 2.75, 3.75, 90, 90, 90]
    sites: [[Cu, 0, 0, 0], [Au, 0.5, 0.5, 0.5]]
"""
TINY = f"""
composition: {{Cu: 2, Au: 2}}
oracle: {{path: ase.calculators.emt.EMT}}
references: {L1_0}
"""


def tetragonal(ratio=1.36, a=2.8):
    """L1_0; at a ratio of 1 it is B2."""
    return Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5] * 3], cell=[a, a, a * ratio], pbc=True)


class Oracle(Calculator):
    """Energy of a number of eV per atom; raises for small volumes."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, energy=-1.0, smallest=0.0):
        super().__init__()
        self.energy, self.smallest, self.asked = energy, smallest, 0

    def calculate(self, atoms=None, properties=None, system_changes=None):
        super().calculate(atoms, properties, system_changes)
        self.asked += 1
        if atoms.get_volume() / len(atoms) < self.smallest:
            raise ZeroDivisionError("over-compressed")
        self.results = {
            "energy": self.energy * len(atoms),
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
        }

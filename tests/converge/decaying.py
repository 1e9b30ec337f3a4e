"""An engine whose errors are known: each falls as a power of the setting."""

import time
from typing import ClassVar, Literal

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.units import GPa

from calculators.engines import Accuracy, Engine

START, POWER = 100.0, 8
#: errors at the start of the cutoff and of the k-points
ENERGY, FORCE, STRESS = 1.0, 0.5, 100.0  # [eV/atom], [eV/Å], [GPa]
KPTS_ENERGY = 0.1  # [eV/atom]


class Answers(Calculator):
    """All errors of the cutoff at once; those of the k-points concern the energy alone."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, engine):
        super().__init__()
        self.engine = engine

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        engine = self.engine
        time.sleep(engine.seconds)
        if engine.cutoff in engine.failing:
            raise RuntimeError("did not converge")
        basis, points = (START / engine.cutoff) ** POWER, engine.kpts**-POWER
        count = len(self.atoms)
        forces = np.zeros((count, 3))
        forces[0, 0] = FORCE * basis
        self.results = {
            "energy": count * (ENERGY * basis + KPTS_ENERGY * points - 3.0),
            "forces": forces,
            "stress": STRESS * GPa * basis * np.array([1.0, 0.5, 0, 0, 0, 0]),
        }


class Decaying(Engine):
    kind: Literal["decaying"] = "decaying"
    memory_gb: float = 0.0
    cutoff: float = 150.0
    kpts: float = 3.0
    failing: tuple[float, ...] = ()
    hard: bool = False
    seconds: float = 0.0

    accuracy: ClassVar[Accuracy | None] = Accuracy("cutoff", "kpts")

    def problems(self, symbols):
        return ["no tin here"] if "Sn" in symbols else []

    def calculator(self, atoms, directory):
        return Answers(self)

    def stress_converged(self, atoms):
        return not self.hard

    def description(self):
        return f"a decay, not DFT, cutoff {self.cutoff:g}"

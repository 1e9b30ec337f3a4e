"""This program: `Ensemble.predict`, `relax` and the ASE calculator, as a user calls them."""

import inspect
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import UnitCellFilter
from ase.optimize import FIRE
from ase.stress import voigt_6_to_full_3x3_stress

from peers.prepared import Found, Prepared, Spent, Variant
from peers.systems import elements

PACKAGE = ""
REQUIRES = ()
FMAX, MAX_STEPS = 0.05, 200
#: what the functions may call the choice of single or double precision
PRECISION_NAMES = ("precision", "dtype")


def make(folder: Path) -> dict[str, Any]:
    """Fit all ensembles; what the parent must know of the program: precisions, descriptors."""
    from calculators.ensemble import EnsembleCalculator
    from peers import models
    from potentials.descriptors import kinds
    from potentials.ensemble import Ensemble
    from potentials.relax import relax

    made = [kind for kind in ("moments", "acsf") if kind in kinds()]
    facts = {}
    for kind in made:
        for element in ("si", "tio2"):
            where = models.make(folder, kind, element)
            facts[where.name] = Ensemble.load(where).facts
    functions: dict[str, Callable[..., Any]] = {
        "predict": Ensemble.predict,
        "relax": relax,
        "calculator": EnsembleCalculator,
    }
    precise = [name for name, function in functions.items() if precision_name(function)]
    return {"kinds": made, "facts": facts, "precise": precise}


def precision_name(function: Callable[..., Any]) -> str | None:
    """The parameter of a function that chooses the precision, or None where it has none."""
    parameters = inspect.signature(function).parameters
    return next((name for name in PRECISION_NAMES if name in parameters), None)


def choice_of(function: Callable[..., Any], value: str) -> dict[str, Any]:
    """The choice as a keyword; nothing where the function knows one precision only."""
    name = precision_name(function)
    if name is None or not value:
        return {}
    if name == "dtype":
        import torch

        return {name: getattr(torch, value)}
    return {name: value}


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Structures with an ensemble of the variant's descriptor and size."""
    from peers import models

    options = variant.options
    symbols = set(structures[0].get_chemical_symbols())
    element = "tio2" if symbols == set(elements("tio2_24")) else "si"
    where = models.make(folder, options["kind"], element)
    ensemble = models.load(where, variant.members)
    makers = {
        "predict": Predict,
        "calculate": Calculate,
        "getters": Getters,
        "relax": Relax,
        "ase_fire": AseFire,
    }
    return makers[options["call"]](structures, ensemble, options.get("precision", ""))


class Predict(Prepared):
    """All structures at once."""

    def __init__(self, structures: Sequence[Atoms], ensemble: Any, precision: str) -> None:
        super().__init__(structures)
        self.ensemble = ensemble
        self.choice = choice_of(type(ensemble).predict, precision)

    def evaluate(self) -> Any:
        """One prediction."""
        return self.ensemble.predict(self.structures, **self.choice)

    def results(self) -> list[Found]:
        """Split by structure."""
        found = self.evaluate()
        ends = np.cumsum([len(atoms) for atoms in self.structures])
        forces = np.split(found.forces.double().numpy(), ends[:-1])
        parts = zip(found.energy, forces, found.stress, strict=True)
        return [Found(float(e), f, s.double().numpy()) for e, f, s in parts]


class Calculate(Prepared):
    """The ASE calculator, one `calculate` for energy, forces and stress."""

    def __init__(self, structures: Sequence[Atoms], ensemble: Any, precision: str) -> None:
        from calculators.ensemble import EnsembleCalculator

        super().__init__(structures)
        choice = choice_of(EnsembleCalculator, precision)
        self.calculator = EnsembleCalculator(ensemble, **choice)

    def evaluate(self) -> None:
        """One structure after the other."""
        for atoms in self.structures:
            self.calculator.calculate(atoms, ["energy", "forces", "stress"])

    def results(self) -> list[Found]:
        """What the calculator holds after each."""
        made = []
        for atoms in self.structures:
            self.calculator.calculate(atoms, ["energy", "forces", "stress"])
            held = self.calculator.results
            stress = voigt_6_to_full_3x3_stress(held["stress"])
            made.append(Found(held["energy"], held["forces"], stress))
        return made


class Getters(Calculate):
    """The ASE calculator through the three functions of ASE's Atoms."""

    def evaluate(self) -> None:
        """ASE compares the atoms with those of the last call each time."""
        for atoms in self.structures:
            atoms.calc = self.calculator
            atoms.get_potential_energy()
            atoms.get_forces()
            atoms.get_stress()


class Relax(Prepared):
    """Relaxations of all structures together; one call is the whole work."""

    def __init__(self, structures: Sequence[Atoms], ensemble: Any, precision: str) -> None:
        from potentials.relax import relax

        super().__init__(structures)
        self.ensemble, self.relax = ensemble, relax
        self.choice = choice_of(relax, precision)

    def evaluate(self) -> Any:
        """Relaxed structures."""
        return self.relax(
            self.structures, self.ensemble, fmax=FMAX, max_steps=MAX_STEPS, **self.choice
        )

    def results(self) -> list[Found]:
        """Not needed: `predict` has been checked."""
        raise NotImplementedError

    def time(self, seconds: float) -> Spent:
        """Time per relaxation; a warm-up (no seconds) takes a few structures only."""
        whole = self.structures
        if seconds == 0.0:
            self.structures = whole[:2]
        calls, cpu, wall = 0, time.process_time(), time.perf_counter()
        while calls == 0 or time.process_time() - cpu < seconds:
            notes = self.notes(self.evaluate())
            calls += 1
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        count, self.structures = len(self.structures), whole
        return Spent(cpu / calls / count, wall / calls / count, calls, notes)

    def notes(self, ended: Any) -> dict[str, Any]:
        """How many converged, and their steps."""
        return {
            "converged": sum(one.stopped == "converged" for one in ended),
            "steps": float(np.mean([one.steps for one in ended])),
            "energy": float(np.mean([one.enthalpy for one in ended])),
        }


class AseFire(Relax):
    """The same relaxations by ASE: FIRE on the UnitCellFilter, one after the other."""

    def __init__(self, structures: Sequence[Atoms], ensemble: Any, precision: str) -> None:
        from calculators.ensemble import EnsembleCalculator

        Prepared.__init__(self, structures)
        choice = choice_of(EnsembleCalculator, precision)
        self.calculator = EnsembleCalculator(ensemble, **choice)

    def evaluate(self) -> list[tuple[bool, int, float]]:
        """Convergence, steps and energy per atom [eV] of each."""
        ended = []
        for atoms in self.structures:
            work = atoms.copy()
            work.calc = self.calculator
            optimiser = FIRE(UnitCellFilter(work), logfile=None)
            done = optimiser.run(fmax=FMAX, steps=MAX_STEPS)
            ended.append((bool(done), optimiser.nsteps, work.get_potential_energy() / len(work)))
        return ended

    def notes(self, ended: list[tuple[bool, int, float]]) -> dict[str, Any]:
        """How many converged, and their steps."""
        done, steps, energies = zip(*ended, strict=True)
        return {
            "converged": sum(done),
            "steps": float(np.mean(steps)),
            "energy": float(np.mean(energies)),
        }

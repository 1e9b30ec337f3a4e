"""Child process of a label or a relaxation: ``python -m calculators.single_point <job.json>``.

Foreign code runs here and nowhere else. Whatever it does, the worker lives: an exception becomes an
``outcome.json`` beside the job, a crash leaves none.
"""

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from calculators import disk
from calculators.attempt import Again
from calculators.engines import Engine, build
from calculators.gates import LabelGates
from calculators.outcome import EngineError, Failure, MachineError
from calculators.publish import publish_json, read_json
from potentials.structures import FloatArray, Label, atoms_from_dict, bare


class RefusedError(Exception):
    """A calculation ended, but its answer is not to be believed."""

    def __init__(self, reason: str, again: Again = "no") -> None:
        super().__init__(reason)
        self.again = again


def calculate(
    atoms: Atoms,
    calculator: Any,
    engine: Engine,
    gates: LabelGates,
    *,
    every_stress: bool = False,
) -> Label:
    """Energy, forces and stress of one structure, past the gates on both sides.

    Args:
        atoms: the structure; not changed.
        calculator: ASE calculator, possibly of a rung with overrides.
        engine: the engine whose key the label carries.
        gates: before and after.
        every_stress: also a stress that the engine does not vouch for.

    Raises:
        RefusedError: a gate speaks against it.
        ValueError: the calculator gave wrong shapes or numbers that are not finite.
    """
    if reason := gates.before(atoms):
        raise RefusedError(reason)
    work = engine.placed(bare(atoms))
    work.calc = calculator
    start = time.perf_counter()
    energy = float(work.get_potential_energy())
    forces = np.array(work.get_forces(apply_constraint=False), dtype=np.float64)
    vouched = every_stress or engine.stress_converged(atoms)
    stress = _stress(work) if atoms.pbc.all() and vouched else None
    label = Label(
        energy=energy,
        forces=forces,
        stress=stress,
        engine=engine.key(),
        seconds=time.perf_counter() - start,
        magmoms=_magmoms(work),
        magnetization=_magnetization(work),
    )
    if reason := gates.after(atoms, label):
        raise RefusedError(reason)
    return label


def _stress(atoms: Atoms) -> FloatArray | None:
    """Voigt-6 stress [eV/Å^3]; None for a method without stress."""
    try:
        stress = np.array(atoms.calc.get_stress(atoms), dtype=np.float64)
    except NotImplementedError:
        return None
    return full_3x3_to_voigt_6_stress(stress) if stress.shape == (3, 3) else stress


def _magmoms(atoms: Atoms) -> FloatArray | None:
    """Magnetic moments the calculator left behind [Bohr magneton] (N,), or None."""
    values = getattr(atoms.calc, "results", {}).get("magmoms")
    moments = None if values is None else np.array(values, dtype=np.float64)
    if moments is None or moments.shape != (len(atoms),) or not np.isfinite(moments).all():
        return None
    return moments


def _magnetization(atoms: Atoms) -> float | None:
    """Total moment the calculator left behind [Bohr magneton], or None."""
    value = getattr(atoms.calc, "results", {}).get("magmom")
    total = None if value is None else float(value)
    return total if total is not None and np.isfinite(total) else None


def perform(job: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Do what the job says; the answer as plain data."""
    engine = build(job["engine"])
    attempted = engine.overridden(job["overrides"])
    atoms = atoms_from_dict(job["atoms"])
    gates = LabelGates.from_dict(job["gates"])
    calculator = attempted.calculator(atoms, directory)
    if job["mode"] == "label":
        every_stress = job["every_stress"]
        label = calculate(atoms, calculator, engine, gates, every_stress=every_stress)
        return {"label": label.to_dict()}
    from calculators.engine_relaxation import Recorded, relax

    store, folder = Path(job["store"]), directory.parent
    recorded = Recorded(calculator, engine, store, gates, attempted, folder)
    return {"relaxation": relax(atoms, recorded, directory, **job["target"])}


def answer(job: dict[str, Any], directory: Path) -> dict[str, Any]:
    """`perform`, with every exception as a failure: engines raise whatever they like.

    Raises:
        Exception: the disk is full (`disk.is_full`).
    """
    try:
        return perform(job, directory)
    except ImportError as error:
        return _failure("permanent", f"{type(error).__name__}: {error}", "environment")
    except RefusedError as error:
        return _failure("permanent", str(error), error.again)
    except MachineError as error:
        return _failure("transient", str(error), "same")
    except EngineError as error:
        return _failure("permanent", str(error), "ladder")
    except Exception as error:
        if disk.is_full(error):
            raise
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}" if str(error) else _place(error)
        if isinstance(error, MemoryError) or "allocate memory" in text:
            return _failure("transient", f"out of memory ({text}); raise memory_gb", "same")
        return _failure("permanent", text, "ladder")


def _place(error: Exception) -> str:
    """Name and line of an exception without a message."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename}, line {frame.lineno}: {frame.line}"


def _failure(kind: Any, reason: str, again: Again) -> dict[str, Any]:
    """A failure as plain data; the worker adds the path of the log."""
    return {"failure": Failure(kind, reason).to_dict(), "again": again}


def main() -> None:
    """Read the job, leave the outcome beside it."""
    path = Path(sys.argv[1])
    job = read_json(path)
    if job is None:
        raise SystemExit(f"{path}: no such job")
    try:
        publish_json(path.with_name("outcome.json"), answer(job, path.parent))
    except Exception as error:
        if not disk.is_full(error):
            raise
        os._exit(disk.STATUS)  # an ordinary end would try to write what is left in buffers


if __name__ == "__main__":
    main()

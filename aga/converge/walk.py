"""`aga converge`: point after point until nothing changes, then the section to copy.

Every point is a label in a store of its own: what was computed once is never computed again, so a
command that was stopped goes on when it is given again.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from ase import Atoms, units

from aga.converge import ladder
from aga.converge.ladder import Converged, Ended, Finer, Next, Point, Tolerance
from aga.converge.picture import draw
from aga.converge.probe import probe, read_structure
from aga.converge.settings import accuracy_of, begun, engine_of, parsed, section, with_values
from aga.converge.tables import show
from aga.yaml_source import ConfigError
from calculators import disk
from calculators.engines import Engine
from calculators.gates import LabelGates
from calculators.labelling import single_point
from calculators.outcome import Failure
from calculators.results import point_key, read_label, result_folder
from potentials.structures import Label

CONVERGED, NOT_CONVERGED, STOPPED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find.

    Attributes:
        path: file of the structure.
        kind: of the engine.
        settings: ``key=value`` of the engine; of cutoff and k-points, where they begin.
        tolerance: when it is good enough.
        steps: largest number of settings on each ladder.
        out: folder for points and picture.
        index: of the structure in its file.
    """

    path: Path
    kind: str
    settings: tuple[str, ...] = ()
    tolerance: Tolerance = field(default_factory=Tolerance)
    steps: int = 10
    out: Path = Path("convergence")
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Climb:
    """One setting, tried value by value.

    Attributes:
        name: of the setting.
        fixed: the other setting and its value.
        points: what was computed.
        end: what came of it.
    """

    name: str
    fixed: tuple[str, float]
    points: tuple[Point, ...]
    end: Converged | Ended


def converge(wanted: Wanted, out: TextIO | None = None, told: TextIO | None = None) -> int:
    """Find the settings; print what was computed, and the section that is good enough.

    Args:
        wanted: the structure, the engine, the tolerances.
        out: where the section goes; standard output if None.
        told: where the rest goes; standard error if None.

    Returns:
        0 found; 1 not converged or failed; 130 stopped by the user.

    Raises:
        ConfigError: structure, engine or settings are wrong, or the disk is full.
    """
    out, told = out or sys.stdout, told or sys.stderr
    given = parsed(wanted.settings)
    engine = engine_of(wanted.kind, given)
    atoms = read_structure(wanted.path, wanted.index)
    engine = begun(engine, given, atoms.symbols)
    atoms = _probe(wanted, engine, atoms, told)
    try:
        climbs = _climbs(wanted, engine, atoms, told)
    except OSError as error:
        if not disk.is_full(error):
            raise
        message = f"{wanted.out}: the disk is full; make room: the same command goes on"
        raise ConfigError([message]) from error
    except KeyboardInterrupt:
        told.write(
            f"\nstopped; {wanted.out} keeps every finished point: the same command goes on\n"
        )
        return STOPPED
    show(told, climbs, wanted.tolerance)
    picture = wanted.out / f"{wanted.path.stem}-{engine.kind}.png"
    draw(climbs, wanted.tolerance, picture)
    told.write(f"picture: {picture}\n")
    last = climbs[-1]
    if isinstance(last.end, Ended):
        told.write(
            f"{last.name}: {last.end.reason}\n"
            f"no settings found. Points are kept in {wanted.out}: raise --steps, begin higher "
            f"(--set {last.name}=...), or allow more (--tolerance-...)\n"
        )
        return NOT_CONVERGED
    found = {one.name: one.end.value for one in climbs if isinstance(one.end, Converged)}
    best = with_values(engine, found)
    for line in _remarks(best, atoms, climbs):
        told.write(f"{line}\n")
    out.write(_heading(wanted, atoms) + section(best, given))
    return CONVERGED


def _probe(wanted: Wanted, engine: Engine, atoms: Atoms, told: TextIO) -> Atoms:
    """The structure as it will be computed."""
    if problems := engine.problems(sorted(set(atoms.symbols))):
        raise ConfigError([f"--engine {wanted.kind}: {problem}" for problem in problems])
    if not (engine.clusters or atoms.pbc.any()):
        raise ConfigError([f"{wanted.path}: {wanted.kind} computes crystals only"])
    if problem := LabelGates().before(atoms):
        raise ConfigError([f"{wanted.path}: {problem}: no engine is asked about that"])
    found = probe(atoms)
    told.write(f"{wanted.path}: {found.atoms.get_chemical_formula()}, {len(found.atoms)} atoms\n")
    if found.change:
        told.write(f"  {found.change}\n")
    return found.atoms


def _climbs(wanted: Wanted, engine: Engine, atoms: Atoms, told: TextIO) -> list[Climb]:
    """The cutoff with the fewest k-points, then these with the cutoff that was found.

    The error of the basis hardly depends on the k-points, and both are cheapest so.
    """
    fields = accuracy_of(type(engine))
    values = engine.model_dump()
    rungs = ladder.cutoffs(values[fields.cutoff], wanted.steps)
    few = float(values[fields.kpts])

    def compute(settings: dict[str, Any]) -> Label | Failure:
        return _point(atoms, with_values(engine, settings), wanted.out / "labels", told)

    first = _climb(
        fields.cutoff, rungs, (fields.kpts, few), wanted.tolerance, ladder.always, compute
    )
    if isinstance(first.end, Ended) or not atoms.pbc.any():
        return [first]
    second = _climb(
        fields.kpts,
        ladder.densities(atoms, few, wanted.steps),
        (fields.cutoff, first.end.value),
        wanted.tolerance,
        ladder.finer_grid(atoms),
        compute,
    )
    return [first, second]


def _climb(
    name: str,
    rungs: Sequence[float],
    fixed: tuple[str, float],
    tolerance: Tolerance,
    finer: Finer,
    compute: Callable[[dict[str, Any]], Label | Failure],
) -> Climb:
    """Raise one setting until nothing changes."""
    points: list[Point] = []
    while isinstance(step := ladder.proceed(points, rungs, tolerance, finer), Next):
        answer = compute({name: step.value, fixed[0]: fixed[1]})
        points.append(Point(step.value, answer))
    return Climb(name, fixed, tuple(points), step)


def _point(atoms: Atoms, engine: Engine, store: Path, told: TextIO) -> Label | Failure:
    """One single point, from the store or from the engine, with a line for the reader."""
    fields = accuracy_of(type(engine))
    values = engine.model_dump()
    name = ", ".join(f"{one} {values[one]:g}" for one in fields)
    key = point_key(atoms, engine, every_stress=True)
    known = read_label(store, key)
    if isinstance(known, Failure) and known.kind == "transient":
        # the machine was to blame, or a limit that may have been raised since
        (result_folder(store, key) / "result.json").unlink()
        known = None
    told.write(f"{time.strftime('%H:%M:%S')} {name}: ")
    told.flush()
    answer = single_point(atoms, engine, store, every_stress=True)
    told.write(f"{_said(answer)}{' (known)' if known is not None else ''}\n")
    told.flush()
    return answer


def _said(answer: Label | Failure) -> str:
    if isinstance(answer, Failure):
        return f"failed: {answer.reason}" + (f" ({answer.log})" if answer.log else "")
    stress = ""
    if answer.stress is not None:
        stress = f", pressure {-answer.stress[:3].mean() / units.GPa:.2f} GPa"
    return (
        f"{answer.energy / len(answer.forces):.4f} eV/atom, largest force {answer.fmax:.3f} eV/Å"
        f"{stress}, {answer.seconds:.1f} s"
    )


def _remarks(engine: Engine, atoms: Atoms, climbs: Sequence[Climb]) -> list[str]:
    """What the reader must know before using what was found."""
    lines = []
    if atoms.pbc.all() and not engine.stress_converged(atoms):
        lines.append(
            f"note: {engine.description()}: this engine does not vouch for the stress of "
            f"{atoms.get_chemical_formula()} at that cutoff, so labels of a search would have none"
        )
    label = climbs[0].points[-1].answer
    if isinstance(label, Label) and label.stress is None and atoms.pbc.all():
        lines.append("note: the engine gives no stress, so it was not judged")
    if not atoms.pbc.any():
        lines.append("note: nothing is periodic, so there are no k-points to converge")
    return lines


def _heading(wanted: Wanted, atoms: Atoms) -> str:
    """Comments above the section: what it was measured on."""
    limits = wanted.tolerance
    return (
        f"# each setting by itself within {limits.energy:g} meV/atom, {limits.force:g} eV/Å and "
        f"{limits.stress:g} GPa\n"
        f"# of the most accurate computed, on {atoms.get_chemical_formula()} "
        f"({wanted.path.name})\n"
    )

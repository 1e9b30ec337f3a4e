"""Relaxation of many structures at once on an ensemble, cells of crystals included.

FIRE (Bitzek et al., PRL 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201) on positions and
deformation gradient (the convention of ASE's UnitCellFilter), every structure with its own time
step, its own stop and its own failure: one bad structure never spoils a batch.

The whole loop is compiled where there is compiled code for the ensemble; the reference in torch
serves all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import Atoms

from potentials.gates import Gates, Relaxed, Stopped, connected

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble
    from potentials.kernels.bounds import Ended


@dataclass(frozen=True, eq=False, slots=True)
class Offset:
    """Constant forces and stress added to the model, so that it agrees with a label exactly.

    Attributes:
        forces: [eV/Å] (N, 3).
        stress: [eV/Å^3] (3, 3).
    """

    forces: np.ndarray
    stress: np.ndarray


def relax(  # noqa: PLR0913  # what a relaxation can be told; keywords only
    structures: Sequence[Atoms],
    ensemble: "Ensemble",
    *,
    pressure: float = 0.0,
    fmax: float = 0.05,
    max_steps: int = 200,
    gates: Gates | None = None,
    offsets: Sequence[Offset] | None = None,
    precision: Literal["float32", "float64"] = "float64",
    threads: int | None = None,
) -> list[Relaxed]:
    """Minimise H = E + pV of every structure on the mean of the members.

    What does not repeat in three directions keeps its cell, and counts by its energy alone.

    Args:
        structures: starting structures of any periodicity; not changed.
        ensemble: the model.
        pressure: [eV/Å^3].
        fmax: converged when all forces and V (stress + p) / n are below it [eV/Å].
        max_steps: largest number of steps of each structure.
        gates: bounds that stop a structure; none by default.
        offsets: corrections of the model, one per structure.
        precision: of the compiled model; what moves is float64 in any case.
        threads: largest number of threads of compiled code; by default as many as torch uses.

    Returns:
        One result per structure, in their order; enthalpies are those of the model alone, fmax
        counts the offsets. A structure that cannot be evaluated (a number that is not finite, a
        cell without volume, atoms on top of each other) stops as "gate", gates or not.

    Raises:
        UnknownElementError: the ensemble does not know an element.
    """
    from potentials import kernels

    if not structures:
        return []
    if not kernels.supported(ensemble):
        from potentials import relax_torch
        from potentials.descriptors import warn_of_jumps

        warn_of_jumps(ensemble.spec.descriptor, "relaxation")
        relaxed = relax_torch.relax(
            structures,
            ensemble,
            pressure=pressure,
            fmax=fmax,
            max_steps=max_steps,
            gates=gates,
            offsets=offsets,
        )
        return [_whole(one, gates) for one in relaxed]
    from potentials.kernels.bounds import Bounds
    from potentials.kernels.compiled import Compiled

    ended = Compiled.of(ensemble, precision).relax(
        structures,
        Bounds(pressure, fmax, max_steps, gates, ensemble.elements),
        None
        if offsets is None
        else (
            np.concatenate([o.forces for o in offsets]),
            np.stack([o.stress for o in offsets]),
        ),
        threads,
    )
    return [_whole(one, gates) for one in _results(structures, ended, pressure)]


def _whole(end: Relaxed, gates: Gates | None) -> Relaxed:
    """The end as it is, or as stopped by a gate: a cluster in pieces."""
    if gates is None or not gates.bonds or end.stopped == "gate" or end.atoms.pbc.any():
        return end
    if connected(end.atoms, gates.bonds):
        return end
    return replace(end, stopped="gate", reason="fell apart")


#: by the number of `potentials.kernels.relaxation`
_STOPPED: tuple[Stopped, ...] = ("steps", "converged", "steps", "gate")


def _results(structures: Sequence[Atoms], ended: "Ended", pressure: float) -> list[Relaxed]:
    """Ends as plain data."""
    results, start = [], 0
    with np.errstate(invalid="ignore"):  # a cell that stopped as not finite
        volumes = np.abs(np.linalg.det(ended.cells))
    volumes[[not atoms.pbc.all() for atoms in structures]] = 0.0
    for m, given in enumerate(structures):
        stop = start + len(given)
        results.append(
            Relaxed(
                atoms=Atoms(
                    numbers=given.numbers,
                    positions=ended.positions[start:stop],
                    cell=ended.cells[m],
                    pbc=given.pbc,
                ),
                stopped=_STOPPED[ended.status[m]],
                reason=ended.reason[m],
                steps=int(ended.steps[m]),
                enthalpy=float(ended.energy[m] + pressure * volumes[m]) / len(given),
                spread=float(ended.spread[m]),
                fmax=float(ended.fmax[m]),
                volume=float(volumes[m]),
            )
        )
        start = stop
    return results

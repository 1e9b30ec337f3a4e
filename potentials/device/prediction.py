"""Energies, forces and stresses of any number of structures on a device."""

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from potentials.calibration import Calibration
from potentials.device.classes import classes, expected
from potentials.device.deck import Course, lists_of
from potentials.device.dense import Found, evaluate
from potentials.device.fire import Rules
from potentials.device.memory import batch_size, bytes_per_atom, free_bytes
from potentials.device.model import groups_of, model_of
from potentials.device.neighbours import sound
from potentials.device.setup import Setup
from potentials.device.state import State, state_of
from potentials.domain import Ranges, extrapolation, ranges
from potentials.ensemble import Ensemble, Prediction

#: lists for one evaluation reach this far beyond the cutoff [Å], for rounding
_MARGIN = 0.01
#: structures whose memory is measured
_SAMPLE = 4


def predict(
    structures: Sequence[Atoms],
    ensemble: Ensemble,
    *,
    device: torch.device | str,
    setup: Setup | None = None,
) -> Prediction:
    """As `Ensemble.predict`, computed on a device; without the spread of the forces.

    Args:
        structures: at least one; periodic or not.
        ensemble: the model.
        device: where to compute.
        setup: precision and batch; float32 with sums in float64 by default.

    Returns:
        Tensors in float64 on the host.

    Raises:
        UnknownElementError: the ensemble does not know an element.
        torch.OutOfMemoryError: a single structure does not fit into memory.
    """
    given, place = replace(setup or Setup(), skin=_MARGIN), torch.device(device)
    rules = Rules.of(ensemble, None, (0.0, 0.0, 0)).to(place, given.dtype)
    course = Course(model_of(ensemble, place, given), rules, given, place)
    known = ranges(ensemble.bounds, ensemble.scaling, ensemble.domain).to(place, given.dtype)
    widths = expected(structures, course.radius)
    sizes = np.array([len(atoms) for atoms in structures], dtype=np.int64)
    found: list[Single] = []
    order: list[int] = []
    for own in classes(sizes, widths):
        mine = [structures[index] for index in own]
        host = state_of(
            mine, ensemble.elements, course.model.members, given.state_dtype, crystals=False
        )
        order.extend(own.tolist())
        found.extend(_class(host, course, known, int(widths[own].max())))
    ordered = [single for _, single in sorted(zip(order, found, strict=True), key=itemgetter(0))]
    return _joined(ordered, structures, ensemble.errors)


class Single(NamedTuple):
    """Results of one structure, float64 on the host; as in `Found` and `Prediction`."""

    energy: Tensor
    forces: Tensor
    virial: Tensor
    extrapolation: Tensor


def _class(host: State, course: Course, known: Ranges, width: int) -> list[Single]:
    """Results of structures of one class, in their order."""
    sample = host.rows(torch.arange(min(_SAMPLE, len(host.status)))).to(course.device)
    each = bytes_per_atom(sample, lists_of(sample, course, width), course.model)
    free = free_bytes(course.device, course.setup)
    slots = batch_size(free, each, host.species.shape[1], course.setup.most)
    found: list[Single] = []
    while len(found) < len(host.status):
        end = min(len(found) + slots, len(host.status))
        part = _part(host.rows(torch.arange(len(found), end)), course, known, width)
        if part is None:
            slots = max(1, (end - len(found)) // 2)
        else:
            found.extend(part)
    return found


def _part(host: State, course: Course, known: Ranges, width: int) -> list[Single] | None:
    """Results of one batch, or None where memory ran out.

    Raises:
        torch.OutOfMemoryError: one structure alone does not fit.
    """
    try:
        state = host.to(course.device)
        found = _evaluated(state, host, course, width)
        beyond = _extrapolation(found, state, known)
    except torch.OutOfMemoryError:
        if len(host.status) == 1:
            raise
        return None
    parts = (found.energy, found.forces, found.virial, beyond)
    energy, forces, virial, beyond = (part.cpu().double() for part in parts)
    sizes = host.real.sum(dim=1).tolist()
    return [
        Single(energy[m], forces[m, :size], virial[m], beyond[m]) for m, size in enumerate(sizes)
    ]


def _evaluated(state: State, host: State, course: Course, width: int) -> Found:
    lists = lists_of(state, course, width)
    most = int(lists.crowd.max())
    if most > width:
        lists = lists_of(state, course, most)
    species = torch.where(host.real, host.species, -1).flatten().numpy()
    groups = groups_of(species, (0,) * course.model.n_elements, course.device)
    _, solid = sound(state, course.model.cutoff)
    return evaluate(state, lists, groups, course.model, solid)


def _extrapolation(found: Found, state: State, known: Ranges) -> Tensor:
    """How far structures are outside the training data (M,)."""
    system, place = torch.nonzero(state.real, as_tuple=True)
    values, species = found.values[system, place], state.species[system, place]
    return extrapolation(values, species, system, len(state.real), known)


def _joined(found: list[Single], structures: Sequence[Atoms], errors: Calibration) -> Prediction:
    """One prediction for all structures in their order."""
    member_energy = torch.stack([single.energy for single in found], dim=1)
    count = torch.tensor([len(atoms) for atoms in structures], dtype=torch.float64)
    cells = torch.as_tensor(np.stack([atoms.cell.array for atoms in structures]))
    volume = torch.linalg.det(cells).abs()[:, None, None]
    virial = torch.stack([single.virial for single in found])
    alone = len(member_energy) == 1
    deviation = torch.full_like(count, torch.nan) if alone else member_energy.std(dim=0)
    return Prediction(
        energy=member_energy.mean(dim=0),
        member_energy=member_energy,
        energy_std=errors.of_energies(deviation / count),
        forces=torch.cat([single.forces for single in found]),
        stress=torch.where(volume > 0, virial / volume, torch.zeros_like(virial)),
        forces_std=None,
        extrapolation=torch.stack([single.extrapolation for single in found]),
    )

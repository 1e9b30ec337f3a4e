"""From the state of structures that have stopped to what a relaxation returns."""

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from potentials.calibration import Calibration
from potentials.device.algebra import determinant
from potentials.device.fire import REASONS
from potentials.device.state import CONVERGED, GATE, STEPS, State
from potentials.gates import Relaxed, Stopped

_STOPPED: dict[int, Stopped] = {CONVERGED: "converged", STEPS: "steps", GATE: "gate"}


def ends_of(
    host: State, numbers: Sequence[NDArray[np.int64]], pressure: float, errors: Calibration
) -> list[Relaxed]:
    """Ends of all structures.

    Args:
        host: structures that have all stopped, on the host.
        numbers: atomic numbers of each.
        pressure: [eV/Å^3].
        errors: of the ensemble.
    """
    positions, cells = (tensor.double().numpy() for tensor in host.now())
    energy = host.energy.double()
    mean = energy.mean(dim=1).tolist()
    alone = energy.shape[1] == 1
    spread = torch.full_like(energy[:, 0], torch.nan) if alone else energy.std(dim=1)
    sizes = torch.tensor([len(own) for own in numbers])
    expected = errors.of_energies(spread / sizes)
    volumes = determinant(torch.as_tensor(cells)).abs().tolist()
    return [
        Relaxed(
            atoms=Atoms(numbers=own, positions=positions[m, : len(own)], cell=cells[m], pbc=True),
            stopped=_STOPPED[int(host.status[m])],
            reason=REASONS[int(host.reason[m])],
            steps=int(host.steps[m]),
            enthalpy=(mean[m] + pressure * volumes[m]) / len(own),
            spread=float(expected[m]),
            fmax=float(host.fmax[m]),
            volume=volumes[m],
        )
        for m, own in enumerate(numbers)
    ]

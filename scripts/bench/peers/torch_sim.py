"""torch-sim relaxing on this program's ensemble: unit_cell_fire on a batch, autobatcher off.

Cohen et al., arXiv:2508.06628 (2025). Version 0.3 is the last that Python 3.11 can install.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from peers.ours import FMAX, MAX_STEPS, Relax, choice_of
from peers.prepared import Prepared, Variant

PACKAGE = "torch-sim-atomistic"
REQUIRES = (
    "torch-sim-atomistic==0.3.*",
    "torch==2.13.0",
    "ase",
    "numba",
    "pydantic",
    "rich",
    "scipy",
    "vesin",
)
#: this program is imported too
NEEDS_PROGRAM = True
VARIANTS = (
    Variant("torch-sim unit_cell_fire", 4, "batch of 32, on Ensemble.predict", {"kind": "moments"}),
)


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Structures with the ensemble as torch-sim's model."""
    from peers import models

    ensemble = models.load(models.make(folder, variant.options["kind"], "si"), variant.members)
    return Batch(structures, ensemble, variant.options["precision"])


def _model(ensemble: Any, choice: dict[str, Any]) -> Any:
    """The ensemble behind torch-sim's interface."""
    import torch
    from torch_sim.models.interface import ModelInterface

    class Model(ModelInterface):  # type: ignore[misc]  # untyped
        """Structures are kept and only moved: making Atoms anew would be most of the time."""

        def __init__(self) -> None:
            super().__init__()
            self._device, self._dtype = torch.device("cpu"), torch.float64
            self._compute_stress = self._compute_forces = True
            self.kept: dict[tuple[int, ...], list[Atoms]] = {}

        def forward(self, state: Any, **_: Any) -> dict[str, torch.Tensor]:
            """Energies (M,), forces (N, 3), stresses (M, 3, 3); torch-sim's cells are columns."""
            found = ensemble.predict(self._structures(state), **choice)
            return {
                "energy": found.energy.double(),
                "forces": found.forces.double(),
                "stress": found.stress.double(),
            }

        def _structures(self, state: Any) -> list[Atoms]:
            sizes = torch.bincount(state.system_idx).tolist()
            ends = np.cumsum(sizes)
            positions = np.split(state.positions.detach().numpy(), ends[:-1])
            numbers = np.split(state.atomic_numbers.numpy(), ends[:-1])
            cells = state.cell.detach().numpy().transpose(0, 2, 1)
            used: dict[tuple[int, ...], int] = {}
            made = []
            for own, where, cell in zip(numbers, positions, cells, strict=True):
                key = tuple(own.tolist())
                place = used.get(key, 0)
                used[key] = place + 1
                kept = self.kept.setdefault(key, [])
                if place == len(kept):
                    kept.append(Atoms(own, pbc=True))
                kept[place].positions[:] = where
                kept[place].cell[:] = cell
                made.append(kept[place])
            return made

    return Model()


class Batch(Relax):
    """One optimisation of the whole batch."""

    def __init__(self, structures: Sequence[Atoms], ensemble: Any, precision: str) -> None:
        Prepared.__init__(self, structures)
        self.model = _model(ensemble, choice_of(type(ensemble).predict, precision))

    def evaluate(self) -> Any:
        """The final state; converged structures leave the batch every five steps."""
        import torch_sim as ts

        return ts.optimize(
            system=self.structures,
            model=self.model,
            optimizer=ts.unit_cell_fire,
            convergence_fn=ts.generate_force_convergence_fn(FMAX, include_cell_forces=True),
            max_steps=MAX_STEPS,
        )

    def notes(self, ended: Any) -> dict[str, Any]:
        """How many end below the largest force; steps are not kept by torch-sim."""
        import torch

        forces = torch.linalg.vector_norm(ended.forces, dim=1)
        largest = torch.zeros(ended.n_systems, dtype=forces.dtype)
        largest = largest.scatter_reduce(0, ended.system_idx, forces, "amax")
        pull = torch.linalg.vector_norm(ended.cell_forces, dim=2).amax(dim=1)
        counts = torch.bincount(ended.system_idx)
        return {
            "converged": int(((largest < FMAX) & (pull < FMAX)).sum()),
            "energy": float((ended.energy / counts).mean()),
        }

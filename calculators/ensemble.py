"""The trained ensemble as an ASE calculator, with the spread of its members beside the mean."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from potentials.descriptors import warn_of_jumps
from potentials.ensemble import Ensemble


class EnsembleCalculator(Calculator):  # type: ignore[misc]  # ASE is untyped
    """Energy, forces and stress of an ensemble, and how far its members disagree.

    Results: ``energy`` and ``free_energy`` [eV], ``forces`` [eV/Å] (N, 3), ``stress`` [eV/Å^3]
    Voigt-6 (periodic in three directions only), ``energy_std`` [eV/atom], ``forces_std`` [eV/Å]
    (N,), ``extrapolating`` (whether a descriptor of an atom, or a mean over atoms, leaves the
    range of the training data).

    Args:
        ensemble: the model.
        precision: of the compiled model; forces in float32 are good to about 1e-6 eV/Å.
    """

    implemented_properties: ClassVar[list[str]] = [
        "energy",
        "free_energy",
        "forces",
        "stress",
        "energy_std",
        "forces_std",
        "extrapolating",
    ]

    def __init__(
        self, ensemble: Ensemble, *, precision: Literal["float32", "float64"] = "float64"
    ) -> None:
        super().__init__()
        self.ensemble, self.precision = ensemble, precision
        warn_of_jumps(ensemble.spec.descriptor, "relaxation or dynamics")

    @classmethod
    def load(cls, folder: Path | str) -> "EnsembleCalculator":
        """The calculator of a saved ensemble, e.g. ``RUN/models/latest``.

        Raises:
            FileNotFoundError: the folder holds no ensemble.
        """
        return cls(Ensemble.load(folder))

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute everything; the spread of the forces only when it is asked for.

        Raises:
            UnknownElementError: the ensemble was not trained on an element.
            PropertyNotImplementedError: stress of a structure that is not periodic, or spread of
                a single member.
        """
        asked = properties or ["energy"]
        super().calculate(atoms, asked, system_changes)
        if "stress" in asked and not self.atoms.pbc.all():
            raise PropertyNotImplementedError("stress needs a structure periodic in 3 directions")
        single = self.ensemble.spec.members == 1
        if single and {"energy_std", "forces_std"} & set(asked):
            raise PropertyNotImplementedError(
                "energy_std and forces_std need two members or more, this ensemble has one"
            )
        found = self.ensemble.predict(
            [self.atoms], members="forces_std" in asked, precision=self.precision
        )
        results: dict[str, Any] = {
            "energy": float(found.energy[0]),
            "free_energy": float(found.energy[0]),
            "forces": found.forces.numpy(),
            "extrapolating": bool(found.extrapolation[0] > 0.0),
        }
        if not single:
            results["energy_std"] = float(found.energy_std[0])
        if self.atoms.pbc.all():
            stress = full_3x3_to_voigt_6_stress(found.stress[0].numpy())
            results["stress"] = np.asarray(stress, dtype=np.float64)
        if found.forces_std is not None:
            results["forces_std"] = found.forces_std.numpy()
        self.results = results

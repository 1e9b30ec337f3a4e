"""From the spread of the members to the error to expect.

Ensembles are over-confident; every label that was predicted before it was computed tells by how
much (Imbalzano et al., J. Chem. Phys. 154, 074102 (2021), doi:10.1063/5.0036522).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from potentials.linear import Equations, Row, Targets

#: the uncalibrated spread counts like this many observations, so that a few labels do not rule
PRIOR = 4.0
#: one prediction counts at most like an error of this many spreads: holes are met by the gates
WORST = 10.0
#: spreads below this are rounding [eV/atom]
SMALLEST = 1e-5


def calibration(errors: Sequence[float], spreads: Sequence[float]) -> float:
    """Factor by which raw spreads are multiplied to be the size of the errors.

    Args:
        errors: computed minus predicted energies [eV/atom].
        spreads: the uncalibrated standard deviations predicted with them [eV/atom].

    Returns:
        sqrt of the mean squared ratio, shrunk to 1 where observations are few.
    """
    if not len(errors):
        return 1.0
    ratio = np.abs(np.asarray(errors)) / np.maximum(np.asarray(spreads), SMALLEST)
    squares = np.minimum(ratio, WORST) ** 2
    return float(np.sqrt((PRIOR + squares.sum()) / (PRIOR + len(squares))))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Factors from the members' raw spread to the error to expect, of energies and of forces."""

    energy: float = 1.0
    forces: float = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class FoldMembers:
    """Members of fits that left one fold out each.

    Attributes:
        coefficients: by fold (S, K, U).
        folds: fold of each block (B,).
        used: places of the coefficients among all columns (U,).
    """

    coefficients: Tensor
    folds: Tensor
    used: Tensor

    def of(self, block: int) -> Tensor:
        """Members that have not seen this block (K, U)."""
        found: Tensor = self.coefficients[int(self.folds[block])]
        return found


def cross_calibration(
    problem: Equations, rows: Iterable[Row], targets: Sequence[Targets], solved: FoldMembers
) -> Calibration:
    """Calibration on labels that the members of a fold's fit have not seen.

    Args:
        problem: equations of all labels.
        rows: columns of every structure, in their order.
        targets: what they should give.
        solved: members of each fold.
    """
    errors, spreads, squares, variance = [], [], 0.0, 0.0
    for index, (row, target) in enumerate(zip(rows, targets, strict=True)):
        members = solved.of(int(problem.block[index]))
        n_atoms = len(target.forces) / 3
        energies = members @ row.energy[solved.used] / n_atoms
        errors.append(float(energies.mean() - target.energy / n_atoms))
        spreads.append(float(energies.std()))
        forces = members @ row.forces[:, solved.used].T
        squares += float((forces.mean(dim=0) - target.forces).square().sum())
        variance += float(forces.var(dim=0).sum())
    force = (squares / variance) ** 0.5 if variance > 0.0 else 1.0
    return Calibration(calibration(errors, spreads), force)

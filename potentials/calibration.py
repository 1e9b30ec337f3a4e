"""From the spread of the members to the error to expect.

Ensembles are over-confident; every label that was predicted before it was computed tells by how
much (Imbalzano et al., J. Chem. Phys. 154, 074102 (2021), doi:10.1063/5.0036522).
"""

from collections.abc import Sequence

import numpy as np

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

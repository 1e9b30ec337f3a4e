"""Memory that notices when somebody writes beside it."""

import numpy as np
import pytest

from potentials.kernels.arrays import Bundle

GUARD = 64


class Guards:
    """Arrays of bundles, each copied between two guards."""

    def __init__(self):
        self.around = []

    def bundle(self, given):
        return Bundle(type(given.parts)(*(self._part(part) for part in given.parts)))

    def _part(self, part):
        if isinstance(part, Bundle):
            return self.bundle(part)
        if not isinstance(part, np.ndarray):
            return part
        wide = np.full(part.size + 2 * GUARD, 77, dtype=part.dtype)
        wide[GUARD : GUARD + part.size] = part.ravel()
        self.around.append(wide)
        return wide[GUARD : GUARD + part.size].reshape(part.shape)

    def intact(self):
        return all(
            (wide[:GUARD] == 77).all() and (wide[-GUARD:] == 77).all() for wide in self.around
        )


@pytest.fixture
def guards():
    return Guards()

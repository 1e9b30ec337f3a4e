"""Nothing is written outside the working memory: every array lies between guards."""

import numpy as np
import pytest

from potentials.kernels.arrays import Bundle
from potentials.kernels.bounds import Bounds
from potentials.kernels.compiled import Compiled
from potentials.kernels.rooms import Desk
from tests.crystals import random_crystal
from tests.potentials.kernels.models import random_ensemble

GUARD = 64


class Guarded:
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


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("elements", [(29,), (29, 79), (29, 79, 8)])
@pytest.mark.parametrize("hidden", [None, (5,), (33, 18, 3)])
def test_guards_stay_intact(monkeypatch, precision, elements, hidden):
    guards = Guarded()

    class GuardedDesk(Desk):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            self.room, self.result = guards.bundle(self.room), guards.bundle(self.result)

        def grow(self, ended):
            super().grow(ended)
            self.room = guards.bundle(self.room)

    monkeypatch.setattr("potentials.kernels.compiled.Desk", GuardedDesk)
    ensemble = random_ensemble(
        elements, hidden=hidden, components=3, members=3, angular=6, radial=7, degree=3
    )
    compiled = Compiled(ensemble, precision)
    names = [{29: "Cu", 79: "Au", 8: "O"}[number] for number in elements]
    rng = np.random.default_rng(0)
    structures = [
        random_crystal(rng, rng.choice(names, size).tolist(), volume=volume, min_distance=1.5)
        for size, volume in ((1, 9.0), (5, 4.0), (9, 14.0))
    ]
    structures += [structures[-1] * (3, 3, 2)]
    compiled.predict(structures, members=True)
    compiled.relax(structures[:3], Bounds(0.0, 0.01, 5, None, ensemble.elements))
    assert len(guards.around) > 40
    assert guards.intact()

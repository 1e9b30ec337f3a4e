"""Nothing is written outside the working memory: every array lies between guards."""

import numpy as np
import pytest

from potentials.kernels.bounds import Bounds
from potentials.kernels.compiled import Compiled
from potentials.kernels.rooms import Desk
from tests.crystals import random_crystal
from tests.potentials.kernels.models import random_ensemble


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("elements", [(29,), (29, 79), (29, 79, 8)])
@pytest.mark.parametrize("hidden", [None, (5,), (33, 18, 3)])
def test_guards_stay_intact(monkeypatch, guards, precision, elements, hidden):
    class GuardedDesk(Desk):
        def _room(self):
            return guards.bundle(super()._room())

        def _result(self):
            return guards.bundle(super()._result())

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

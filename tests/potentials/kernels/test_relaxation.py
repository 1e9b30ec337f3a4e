"""The compiled relaxation takes the steps of the torch reference, to the same ends."""

import numpy as np
import pytest
import torch
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from potentials import relax_torch
from potentials.gates import Gates
from potentials.kernels.bounds import Bounds
from potentials.kernels.compiled import Compiled
from potentials.kernels.gathering import _ranges
from potentials.relax import Offset, relax
from tests.crystals import random_crystal, rattled_crystals
from tests.potentials.kernels.models import random_ensemble
from tests.tolerances import ROUNDING_ABS

DEFAULTS = {"pressure": 0.0, "fmax": 0.05, "max_steps": 60, "gates": None, "offsets": None}
GATES = Gates(
    min_distance={("Cu", "Cu"): 1.2, ("Au", "Cu"): 1.3},
    volume_per_atom=(6.0, 40.0),
    min_height=1.0,
    max_length=14.0,
)


def soft_ensemble():
    """Without networks, so weak that its wall and a pressure make minima."""
    ensemble = random_ensemble(hidden=None, components=0, wall=2.4, members=2)
    ensemble.linear.mul_(0.3)
    return ensemble


def both(structures, ensemble, **changes):
    """Ends by the compiled code and by the reference."""
    asked = DEFAULTS | changes
    return relax(structures, ensemble, **asked), relax_torch.relax(structures, ensemble, **asked)


def alike(one, other, tolerance=1e-6):
    assert (one.stopped, one.reason, one.steps) == (other.stopped, other.reason, other.steps)
    assert (one.atoms.numbers == other.atoms.numbers).all()
    assert (one.atoms.pbc == other.atoms.pbc).all()
    for name in ("enthalpy", "spread", "fmax", "volume"):
        assert np.isclose(
            getattr(one, name), getattr(other, name), rtol=tolerance, atol=tolerance, equal_nan=True
        ), name
    assert np.allclose(one.atoms.positions, other.atoms.positions, atol=1e-4, equal_nan=True)
    assert np.allclose(one.atoms.cell, other.atoms.cell, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("pressure", [0.0, 0.05])
@pytest.mark.parametrize("gates", [None, GATES], ids=["open", "gates"])
def test_steps_and_ends_of_the_reference(pressure, gates):
    structures = [*rattled_crystals(6, seed=5), Atoms("Au", cell=np.eye(3) * 2.7, pbc=True)]
    ends = both(structures, soft_ensemble(), pressure=pressure, gates=gates)
    for one, other in zip(*ends, strict=True):
        alike(one, other)
    assert len({end.steps for end in ends[0]}) > 2


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 6), skew=st.sampled_from([0.0, 0.4, 0.8]))
def test_first_steps_on_any_surface(seed, size, skew):
    """Networks with random weights: steep, with no minimum near; rounding may grow later on."""
    rng = np.random.default_rng(seed)
    atoms = random_crystal(rng, rng.choice(["Cu", "Au"], size).tolist(), skew=skew)
    for max_steps in (0, 1, 8):
        ends = both([atoms], random_ensemble(wall=1.5), max_steps=max_steps, pressure=0.01)
        alike(ends[0][0], ends[1][0])


def test_offsets():
    rng = np.random.default_rng(1)
    structures = [random_crystal(rng, ["Cu", "Au", "Cu"][:n]) for n in (1, 3, 2)]
    offsets = []
    for atoms in structures:
        stress = rng.normal(0, 0.02, (3, 3))
        offsets.append(Offset(rng.normal(0, 0.1, (len(atoms), 3)), stress + stress.T))
    for one, other in zip(*both(structures, soft_ensemble(), offsets=offsets), strict=True):
        alike(one, other)


@pytest.mark.parametrize("pressure", [0.0, 0.05])
@pytest.mark.parametrize("gates", [None, GATES], ids=["open", "gates"])
def test_clusters_among_crystals(pressure, gates):
    """With and without a cell that means nothing, and a layer, which keeps its cell."""
    structures = rattled_crystals(7, seed=5)
    for atoms in structures[:4]:
        atoms.pbc = False
    structures[0].cell[:] = 0.0
    structures[1].set_cell(3 * structures[1].cell.array)
    structures[4].pbc = [True, False, True]
    offsets = []
    for atoms in structures:
        rng = np.random.default_rng(len(offsets))
        offsets.append(Offset(rng.normal(0, 0.1, (len(atoms), 3)), 0.01 * np.eye(3)))
    before = [atoms.copy() for atoms in structures]
    ends = both(structures, soft_ensemble(), pressure=pressure, gates=gates, offsets=offsets)
    for place, (one, other) in enumerate(zip(*ends, strict=True)):
        alike(one, other)
        assert (one.atoms.pbc == before[place].pbc).all()
        if place < 5:
            assert (one.atoms.cell.array == before[place].cell.array).all()
            assert one.volume == 0.0
            assert one.stopped != "gate"
        else:
            assert one.volume > 0.0
    # the cell of a cluster changes nothing
    alone = relax([before[1][:]], soft_ensemble(), **DEFAULTS)[0]
    before[1].cell[:] = 0.0
    again = relax([before[1]], soft_ensemble(), **DEFAULTS)[0]
    assert (alone.steps, alone.enthalpy) == (again.steps, again.enthalpy)


def test_a_cluster_that_is_too_wide_stops():
    chain = Atoms("Cu5", [[3.0 * i, 0.0, 0.0] for i in range(5)])
    gates = Gates(min_distance={}, volume_per_atom=(6.0, 40.0), max_length=11.9)
    for end in both([chain], soft_ensemble(), gates=gates):
        assert (end[0].stopped, end[0].reason) == ("gate", "atoms too far apart")
    wider = Gates(min_distance={}, volume_per_atom=(6.0, 40.0), max_length=12.5)
    for end in both([chain], soft_ensemble(), gates=wider, max_steps=0):
        assert end[0].stopped != "gate"


def spoilers():
    two = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.9]]
    made = {
        "position is NaN": Atoms("Cu2", positions=[two[0], [0, 0, np.nan]], cell=[3, 3, 4]),
        "position is infinite": Atoms("Cu2", positions=[two[0], [0, np.inf, 0]], cell=[3, 3, 4]),
        "atoms coincide": Atoms("Cu2", positions=[two[0], two[0]], cell=[3, 3, 4]),
        "cell is NaN": Atoms("Cu2", positions=two, cell=[3, 3, np.nan]),
        "cell is infinite": Atoms("Cu2", positions=two, cell=[3, 3, np.inf]),
        "cell is flat": Atoms("Cu2", positions=two, cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
        "cell is nothing": Atoms("Cu2", positions=two, cell=[0, 0, 0]),
        "cell is a sheet": Atoms("Cu2", positions=two, cell=[30, 30, 0.01]),
        "cell is low": Atoms("Cu", cell=[3, 3, 0.24]),
    }
    for atoms in made.values():
        atoms.pbc = True
    return made


@pytest.mark.parametrize("gates", [None, GATES], ids=["open", "gates"])
@pytest.mark.parametrize("name", spoilers())
def test_reasons_of_the_reference(name, gates):
    one, other = both([spoilers()[name]], soft_ensemble(), gates=gates, max_steps=3)
    assert (one[0].stopped, one[0].reason, one[0].steps) == (
        other[0].stopped,
        other[0].reason,
        other[0].steps,
    )


def test_a_model_that_is_not_finite_stops_everything_at_once():
    ensemble = soft_ensemble()
    ensemble.linear[0, 0, 0] = np.nan
    for end in relax(rattled_crystals(2), ensemble):
        assert (end.stopped, end.steps) == ("gate", 0)
        assert end.reason == "the model gave a number that is not finite"


def test_a_collapse_ends_with_a_reason():
    """Nothing but attraction: the cell closes in until the model cannot be evaluated."""
    ensemble = random_ensemble(hidden=None, components=0, wall=0.0, members=2)
    ensemble.linear.fill_(-0.4)
    end = relax([random_crystal(np.random.default_rng(0), ["Cu"] * 2)], ensemble, max_steps=400)[0]
    assert end.stopped == "gate"
    assert end.reason
    assert 0 < end.steps < 400


def test_single_precision_ends_at_the_same_minimum():
    structures = rattled_crystals(4, seed=2)
    ensemble = soft_ensemble()
    single = relax(structures, ensemble, precision="float32", fmax=0.01, max_steps=300)
    double = relax(structures, ensemble, precision="float64", fmax=0.01, max_steps=300)
    for one, other in zip(single, double, strict=True):
        assert one.stopped == other.stopped == "converged"
        assert abs(one.enthalpy - other.enthalpy) < 1e-4


def test_threads_and_pieces_change_nothing(monkeypatch):
    """Calls of few steps each, several threads, or all at once."""
    structures = rattled_crystals(12, seed=3)
    ensemble = soft_ensemble()
    bounds = Bounds(0.01, 0.02, 80, None, ensemble.elements)
    whole = Compiled.of(ensemble).relax(structures, bounds, threads=1)
    monkeypatch.setattr("potentials.kernels.compiled.LONGEST_CALL", 30)
    monkeypatch.setattr("potentials.kernels.gathering.LONGEST_CALL", 300)
    for threads in (1, 4):
        pieces = Compiled.of(ensemble).relax(structures, bounds, threads=threads)
        for name in ("positions", "cells", "energy", "spread", "fmax", "steps", "status"):
            np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    most=st.integers(1, 20),
)
def test_ranges_cover_all_structures_once(sizes, most):
    first = np.concatenate([[0], np.cumsum(sizes)])
    ranges = _ranges(first, most)
    assert [start for start, _ in ranges[1:]] == [stop for _, stop in ranges[:-1]]
    assert (ranges[0][0], ranges[-1][1]) == (0, len(sizes))
    for start, stop in ranges:
        assert stop - start == 1 or first[stop] - first[start] <= most


def test_the_end_is_as_it_says():
    structures = rattled_crystals(3, seed=4)
    ensemble = soft_ensemble()
    for end in relax(structures, ensemble, pressure=0.02, max_steps=20):
        found = ensemble.evaluate(ensemble.batch([end.atoms]))
        count, volume = len(end.atoms), end.atoms.get_volume()
        assert abs(end.enthalpy - (float(found.energy[0]) + 0.02 * volume) / count) < ROUNDING_ABS
        assert abs(end.spread - float(found.energy_std[0])) < ROUNDING_ABS
        largest = float(torch.linalg.vector_norm(found.forces, dim=1).max())
        assert abs(end.fmax - largest) < ROUNDING_ABS

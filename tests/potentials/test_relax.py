"""Batched relaxation: the minimum ASE finds, sane stops, and no structure that spoils another."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.filters import UnitCellFilter
from ase.optimize import FIRE

from calculators.ensemble import EnsembleCalculator
from potentials.batch import UnknownElementError
from potentials.gates import Gates
from potentials.relax import Offset, relax
from potentials.relax_torch import _State
from tests.crystals import emt_label, random_crystal, rattled_crystals
from tests.tolerances import DIFFERENCE, ROUNDING_ABS, SAME_MINIMUM, STEP

OPEN = Gates(min_distance={}, volume_per_atom=(0.0, np.inf), min_height=0.0, max_length=np.inf)


def gates(**changes):
    return Gates(**{name: getattr(OPEN, name) for name in OPEN.__slots__} | changes)


@pytest.fixture(scope="module")
def starts():
    return rattled_crystals(4, seed=8)


def identical(one, other):
    """Two ends of one relaxation in different batches; rounding may differ."""
    return (
        (one.stopped, one.reason, one.steps) == (other.stopped, other.reason, other.steps)
        and abs(one.enthalpy - other.enthalpy) < ROUNDING_ABS
        and abs(one.volume - other.volume) < ROUNDING_ABS
        and np.allclose(one.atoms.positions, other.atoms.positions, rtol=0, atol=1e-6)
        and np.allclose(one.atoms.cell, other.atoms.cell, rtol=0, atol=1e-6)
    )


@pytest.mark.parametrize("pressure", [0.0, 0.05])
def test_the_same_minimum_as_ase(bonded, starts, pressure):
    tight = 1e-4  # looser, both may stop on one shallow saddle or the other
    ends = relax(starts[:2], bonded, pressure=pressure, fmax=tight, max_steps=1000)
    for start, end in zip(starts, ends, strict=False):
        atoms = start.copy()
        atoms.calc = EnsembleCalculator(bonded)
        FIRE(UnitCellFilter(atoms, scalar_pressure=pressure), logfile=None).run(tight, 1000)
        volume = atoms.get_volume()
        enthalpy = (atoms.get_potential_energy() + pressure * volume) / len(atoms)
        assert end.stopped == "converged"
        assert abs(end.enthalpy - enthalpy) < SAME_MINIMUM
        assert abs(end.volume / volume - 1.0) < 1e-3


def test_the_end_is_as_it_says(bonded, starts):
    """Energy, volume, spread and largest force belong to the final geometry."""
    for pressure in (0.0, 0.03):
        for end in relax(starts, bonded, pressure=pressure, fmax=0.01, max_steps=500):
            found = bonded.predict([end.atoms])
            n_atoms, volume = len(end.atoms), end.atoms.get_volume()
            enthalpy = (float(found.energy[0]) + pressure * volume) / n_atoms
            assert end.stopped == "converged"
            assert end.reason == ""
            assert abs(end.enthalpy - enthalpy) < ROUNDING_ABS
            assert abs(end.spread - float(found.energy_std[0])) < ROUNDING_ABS
            assert abs(end.volume - volume) < ROUNDING_ABS
            largest = float(torch.linalg.vector_norm(found.forces, dim=1).max())
            assert abs(end.fmax - largest) < ROUNDING_ABS
            assert end.fmax < 0.01
            excess = found.stress[0] + pressure * torch.eye(3)
            assert float(excess.abs().max()) * volume / n_atoms < 0.01


def test_pressure_compresses_and_the_enthalpy_is_the_least(bonded, starts):
    pressures = (-0.02, 0.0, 0.05)
    ends = [relax(starts, bonded, pressure=p, fmax=0.005, max_steps=500) for p in pressures]
    for one in zip(*ends, strict=True):
        assert one[0].volume > one[1].volume > one[2].volume
        for pressure, best in zip(pressures, one, strict=True):
            n_atoms = len(best.atoms)
            others = [
                end.enthalpy + (pressure - own) * end.volume / n_atoms
                for own, end in zip(pressures, one, strict=True)
            ]
            assert best.enthalpy <= min(others) + SAME_MINIMUM


def test_relaxing_lowers_the_enthalpy(bonded, starts):
    before = relax(starts, bonded, max_steps=0)
    after = relax(starts, bonded, max_steps=30)
    assert [end.stopped for end in before] == ["steps"] * len(starts)
    assert [end.steps for end in before] == [0] * len(starts)
    assert all(a.enthalpy < b.enthalpy for a, b in zip(after, before, strict=True))
    assert all(np.allclose(b.atoms.cell, s.cell) for b, s in zip(before, starts, strict=True))


def test_a_minimum_stays_where_it_is(bonded, starts):
    end = relax(starts[:1], bonded, fmax=0.02, max_steps=500)[0]
    again = relax([end.atoms], bonded, fmax=0.02)[0]
    assert again.stopped == "converged"
    assert again.steps == 0
    assert np.allclose(again.atoms.positions, end.atoms.positions, rtol=0, atol=1e-12)


def test_starting_structures_are_not_changed(bonded, starts):
    before = [atoms.copy() for atoms in starts]
    ends = relax(starts, bonded, max_steps=5)
    assert starts == before
    assert all(end.atoms.calc is None for end in ends)
    assert all((e.atoms.numbers == s.numbers).all() for e, s in zip(ends, starts, strict=True))


def test_order_and_company_do_not_matter(bonded, starts):
    small = [Atoms("Cu", cell=np.eye(3) * 2.4, pbc=True)]
    together = relax([*starts, *small], bonded, max_steps=60)
    backwards = relax([*small, *starts[::-1]], bonded, max_steps=60)[::-1]
    alone = [relax([atoms], bonded, max_steps=60)[0] for atoms in [*starts, *small]]
    for one, other, own in zip(together, backwards, alone, strict=True):
        assert identical(one, other)
        assert identical(one, own)


def test_nothing_to_relax(bonded):
    assert relax([], bonded) == []


def test_unknown_elements_are_refused(bonded):
    with pytest.raises(UnknownElementError, match="Zn"):
        relax([Atoms("Zn", cell=[3, 3, 3], pbc=True)], bonded)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_distance": {("Cu", "Cu"): 2.6}}, "atoms too close"),
        ({"volume_per_atom": (20.0, 30.0)}, "volume per atom below the gate"),
        ({"volume_per_atom": (1.0, 10.0)}, "volume per atom above the gate"),
        ({"min_height": 3.0}, "cell thinner than the gate"),
        ({"max_length": 3.0}, "cell vector too long"),
    ],
)
def test_gates_stop_at_once_and_say_why(bonded, changes, reason):
    atoms = Atoms("Cu", cell=[2.5, 2.5, 3.1], pbc=True)
    end = relax([atoms], bonded, gates=gates(**changes))[0]
    assert (end.stopped, end.reason, end.steps) == ("gate", reason, 0)
    assert relax([atoms], bonded, gates=OPEN, max_steps=0)[0].stopped == "steps"


def test_pairs_that_no_gate_names_are_not_checked(bonded):
    atoms = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 1.8]], cell=[3, 3, 3.6], pbc=True)
    other = gates(min_distance={("Cu", "Cu"): 2.0})
    own = gates(min_distance={("Au", "Cu"): 2.0})
    assert relax([atoms], bonded, gates=other, max_steps=0)[0].stopped == "steps"
    assert relax([atoms], bonded, gates=own, max_steps=0)[0].reason == "atoms too close"


def test_a_gate_met_on_the_way_stops_there(bonded):
    """Pulled apart by negative pressure: it leaves the largest volume sooner or later."""
    start = rattled_crystals(1, seed=3)
    bounds = gates(volume_per_atom=(1.0, 25.0))
    end = relax(start, bonded, pressure=-0.5, gates=bounds, max_steps=300)[0]
    assert end.stopped == "gate"
    assert end.reason == "volume per atom above the gate"
    assert 0 < end.steps < 300
    assert end.volume > 25.0 * 4


def spoilers():
    """Structures that nothing can be done with."""
    two = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.9]]
    return {
        "position is NaN": Atoms("Cu2", positions=[two[0], [0, 0, np.nan]], cell=[3, 3, 4]),
        "position is infinite": Atoms("Cu2", positions=[two[0], [0, np.inf, 0]], cell=[3, 3, 4]),
        "atoms coincide": Atoms("Cu2", positions=[two[0], two[0]], cell=[3, 3, 4]),
        "cell is NaN": Atoms("Cu2", positions=two, cell=[3, 3, np.nan]),
        "cell is flat": Atoms("Cu2", positions=two, cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
        "cell is nothing": Atoms("Cu2", positions=two, cell=[0, 0, 0]),
        "cell is a sheet": Atoms("Cu2", positions=two, cell=[30, 30, 0.01]),
    }


@pytest.mark.parametrize("bounds", [None, OPEN], ids=["no gates", "open gates"])
@pytest.mark.parametrize("name", spoilers())
def test_what_cannot_be_evaluated_stops_with_a_reason(bonded, name, bounds):
    bad = spoilers()[name]
    bad.pbc = True
    end = relax([bad], bonded, gates=bounds)[0]
    assert end.stopped == "gate"
    assert end.reason
    assert end.steps == 0


def test_bad_structures_do_not_spoil_the_others(bonded, starts):
    expected = relax(starts, bonded, max_steps=60)
    bad = list(spoilers().values())
    for atoms in bad:
        atoms.pbc = True
    mixed = [bad[0], starts[0], *bad[1:4], starts[1], starts[2], *bad[4:], starts[3]]
    ends = relax(mixed, bonded, max_steps=60)
    good = [ends[mixed.index(atoms)] for atoms in starts]
    assert all(identical(one, other) for one, other in zip(good, expected, strict=True))
    assert sum(end.stopped == "gate" for end in ends) == len(bad)


def test_a_left_handed_cell_relaxes_like_its_mirror_image(bonded, starts):
    right = starts[0]
    left = right.copy()
    left.set_cell(right.cell.array[[1, 0, 2]])
    one, other = relax([right, left], bonded, fmax=0.01, max_steps=500)
    assert other.stopped == "converged"
    assert abs(one.enthalpy - other.enthalpy) < SAME_MINIMUM
    assert np.linalg.det(other.atoms.cell) < 0


def test_gradients_are_differences_of_the_enthalpy(bonded, starts):
    """In undeformed positions and deformation, at a deformation that also turns and shears."""
    pressure = 0.04
    structures = starts[:2]
    state = _State.of(structures, bonded, None)
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 3, 3))
    state.deformation += torch.as_tensor(noise)
    active = torch.arange(2)

    def enthalpy():
        batch, _ = state.batch(active, bonded)
        volume = torch.linalg.det(batch.cells).abs()
        return float((bonded.evaluate(batch).energy + pressure * volume).sum())

    def slope(values, place):
        kept = float(values[place])
        ends = []
        for step in (STEP, -STEP):
            values[place] = kept + step
            ends.append(enthalpy())
        values[place] = kept
        return (ends[0] - ends[1]) / (2 * STEP)

    batch, atoms = state.batch(active, bonded)
    found = bonded.evaluate(batch)
    forces, pull, _ = state.gradients(found, batch, active, atoms, pressure)
    by_cell = [-slope(state.deformation, place) / 4 for place in np.ndindex(2, 3, 3)]
    by_atom = [-slope(state.positions, place) for place in np.ndindex(8, 3)]
    for one, other in ((pull.flatten(), by_cell), (forces.flatten(), by_atom)):
        scale = float(one.abs().max())
        np.testing.assert_allclose(one, other, rtol=0, atol=DIFFERENCE * scale)


def offset_of(label, atoms, ensemble):
    """What the model lacks at this geometry."""
    found = ensemble.predict([atoms])
    xx, yy, zz, yz, xz, xy = label.stress
    stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    return Offset(label.forces - found.forces.numpy(), stress - found.stress[0].numpy())


def test_with_its_offset_the_model_agrees_with_the_label(bonded):
    """The largest gradient at the labelled geometry is the label's, by force or by stress."""
    atoms = random_crystal(np.random.default_rng(1), ["Cu", "Au", "Cu"])
    label = emt_label(atoms)
    given = [offset_of(label, atoms, bonded)]
    end = relax([atoms], bonded, offsets=given, max_steps=0)[0]
    assert abs(end.fmax - label.fmax) < ROUNDING_ABS
    strain = np.abs(label.stress[:3]).max() * atoms.get_volume() / len(atoms)
    largest = max(label.fmax, strain, np.abs(label.stress).max() * atoms.get_volume() / len(atoms))
    for limit, stopped in ((largest * 0.99, "steps"), (largest * 1.01, "converged")):
        assert relax([atoms], bonded, offsets=given, fmax=limit, max_steps=0)[0].stopped == stopped


def test_a_label_at_its_minimum_is_a_minimum_of_the_offset_model(bonded):
    atoms = random_crystal(np.random.default_rng(2), ["Cu", "Au"])
    found = bonded.predict([atoms])
    still = Offset(-found.forces.numpy(), -found.stress[0].numpy())
    nothing = Offset(np.zeros((2, 3)), np.zeros((3, 3)))
    ends = relax([atoms, atoms], bonded, offsets=[still, nothing], fmax=0.01, max_steps=5)
    assert (ends[0].stopped, ends[0].steps) == ("converged", 0)
    assert ends[1].steps == 5
    plain = relax([atoms], bonded, fmax=0.01, max_steps=5)[0]
    assert identical(ends[1], plain)


def test_a_cluster_reaches_the_minimum_of_ase(bonded):
    start = Atoms("Cu3Au", [[0, 0, 0], [2.6, 0, 0], [0, 2.7, 0], [0.2, 0.1, 2.6]])
    atoms = start.copy()
    atoms.calc = EnsembleCalculator(bonded)
    FIRE(atoms, logfile=None).run(1e-3, 500)
    for given in (start, Atoms(start, cell=[30, 30, 30])):
        (end,) = relax([given], bonded, pressure=0.1, fmax=1e-3, max_steps=500)
        assert end.stopped == "converged"
        assert abs(end.enthalpy - atoms.get_potential_energy() / 4) < SAME_MINIMUM
        assert not end.atoms.pbc.any()
        assert (end.atoms.cell.array == given.cell.array).all()


def test_a_cluster_in_pieces_is_rejected(bonded):
    far = 2 * bonded.cutoff
    pieces = Atoms("Cu4", [[0, 0, 0], [0, 0, 2.5], [far, 0, 0], [far, 0, 2.5]])
    whole = {"fmax": 0.05, "max_steps": 50}
    (end,) = relax([pieces], bonded, gates=gates(bonds={("Cu", "Cu"): 4.0}), **whole)
    assert (end.stopped, end.reason) == ("gate", "fell apart")
    for bounds in (gates(), gates(bonds={("Cu", "Cu"): far + 1.0}), None):
        (end,) = relax([pieces], bonded, gates=bounds, **whole)
        assert end.stopped != "gate"

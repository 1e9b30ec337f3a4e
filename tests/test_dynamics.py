"""What is told of molecular dynamics: drift, temperature, warnings, distances."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.geometry.rdf import get_rdf

from calculators.dynamics import Moment, PairDistribution, Trace


def trace(total, *, n_atoms=4, spread=0.001, beyond=(), step_ps=0.01):
    """Moments of a given total energy [eV], half of it kinetic."""
    moments = [
        Moment(step_ps * i, energy / 2, energy / 2, spread, i in beyond)
        for i, energy in enumerate(total)
    ]
    return Trace(n_atoms, moments)


def test_the_drift_is_a_slope_per_atom():
    time = np.arange(50) * 0.01
    wave = 0.1 * np.cos(np.pi * np.arange(50))
    assert trace(3.0 + 2.0 * time).drift() == pytest.approx(0.5)
    assert trace(3.0 + 2.0 * time + wave).drift() == pytest.approx(0.5, rel=0.02)
    assert trace([3.0]).drift() == 0.0


def test_the_temperature_of_a_known_kinetic_energy():
    kinetic = 1.5 * 4 * units.kB * 300.0
    assert trace([2 * kinetic]).temperature() == pytest.approx([300.0])


def test_what_is_told():
    quiet = trace([1.0, 1.0]).lines(conserved=False, alarm=0.02)
    assert len(quiet) == 1
    assert "4 atoms" in quiet[0]
    told = trace([1.0, 1.0, 1.0], spread=0.05, beyond=(1, 2)).lines(conserved=True, alarm=0.02)
    assert "drift +0 meV/atom/ps" in told[1]
    assert "kinetic energy 125 meV/atom" in told[1]
    assert "disagree by up to 50 meV/atom (more than 20 from 0.000 ps on)" in told[2]
    assert "2 of 3 saved structures are beyond the range" in told[3]


def test_one_member_has_no_spread_to_warn_of():
    assert trace([1.0], spread=np.nan).warnings(0.02) == []


def test_shells_of_a_perfect_crystal():
    """Face-centred cubic: 12, 6 and 24 neighbours at a/sqrt(2), a and a sqrt(3/2)."""
    copper = bulk("Cu", "fcc", a=3.6)
    pairs = PairDistribution(5.0, 500)
    pairs.add(copper)
    pairs.add(copper.repeat((1, 2, 3)))
    (values,) = pairs.mean().values()
    counts = values * 4 / 3 * np.pi * np.diff(pairs.edges**3) / copper.get_volume()
    for distance, expected in ((3.6 / np.sqrt(2), 12), (3.6, 6), (3.6 * np.sqrt(1.5), 24)):
        near = np.abs(pairs.distances - distance) < 0.05
        assert counts[near].sum() == pytest.approx(expected)
    assert counts[pairs.distances < 2.4].sum() == 0


def test_independent_atoms_have_no_order():
    rng = np.random.default_rng(0)
    pairs = PairDistribution(6.0, 6)
    for _ in range(10):
        pairs.add(Atoms("Cu150Au150", rng.random((300, 3)) * 13.0, cell=[13.0] * 3, pbc=True))
    assert list(pairs.mean()) == [("Au", "Au"), ("Au", "Cu"), ("Cu", "Cu")]
    for values in pairs.mean().values():
        np.testing.assert_allclose(values[2:], 1.0, atol=0.1)


def test_the_same_as_ase_where_ase_can():
    """Another implementation, for a cell larger than twice the radius."""
    rng = np.random.default_rng(1)
    atoms = Atoms("Cu20Au20", rng.random((40, 3)) * 11.0, cell=[11.0] * 3, pbc=True)
    pairs = PairDistribution(5.0, 25)
    pairs.add(atoms)
    theirs, distances = get_rdf(atoms, 5.0, 25, elements=(29, 79))
    np.testing.assert_allclose(pairs.distances, distances)
    # their shells have the volume 4 pi r^2 dr, ours that between two spheres
    np.testing.assert_allclose(pairs.mean()["Au", "Cu"][4:], theirs[4:], rtol=0.01)

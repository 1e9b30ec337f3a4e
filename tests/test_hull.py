"""The convex hull, against pymatgen's phase diagram."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from aga.search.hull import Hull, Phase, extremes, formation

ELEMENTS = ("Al", "Cu", "Ni", "Ti")


@st.composite
def systems(draw):
    """End members of two to four elements and compounds of any energy, some of them tied."""
    symbols = ELEMENTS[: draw(st.integers(2, 4))]
    energy = st.floats(-3.0, 3.0).map(lambda value: round(value, 3))
    zero = draw(st.sampled_from([0.0, -3000.0]))  # all-electron totals are that large
    phases = [
        Phase(f"end-{s}", {s: draw(st.integers(1, 3))}, zero * (i + 1) + draw(energy))
        for i, s in enumerate(symbols)
    ]
    ends = {next(iter(phase.counts)): phase.enthalpy for phase in phases}
    for number in range(draw(st.integers(0, 12))):
        counts = draw(
            st.dictionaries(st.sampled_from(symbols), st.integers(1, 5), min_size=1, max_size=4)
        )
        mixed = sum(n * ends[s] for s, n in counts.items()) / sum(counts.values())
        phases.append(Phase(f"c{number}", counts, mixed + draw(energy)))
    return phases


def diagram(phases):
    entries = [
        PDEntry(Composition(p.counts), p.enthalpy * sum(p.counts.values()), name=p.name)
        for p in phases
    ]
    return PhaseDiagram(entries), entries


@settings(max_examples=60, deadline=None)
@given(systems())
def test_as_pymatgen_has_it(phases):
    hull = Hull(phases)
    theirs, entries = diagram(phases)
    grounds = hull.grounds([phase.counts for phase in phases])
    for phase, entry, ground in zip(phases, entries, grounds, strict=True):
        above = theirs.get_e_above_hull(entry)
        assert phase.enthalpy - ground == pytest.approx(above, abs=2e-7)
        assert hull.ground(phase.counts) == pytest.approx(ground, abs=1e-9)
    names = {phase.name for phase in hull.stable}
    assert {entry.name for entry in theirs.stable_entries} <= names
    elements = {str(element): entry.energy_per_atom for element, entry in theirs.el_refs.items()}
    for phase, entry in zip(phases, entries, strict=True):
        formed = theirs.get_form_energy_per_atom(entry)
        assert formation(phase, elements) == pytest.approx(formed, abs=2e-7)


@settings(max_examples=30, deadline=None)
@given(systems(), st.lists(st.integers(1, 6), min_size=4, max_size=4))
def test_a_decomposition_has_the_composition_and_the_enthalpy_of_the_hull(phases, numbers):
    hull = Hull(phases)
    counts = dict(zip(hull.elements, numbers, strict=False))
    shares = hull.decomposition(counts)
    assert sum(shares.values()) == pytest.approx(1.0)
    by_name = {phase.name: phase for phase in phases}
    enthalpy = sum(share * by_name[name].enthalpy for name, share in shares.items())
    assert enthalpy == pytest.approx(hull.ground(counts), abs=1e-6)
    for symbol, n in counts.items():
        found = sum(
            share * by_name[name].counts.get(symbol, 0) / sum(by_name[name].counts.values())
            for name, share in shares.items()
        )
        assert found == pytest.approx(n / sum(counts.values()), abs=1e-6)


def test_elements_alone_are_a_straight_line():
    hull = Hull([Phase("Cu", {"Cu": 1}, -3.5), Phase("Au", {"Au": 4}, -3.0)])
    assert hull.ground({"Cu": 3, "Au": 1}) == pytest.approx(-3.375)
    assert {phase.name for phase in hull.stable} == {"Cu", "Au"}


def test_outside_nothing_is_known():
    hull = Hull([Phase("MgO", {"Mg": 1, "O": 1}, -6.0), Phase("SiO2", {"Si": 1, "O": 2}, -8.0)])
    # enstatite: 2/5 of the atoms in MgO, 3/5 in SiO2
    assert hull.ground({"Mg": 1, "Si": 1, "O": 3}) == pytest.approx(-7.2)
    assert hull.decomposition({"Mg": 1, "Si": 1, "O": 3}) == pytest.approx(
        {"MgO": 0.4, "SiO2": 0.6}
    )
    for counts in ({"Mg": 1, "Si": 1, "O": 1}, {"Si": 1, "O": 1}, {"O": 1}, {"Mg": 1, "Al": 1}):
        assert hull.ground(counts) == -np.inf
    with pytest.raises(ValueError, match="no mixture"):
        hull.decomposition({"Si": 1})


def test_one_composition_is_its_lowest_phase():
    hull = Hull([Phase("a", {"Si": 2}, -5.0), Phase("b", {"Si": 8}, -5.4)])
    assert hull.ground({"Si": 3}) == pytest.approx(-5.4)
    assert [phase.name for phase in hull.stable] == ["b"]


def test_no_phase_and_no_atoms_are_refused():
    with pytest.raises(ValueError, match="at least one phase"):
        Hull([])
    with pytest.raises(ValueError, match="atoms in every composition"):
        Hull([Phase("nothing", {}, 0.0), Phase("Cu", {"Cu": 1}, 0.0)])


def test_extremes_are_what_no_mixture_makes():
    oxides = [
        {"Mg": 1, "O": 1},
        {"Mg": 1, "Si": 1, "O": 3},
        {"Si": 1, "O": 2},
        {"Mg": 2, "Si": 1, "O": 4},
        {"Mg": 2, "O": 2},
    ]
    assert extremes(oxides) == [0, 2]
    assert extremes([{"Si": 1}, {"Si": 2}]) == [0]
    ternary = [{"Al": 1}, {"Al": 1, "Cu": 1, "Ni": 1}, {"Cu": 2}, {"Ni": 1}, {"Al": 2, "Ni": 1}]
    assert extremes(ternary) == [0, 2, 3]

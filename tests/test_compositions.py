"""Formulas, and which compositions a range holds."""

from math import comb

import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from aga.search.compositions import cells, counts_of, named, neutral, parsed, reduced

COUNTS = st.dictionaries(st.sampled_from(["Ti", "O", "H", "Cu"]), st.integers(1, 30), min_size=1)


@given(COUNTS)
def test_names_read_back_and_reduce_as_pymatgen_does(counts):
    assert parsed(named(counts)) == counts
    small = reduced(counts)
    theirs = Composition(counts)
    assert Composition(small).fractional_composition == theirs.fractional_composition
    if len(counts) > 1:  # pymatgen writes some elements as molecules
        assert Composition(small) == theirs.get_reduced_composition_and_factor()[0]


@pytest.mark.parametrize("text", ["", "ti2", "Ti0", "Ti(OH)2", "Ti 2", "Ti2.5", "2Ti"])
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(ValueError, match="expected a formula"):
        parsed(text)


def test_an_element_may_recur_in_a_formula():
    assert parsed("CH3CH3") == {"C": 2, "H": 6}


@pytest.mark.parametrize(("n", "largest"), [(2, 12), (3, 6), (4, 4)])
def test_a_range_holds_every_compound_once(n, largest):
    symbols = ["Al", "Cu", "Ni", "Ti"][:n]
    found = cells(symbols, 1, largest)
    assert len({named(counts) for counts in found}) == len(found)
    # stars and bars, less the empty cell and the elements
    assert len(found) == comb(largest + n, n) - 1 - n * largest
    sizes = [sum(counts.values()) for counts in found]
    assert sizes == sorted(sizes)


def test_of_one_element_every_size():
    assert cells(["Si"], 2, 4) == [{"Si": 2}, {"Si": 3}, {"Si": 4}]


def test_neutral_with_one_charge_or_several():
    titania = {"Ti": (4, 4), "O": (-2, -2)}
    assert neutral({"Ti": 2, "O": 4}, titania)
    assert not neutral({"Ti": 2, "O": 3}, titania)
    iron = {"Fe": (2, 3), "O": (-2, -2)}
    for counts in ({"Fe": 1, "O": 1}, {"Fe": 3, "O": 4}, {"Fe": 2, "O": 3}):
        assert neutral(counts, iron)
    assert not neutral({"Fe": 1, "O": 2}, iron)


def test_counts_of_a_cell():
    assert counts_of(Atoms("OTiO")) == {"O": 2, "Ti": 1}

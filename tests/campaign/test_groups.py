"""Distinct structures: every label in the group that comparing with all of them would give."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.campaign import groups as module
from aga.campaign.groups import APART, Group, Groups
from aga.search import seeds
from aga.search.candidate import Known
from aga.search.similarity import distance, same_form
from aga.search.space import Space

BASES = seeds.many(Space({"Au": 1, "Cu": 2}), 6, np.random.default_rng(2))
numbers = st.integers(0, 2**32 - 1)


def shaken(atoms: Atoms, amplitude: float, ratio: float, rng: np.random.Generator) -> Atoms:
    """A crystal with its atoms moved [Å], at another volume."""
    made = atoms.copy()
    made.rattle(amplitude, rng=rng)
    made.set_cell(made.cell.array * ratio ** (1 / 3), scale_atoms=True)
    return made


def cluster(rng: np.random.Generator) -> Atoms:
    return Atoms("Au7", positions=2.5 * rng.random((7, 3)))


def labels(rng: np.random.Generator, n: int) -> list[Known]:
    """Some crystals again and again, shaken, squeezed and stretched."""
    found = []
    for place in range(n):
        atoms = BASES[int(rng.integers(len(BASES)))]
        amplitude = float(rng.choice([0.01, 0.05, 0.15]))
        made = shaken(atoms, amplitude, float(rng.uniform(0.75, 1.35)), rng)
        found.append(Known(f"k{place}", made, float(rng.normal()), 0.1))
    return found


def by_comparing_all(groups: Sequence[Group], known: Known) -> str:
    """The lowest group whose structure it is, every one being asked."""
    for group in sorted(groups, key=lambda one: (one.best.height, one.id)):
        if same_form(known.atoms, group.best.atoms):
            return group.id
    return known.id


def filled(known: Sequence[Known]) -> Groups:
    """All in groups of their own."""
    groups = Groups()
    for one in known:
        groups.put(one.id, one)
    return groups


@settings(max_examples=8)
@given(seed=numbers)
def test_the_home_is_that_of_comparing_with_all(seed):
    groups = Groups()
    for known in labels(np.random.default_rng(seed), 10):
        expected = by_comparing_all(groups, known)
        assert groups.homes([known]) == [expected]
        groups.put(expected, known)


@settings(max_examples=6)
@given(seed=numbers)
def test_labels_that_come_together_find_each_other(seed):
    """As if each had been put before the next was asked; and nothing is put."""
    rng = np.random.default_rng(seed)
    old, new = labels(rng, 4), labels(rng, 8)
    new = [Known(f"n{place}", one.atoms, one.enthalpy, 0.1) for place, one in enumerate(new)]
    groups, expected = filled(old), []
    before = [(group.id, [*group.members]) for group in groups]
    found = groups.homes(new)
    assert [(group.id, group.members) for group in groups] == before
    for one in new:
        expected.append(by_comparing_all(groups, one))
        groups.put(expected[-1], one)
    assert found == expected


@given(seed=numbers)
def test_forms_are_within_the_limit_of_the_filter(seed):
    """What `same_form` takes for one must not be sorted out before it is asked."""
    rng = np.random.default_rng(seed)
    atoms = BASES[int(rng.integers(len(BASES)))]
    for amplitude in (0.1, 0.2, 0.3):
        other = shaken(atoms, amplitude, float(rng.uniform(0.8, 1.25)), rng)
        pair = Known("a", atoms, 0.0, 0.0), Known("b", other, 0.0, 0.0)
        if same_form(atoms, other):
            places = [module._class(one) for one in pair]
            assert abs(places[0] - places[1]) <= 1
            forms = module._Forms(places[1])
            assert distance(*(forms._form(one.atoms) for one in pair)) < 0.9 * APART


def test_clusters_have_forms_too():
    rng = np.random.default_rng(0)
    one, two = cluster(rng), cluster(rng)
    larger = one.copy()
    larger.positions *= 1.04
    larger.rotate(50, (1, 2, 3))
    groups = filled([Known("one", one, 0.0, 0.1), Known("two", two, 1.0, 0.1)])
    assert groups.homes([Known("x", larger, 0.5, 0.1)]) == ["one"]
    assert groups.homes([Known("x", cluster(rng), 0.5, 0.1)]) == ["x"]
    single = Known("atom", Atoms("Au"), 0.0, 0.1)
    assert filled([single]).homes([single]) == ["atom"]


@given(seed=numbers)
def test_the_ranking_follows_every_label_and_every_ground(seed):
    rng = np.random.default_rng(seed)
    groups, known = Groups(), []
    for place in range(40):
        one = Known(f"k{place}", BASES[0], round(rng.normal(), 1), 0.1)
        known.append(one)
        groups.put(f"g{rng.integers(12)}", one)
        if rng.random() < 0.1:
            for other in known:
                other.stand_on(float(rng.normal()))
            groups.rank_anew()
        expected = sorted(groups, key=lambda group: (group.best.height, group.id))
        assert groups.ranking == expected
        assert groups.first(3) == expected[:3]
        limit = float(rng.normal())
        assert groups.lowest(limit) == [g for g in expected if g.best.height <= limit]
    # a height that is there belongs to what is asked for
    assert groups.lowest(groups.ranking[3].best.height)[3] is groups.ranking[3]


def test_a_label_is_compared_with_few(monkeypatch):
    """Of many structures only those that may be alike are asked."""
    asked = []
    monkeypatch.setattr(module, "same_form", lambda *pair: asked.append(pair))
    space = Space({"Au": 2, "Cu": 2}, spacegroups=(1, 2))
    many = seeds.many(space, 40, np.random.default_rng(0))
    groups = filled([Known(f"k{i}", atoms, 0.0, 0.1) for i, atoms in enumerate(many[:-1])])
    assert groups.homes([Known("new", many[-1], 0.0, 0.1)]) == ["new"]
    assert len(asked) < 8


def test_putting_a_label_looks_at_its_own_group_alone(monkeypatch):
    groups = filled([Known(f"k{i}", BASES[0], float(i), 0.1) for i in range(50)])
    looked = []
    # all of them are not even listed
    monkeypatch.delattr(Groups, "ranking")
    rank = module._rank
    monkeypatch.setattr(module, "_rank", lambda group: looked.append(group.id) or rank(group))
    groups.put("k7", Known("new", BASES[0], -1.0, 0.1))
    assert set(looked) == {"k7"}
    assert groups.first(1)[0].id == "k7"
    assert groups[7].best.id == "new"
    assert len(groups[:3]) == 3

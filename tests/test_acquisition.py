"""Conformance of every acquisition rule, and what may be labelled at all."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.units import GPa
from hypothesis import given, settings
from hypothesis import strategies as st

from aga.search import acquisition, seeds
from aga.search.acquisition.disagreement import Disagreement
from aga.search.acquisition.lower_confidence_bound import LowerConfidenceBound
from aga.search.candidate import Candidate, Known
from aga.search.similarity import DUPLICATE, KnownSet, distance, fingerprint
from aga.search.space import Space

KINDS = acquisition.kinds()


# distinct crystals of one composition, without symmetry
CRYSTALS = seeds.many(Space({"Au": 2, "Cu": 2}, spacegroups=(1, 2)), 12, np.random.default_rng(0))

CRYSTALS_SEEN = [fingerprint(atoms) for atoms in CRYSTALS]


def candidate(index: int, enthalpy: float, spread: float = 0.02, name: str = "") -> Candidate:
    return Candidate(
        id=name or f"c{index:02d}",
        atoms=CRYSTALS[index],
        origin="strain",
        enthalpy=enthalpy,
        spread=spread,
    )


def known(index: int, enthalpy: float, fmax: float = 0.01, stress: float | None = 0.0) -> Known:
    return Known(
        id=f"k{index:02d}",
        atoms=CRYSTALS[index],
        enthalpy=enthalpy,
        fmax=fmax,
        stress_error=stress,
    )


def twin(index: int, enthalpy: float, amplitude: float = 0.02, name: str = "twin") -> Candidate:
    """Nearly, not exactly, a crystal of the list."""
    atoms = CRYSTALS[index].copy()
    atoms.rattle(amplitude, rng=np.random.default_rng(int(1000 * amplitude)))
    return Candidate(id=name, atoms=atoms, origin="relabel", enthalpy=enthalpy, spread=0.02)


def ids(chosen) -> list[str]:
    return [one.id for one in chosen]


def test_the_crystals_of_this_file_are_distinct():
    seen = KnownSet()
    for atoms in CRYSTALS:
        vector = fingerprint(atoms)
        assert not seen.has(vector, 0.05)
        seen.add(vector)


numbers = st.lists(
    st.tuples(st.floats(-0.2, 0.4), st.floats(0, 0.8)), min_size=len(CRYSTALS), max_size=12
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(numbers=numbers, n=st.integers(0, 14), order=st.permutations(range(12)))
def test_every_rule_chooses_distinct_allowed_candidates_in_any_order(kind, numbers, n, order):
    rule = KINDS[kind]()
    candidates = [candidate(index, *row) for index, row in enumerate(numbers)]
    # copies of three of them
    candidates += [candidate(index, *numbers[index], name=f"d{index}") for index in range(3)]
    labelled = [known(11, 0.0), known(10, 0.1)]
    pending = [candidate(9, *numbers[9])]
    chosen = rule.choose(candidates, labelled, pending, n)

    assert len(chosen) <= n
    assert len({one.atoms.positions.tobytes() for one in chosen}) == len(chosen)
    assert not {"c09", "c10", "c11"} & set(ids(chosen))
    # what is not trusted is chosen below all labels only, and not without anything that is
    trusted = [one for one in candidates if one.spread <= rule.spread_cap_ev_per_atom]
    assert all(one in trusted or (trusted and one.height < 0.0) for one in chosen)
    shuffled = [candidates[place] for place in order] + candidates[12:][::-1]
    assert ids(rule.choose(shuffled, labelled[::-1], pending, n)) == ids(chosen)
    # 4 fewer places: the same ones come first
    assert ids(rule.choose(candidates, labelled, pending, n // 2)) == ids(chosen)[: n // 2]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.integers(-200, 400), min_size=10, max_size=10), shift=st.integers(-9, 9))
def test_a_constant_shift_of_all_enthalpies_changes_nothing(kind, steps, shift):
    rule = KINDS[kind]()

    def chosen(offset: float) -> list[str]:
        # binary fractions, so that the shift is exact
        rows = [
            candidate(index, step / 1024 + offset, spread=(step % 64) / 1024)
            for index, step in enumerate(steps)
        ]
        return ids(rule.choose(rows, [known(11, offset, fmax=1.0)], [], 4))

    assert chosen(0.0) == chosen(float(shift))


def test_the_kinds_of_the_folder_are_found():
    assert {"lower_confidence_bound", "disagreement"} <= KINDS.keys()
    built = acquisition.build({"kind": "lower_confidence_bound", "kappa": 2})
    assert acquisition.build({"kappa": 2}) == built  # the default one
    assert built == LowerConfidenceBound(kappa=2)
    with pytest.raises(ValueError, match="did you mean 'disagreement'"):
        acquisition.build({"kind": "disagrement"})


def test_lower_confidence_bound_trades_enthalpy_for_spread():
    rows = [candidate(0, 0.00, 0.01), candidate(1, 0.05, 0.10), candidate(2, 0.02, 0.01)]
    assert ids(LowerConfidenceBound().choose(rows, [], [], 3)) == ["c01", "c00", "c02"]
    assert ids(LowerConfidenceBound(kappa=0).choose(rows, [], [], 2)) == ["c00", "c02"]


def test_disagreement_looks_in_a_narrow_window():
    rows = [candidate(0, 0.00, 0.01), candidate(1, 0.05, 0.10), candidate(2, 0.2, 0.4)]
    assert ids(Disagreement().choose(rows, [], [], 3)) == ["c01", "c00"]


def test_garbage_is_never_offered():
    rule = LowerConfidenceBound()
    holes = [candidate(0, -20.0, 5.0), candidate(1, -3.0, 0.6)]
    assert rule.choose(holes, [], [], 4) == []
    # nor does a hole shift the window of the others
    assert ids(rule.choose([*holes, candidate(2, 0.0), candidate(3, 0.41)], [], [], 4)) == ["c02"]
    assert rule.choose([Candidate(id="x", atoms=CRYSTALS[0], origin="rattle")], [], [], 1) == []


def test_a_label_for_novelty_may_go_to_what_is_placed_below_all_labels_and_not_trusted():
    rule = LowerConfidenceBound(explore=1.0)
    rows = [candidate(0, -2.0, 5.0), candidate(1, 0.1, 5.0), candidate(2, 0.1, 0.4)]
    assert set(ids(rule.choose(rows, [known(11, 0.0)], [], 3))) == {"c00", "c02"}
    assert ids(rule.choose(rows[:2], [known(11, 0.0)], [], 3)) == []
    assert ids(LowerConfidenceBound(explore=0.0).choose(rows, [known(11, 0.0)], [], 1)) == ["c02"]


def test_a_relaxed_label_blocks_its_copies():
    assert not LowerConfidenceBound().choose([twin(0, -0.5)], [known(0, 0.0)], [], 1)
    assert not LowerConfidenceBound().choose([twin(0, -0.5)], [known(0, 0, stress=None)], [], 1)


@pytest.mark.parametrize("unrelaxed", [{"fmax": 0.2}, {"stress": 2 * GPa}])
def test_one_twin_of_the_best_unrelaxed_label_per_call(unrelaxed):
    rule = LowerConfidenceBound()
    labels = [known(0, 0.0, **unrelaxed), known(1, 0.05, **unrelaxed)]
    # a little higher than its label is near enough for the best one ...
    assert ids(rule.choose([twin(0, 0.008)], labels, [], 4)) == ["twin"]
    assert not rule.choose([twin(0, 0.012)], labels, [], 4)
    # ... but not for another one
    assert not rule.choose([twin(1, 0.058)], labels, [], 4)
    # and only one of two different steps towards it
    both = [twin(0, 0.008), twin(0, 0.007, amplitude=0.03, name="other")]
    assert ids(rule.choose(both, labels, [], 4)) == ["other"]
    # and none while one is being labelled
    assert not rule.choose(both[:1], labels, both[1:], 4)


def relaxed_again(
    index: int, enthalpy: float, amplitude: float = 0.02, name: str = "again", parent: str = ""
) -> Candidate:
    """A label of the list after relaxation on the potential: evolution's `again`."""
    one = twin(index, enthalpy, amplitude, name)
    one.parents = (parent or f"k{index:02d}",)
    return one


def test_the_best_label_relaxed_on_the_potential_may_be_predicted_above_it():
    """A potential that is off by a constant there must not keep the search from its minimum."""
    rule = LowerConfidenceBound()
    labels = [known(0, 0.0, fmax=0.2), known(1, 0.05)]
    high = relaxed_again(0, 0.25)
    assert ids(rule.choose([high], labels, [], 4)) == ["again"]
    # not because it is high: any other way to the same crystal is blocked
    for field, value in [("origin", "strain"), ("parents", ()), ("parents", ("k01",))]:
        other = relaxed_again(0, 0.25)
        setattr(other, field, value)
        assert not rule.choose([other], labels, [], 4), field
    both = relaxed_again(0, 0.25)
    both.parents = ("k00", "k01")
    assert not rule.choose([both], labels, [], 4)


def test_the_minimum_of_the_best_label_comes_before_what_is_surely_low():
    """A fit that is off by a constant there would let it wait."""
    rule = LowerConfidenceBound(explore=0.0, exploit=1.0)
    low = candidate(3, 0.03, spread=0.02)
    minimum = relaxed_again(0, 0.2, 0.06, "minimum")
    unrelaxed, relaxed = known(0, 0.0, fmax=0.2), known(0, 0.0)
    assert ids(rule.choose([low, minimum], [unrelaxed], [], 2)) == ["minimum", "c03"]
    assert ids(rule.choose([low, minimum], [relaxed], [], 2)) == ["c03"]


def test_the_best_label_relaxed_on_the_potential_is_chosen_once():
    """Two steps to either side: copies of the best, not of each other."""
    rule = LowerConfidenceBound(explore=0.0)
    best = known(0, 0.0, fmax=0.2)
    steps = [relaxed_again(0, 0.2, 0.03, "a"), relaxed_again(0, 0.21, 0.065, "b")]
    assert distance(steps[0].fingerprint, steps[1].fingerprint) > DUPLICATE
    assert all(distance(one.fingerprint, best.fingerprint) < DUPLICATE for one in steps)
    assert ids(rule.choose(steps[1:], [best], [], 4)) == ["b"]
    assert ids(rule.choose(steps, [best], [], 4)) == ["a"]
    # nor beside a step that is being labelled
    assert not rule.choose(steps[:1], [best], steps[1:], 4)
    # a candidate that needs no exception does not use it up
    free = candidate(2, -0.05)
    assert ids(rule.choose([free, *steps], [best], [], 4)) == ["c02", "a"]


def test_a_finished_best_label_is_not_labelled_again():
    for stress in (0.0, None):
        done = known(0, 0.0, stress=stress)
        assert not LowerConfidenceBound().choose([relaxed_again(0, 0.1)], [done], [], 4)
        assert not LowerConfidenceBound().choose([relaxed_again(0, -0.1)], [done], [], 4)


def test_other_labels_relaxed_on_the_potential_must_be_predicted_below_themselves():
    rule = LowerConfidenceBound()
    labels = [known(0, 0.0, fmax=0.2), known(1, 0.05, fmax=0.2)]
    assert not rule.choose([relaxed_again(1, 0.06)], labels, [], 4)
    assert ids(rule.choose([relaxed_again(1, 0.03)], labels, [], 4)) == ["again"]
    # nor does the name of the best help a copy of another
    assert not rule.choose([relaxed_again(1, 0.06, parent="k00")], labels, [], 4)


def test_the_very_geometry_of_the_best_is_not_labelled_again_after_relaxation():
    """The potential moved nothing: the same label would come back."""
    still = Candidate("again", CRYSTALS[0], "relabel", ("k00",), 0.1, 0.02)
    assert not LowerConfidenceBound().choose([still], [known(0, 0.0, fmax=0.2)], [], 4)


def test_an_unrelaxed_label_does_not_block_its_minimum():
    rule = LowerConfidenceBound(explore=0.0)
    labels = [known(0, 0.0), known(1, 0.05, fmax=0.2), known(2, 0.06, fmax=0.2)]
    rows = [twin(1, 0.03, name="t1"), twin(2, 0.03, name="t2")]
    assert ids(rule.choose(rows, labels, [], 4)) == ["t1", "t2"]


def test_the_very_geometry_that_is_labelled_is_not_labelled_again():
    exact = candidate(0, -0.02)
    assert not LowerConfidenceBound().choose([exact], [known(0, 0.0, fmax=0.5)], [], 1)


def test_an_earlier_step_of_the_same_descent_does_not_stop_the_next():
    """Two labels of one basin, neither relaxed: the next step is near both."""
    first = known(0, 0.02, fmax=0.5)
    second = Known("k-second", twin(0, 0.0, 0.03).atoms, 0.0, fmax=0.2)
    step = twin(0, 0.003, 0.01)
    assert distance(step.fingerprint, first.fingerprint) < 0.02
    assert ids(LowerConfidenceBound().choose([step], [first, second], [], 2)) == ["twin"]


def on_hull(name: str, atoms: Atoms, height: float = 0.0, fmax: float = 0.2) -> Known:
    """A label whose composition has its own ground."""
    one = Known(name, atoms, -3.0 * len(set(atoms.symbols)) + height, fmax, 0.0)
    one.stand_on(one.enthalpy - height)
    return one


def again(known_one: Known, height: float, name: str) -> Candidate:
    """A label relaxed on the potential, predicted at some height above the hull."""
    atoms = known_one.atoms.copy()
    atoms.set_cell(atoms.cell.array * 1.01, scale_atoms=True)
    enthalpy = known_one.ground + height
    return Candidate(name, atoms, "relabel", (known_one.id,), enthalpy, 0.02, 0.0, known_one.ground)


def test_every_structure_on_the_hull_has_its_twin():
    rule = LowerConfidenceBound(explore=0.0)
    labels = [
        on_hull("copper", bulk("Cu")),
        on_hull("gold", bulk("Au")),
        on_hull("alloy", CRYSTALS[0]),
        on_hull("high", CRYSTALS[1], 0.05),
    ]
    twins = [again(one, one.height + 0.005, f"again-{one.id}") for one in labels]
    chosen = ids(rule.choose(twins, labels, [], 9))
    # one of a composition on the hull each; the exception is not for what lies above
    assert chosen == ["again-alloy", "again-copper", "again-gold"]
    assert not rule.choose(twins[:1], labels, twins[:1], 4)


def test_candidates_are_ordered_by_height_not_by_enthalpy():
    rule = LowerConfidenceBound(explore=0.0)
    deep = Candidate("deep", CRYSTALS[0], "strain", (), -9.0, 0.01, 0.0, ground=-9.1)
    high = Candidate("high", bulk("Cu"), "strain", (), -1.0, 0.01, 0.0, ground=-0.95)
    assert deep.height == pytest.approx(0.1)
    assert high.fitness > deep.fitness
    assert ids(rule.choose([deep, high], [], [], 2)) == ["high", "deep"]


def test_a_composition_that_nobody_labelled_is_the_newest_of_all():
    rule = LowerConfidenceBound(explore=1.0)
    labels = [known(0, 0.0)]
    rows = [candidate(1, 0.0), Candidate("Cu", bulk("Cu"), "strain", (), 0.3, 0.01),
            Candidate("Au", bulk("Au"), "strain", (), 0.2, 0.01)]  # fmt: skip
    assert ids(rule.choose(rows, labels, [], 3)) == ["Au", "Cu", "c01"]


def test_among_several_compositions_novelty_counts_where_the_hull_may_change():
    rule = LowerConfidenceBound(explore=1.0)
    labels = [on_hull("alloy", CRYSTALS[0]), on_hull("silver", bulk("Ag"))]
    sure = Candidate("sure", bulk("Cu"), "strain", (), 0.2, 0.01)
    open_ = Candidate("open", bulk("Au"), "strain", (), 0.09, 0.05)
    wild = Candidate("wild", bulk("Pt"), "strain", (), 0.3, 0.2)
    rows = [sure, open_, wild, candidate(1, 0.01)]
    # then by their scores, 0.1 and 0.19
    assert ids(rule.choose(rows, labels, [], 4)) == ["open", "c01", "wild", "sure"]
    # of one composition novelty is all that finds what the potential does not know
    rows = [candidate(1, 0.01), candidate(2, 0.2, 0.001)]
    far = max(rows, key=lambda one: distance(one.fingerprint, CRYSTALS_SEEN[0]))
    assert ids(rule.choose(rows, labels[:1], [], 1)) == [far.id]


def test_a_relaxed_label_does_not_block_what_is_lower_than_anything():
    """Forces of 0.04 eV/Å can leave a meV, and phases lie as near as that."""
    rule = LowerConfidenceBound(explore=0.0)
    done = on_hull("alloy", CRYSTALS[0], fmax=0.04)
    labels = [done, on_hull("silver", bulk("Ag"), fmax=0.01)]

    def lower(height: float, spread: float) -> Candidate:
        one = again(done, height, "lower")
        return Candidate(one.id, one.atoms, one.origin, one.parents, one.enthalpy, spread, 0.0,
                         ground=one.ground)  # fmt: skip

    assert ids(rule.choose([lower(-0.001, 0.0002)], labels, [], 2)) == ["lower"]
    assert not rule.choose([lower(-0.001, 0.0003)], labels, [], 2)
    assert not rule.choose([lower(-0.0004, 0.00001)], labels, [], 2)
    # nor where one composition is searched: forces of 0.038 eV/Å hid what lay 6 meV lower
    assert ids(rule.choose([lower(-0.001, 0.0002)], labels[:1], [], 2)) == ["lower"]
    # and where the label is not the best, one spread is enough to ask which of the two is lower
    best = on_hull("best", CRYSTALS[1], -0.002, fmax=0.0)
    assert ids(rule.choose([lower(-0.004, 0.0015)], [done, best], [], 2)) == ["lower"]
    assert not rule.choose([lower(-0.003, 0.0015)], [done, best], [], 2)
    # but what is said to lie much lower than its own label is an error of the potential
    assert not rule.choose([lower(-0.011, 0.0002)], labels[:1], [], 2)


def test_an_unrelaxed_label_does_not_block_what_is_lower_than_anything_either():
    """It is not the best, so that the twin of the best is no way out."""
    rule = LowerConfidenceBound(explore=0.0)
    raw = on_hull("alloy", CRYSTALS[0], fmax=0.2)
    best = on_hull("best", CRYSTALS[1], -0.002, fmax=0.0)

    def lower(height: float) -> Candidate:
        one = again(raw, height, "lower")
        return Candidate(one.id, one.atoms, one.origin, one.parents, one.enthalpy, 0.0015, 0.0,
                         ground=one.ground)  # fmt: skip

    assert ids(rule.choose([lower(-0.004)], [raw, best], [], 2)) == ["lower"]
    assert not rule.choose([lower(-0.003)], [raw, best], [], 2)


def test_candidate_and_known_survive_json():
    import json

    one = Candidate("a", bulk("Si"), "strain", ("p", "q"), -1 / 3, 0.1, 0.02)
    again = Candidate.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.to_dict() == one.to_dict()
    assert again.parents == ("p", "q")
    assert again.fitness.values == (-1 / 3,)
    assert (again.fingerprint == one.fingerprint).all()
    label = Known("k", bulk("Si"), -0.1, 0.3, None)
    assert Known.from_dict(json.loads(json.dumps(label.to_dict()))).to_dict() == label.to_dict()
    assert not label.at_minimum()


def test_a_fitness_is_absent_or_a_number():
    assert not Candidate("a", bulk("Si"), "strain").fitness.valid
    low = Candidate("a", bulk("Si"), "strain", enthalpy=-1.0)
    high = Candidate("b", bulk("Si"), "strain", enthalpy=2.0)
    assert low.fitness > high.fitness
    with pytest.raises(ValueError, match="enthalpy is nan"):
        Candidate("a", bulk("Si"), "strain", enthalpy=float("nan"))


def test_a_share_of_the_labels_goes_to_what_is_least_like_anything_labelled():
    """Lowest first would never look at a structure that the potential places too high."""
    alike = [twin(0, -0.01 * i, amplitude=0.2, name=f"a{i}") for i in range(3)]
    odd = candidate(2, 0.2)
    labels = [known(0, 0.0)]
    plain = LowerConfidenceBound(explore=0.0).choose([*alike, odd], labels, [], 1)
    assert "c02" not in ids(plain)
    half = LowerConfidenceBound(explore=0.5).choose([*alike, odd], labels, [], 1)
    assert ids(half) == ["c02"]


def test_what_is_surely_no_better_gets_no_label_before_what_is_unlike_anything():
    """Endless variants of one structure lie just above it, and the ensemble knows them all."""
    rule = LowerConfidenceBound(explore=0.0)
    labels = [known(0, 0.0)]
    variants = [twin(0, 0.002 + 0.0005 * i, amplitude=0.2 + 0.1 * i) for i in range(3)]
    variants = [replace(one, id=f"a{i}", spread=0.0003) for i, one in enumerate(variants)]
    odd, open_one = candidate(2, 0.3, spread=0.05), candidate(3, 0.2, spread=0.1)
    chosen = rule.choose([*variants, odd, open_one], labels, [], 5)
    assert ids(chosen)[:2] == ["c03", "c02"]
    # where there is nothing else they are labelled all the same
    assert {"a0", "a1", "a2"} >= {*ids(chosen)[2:]}


def test_exploration_keeps_its_share_over_calls():
    rule = LowerConfidenceBound(explore=0.25)
    turns = [rule._explores(asked) for asked in range(40)]
    assert sum(turns) == 10
    assert all(sum(turns[i : i + 4]) == 1 for i in range(0, 40, 4))
    assert not any(LowerConfidenceBound(explore=0.0)._explores(asked) for asked in range(40))

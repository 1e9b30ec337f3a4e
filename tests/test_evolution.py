"""The inner genetic algorithm with relaxers that cost nothing."""

import random  # noqa: TID251 - what is tested is that it is given back
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE

from aga.search import operators, seeds
from aga.search.adaptation import weights
from aga.search.candidate import Known
from aga.search.evolution import CARRIED, CREDITED, RELABEL, evolve, lent_random
from aga.search.hull import Hull, Phase
from aga.search.settings import EvolutionSettings
from aga.search.similarity import KnownSet
from aga.search.space import Space, Spaces
from potentials.gates import Relaxed

SPACE = Space({"Au": 2, "Cu": 2})
OPERATORS = [kind() for kind in operators.kinds().values()]
EVEN = weights({}, [one.kind for one in OPERATORS])


def density(atoms: Atoms) -> float:
    """A smooth toy energy: close to 0.02 per Å^3 of deviation from the guess, and like pairs."""
    volume = atoms.get_volume() / len(atoms)
    distances = atoms.get_all_distances(mic=True)
    unlike = distances[atoms.numbers == 29][:, atoms.numbers == 79]
    return 0.01 * (volume - 14.0) ** 2 + 0.05 * float(unlike.mean())


class Toy:
    """Relaxes nothing; remembers how many structures each batch had."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, structures) -> list[Relaxed]:
        self.batches.append(len(structures))
        return [self.end(atoms) for atoms in structures]

    def end(self, atoms: Atoms) -> Relaxed:
        return Relaxed(
            atoms=atoms.copy(),
            stopped="converged",
            reason="",
            steps=1,
            enthalpy=density(atoms),
            spread=0.01,
            fmax=0.01,
            volume=atoms.get_volume(),
        )


class Faulty(Toy):
    """Every fourth end is one that must not be used."""

    def __call__(self, structures) -> list[Relaxed]:
        ends = super().__call__(structures)
        faults = [
            {"stopped": "gate", "reason": "volume"},
            {"enthalpy": float("nan")},
            {"fmax": 3.0},
        ]
        for place in range(0, len(ends), 4):
            ends[place] = replace(ends[place], **faults[(place // 4) % 3])
        return ends


def data(found) -> list[dict]:
    return [one.to_dict() for one in found.candidates]


def archive(n: int) -> list[Known]:
    found = seeds.many(SPACE, n, np.random.default_rng(5))
    return [
        Known(f"label-{place}", atoms, density(atoms), 0.5) for place, atoms in enumerate(found)
    ]


def run(relaxer, *, known=(), carried=(), seed=0, **settings):
    return evolve(
        known,
        carried,
        Spaces([SPACE]),
        EvolutionSettings(**{"candidates": 20, **settings}),
        OPERATORS,
        EVEN,
        relaxer,
        np.random.default_rng(seed),
        prefix="e1",
    )


def test_candidates_are_distinct_sorted_and_complete():
    toy = Toy()
    known = archive(5)
    first = run(toy, known=known)
    limit = min(one.enthalpy for one in known) + EvolutionSettings().archive_window_ev_per_atom
    assert toy.batches == [10 + sum(one.enthalpy <= limit for one in known), 10]
    energies = [one.enthalpy for one in first.candidates]
    assert energies == sorted(energies)
    seen = KnownSet()
    for one in first.candidates:
        assert not seen.has(one.fingerprint)
        seen.add(one.fingerprint)
        assert Counter(one.atoms.symbols) == SPACE.composition
        assert one.fitness.values == (one.enthalpy,)
        assert one.spread == 0.01
    names = [one.id for one in first.candidates]
    assert len(set(names)) == len(names)
    assert all(name.startswith("e1-") for name in names)
    assert {one.origin for one in first.candidates} <= {RELABEL, *EVEN}
    assert [row["generation"] for row in first.statistics] == [0, 1]
    bests = [row["best_ev_per_atom"] for row in first.statistics]
    assert bests[1] <= bests[0]
    assert bests[1] == energies[0]


def test_carried_and_labelled_are_relaxed_again_with_their_parentage():
    known = archive(12)
    before = run(Toy(), known=known)
    toy = Toy()
    after = run(toy, known=known, carried=before.candidates, seed=1, keep=200)
    assert toy.batches[0] == 10 + min(25, len(before.candidates)) + len(
        [one for one in known if one.enthalpy <= min(k.enthalpy for k in known) + 0.3][:8]
    )
    origins = Counter(one.origin for one in after.candidates)
    assert origins[CARRIED] + origins[RELABEL] > 0
    labels = {one.id for one in known}
    old = {one.id for one in before.candidates}
    for one in after.candidates:
        if one.origin == RELABEL:
            assert set(one.parents) <= labels
        if one.origin == CARRIED:
            assert set(one.parents) <= old


def test_the_rng_alone_decides_and_global_random_is_given_back():
    random.seed(3)
    state = random.getstate()
    known = archive(4)
    first = run(Toy(), known=known)
    assert random.getstate() == state
    random.seed(99)
    again = run(Toy(), known=known[::-1])
    other = run(Toy(), known=known, seed=1)
    assert [one.to_dict() for one in first.candidates] == [
        one.to_dict() for one in again.candidates
    ]
    assert first.record == again.record
    assert first.statistics == again.statistics
    assert [one.to_dict() for one in first.candidates] != [
        one.to_dict() for one in other.candidates
    ]


def test_lent_random_is_given_back_after_an_error():
    state = random.getstate()

    def fail() -> None:
        with lent_random(np.random.default_rng(0)):
            random.random()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert random.getstate() == state


def test_an_empty_archive_starts_from_random_crystals():
    first = run(Toy(), generations=1)
    assert {one.origin for one in first.candidates} == {"symmetric_random"}
    assert first.record["symmetric_random"][0] == 20


def test_bad_ends_are_rejected_by_reason():
    found = run(Faulty(), known=archive(4), generations=1)
    assert found.rejected.keys() >= {"volume", "prediction not finite", "forces not relaxed"}
    assert all(np.isfinite(one.enthalpy) and one.fmax < 1 for one in found.candidates)
    assert found.statistics[0]["rejected"] == sum(
        found.rejected[name] for name in ("volume", "prediction not finite", "forces not relaxed")
    )


def test_nothing_left_is_an_empty_answer():
    class Broken(Toy):
        def end(self, atoms):
            return replace(super().end(atoms), stopped="gate", reason="distance")

    found = run(Broken(), known=archive(2))
    assert found.candidates == []
    assert found.rejected["distance"] >= 20
    assert all(succeeded == 0 for _, succeeded in found.record.values())


def test_holes_neither_crowd_out_nor_breed():
    class Holes(Toy):
        def end(self, atoms):
            self.count = getattr(self, "count", 0) + 1
            hole = {"enthalpy": -20.0 - self.count, "spread": 4.0} if self.count % 2 else {}
            return replace(super().end(atoms), **hole)

    found = run(Holes(), known=archive(4), keep=8)
    trusted = [one for one in found.candidates if one.spread < 0.5]
    assert len(trusted) == len(found.candidates) == 8
    holes = {f"e1-{place:03d}" for place in range(0, 40, 2)}
    bred = [one for one in trusted if set(one.parents) & holes]
    assert not bred


def test_success_is_a_new_structure_among_the_lowest():
    known = archive(6)
    found = run(Toy(), known=known, candidates=40)
    assert sum(tried for tried, _ in found.record.values()) == 40
    assert all(0 <= succeeded <= tried for tried, succeeded in found.record.values())
    assert sum(succeeded for _, succeeded in found.record.values()) > 0

    class Collapse(Toy):
        """Everything relaxes into the structure that is known."""

        def end(self, atoms):
            return replace(super().end(known[0].atoms), enthalpy=0.0)

    stale = run(Collapse(), known=known)
    assert sum(succeeded for _, succeeded in stale.record.values()) == 0
    assert len(stale.candidates) == 1


def test_what_survives_among_the_highest_earns_no_credit():
    class Steps(Toy):
        """Every next structure lies a little higher than the one before."""

        def end(self, atoms):
            self.count = getattr(self, "count", 0) + 1
            return replace(super().end(atoms), enthalpy=1e-3 * self.count)

    found = run(Steps(), known=archive(1), candidates=40, generations=1, keep=30)
    survivors = [one for one in found.candidates if one.enthalpy is not None]
    assert len(survivors) == 30
    succeeded = sum(count for _, count in found.record.values())
    # the label itself, relaxed again, is one of the lowest ten
    assert 7 <= succeeded <= round(CREDITED * 30)


def test_weights_steer_the_operators():
    only = {one.kind: 0.0 for one in OPERATORS} | {"strain": 1.0}
    found = evolve(
        archive(4),
        [],
        Spaces([SPACE]),
        EvolutionSettings(candidates=12, fresh_share=0.25),
        OPERATORS,
        only,
        Toy(),
        np.random.default_rng(0),
        prefix="w",
    )
    assert found.record["strain"][0] + found.record["symmetric_random"][0] == 12
    assert found.record["symmetric_random"][0] == 4  # round(0.25 x 6) in each of 2 generations


def test_operators_that_do_not_apply_are_left_out():
    space = Space({"Cu": 4})
    found = evolve(
        [Known("k", seeds.random_crystal(space, np.random.default_rng(0)), 0.0, 0.5)],
        [],
        Spaces([space]),
        EvolutionSettings(candidates=8),
        OPERATORS,
        EVEN,
        lambda structures: [elemental(atoms) for atoms in structures],
        np.random.default_rng(0),
        prefix="x",
    )
    assert "permute" not in found.record
    assert sum(tried for tried, _ in found.record.values()) == 8


class Spy(operators.Operator):
    """Remembers the parents of every call."""

    parents = 1
    kind: str = "spy"
    seen: list

    def vary(self, parents, space, rng):
        self.seen.append((space.name, parents[0].get_chemical_formula()))
        return seeds.random_crystal(space, rng)


class Mixing(Spy):
    any_composition = True


def two_spaces(operator, chances, **settings):
    rng = np.random.default_rng(2)
    other = Space({"Au": 1, "Cu": 3})
    known = [
        Known(f"{space.name}-{place}", atoms, density(atoms), 0.5)
        for space in (SPACE, other)
        for place, atoms in enumerate(seeds.many(space, 3, rng))
    ]
    hull = Hull([Phase("a", {"Au": 1, "Cu": 1}, 0.0), Phase("b", {"Au": 1, "Cu": 3}, -7.0)])
    return evolve(
        known,
        [],
        Spaces([SPACE, other], chances, hull),
        EvolutionSettings(**{"candidates": 24, "fresh_share": 0.0, **settings}),
        [operator],
        {"spy": 1.0},
        Toy(),
        np.random.default_rng(0),
        prefix="t",
    )


def test_children_are_drawn_by_chance_and_have_parents_of_their_composition():
    spy = Spy(seen=[])
    found = two_spaces(spy, [0.75, 0.25])
    assert {("Au2Cu2", "Au2Cu2"), ("AuCu3", "AuCu3")} == set(spy.seen)
    drawn = Counter(name for name, _ in spy.seen)
    assert drawn["Au2Cu2"] > drawn["AuCu3"] > 0
    assert {one.cell for one in found.candidates} == {"Au2Cu2", "AuCu3"}
    spy = Spy(seen=[])
    two_spaces(spy, [0.0, 1.0])
    assert {name for name, _ in spy.seen} == {"AuCu3"}


def test_an_operator_may_take_parents_of_any_composition():
    mixing = Mixing(seen=[])
    two_spaces(mixing, [1.0, 0.0])
    assert set(mixing.seen) == {("Au2Cu2", "Au2Cu2"), ("Au2Cu2", "AuCu3")}


def test_candidates_compete_by_their_height_above_the_hull():
    found = two_spaces(Spy(seen=[]), [0.5, 0.5], keep=8)
    heights = [one.height for one in found.candidates]
    assert heights == sorted(heights)
    assert [one.fitness.values[0] for one in found.candidates] == heights
    for one in found.candidates:
        assert one.ground == pytest.approx(-7.0 if one.formula == "AuCu3" else 0.0)
    # by enthalpy alone; the toy energies are positive, so that this order would be another
    assert {one.formula for one in found.candidates} == {"AuCu"}


def elemental(atoms: Atoms) -> Relaxed:
    volume = atoms.get_volume()
    return Relaxed(atoms, "converged", "", 1, (volume / len(atoms) - 11.8) ** 2, 0.0, 0.0, volume)


def by_emt(structures) -> list[Relaxed]:
    """A short relaxation of every structure with the toy oracle itself."""
    ends = []
    for start in structures:
        atoms = start.copy()
        atoms.calc = EMT()
        optimiser = FIRE(FrechetCellFilter(atoms), logfile=None)
        optimiser.run(fmax=0.1, steps=25)
        fmax = float(np.abs(atoms.get_forces()).max())
        energy = float(atoms.get_potential_energy()) / len(atoms)
        atoms.calc = None
        reason = SPACE.feasible(atoms) if atoms.get_volume() > 0 else "left-handed"
        stopped = "gate" if reason else "steps"
        ends.append(
            Relaxed(atoms, stopped, reason, 25, energy, 0.0, fmax, float(atoms.get_volume()))
        )
    return ends


def test_evolution_on_emt_goes_below_its_random_crystals():
    found = run(by_emt, candidates=16, generations=2, fresh_share=0.5, max_force_ev_per_a=5.0)
    lowest = found.candidates[0]
    fresh = [one.enthalpy for one in found.candidates if one.origin == "symmetric_random"]
    assert lowest.enthalpy <= min(fresh)
    assert lowest.enthalpy < 0.1
    assert found.statistics[1]["best_ev_per_atom"] <= found.statistics[0]["best_ev_per_atom"]


def test_many_compositions_make_a_larger_search_and_so_does_thoroughness():
    plain = EvolutionSettings(candidates=60, keep=40)
    for effort, compositions, candidates, keep in (
        (1, 1, 60, 40), (1, 30, 60, 40), (4, 30, 240, 40), (1, 66, 132, 88), (4, 66, 240, 88),
        (4, 300, 600, 400),
    ):  # fmt: skip
        sized = plain.times(effort, compositions)
        assert (sized.candidates, sized.keep) == (candidates, keep)
        assert sized.carried == plain.carried
    for labels, candidates, keep in ((4, 60, 40), (25, 60, 50), (512, 1024, 1024)):
        sized = plain.times(1, 1, labels)
        assert (sized.candidates, sized.keep) == (candidates, keep)

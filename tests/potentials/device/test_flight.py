"""Relaxation on a device against the reference: ends, swaps, memory, and structures gone wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.batch import UnknownElementError
from potentials.device import Setup, relax
from potentials.device import deck as decks
from potentials.device.inflight import Flight
from potentials.device.recording import Stepper
from potentials.device.state import RUNNING, state_of
from potentials.gates import Gates
from potentials.relax import Offset
from potentials.relax import relax as plain
from tests.crystals import rattled_crystals
from tests.potentials.device.references import CPU, EXACT, course_of, reference
from tests.tolerances import ROUNDING_ABS

OPEN = Gates(min_distance={}, volume_per_atom=(0.0, np.inf), min_height=0.0, max_length=np.inf)
#: ends in float32 against float64 [eV/atom]
SINGLE = 2e-5


def gates(**changes):
    return Gates(**{name: getattr(OPEN, name) for name in OPEN.__slots__} | changes)


def exact(structures, ensemble, **options):
    return relax(structures, ensemble, **({"device": "cpu", "setup": EXACT} | options))


def same(ends, expected):
    """The same path, step by step; rounding may differ."""
    assert len(ends) == len(expected)
    for one, other in zip(ends, expected, strict=True):
        assert (one.stopped, one.reason, one.steps) == (other.stopped, other.reason, other.steps)
        assert (one.atoms.numbers == other.atoms.numbers).all()
        assert one.atoms.calc is None
        for name in ("enthalpy", "spread", "fmax", "volume"):
            assert getattr(one, name) == pytest.approx(
                getattr(other, name), abs=ROUNDING_ABS, rel=ROUNDING_ABS, nan_ok=True
            )
        np.testing.assert_allclose(one.atoms.positions, other.atoms.positions, rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.atoms.cell, other.atoms.cell, rtol=0, atol=1e-6)


def test_the_same_ends_as_the_reference(bonded, dozen):
    ends = exact(dozen, bonded)
    same(ends, reference(dozen, bonded))
    assert sum(end.stopped == "converged" for end in ends) >= 8


def test_the_same_ends_as_users_are_given(bonded, dozen):
    """Whatever code the plain relaxation chooses; under pressure."""
    ends = exact(dozen, bonded, pressure=0.05, max_steps=50)
    expected = plain(dozen, bonded, pressure=0.05, max_steps=50)
    for one, other in zip(ends, expected, strict=True):
        assert (one.stopped, one.steps) == (other.stopped, other.steps)
        assert abs(one.enthalpy - other.enthalpy) < 1e-6


def test_single_precision_ends_there_too(bonded):
    starts = rattled_crystals(6, seed=2)
    ends = relax(starts, bonded, device="cpu", fmax=0.01)
    for one, other in zip(ends, reference(starts, bonded, fmax=0.01), strict=True):
        assert one.stopped == other.stopped == "converged"
        assert abs(one.enthalpy - other.enthalpy) < SINGLE


def test_everything_in_single_precision(bonded):
    """As a device without float64 needs it."""
    starts = rattled_crystals(6, seed=2)
    single = Setup(state_dtype=torch.float32)
    ends = relax(starts, bonded, device="cpu", setup=single)
    for one, other in zip(ends, reference(starts, bonded), strict=True):
        assert one.stopped == "converged"
        assert abs(one.enthalpy - other.enthalpy) < 1e-3


@pytest.mark.parametrize("changes", [{"most": 2}, {"stride": 1}, {"stride": 9}, {"skin": 0.15}])
def test_batch_stride_and_skin_change_nothing(bonded, dozen, changes):
    expected = reference(dozen, bonded, max_steps=40)
    same(exact(dozen, bonded, max_steps=40, setup=replace(EXACT, **changes)), expected)


def test_a_descriptor_without_dense_form(listed):
    starts = rattled_crystals(3, seed=4)
    same(exact(starts, listed, max_steps=8), reference(starts, listed, max_steps=8))


def test_networks_and_products(ensemble):
    starts = rattled_crystals(3, seed=4)
    same(exact(starts, ensemble, max_steps=8), reference(starts, ensemble, max_steps=8))


def test_one_member(alone):
    starts = rattled_crystals(2, seed=4)
    ends = exact(starts, alone, max_steps=3)
    same(ends, reference(starts, alone, max_steps=3))
    assert np.isnan([end.spread for end in ends]).all()


def test_nothing_to_relax(bonded):
    assert relax([], bonded, device="cpu") == []


def test_starting_structures_are_not_changed(bonded):
    starts = rattled_crystals(3)
    before = [atoms.copy() for atoms in starts]
    exact(starts, bonded, max_steps=5)
    assert starts == before


def test_unknown_elements_are_refused(bonded):
    with pytest.raises(UnknownElementError, match="Zn"):
        relax([Atoms("Zn", cell=[3, 3, 3], pbc=True)], bonded, device="cpu")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"min_distance": {("Cu", "Cu"): 2.6}}, "atoms too close"),
        ({"volume_per_atom": (20.0, 30.0)}, "volume per atom below the gate"),
        ({"volume_per_atom": (1.0, 10.0)}, "volume per atom above the gate"),
        ({"min_height": 3.0}, "cell thinner than the gate"),
        ({"max_length": 3.0}, "cell vector too long"),
        ({"min_height": 3.0, "max_length": 3.0}, "cell thinner than the gate"),
    ],
)
def test_gates_stop_at_once_and_say_why(bonded, changes, reason):
    atoms = [Atoms("Cu", cell=[2.5, 2.5, 3.1], pbc=True)]
    ends = exact(atoms, bonded, gates=gates(**changes))
    same(ends, reference(atoms, bonded, gates=gates(**changes)))
    assert (ends[0].stopped, ends[0].reason, ends[0].steps) == ("gate", reason, 0)
    assert exact(atoms, bonded, gates=OPEN, max_steps=0)[0].stopped == "steps"


def test_pairs_that_no_gate_names_are_not_checked(bonded):
    atoms = [Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 1.8]], cell=[3, 3, 3.6], pbc=True)]
    other = gates(min_distance={("Cu", "Cu"): 2.0})
    own = gates(min_distance={("Au", "Cu"): 2.0})
    assert exact(atoms, bonded, gates=other, max_steps=0)[0].stopped == "steps"
    assert exact(atoms, bonded, gates=own, max_steps=0)[0].reason == "atoms too close"


def test_a_gate_beyond_the_cutoff_asks_for_neighbours_within_it(bonded):
    """As the reference has it: an atom without neighbours is close to nothing."""
    far = [Atoms("Cu", cell=np.eye(3) * 12.0, pbc=True)]
    bounds = gates(min_distance={("Cu", "Cu"): 9.0})
    same(exact(far, bonded, gates=bounds), reference(far, bonded, gates=bounds))
    assert exact(far, bonded, gates=bounds)[0].reason == ""


def test_a_gate_met_on_the_way_stops_there(bonded):
    start = rattled_crystals(2, seed=3)
    bounds = gates(volume_per_atom=(1.0, 25.0))
    ends = exact(start, bonded, pressure=-0.5, gates=bounds)
    same(ends, reference(start, bonded, pressure=-0.5, gates=bounds))
    assert {end.reason for end in ends} == {"volume per atom above the gate"}
    assert all(end.steps > 0 for end in ends)


def spoilers():
    """Structures that nothing can be done with."""
    two = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.9]]
    made = {
        "position is NaN": Atoms("Cu2", positions=[two[0], [0, 0, np.nan]], cell=[3, 3, 4]),
        "position is infinite": Atoms("Cu2", positions=[two[0], [0, np.inf, 0]], cell=[3, 3, 4]),
        "atoms coincide": Atoms("Cu2", positions=[two[0], two[0]], cell=[3, 3, 4]),
        "cell is NaN": Atoms("Cu2", positions=two, cell=[3, 3, np.nan]),
        "cell is flat": Atoms("Cu2", positions=two, cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]),
        "cell is nothing": Atoms("Cu2", positions=two, cell=[0, 0, 0]),
        "cell is a sheet": Atoms("Cu2", positions=two, cell=[30, 30, 0.01]),
    }
    for atoms in made.values():
        atoms.pbc = True
    return made


def test_clusters_are_refused(bonded):
    (crystal,) = rattled_crystals(1)
    cluster = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])
    with pytest.raises(ValueError, match=r"structure 1 does not repeat .* potentials.relax"):
        exact([crystal, cluster], bonded)


@pytest.mark.parametrize("name", spoilers())
def test_what_cannot_be_evaluated_stops_with_the_reference_s_reason(bonded, name):
    bad = [spoilers()[name]]
    end = exact(bad, bonded)[0]
    expected = reference(bad, bonded)[0]
    assert (end.stopped, end.reason, end.steps) == ("gate", expected.reason, 0)
    assert end.reason
    assert end.enthalpy == pytest.approx(expected.enthalpy, nan_ok=True)


def test_bad_structures_do_not_spoil_the_others(bonded):
    starts, bad = rattled_crystals(4, seed=7), list(spoilers().values())
    mixed = [bad[0], starts[0], *bad[1:4], starts[1], starts[2], *bad[4:], starts[3]]
    ends = exact(mixed, bonded, max_steps=60, setup=replace(EXACT, most=3))
    good = [ends[mixed.index(atoms)] for atoms in starts]
    same(good, reference(starts, bonded, max_steps=60))
    assert sum(end.stopped == "gate" for end in ends) == len(bad)


def test_offsets(bonded):
    starts = rattled_crystals(3, seed=6)
    rng = np.random.default_rng(0)
    given = [Offset(rng.normal(0, 0.05, (4, 3)), np.diag(rng.normal(0, 0.01, 3))) for _ in starts]
    ends = exact(starts, bonded, offsets=given, max_steps=30)
    same(ends, reference(starts, bonded, offsets=given, max_steps=30))


def flight(structures, ensemble, **changes):
    course = course_of(ensemble, setup=replace(EXACT, **changes))
    host = state_of(structures, ensemble.elements, 3, torch.float64, crystals=True)
    return Flight(host, course)


def ends_in(host, expected):
    """Enthalpies and steps on the host are those of the reference."""
    assert (host.status != RUNNING).all()
    assert host.steps.tolist() == [end.steps for end in expected]
    own = host.energy.mean(dim=1) / host.size
    goal = torch.tensor([end.enthalpy for end in expected], dtype=torch.float64)
    assert float((own - goal).abs().max()) < ROUNDING_ABS


def test_structures_take_the_places_of_those_that_have_stopped(bonded, monkeypatch):
    """More waiting than places: one batch does it all, swapping a few at a time."""
    starts = rattled_crystals(9, seed=8)
    replaced = []
    real = decks.Deck.replace

    def note(self, slots, owners, *given):
        replaced.extend(owners.tolist())
        real(self, slots, owners, *given)

    monkeypatch.setattr(decks.Deck, "replace", note)
    made = flight(starts, bonded, most=3)
    made.run(96)
    assert made.batches == [3]
    assert replaced == [3, 4, 5, 6, 7, 8]
    ends_in(made.host, reference(starts, bonded))


def test_a_batch_with_few_left_is_packed(bonded, monkeypatch):
    starts = rattled_crystals(8, seed=8)
    sizes = []
    real = decks.Deck.advance

    def note(self):
        sizes.append(len(self.owners))
        real(self)

    monkeypatch.setattr(decks.Deck, "advance", note)
    made = flight(starts, bonded)
    made.run(96)
    assert sizes[0] == 8
    assert sizes[-1] < 4
    assert sizes == sorted(sizes, reverse=True)
    ends_in(made.host, reference(starts, bonded))


def test_lists_grow_where_neighbours_do_not_fit(bonded):
    starts = rattled_crystals(4, seed=8)
    made = flight(starts, bonded)
    made.run(24)
    assert made.width > 24
    ends_in(made.host, reference(starts, bonded))


def test_crowded_structures_go_by_themselves(bonded, monkeypatch):
    """Those with many more neighbours than expected do not widen the lists of the others."""
    dense = Atoms("Cu", cell=np.eye(3) * 1.6, pbc=True)
    starts = [rattled_crystals(1)[0], dense, *rattled_crystals(3, seed=8)]
    widths = []
    real = decks.Deck.advance

    def note(self):
        widths.append((len(self.owners), self.lists.width))
        real(self)

    monkeypatch.setattr(decks.Deck, "advance", note)
    made = flight(starts, bonded)
    made.run(60)
    assert made.batches == [5, 1]
    assert {width for count, width in widths if count > 1} == {60}
    assert max(width for _, width in widths) > 120
    ends_in(made.host, reference(starts, bonded))


def test_where_memory_runs_out_half_of_the_batch_goes_on(bonded, monkeypatch):
    """At any point of a step; structures go on from where they were."""
    starts = rattled_crystals(7, seed=8)
    real, calls = decks.step, []

    def greedy(state, *given):
        calls.append(len(state.status))
        if len(state.status) > 3 and len(calls) > 6:
            raise torch.OutOfMemoryError
        real(state, *given)

    monkeypatch.setattr(decks, "step", greedy)
    made = flight(starts, bonded)
    made.run(96)
    assert made.batches == [7, 3]
    assert calls[:8] == [7] * 7 + [3]
    ends_in(made.host, reference(starts, bonded))


def test_memory_that_runs_out_while_lists_are_made_or_places_filled(bonded, monkeypatch):
    starts = rattled_crystals(12, seed=8)
    fails = iter([False, True, False, False, True, False, True])
    for name in ("lists_of", "groups_of"):
        real = getattr(decks, name)

        def greedy(*given, _real=real):
            if next(fails, False):
                raise torch.OutOfMemoryError
            return _real(*given)

        monkeypatch.setattr(decks, name, greedy)
    made = flight(starts, bonded, most=8)
    made.run(96)
    assert made.batches == [8, 4, 2, 1]
    ends_in(made.host, reference(starts, bonded))


def test_where_one_structure_does_not_fit_it_is_an_error(bonded, monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(decks, "step", none)
    with pytest.raises(torch.OutOfMemoryError):
        relax(rattled_crystals(4), bonded, device="cpu")


def test_a_graph_needs_cuda():
    with pytest.raises(ValueError, match="CUDA graph"):
        Stepper(lambda: None, CPU, graph=True)


@pytest.mark.parametrize("changes", [{"skin": 0.0}, {"stride": 0}, {"most": 0}])
def test_settings_that_cannot_work_are_refused(changes):
    with pytest.raises(ValueError, match="expected a skin above 0"):
        Setup(**changes)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{}, {"backend": "inductor"}, {"graph": True}])
def test_on_a_gpu(bonded, dozen, changes):
    setup = replace(EXACT, **changes)
    same(exact(dozen, bonded, device="cuda", setup=setup), reference(dozen, bonded))


@pytest.mark.gpu
def test_a_step_on_a_gpu_does_not_wait(bonded, dozen):
    from tests.potentials.device.references import deck_of

    cuda = torch.device("cuda")
    course = course_of(bonded, device=cuda)
    host = deck_of(dozen, bonded, course_of(bonded))
    deck = decks.Deck(host.state.to(cuda), host.owners, host.species, course, 96)
    deck.renew()
    deck.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        deck.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert int(deck.state.steps.min()) > 0

"""The device's evaluation against `Ensemble.predict`, and nothing in a step that waits for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from potentials.activations import ACTIVATIONS
from potentials.batch import UnknownElementError
from potentials.device import Setup, predict
from potentials.device import prediction as module
from potentials.device.fire import step
from potentials.device.model import groups_of, model_of
from potentials.gates import Gates
from potentials.network import Networks
from tests.crystals import rattled_crystals
from tests.potentials.device.references import (
    CPU,
    EXACT,
    LookError,
    NoLooks,
    course_of,
    deck_of,
)
from tests.tolerances import ROUNDING, ROUNDING_ABS

FIELDS = ("energy", "member_energy", "energy_std", "forces", "stress", "extrapolation")
#: float32 against float64, relative to the largest component
SINGLE = 2e-5


def compare(found, expected, tolerance):
    for name in FIELDS:
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == torch.float64
        scale = max(1.0, float(other.nan_to_num().abs().max()))
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * scale, equal_nan=True)
    assert found.forces_std is None


@pytest.fixture(scope="module")
def all_sorts(dozen):
    sheet = dozen[0].copy()
    sheet.pbc = (True, True, False)
    molecule = Atoms("Cu2Au", positions=[[0, 0, 0], [2.4, 0, 0], [0, 2.6, 0]])
    left = dozen[1].copy()
    left.set_cell(left.cell.array[[1, 0, 2]])
    # closer than the wall begins, whatever the ensemble
    dense = Atoms("CuAu", positions=[[0, 0, 0], [0.9, 1, 1]], cell=[2, 2.1, 2.2], pbc=True)
    return [molecule, *dozen, sheet, left, Atoms("Cu"), dense]


def test_equal_to_the_reference(ensemble, all_sorts):
    compare(
        predict(all_sorts, ensemble, device="cpu", setup=EXACT),
        ensemble.predict(all_sorts),
        ROUNDING,
    )


def test_one_member(alone, all_sorts):
    found = predict(all_sorts, alone, device="cpu", setup=EXACT)
    compare(found, alone.predict(all_sorts), ROUNDING)
    assert found.energy_std.isnan().all()


def test_a_descriptor_without_dense_form(listed, all_sorts):
    compare(
        predict(all_sorts, listed, device="cpu", setup=EXACT), listed.predict(all_sorts), ROUNDING
    )


def test_single_precision_is_close(deep, dozen):
    compare(predict(dozen, deep, device="cpu"), deep.predict(dozen), SINGLE)


def test_energies_keep_their_digits_beside_large_constants(deep, dozen):
    """Energies of single atoms may be thousands of eV: they are added in the state's type."""
    large = replace(deep, reference=deep.reference - 1e4)
    shift = torch.tensor([-1e4 * len(atoms) for atoms in dozen], dtype=torch.float64)
    plain = predict(dozen, deep, device="cpu").energy
    assert float((predict(dozen, large, device="cpu").energy - shift - plain).abs().max()) < 1e-7


def test_compiled(deep, dozen):
    """Traced as a whole, forward and backward."""
    traced = replace(EXACT, backend="aot_eager")
    compare(predict(dozen[:3], deep, device="cpu", setup=traced), deep.predict(dozen[:3]), ROUNDING)


def test_batches_by_memory_change_nothing(deep, all_sorts):
    small = replace(EXACT, memory=300_000)
    compare(predict(all_sorts, deep, device="cpu", setup=small), deep.predict(all_sorts), ROUNDING)


def test_where_memory_runs_out_the_batch_is_halved(deep, dozen, monkeypatch):
    sizes = []
    real = module.evaluate

    def greedy(state, *given):
        sizes.append(len(state.status))
        if len(state.status) > 3:
            raise torch.OutOfMemoryError
        return real(state, *given)

    monkeypatch.setattr(module, "evaluate", greedy)
    crystals = rattled_crystals(10, seed=1)
    compare(predict(crystals, deep, device="cpu", setup=EXACT), deep.predict(crystals), ROUNDING)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]


def test_where_one_structure_does_not_fit_it_is_an_error(deep, dozen, monkeypatch):
    def none(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(module, "evaluate", none)
    with pytest.raises(torch.OutOfMemoryError):
        predict(dozen, deep, device="cpu")


def test_unknown_elements_are_refused(deep):
    with pytest.raises(UnknownElementError, match="Zn"):
        predict([Atoms("Zn")], deep, device="cpu")


@pytest.mark.parametrize("hidden", [(), (4,), (5, 4), (4, 3, 2)])
@pytest.mark.parametrize("activation", ["tanh", "harmonic"])
def test_networks_of_any_depth(linear, hidden, activation):
    """Against the networks' own derivatives, averaged over members."""
    names = [activation] * len(hidden)
    generator = torch.Generator().manual_seed(1)
    networks = Networks(3, 2, linear.scaling.mean.shape[1], hidden, generator, activations=names)
    for parameter in networks.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator).double()
    bare = replace(linear, networks=networks, linear=torch.zeros_like(linear.linear))
    model = model_of(bare, CPU, EXACT)
    species = np.array([1, 0, 0, 1, 1, -1, 0])
    scaled = torch.randn(7, networks.weights[0].shape[2], generator=generator).double()
    groups = groups_of(species, (0, 0), CPU)
    real = species >= 0
    index = torch.as_tensor(np.maximum(species, 0))
    energies, slopes = model.atomic(scaled, index, groups)
    expected, steep = networks(scaled, index)
    steep = steep.mean(dim=0) * model.inverse_spread[index]
    torch.testing.assert_close(energies[real], expected.T[real], rtol=0, atol=ROUNDING_ABS)
    torch.testing.assert_close(slopes[real], steep[real], rtol=0, atol=ROUNDING_ABS)
    assert set(names) <= set(ACTIVATIONS)


def test_groups_hold_every_atom_once_and_keep_their_size():
    rng = np.random.default_rng(0)
    sizes = (0, 0, 0)
    for _ in range(20):
        species = rng.integers(-1, 3, 64)
        groups = groups_of(species, sizes, CPU)
        own = np.repeat(np.arange(3), groups.sizes)[groups.place.numpy()]
        assert (
            groups.order[groups.place].numpy()[species >= 0] == np.flatnonzero(species >= 0)
        ).all()
        assert (own[species >= 0] == species[species >= 0]).all()
        assert all(new >= old for new, old in zip(groups.sizes, sizes, strict=True))
        sizes = groups.sizes
    assert groups_of(np.full(64, 2), sizes, CPU).sizes == (*sizes[:2], 64)


ALL_GATES = Gates({("Au", "Cu"): 1.5}, volume_per_atom=(1.0, 100.0))


@pytest.mark.parametrize("gates", [None, ALL_GATES], ids=["no gates", "gates"])
def test_a_step_never_looks_at_the_device(ensemble, dozen, gates):
    """No operation whose size or result the host must know, and no constants from the host."""
    deck = deck_of(dozen, ensemble, course_of(ensemble, gates=gates))
    before = deck.state.deformation.clone()
    with NoLooks():
        deck.advance()
    assert int(deck.state.steps.min()) > 0
    assert (deck.state.deformation != before).flatten(1).any(dim=1).all()


def test_a_step_needs_nothing_but_what_is_on_the_device(deep, dozen):
    """On torch's device without data, where no value can be looked at whatever the operation."""
    meta = torch.device("meta")
    course = course_of(deep, gates=ALL_GATES, device=meta, setup=Setup())
    deck = deck_of(dozen, deep, course_of(deep, setup=Setup()))
    state, lists = deck.state.to(meta), type(deck.lists)(*(t.to(meta) for t in deck.lists))
    groups = deck.groups._replace(
        order=deck.groups.order.to(meta), place=deck.groups.place.to(meta)
    )
    with NoLooks():
        step(state, lists, groups, course.model, course.rules, course.radius)
    assert all(tensor.device == meta for tensor in state)


def test_the_guard_guards(listed, dozen):
    """A descriptor that lists its pairs is caught, and so are the things the guard is made for."""
    deck = deck_of(dozen, listed, course_of(listed))
    with NoLooks(), pytest.raises(LookError, match="nonzero"):
        deck.advance()
    numbers = torch.arange(3.0)
    for look in (
        numbers.sum().item,
        lambda: numbers[numbers > 1],
        lambda: numbers.masked_select(numbers > 1),
        lambda: torch.tensor([1.0, 2.0]),
        lambda: torch.bincount(torch.arange(3)),
        lambda: numbers.to("meta"),
    ):
        with NoLooks(), pytest.raises(LookError):
            look()
    # these do not pass through the guard: without data there is nothing that they could give
    for look in (torch.empty(3, device="meta").tolist, torch.empty(3, device="meta").numpy):
        with pytest.raises((NotImplementedError, RuntimeError, TypeError)):
            look()


def test_no_graph_of_a_descriptor_that_waits(listed):
    with pytest.raises(ValueError, match="acsf lists its pairs anew"):
        model_of(listed, CPU, Setup(graph=True))

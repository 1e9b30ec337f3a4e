"""Products of components: their derivatives, their directions, and what a fit gains by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from potentials.basis import PRODUCT_SCALE, contract, expand, size
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.scaling import Scaling, scaling_of
from potentials.structures import Frame
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec, random_crystal
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

N_ATOMS, N_VALUES, N_ELEMENTS = 7, 5, 2
SPECIES = torch.tensor([0, 1, 0, 1, 1, 0, 1])
COMPONENTS = [0, 1, 3, N_VALUES]


def normal(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).normal(size=shape))


def scaling(components, seed=1):
    """Any directions at all: nothing below needs them orthogonal."""
    return Scaling(
        normal(N_ELEMENTS, N_VALUES, seed=seed),
        normal(N_ELEMENTS, N_VALUES, seed=seed).exp(),
        normal(N_ELEMENTS, N_VALUES, components, seed=seed),
    )


@pytest.mark.parametrize("components", COMPONENTS)
def test_basis_has_the_descriptors_first_then_every_product_once(components):
    made = scaling(components)
    scaled = normal(N_ATOMS, N_VALUES)
    basis, _ = expand(scaled, normal(N_ATOMS, N_VALUES, 2), SPECIES, made)
    assert basis.shape == (N_ATOMS, size(made))
    assert torch.equal(basis[:, :N_VALUES], scaled)
    for atom, element in enumerate(SPECIES.tolist()):
        leading = scaled[atom] @ made.components[element]
        expected = [
            leading[p] * leading[q] for p in range(components) for q in range(p, components)
        ]
        found = basis[atom, N_VALUES:] / PRODUCT_SCALE
        np.testing.assert_allclose(found, [float(one) for one in expected], rtol=ROUNDING)


@pytest.mark.parametrize("components", COMPONENTS)
def test_derivatives_of_the_basis_are_its_differences(components):
    """Descriptors that depend on two coordinates x, bent so that the chain rule has work."""
    made, slope, bend = scaling(components), normal(N_ATOMS, N_VALUES, 2, seed=2), 0.3

    def scaled(x):
        return slope @ x + bend * (slope @ x) ** 2

    here = torch.tensor([0.4, -0.7], dtype=torch.float64)
    jacobian = slope * (1 + 2 * bend * (slope @ here))[:, :, None]
    _, moves = expand(scaled(here), jacobian, SPECIES, made)
    assert moves.shape == (N_ATOMS, size(made), 2)
    for axis in range(2):
        step = STEP * torch.eye(2, dtype=torch.float64)[axis]
        ends = [expand(scaled(x), jacobian, SPECIES, made)[0] for x in (here + step, here - step)]
        expected = (ends[0] - ends[1]) / (2 * STEP)
        atol = DIFFERENCE * float(expected.abs().max())
        np.testing.assert_allclose(moves[..., axis], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("components", COMPONENTS)
def test_contraction_is_the_basis_times_coefficients(components):
    """Without ever making the basis: energies, and slopes by the chain rule."""
    made, members = scaling(components), 3
    scaled, jacobian = normal(N_ATOMS, N_VALUES), normal(N_ATOMS, N_VALUES, 4, seed=3)
    coefficients = normal(members, N_ELEMENTS, size(made), seed=4)
    basis, moves = expand(scaled, jacobian, SPECIES, made)
    energies, slopes = contract(coefficients, scaled, SPECIES, made)
    own = coefficients[:, SPECIES]
    np.testing.assert_allclose(energies, torch.einsum("knc,nc->kn", own, basis), rtol=ROUNDING)
    np.testing.assert_allclose(
        torch.einsum("knd,ndx->knx", slopes, jacobian),
        torch.einsum("knc,ncx->knx", own, moves),
        atol=ROUNDING_ABS,
    )


def test_without_components_the_basis_is_the_descriptors():
    made = scaling(0)
    scaled, jacobian = normal(N_ATOMS, N_VALUES), normal(N_ATOMS, N_VALUES, 4)
    basis, moves = expand(scaled, jacobian, SPECIES, made)
    assert torch.equal(basis, scaled)
    assert torch.equal(moves, jacobian)
    coefficients = normal(2, N_ELEMENTS, N_VALUES)
    _, slopes = contract(coefficients, scaled, SPECIES, made)
    assert torch.equal(slopes, coefficients[:, SPECIES])


def correlated(seed=5, count=60):
    """Descriptors of two elements, each with its own correlations (N, D)."""
    species = torch.arange(count) % N_ELEMENTS
    mix = normal(N_ELEMENTS, N_VALUES, N_VALUES, seed=seed)
    values = torch.einsum("nd,ndc->nc", normal(count, N_VALUES, seed=seed + 1), mix[species])
    return values, species


def test_components_are_the_orthonormal_directions_of_largest_variance():
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS, 3)
    assert made.components.shape == (N_ELEMENTS, N_VALUES, 3)
    for element, turn in enumerate(made.components):
        own = made.apply(values, species)[species == element]
        assert torch.allclose(turn.T @ turn, torch.eye(3).double(), atol=ROUNDING_ABS)
        variance = (own @ turn).var(dim=0, unbiased=False).numpy()
        expected = np.linalg.svd(own, compute_uv=False)[:3] ** 2 / len(own)
        np.testing.assert_allclose(variance, expected, rtol=ROUNDING)


def test_components_have_a_fixed_sign_and_do_not_depend_on_the_order_of_atoms():
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS, 3)
    largest = made.components.gather(1, made.components.abs().argmax(dim=1, keepdim=True))
    assert (largest > 0).all()
    assert torch.equal(scaling_of(values, species, N_ELEMENTS, 3).components, made.components)
    order = torch.as_tensor(np.random.default_rng(0).permutation(len(values)))
    shuffled = scaling_of(values[order], species[order], N_ELEMENTS, 3)
    assert torch.allclose(shuffled.components, made.components, atol=ROUNDING_ABS)


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (2, 2), (50, N_VALUES)])
def test_there_are_no_more_components_than_descriptors(asked, given):
    values, species = correlated()
    made = scaling_of(values, species, N_ELEMENTS, asked)
    assert made.components.shape[2] == given
    assert size(made) == N_VALUES + given * (given + 1) // 2


def test_one_atom_alone_has_components_too():
    """No variance in any direction: still a basis, and the same every time."""
    values = normal(1, N_VALUES)
    made = scaling_of(values, torch.tensor([0]), 1, 2)
    turn = made.components[0]
    assert torch.allclose(turn.T @ turn, torch.eye(2).double(), atol=ROUNDING_ABS)


def spec_with(components, **changes):
    linear = {"components": components, **changes.pop("linear", {})}
    return quick_spec(network={"enabled": False}, linear=linear, **changes)


def test_a_fit_with_products_has_their_coefficients(products):
    plain = products.scaling.mean.shape[1]
    assert products.linear.shape == (3, 2, plain + 21)
    assert products.linear[..., plain:].abs().max() > 1e-3


def test_products_fit_what_a_linear_model_cannot():
    """All labels count the same and the ridge hardly: the bases are nested, so errors fall."""
    seen = emt_frames(40, seed=3, species=("Cu",), sizes=(2, 3))
    even = {"energy_scale_ev_per_atom": 1e6, "force_scale_ev_per_a": 1e6}
    errors = []
    for components in (0, 3, 6):
        spec = spec_with(components, linear={"ridge": 1e-6}, labels=even, bootstrap="none")
        facts = fit(spec, seen, np.random.default_rng(0)).facts
        assert facts["products"] == (components > 0)
        errors.append([facts["energy_rmse_mev_per_atom"], facts["force_rmse_ev_per_a"]])
    plain, some, many = np.array(errors)
    assert (some < plain).all()
    assert (many < 0.7 * plain).all()


def labelled_by(ensemble, frames):
    """The same crystals, their energies and forces by an ensemble."""
    made = []
    for frame in frames:
        found = ensemble.predict([frame.atoms])
        label = replace(
            frame.label, energy=float(found.energy), forces=found.forces.numpy(), stress=None
        )
        made.append(Frame(frame.id, frame.atoms, label))
    return made


def test_labels_of_a_model_with_products_are_met_by_products_only(products):
    made = labelled_by(products, emt_frames(60, seed=6))
    errors = {}
    for components in (0, 6):
        spec = spec_with(components, linear={"ridge": 1e-10})
        # a warm start has the same components, which other structures would not give
        again = fit(spec, made, np.random.default_rng(1), warm=products)
        errors[components] = again.facts["force_rmse_ev_per_a"]
    assert errors[6] < 1e-2 * errors[0]


@pytest.mark.parametrize("count", [3, 40])
def test_products_are_left_out_where_they_do_not_pay(linear, count):
    """Too few labels to tell, or labels without products: a linear model, as if not asked for."""
    made = labelled_by(linear, emt_frames(count, seed=6))
    asked, plain = (
        fit(spec_with(components, linear={"ridge": 1e-6}), made, np.random.default_rng(0))
        for components in (6, 0)
    )
    assert asked.facts["products"] is False
    n_plain = plain.linear.shape[2]
    assert asked.linear[..., n_plain:].abs().max() == 0.0
    assert torch.allclose(asked.linear[..., :n_plain], plain.linear, atol=1e-6)


def test_products_and_networks_are_saved_to_the_last_bit(products, tmp_path):
    """Networks take the descriptors, not their products."""
    hidden = (4,)
    networks = Networks(3, 2, products.scaling.mean.shape[1], hidden, torch.Generator())
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter.add_(normal(*parameter.shape))
    spec = quick_spec(network={"hidden": hidden}, linear={"components": 6})
    made = replace(products, spec=spec, networks=networks)
    made.save(tmp_path / "a")
    again = Ensemble.load(tmp_path / "a")
    assert torch.equal(again.scaling.components, made.scaling.components)
    atoms = [random_crystal(np.random.default_rng(1), ["Cu", "Au", "Cu"])]
    one, other = made.predict(atoms, members=True), again.predict(atoms, members=True)
    assert not torch.equal(one.energy, products.predict(atoms).energy)
    for name in one.__dataclass_fields__:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_another_number_of_components_is_not_taken_from_an_earlier_fit(products, linear, frames):
    """An earlier ensemble has its own directions: they are kept only if as many are asked for."""
    fresh = fit(products.spec, frames, np.random.default_rng(0), warm=linear)
    assert fresh.scaling.components.shape[2] == 6
    fewer = emt_frames(12, seed=4)
    kept = fit(products.spec, fewer, np.random.default_rng(0), warm=products)
    assert torch.equal(kept.scaling.components, products.scaling.components)

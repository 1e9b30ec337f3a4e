"""Products of components: their order, their derivatives, and what a fit gains by them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase.stress import full_3x3_to_voigt_6_stress

from potentials.basis import (
    PRODUCT_SCALE,
    contract,
    expand,
    forms,
    most_components,
    pairs,
    size,
)
from potentials.ensemble import Ensemble
from potentials.network import Networks
from potentials.scaling import Scaling
from potentials.structures import Frame
from potentials.training import fit
from tests.crystals import emt_frames, quick_spec, random_crystal
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

N_ATOMS, N_VALUES, N_ELEMENTS = 7, 5, 2
SPECIES = torch.tensor([0, 1, 0, 1, 1, 0, 1])
MEMBER = torch.nn.functional.one_hot(SPECIES, N_ELEMENTS).double()
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


def atom_by_atom(scaled, made):
    """The basis of one atom after the other, the slow way (N, C)."""
    found = []
    for own, element in zip(scaled, SPECIES.tolist(), strict=True):
        leading = own @ made.components[element]
        products = [
            leading[p] * leading[q] for q in range(made.components.shape[2]) for p in range(q + 1)
        ]
        found.append(torch.cat([own, PRODUCT_SCALE * torch.tensor(products, dtype=own.dtype)]))
    return torch.stack(found)


@pytest.mark.parametrize("components", COMPONENTS)
def test_basis_is_the_descriptors_then_every_product_once(components):
    """Summed over the atoms of each element."""
    made = scaling(components)
    scaled = normal(N_ATOMS, N_VALUES)
    basis, _ = expand(scaled, normal(N_ATOMS, N_VALUES, 2), MEMBER, made)
    assert basis.shape == (N_ELEMENTS, size(N_VALUES, components))
    expected = MEMBER.T @ atom_by_atom(scaled, made)
    np.testing.assert_allclose(basis, expected, rtol=ROUNDING, atol=ROUNDING_ABS)


@pytest.mark.parametrize("components", [0, 1, 3])
def test_a_smaller_basis_comes_first_in_a_larger_one(components):
    made = scaling(N_VALUES)
    scaled, jacobian = normal(N_ATOMS, N_VALUES), normal(N_ATOMS, N_VALUES, 2)
    small = expand(scaled, jacobian, MEMBER, made.leading(components))
    large = expand(scaled, jacobian, MEMBER, made)
    for one, other in zip(small, large, strict=True):
        count = size(N_VALUES, components)
        np.testing.assert_allclose(one, other[:, :count], rtol=ROUNDING, atol=ROUNDING_ABS)


@pytest.mark.parametrize("components", COMPONENTS)
def test_derivatives_of_the_basis_are_its_differences(components):
    """Descriptors that depend on two coordinates x, bent so that the chain rule has work."""
    made, slope, bend = scaling(components), normal(N_ATOMS, N_VALUES, 2, seed=2), 0.3

    def scaled(x):
        return slope @ x + bend * (slope @ x) ** 2

    here = torch.tensor([0.4, -0.7], dtype=torch.float64)
    jacobian = slope * (1 + 2 * bend * (slope @ here))[:, :, None]
    _, moves = expand(scaled(here), jacobian, MEMBER, made)
    assert moves.shape == (N_ELEMENTS, size(N_VALUES, components), 2)
    for axis in range(2):
        step = STEP * torch.eye(2, dtype=torch.float64)[axis]
        ends = [expand(scaled(x), jacobian, MEMBER, made)[0] for x in (here + step, here - step)]
        expected = (ends[0] - ends[1]) / (2 * STEP)
        atol = DIFFERENCE * float(expected.abs().max())
        np.testing.assert_allclose(moves[..., axis], expected, rtol=0, atol=atol)


@pytest.mark.parametrize("components", COMPONENTS)
def test_contraction_is_the_basis_times_coefficients(components):
    """Without ever making the basis: energies, and slopes by the chain rule."""
    made, members = scaling(components), 3
    scaled, jacobian = normal(N_ATOMS, N_VALUES), normal(N_ATOMS, N_VALUES, 4, seed=3)
    coefficients = normal(members, N_ELEMENTS, size(N_VALUES, components), seed=4)
    energies, slopes = contract(coefficients, scaled, SPECIES, made)
    own = torch.einsum("knc,nc->kn", coefficients[:, SPECIES], atom_by_atom(scaled, made))
    np.testing.assert_allclose(energies, own, rtol=ROUNDING)
    _, moves = expand(scaled, jacobian, MEMBER, made)
    np.testing.assert_allclose(
        torch.einsum("knd,ndx->kx", slopes, jacobian),
        torch.einsum("kec,ecx->kx", coefficients, moves),
        atol=ROUNDING_ABS,
    )


def test_without_components_the_basis_is_the_descriptors():
    made = scaling(0)
    scaled, jacobian = normal(N_ATOMS, N_VALUES), normal(N_ATOMS, N_VALUES, 4)
    basis, moves = expand(scaled, jacobian, MEMBER, made)
    assert torch.allclose(basis, MEMBER.T @ scaled)
    assert torch.allclose(moves, torch.einsum("ne,ndx->edx", MEMBER, jacobian))
    coefficients = normal(2, N_ELEMENTS, N_VALUES)
    _, slopes = contract(coefficients, scaled, SPECIES, made)
    assert torch.equal(slopes, coefficients[:, SPECIES])


def test_an_element_without_atoms_has_a_basis_of_zeros():
    made, scaled = scaling(3), normal(2, N_VALUES)
    member = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    basis, moves = expand(scaled, normal(2, N_VALUES, 4), member, made)
    assert basis[1].abs().max() == 0.0
    assert moves[1].abs().max() == 0.0
    assert basis[0].abs().min() > 0.0


def test_forms_are_symmetric_and_give_the_products():
    coefficients = normal(2, N_ELEMENTS, 6)
    made, leading = forms(coefficients, 3), normal(3)
    one, other = pairs(3)
    expected = PRODUCT_SCALE * (coefficients @ (leading[one] * leading[other]))
    assert torch.equal(made, made.transpose(2, 3))
    np.testing.assert_allclose(leading @ made @ leading, expected, rtol=ROUNDING)


@pytest.mark.parametrize("n_plain", [1, 5, 54])
def test_most_components_is_the_largest_that_fits(n_plain):
    for limit in (0, n_plain, n_plain + 1, n_plain + 20, 100_000):
        found = most_components(n_plain, limit)
        assert 0 <= found <= n_plain
        assert found == 0 or size(n_plain, found) <= limit
        assert found == n_plain or size(n_plain, found + 1) > limit


#: all labels count the same
EVEN = {"energy_scale_ev_per_atom": None, "force_scale_ev_per_a": None}


def spec_with(components, **changes):
    linear = {"components": components, **changes.pop("linear", {})}
    return quick_spec(network={"enabled": False}, linear=linear, **changes)


def test_a_fit_with_products_has_their_coefficients(products):
    plain = products.scaling.mean.shape[1]
    assert products.linear.shape == (3, 2, plain + 78)
    assert products.linear[..., plain:].abs().max() > 1e-3


def test_products_fit_what_a_linear_model_cannot():
    """All labels count the same and the ridge hardly: the bases are nested, so errors fall."""
    seen = emt_frames(40, seed=3, species=("Cu",), sizes=(2, 3))
    errors = []
    for components in (0, 12):
        spec = spec_with(components, linear={"ridge": 1e-6}, labels=EVEN, bootstrap="none")
        facts = fit(spec, seen, np.random.default_rng(0)).facts
        assert facts["components"] == components
        errors.append([facts["energy_rmse_mev_per_atom"], facts["force_rmse_ev_per_a"]])
    plain, products = np.array(errors)
    assert (products < 0.7 * plain).all()


def labelled_by(ensemble, frames):
    """The same crystals, their labels by an ensemble."""
    made = []
    for frame in frames:
        found = ensemble.predict([frame.atoms])
        stress = full_3x3_to_voigt_6_stress(found.stress[0].numpy())
        label = replace(
            frame.label, energy=float(found.energy), forces=found.forces.numpy(), stress=stress
        )
        made.append(Frame(frame.id, frame.atoms, label))
    return made


def test_labels_of_a_model_with_products_are_met_by_products_only():
    seen = emt_frames(50, seed=6, species=("Cu",))
    teacher = fit(spec_with(12), seen, np.random.default_rng(0))
    made = labelled_by(teacher, seen)
    errors = {}
    for components in (0, 12):
        spec = spec_with(components, linear={"ridge": 1e-10}, labels=EVEN, bootstrap="none")
        again = fit(spec, made, np.random.default_rng(1))
        assert again.facts["components"] == components
        errors[components] = again.facts["force_rmse_ev_per_a"]
    assert errors[12] < 1e-2 * errors[0]


@pytest.mark.parametrize("count", [3, 40])
def test_products_are_left_out_where_they_do_not_pay(linear, count):
    """Too few labels to tell, or labels without products: a linear model, as if not asked for."""
    made = labelled_by(linear, emt_frames(count, seed=6))
    asked, plain = (
        fit(spec_with(components, linear={"ridge": 1e-6}), made, np.random.default_rng(0))
        for components in (6, 0)
    )
    assert asked.facts["products"] is False
    assert asked.scaling.components.shape[2] == 0
    assert torch.allclose(asked.linear, plain.linear, atol=1e-6)


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

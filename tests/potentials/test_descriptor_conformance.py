"""Every descriptor of the folder keeps what the role promises; kinds are found by listing."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from potentials.batch import make_batch
from potentials.descriptors import build, kinds
from tests.crystals import crystals, random_crystal, rotations, unimodular
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

CUTOFF = 4.0
ELEMENTS = (29, 47, 79)
#: elements of the three atoms of an environment
SPECIES = torch.tensor([0, 1, 0])
#: kinds with other settings than their defaults, by name
VARIANTS = {
    "moments, small": {"radial": 4, "angular": 2, "degree": 2, "triples": ((1, 1, 2), (1, 2, 3))},
    "moments, plain": {
        "radial": 3,
        "angular": 1,
        "degree": 6,
        "triples": (),
        "angular_range": 1.0,
    },
}
CLASSES = {name: kinds()[name.partition(",")[0]] for name in [*kinds(), *VARIANTS]}
KINDS = sorted(CLASSES)
SMOOTH = [kind for kind in KINDS if CLASSES[kind].continuous]
MIRRORED = [kind for kind in KINDS if CLASSES[kind].mirror]
#: two distances of one atom closer than this may exchange their order [Å]
SWAP = 1e-3
#: float32 against float64, relative to the largest component
SINGLE = 1e-4


def bare(kind, **settings):
    """A kind with default settings, or a variant of one."""
    named = {"kind": kind.partition(",")[0], "cutoff": CUTOFF}
    return build(named | VARIANTS.get(kind, {}) | settings)


def made(kind, n_elements=2, **settings):
    """The same, with parameters where it has some."""
    descriptor = bare(kind, **settings)
    return descriptor.bound(descriptor.learned(n_elements, torch.Generator().manual_seed(0)))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def environment(seed, count=8, n_elements=2):
    """Pair vectors around three atoms, between 1 Å and the cutoff."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = torch.as_tensor(directions * rng.uniform(1.0, 0.97 * CUTOFF, (count, 1)))
    first = torch.as_tensor(np.sort(rng.integers(0, 3, count)))
    return vectors, first, torch.as_tensor(rng.integers(0, n_elements, count))


def settled(kind, vectors, first):
    """Whether no order of distances is in doubt, which a kind that is not continuous goes by."""
    if CLASSES[kind].continuous:
        return True
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    gaps = [torch.diff(lengths[first == atom].sort().values) for atom in first.unique()]
    return bool((torch.cat(gaps) > SWAP).all() and (lengths < CUTOFF - SWAP).all())


def of_crystal(descriptor, atoms, dtype=torch.float64):
    """Descriptors of all atoms of a structure (N, D)."""
    batch = make_batch([atoms], ELEMENTS, CUTOFF, dtype)
    pairs = batch.pairs
    return descriptor.values(
        batch.vectors(), pairs.first, batch.species[pairs.second], batch.species, len(ELEMENTS)
    )


def unambiguous(kind, atoms):
    batch = make_batch([atoms], ELEMENTS, CUTOFF)
    return settled(kind, batch.vectors(), batch.pairs.first)


def wide_crystal(seed, symbols=("Cu", "Au", "Cu", "Ag", "Au")):
    """No lattice vector within the cutoff: opposite images would be equally far."""
    rng = np.random.default_rng(seed)
    return random_crystal(rng, symbols, volume=30.0, skew=0.2, min_distance=2.0)


def same(one, other):
    return torch.allclose(one, other, rtol=ROUNDING, atol=ROUNDING_ABS * float(one.abs().max()))


# --- shape and settings ---


@pytest.mark.parametrize("n_elements", [1, 2, 3])
def test_size_is_what_values_give(kind, n_elements):
    vectors, first, neighbour = environment(0, n_elements=n_elements)
    descriptor, species = made(kind, n_elements), SPECIES % n_elements
    values = descriptor.values(vectors, first, neighbour, species, n_elements)
    assert values.shape == (3, descriptor.size(n_elements))
    assert values.dtype == torch.float64
    single = descriptor.values(vectors.float(), first, neighbour, species, n_elements)
    assert single.dtype == torch.float32
    error = (single.double() - values).abs().max()
    assert error < SINGLE * values.abs().max()


def test_settings_survive_the_way_to_json_and_back(kind):
    given_cutoff = bare(kind, cutoff=3.25)
    assert given_cutoff.cutoff == 3.25
    again = build(given_cutoff.model_dump(mode="json"))
    assert again == given_cutoff
    assert again != bare(kind, cutoff=3.5)


def test_unknown_settings_are_refused(kind):
    with pytest.raises(ValidationError, match=r"cutof\n.*Extra inputs"):
        bare(kind, cutof=5.0)
    with pytest.raises(ValidationError, match="greater than 0"):
        bare(kind, cutoff=0.0)


def test_settings_do_not_load_torch():
    """The command line reads settings and must answer at once."""
    code = "import sys, potentials.descriptors as d; d.kinds(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- symmetry ---


@pytest.mark.parametrize("kind", KINDS)
@given(atoms=crystals(max_size=3), turn=rotations(), choice=unimodular(), data=st.data())
def test_what_moves_or_renames_a_crystal_changes_nothing(kind, atoms, turn, choice, data):
    """Rotation, translation, order of atoms, choice of cell vectors."""
    if not CLASSES[kind].continuous:
        atoms = wide_crystal(data.draw(st.integers(0, 10**6)))
    assume(unambiguous(kind, atoms))
    order = list(data.draw(st.permutations(range(len(atoms)))))
    other = atoms[order]
    other.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    other.set_cell(choice @ other.cell.array, scale_atoms=False)
    other.positions += data.draw(st.floats(-5, 5))
    descriptor = made(kind, len(ELEMENTS))
    assert same(of_crystal(descriptor, atoms)[order], of_crystal(descriptor, other))


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**31 - 1))
def test_order_of_neighbours_changes_nothing(kind, seed):
    vectors, first, neighbour = environment(seed)
    assume(settled(kind, vectors, first))
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(first)))
    values = made(kind).values(vectors, first, neighbour, SPECIES, 2)
    other = made(kind).values(vectors[order], first[order], neighbour[order], SPECIES, 2)
    assert same(values, other)


@pytest.mark.parametrize("kind", MIRRORED)
@given(atoms=crystals(max_size=3))
def test_a_mirror_image_is_the_same(kind, atoms):
    other = atoms.copy()
    other.set_cell(atoms.cell.array * [1, 1, -1], scale_atoms=True)
    descriptor = made(kind, len(ELEMENTS))
    assert same(of_crystal(descriptor, atoms), of_crystal(descriptor, other))


@pytest.mark.parametrize("seed", range(4))
def test_a_supercell_has_the_same_values(kind, seed):
    atoms = wide_crystal(seed)
    assert unambiguous(kind, atoms)
    descriptor = made(kind, len(ELEMENTS))
    values = of_crystal(descriptor, atoms)
    assert same(values.repeat(6, 1), of_crystal(descriptor, atoms.repeat((1, 2, 3))))


def test_parts_out_of_reach_do_not_see_each_other(kind):
    one = Atoms("Cu3Au", positions=[[0, 0, 0], [2.3, 0, 0], [0, 2.6, 0.4], [0.3, 1.1, 2.2]])
    far = Atoms("Ag2Cu", positions=[[0, 0, 0], [0, 2.7, 0], [2.1, 0.8, 0.7]])
    far.positions += [0, 0, 2.2 + CUTOFF]
    descriptor = made(kind, len(ELEMENTS))
    apart = torch.cat([of_crystal(descriptor, part) for part in (one, far)])
    assert same(of_crystal(descriptor, one + far), apart)


def test_environments_that_differ_are_told_apart(kind):
    """Distance, bond angle and element all matter."""
    first, descriptor = torch.zeros(2, dtype=torch.int64), made(kind)
    straight = torch.tensor([[2.0, 0, 0], [-2.2, 0, 0]], dtype=torch.float64)
    bent = torch.tensor([[2.0, 0, 0], [0, 2.2, 0]], dtype=torch.float64)
    same_element, mixed = torch.tensor([0, 0]), torch.tensor([0, 1])
    reference = descriptor.values(straight, first, same_element, SPECIES[:1], 2)
    for vectors, neighbour in ((bent, same_element), (straight, mixed), (1.1 * straight, mixed)):
        other = descriptor.values(vectors, first, neighbour, SPECIES[:1], 2)
        assert (other - reference).abs().max() > 1e-2 * reference.abs().max()


# --- smoothness ---


@pytest.mark.parametrize("kind", SMOOTH)
def test_value_and_slope_vanish_at_the_cutoff(kind):
    """A neighbour that enters changes values as d^2 or less, and slopes as d."""
    vectors, first, neighbour = environment(3)
    descriptor, first = made(kind), torch.zeros_like(first)
    without = descriptor.values(vectors, first, neighbour, SPECIES[:1], 2)
    changes, slopes = [], []
    for depth in (1e-2, 1e-3):
        entering = torch.tensor([[0.0, CUTOFF - depth, 0.0]], dtype=torch.float64).requires_grad_()
        values = descriptor.values(
            torch.cat([vectors, entering]),
            torch.cat([first, first[:1]]),
            torch.cat([neighbour, neighbour[:1]]),
            SPECIES[:1],
            2,
        )
        changes.append(float((values.detach() - without).abs().max()))
        slopes.append(float(torch.autograd.grad(values.abs().sum(), entering)[0].abs().max()))
    assert changes[0] < 1e-3 * without.abs().max()
    assert 0.0 < changes[1] < 0.02 * changes[0]
    assert 0.0 < slopes[1] < 0.2 * slopes[0]


@pytest.mark.parametrize("seed", range(5))
def test_derivatives_are_central_differences(kind, seed):
    """Of a random sum of components, along a random move of all neighbours."""
    vectors, first, neighbour = environment(seed)
    if not settled(kind, vectors, first):
        lengths = torch.linspace(1.2, 3.6, len(first), dtype=torch.float64)
        vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        vectors = vectors * lengths[:, None]
    descriptor, rng = made(kind), np.random.default_rng(seed)
    weights = torch.as_tensor(rng.normal(size=(3, descriptor.size(2))))
    move = torch.as_tensor(rng.normal(size=vectors.shape))

    def total(moved):
        return (weights * descriptor.values(moved, first, neighbour, SPECIES, 2)).sum()

    slope = torch.autograd.grad(total(vectors.requires_grad_()), vectors)[0]
    expected = (total(vectors + STEP * move) - total(vectors - STEP * move)) / (2 * STEP)
    assert abs((slope * move).sum() - expected) < DIFFERENCE * (slope * move).abs().sum()


def test_slopes_are_the_derivatives_of_the_values(kind):
    """Of the first atom's components, pairs in any order; some kinds write them out."""
    vectors, first, neighbour = environment(6)
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(0))
    given_pairs = (first[order], neighbour[order], SPECIES, 2)
    vectors, descriptor = vectors[order].requires_grad_(), made(kind)
    values = descriptor.values(vectors, *given_pairs)
    slopes = descriptor.slopes(vectors.detach(), *given_pairs)
    assert slopes.shape == (len(first), descriptor.size(2), 3)
    weights = torch.as_tensor(np.random.default_rng(0).normal(size=values.shape))
    expected = torch.autograd.grad((weights * values).sum(), vectors)[0]
    assert same(expected, torch.einsum("pd,pdx->px", weights[first[order]], slopes))


# --- hard cases ---


def test_no_neighbour_gives_finite_values_and_a_gradient(kind):
    nobody = torch.zeros(0, dtype=torch.int64)
    vectors = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    descriptor = made(kind)
    values = descriptor.values(vectors, nobody, nobody, SPECIES[:2], 2)
    assert values.shape == (2, descriptor.size(2))
    assert torch.isfinite(values).all()
    assert torch.autograd.grad(values.sum(), vectors)[0].shape == (0, 3)
    slopes = descriptor.slopes(vectors.detach(), nobody, nobody, SPECIES[:2], 2)
    assert slopes.shape == (0, descriptor.size(2), 3)


def test_a_lonely_atom_among_others_changes_nothing(kind):
    """The last atom has no pair; those before it are as they were without it."""
    vectors, first, neighbour = environment(1)
    descriptor = made(kind)
    alone = descriptor.values(vectors, first, neighbour, SPECIES, 2)
    more = descriptor.values(vectors, first, neighbour, torch.cat([SPECIES, SPECIES[:1]]), 2)
    assert same(alone, more[:3])
    assert torch.isfinite(more).all()


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_neighbours_are_enough(kind, count):
    """No frame, no triplet, no straight angle may divide by zero."""
    vectors = torch.tensor([[0, 0, 2.0], [0, 0, -2.5]], dtype=torch.float64)[:count]
    vectors.requires_grad_()
    zero = torch.zeros(count, dtype=torch.int64)
    values = made(kind).values(vectors, zero, zero, SPECIES[:1], 2)
    assert (values != 0).any()
    assert torch.isfinite(torch.autograd.grad(values.sum(), vectors)[0]).all()


@pytest.mark.parametrize("structure", ["fcc", "diamond", "sc"])
def test_perfect_crystals_have_finite_derivatives(kind, structure):
    """Equal distances, straight angles, neighbours exactly opposite."""
    batch = make_batch([bulk("Cu", structure, a=3.0)], ELEMENTS, CUTOFF)
    vectors, pairs = batch.vectors().requires_grad_(), batch.pairs
    neighbour = batch.species[pairs.second]
    descriptor = made(kind, len(ELEMENTS))
    values = descriptor.values(vectors, pairs.first, neighbour, batch.species, len(ELEMENTS))
    assert torch.isfinite(values).all()
    assert torch.isfinite(torch.autograd.grad(values.sum(), vectors)[0]).all()


# --- parameters ---


def test_parameters_come_from_the_generator_alone(kind):
    descriptor = bare(kind)
    one, again, other = (
        descriptor.learned(2, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert one.keys() == again.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == torch.float64
        assert torch.equal(tensor, again[name])
        assert not torch.equal(tensor, other[name])


def test_every_parameter_matters_and_none_is_changed(kind):
    descriptor = bare(kind)
    learned = descriptor.learned(1, torch.Generator().manual_seed(0))
    kept = {name: tensor.clone() for name, tensor in learned.items()}
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in learned.items()}
    vectors, first, neighbour = environment(2, n_elements=1)
    values = descriptor.bound(leaves).values(vectors, first, neighbour, SPECIES * 0, 1)
    if leaves:
        slopes = torch.autograd.grad((values**2).sum(), list(leaves.values()))
        assert all((slope.abs() > 0).any() for slope in slopes)
    assert values.requires_grad == bool(leaves)
    assert all(torch.equal(kept[name], learned[name]) for name in kept)


def test_parameters_of_another_descriptor_are_refused(kind):
    with pytest.raises(ValueError, match=f"descriptor {bare(kind).kind}( .*belong|: .*saved)"):
        made(kind).bound({"else": torch.zeros(1)})


def test_binding_leaves_the_settings_alone(kind):
    descriptor = bare(kind)
    before = descriptor.model_dump(mode="json")
    bound = made(kind)
    assert bound.model_dump(mode="json") == before
    assert descriptor == build(before)

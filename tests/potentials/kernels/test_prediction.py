"""Compiled predictions equal the torch reference, whatever the model and the structure."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from potentials import kernels
from potentials.batch import UnknownElementError
from potentials.kernels.bounds import Bounds
from potentials.kernels.compiled import Compiled
from tests.crystals import crystals, random_crystal
from tests.potentials.kernels.models import difference, random_ensemble
from tests.tolerances import ROUNDING

#: float32 against float64, relative to the largest number of a field
SINGLE = 2e-5

SPECIES = {29: "Cu", 79: "Au", 8: "O"}


def check(ensemble, structures, *, precision="float64", members=False):
    assert kernels.supported(ensemble)
    found = Compiled.of(ensemble, precision).predict(structures, members=members)
    expected = ensemble.evaluate(ensemble.batch(structures), members=members)
    worst = difference(found, expected, members=members)
    limit = ROUNDING if precision == "float64" else SINGLE
    assert max(worst.values()) < limit, worst


@st.composite
def cases(draw):
    elements = draw(st.sampled_from([(29,), (29, 79), (79, 8, 29)]))
    ensemble = random_ensemble(
        elements,
        members=draw(st.integers(1, 8)),
        hidden=draw(st.sampled_from([None, (7,), (6, 5), (3, 17, 4)])),
        components=draw(st.sampled_from([0, 1, 5])),
        degree=draw(st.integers(1, 4)),
        angular=draw(st.sampled_from([1, 3, 6])),
        angular_range=draw(st.sampled_from([1.0, 0.7])),
        triples=draw(st.sampled_from([(), ((1, 1, 2),), ((2, 2, 2), (1, 1, 2))])),
        seed=draw(st.integers(0, 9)),
    )
    species = [SPECIES[number] for number in elements]
    structures = draw(st.lists(crystals(species=species, max_size=6), min_size=1, max_size=3))
    return ensemble, structures


@settings(max_examples=40)
@given(case=cases(), members=st.booleans())
def test_equal_to_the_reference(case, members):
    check(*case, members=members)


@settings(max_examples=15)
@given(case=cases())
def test_single_precision_is_close(case):
    check(*case, precision="float32")


def test_the_default_descriptor():
    rng = np.random.default_rng(0)
    ensemble = random_ensemble(
        hidden=(30, 30), components=12, cutoff=6.0, radial=12, angular=6, wall=2.0
    )
    structures = [random_crystal(rng, ["Cu", "Au", "Cu", "Cu", "Au"]) for _ in range(3)]
    check(ensemble, structures, members=True)
    check(ensemble, structures, precision="float32")


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 0)])
def test_structures_that_are_not_periodic(pbc):
    rng = np.random.default_rng(1)
    atoms = random_crystal(rng, ["Cu", "Au", "Au", "Cu"], skew=0.5)
    atoms.pbc = pbc
    atoms.positions += rng.uniform(-30, 30, 3)
    check(random_ensemble(), [atoms])
    for axis in range(3):
        if not pbc[axis]:
            atoms.cell[axis] = 0.0
    check(random_ensemble(), [atoms])


def test_molecules_and_single_atoms():
    water = molecule("H2O")
    ensemble = random_ensemble((1, 8), wall=0.5)
    check(ensemble, [water, Atoms("O"), Atoms("H", positions=[[5, 5, 5]], pbc=False)], members=True)
    assert (ensemble.evaluate(ensemble.batch([water])).stress == 0).all()


def test_left_handed_cells():
    atoms = random_crystal(np.random.default_rng(2), ["Cu", "Au", "Au"])
    left = atoms.copy()
    left.set_cell(atoms.cell.array[[1, 0, 2]])
    ensemble = random_ensemble()
    check(ensemble, [left])
    one, other = (Compiled.of(ensemble).predict([a]) for a in (atoms, left))
    assert abs(float(one.energy[0] - other.energy[0])) < ROUNDING


@pytest.mark.parametrize("cutoff", [3.0, 5.5])
def test_large_structures_use_linked_cells(cutoff):
    rng = np.random.default_rng(3)
    atoms = bulk("Cu", cubic=True) * (4, 3, 3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.2 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.2, rng=rng)
    atoms.numbers[rng.random(len(atoms)) < 0.3] = 79
    assert len(atoms) > 100
    check(random_ensemble(cutoff=cutoff, wall=2.0), [atoms])


def test_more_neighbours_than_expected_make_room():
    """Atoms squeezed to far more neighbours and images than any crystal has."""
    squeezed = bulk("Cu", cubic=True)
    squeezed.set_cell(squeezed.cell.array * 0.35, scale_atoms=True)
    thin = Atoms("Cu", cell=[0.4, 0.5, 9.0], pbc=True)
    ordinary = bulk("Cu", cubic=True)
    ensemble = random_ensemble((29,), wall=0.1)
    check(ensemble, [ordinary, squeezed, thin, ordinary])


def test_a_batch_is_one_by_one_in_any_number_of_threads():
    rng = np.random.default_rng(4)
    structures = [
        random_crystal(rng, ["Cu", "Au", "Cu", "Cu"][: rng.integers(1, 5)]) for _ in range(400)
    ]
    compiled = Compiled.of(random_ensemble())
    one = compiled.predict(structures, threads=1)
    two = compiled.predict(structures, threads=3)
    alone = [compiled.predict([atoms]) for atoms in structures[::50]]
    for name in ("energy", "forces", "stress", "extrapolation"):
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert [float(p.energy[0]) for p in alone] == one.energy[::50].tolist()


def test_what_relaxations_leave_out_predictions_have_again():
    """They ask for no extrapolation; working memory is shared."""
    rng = np.random.default_rng(6)
    structures = [random_crystal(rng, ["Cu", "Au"][: 1 + m % 2]) for m in range(4)]
    ensemble = random_ensemble(wall=0.1, seed=4)
    compiled = Compiled.of(ensemble)
    before = compiled.predict(structures, members=True)
    compiled.relax(structures, Bounds(0.0, 0.01, 3, None, ensemble.elements))
    after = compiled.predict(structures, members=True)
    assert torch.equal(before.extrapolation, after.extrapolation)
    assert torch.equal(before.forces_std, after.forces_std)
    assert len(before.extrapolation.unique()) > 1


def test_coincident_atoms_give_a_number_that_is_not_finite():
    atoms = Atoms("Cu2", positions=np.zeros((2, 3)), cell=[3, 3, 3], pbc=True)
    fine = bulk("Cu")
    found = Compiled.of(random_ensemble()).predict([fine, atoms, fine])
    assert torch.isfinite(found.energy).tolist() == [True, False, True]
    assert torch.isfinite(found.forces[[0, 3]]).all()


def test_weights_that_are_not_finite_are_not_hidden():
    for precision in ("float32", "float64"):
        ensemble = random_ensemble()
        with torch.no_grad():
            ensemble.networks.weights[0][0, 1, 2, 3] = np.nan
        found = Compiled.of(ensemble, precision).predict([bulk("Cu")])
        assert torch.isnan(found.member_energy[:, 0]).tolist() == [False, True, False]
        assert torch.isnan(found.energy[0])


def test_nonsense_is_refused_by_name():
    compiled = Compiled.of(random_ensemble())
    fine = bulk("Cu")
    lost = fine.copy()
    lost.positions[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"structure 1 of 2 .* not finite"):
        compiled.predict([fine, lost])
    flat = Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 2]], cell=[3, 3, 0], pbc=True)
    with pytest.raises(ValueError, match=r"structure 2 .* without volume"):
        compiled.predict([fine, fine, flat])
    with pytest.raises(UnknownElementError, match="Zn"):
        compiled.predict([fine, Atoms("Zn")])
    # and the next one works as if nothing had happened
    check(random_ensemble(), [fine])


def test_what_is_not_compiled_is_not_supported():
    ensemble = random_ensemble()
    assert kernels.supported(ensemble)
    assert not kernels.supported(random_ensemble(degree=5))
    ensemble.networks.activations = ("tanh", "softplus")
    assert not kernels.supported(ensemble)


def test_the_compiled_form_is_made_once():
    ensemble = random_ensemble()
    assert Compiled.of(ensemble) is Compiled.of(ensemble, "float64")
    assert Compiled.of(ensemble) is not Compiled.of(ensemble, "float32")
    assert Compiled.of(random_ensemble()) is not Compiled.of(ensemble)

"""What every evaluation must keep: symmetry, forces and stress of the energy, files on disk."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import make_supercell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potentials.batch import UnknownElementError
from potentials.ensemble import FORMAT, OLDEST, Ensemble
from potentials.seal import DamagedError, sealed
from potentials.wall import Wall
from tests.crystals import crystals, random_crystal, rotations, unimodular
from tests.tolerances import DIFFERENCE, ROUNDING, ROUNDING_ABS, STEP

# the ensembles are made once and never changed
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def close(one, other):
    # violent structures have large numbers: compare on their scale
    scale = max(1.0, float(other.abs().max())) if other.numel() else 1.0
    return float((one - other).abs().max()) < ROUNDING_ABS * scale if other.numel() else True


def same(one, other):
    """Energies, spreads, forces and stress of two predictions agree to rounding."""
    names = ("energy", "member_energy", "energy_std", "forces", "stress", "extrapolation")
    return all(close(getattr(one, name), getattr(other, name)) for name in names)


@shared
@given(atoms=crystals(), turn=rotations())
def test_rotation_turns_forces_and_stress_and_nothing_else(ensemble, atoms, turn):
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn.T, scale_atoms=True)
    found, after = ensemble.predict([atoms]), ensemble.predict([turned])
    turn = torch.as_tensor(turn)
    expected = replace(found, forces=found.forces @ turn.T, stress=turn @ found.stress @ turn.T)
    assert same(after, expected)


@shared
@given(atoms=crystals(), shift=st.lists(st.floats(-9, 9), min_size=3, max_size=3))
def test_translation_changes_nothing(ensemble, atoms, shift):
    moved = atoms.copy()
    moved.positions += shift
    assert same(ensemble.predict([moved]), ensemble.predict([atoms]))
    moved.wrap()
    assert same(ensemble.predict([moved]), ensemble.predict([atoms]))


@shared
@given(atoms=crystals(), data=st.data())
def test_order_of_atoms_carries_forces_along(ensemble, atoms, data):
    order = data.draw(st.permutations(range(len(atoms))))
    found = ensemble.predict([atoms])
    expected = replace(found, forces=found.forces[list(order)])
    assert same(ensemble.predict([atoms[list(order)]]), expected)


@shared
@given(atoms=crystals(), matrix=unimodular())
def test_choice_of_cell_vectors_changes_nothing(ensemble, atoms, matrix):
    other = Atoms(atoms.numbers, positions=atoms.positions, cell=matrix @ atoms.cell, pbc=True)
    assert same(ensemble.predict([other]), ensemble.predict([atoms]))
    swapped = Atoms(
        atoms.numbers, positions=atoms.positions, cell=atoms.cell.array[[1, 0, 2]], pbc=True
    )
    assert same(ensemble.predict([swapped]), ensemble.predict([atoms]))


@shared
@given(atoms=crystals(max_size=3), repeats=st.sampled_from([(2, 1, 1), (1, 2, 1), (2, 1, 2)]))
def test_supercells_have_the_same_energy_per_atom(ensemble, atoms, repeats):
    copies = int(np.prod(repeats))
    found, more = ensemble.predict([atoms]), ensemble.predict([atoms.repeat(repeats)])
    expected = replace(
        found,
        energy=found.energy * copies,
        member_energy=found.member_energy * copies,
        forces=found.forces.repeat(copies, 1),
    )
    assert same(more, expected)


def test_a_sheared_supercell_has_the_same_energy_per_atom(ensemble):
    atoms = random_crystal(np.random.default_rng(0), ["Cu", "Au"])
    large = make_supercell(atoms, [[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    assert len(large) == 4
    assert close(ensemble.predict([large]).energy / 2, ensemble.predict([atoms]).energy)


@shared
@given(structures=st.lists(crystals(), min_size=2, max_size=4))
def test_a_batch_is_one_by_one(ensemble, structures):
    together = ensemble.predict(structures, members=True)
    alone = [ensemble.predict([atoms], members=True) for atoms in structures]
    for name in ("energy", "energy_std", "forces", "forces_std", "stress", "extrapolation"):
        expected = torch.cat([getattr(one, name) for one in alone])
        assert close(getattr(together, name), expected), name


@pytest.mark.parametrize("symbols", [["Cu"], ["Cu", "Au"], ["Au", "Cu", "Au", "Cu"]])
def test_forces_and_stress_are_differences_of_the_energy(ensemble, symbols):
    atoms = random_crystal(np.random.default_rng(len(symbols)), symbols)
    check_differences(ensemble, atoms)


def test_forces_and_stress_inside_the_wall(ensemble):
    closer = replace(ensemble, wall=Wall(torch.full((2, 2), 3.0, dtype=torch.float64)))
    atoms = random_crystal(np.random.default_rng(3), ["Cu", "Au"])
    assert float((closer.predict([atoms]).energy - ensemble.predict([atoms]).energy).abs()) > 0.1
    check_differences(closer, atoms)


def check_differences(ensemble, atoms):
    """Central differences, all members in the mean."""

    def energy(moved):
        return float(ensemble.predict([moved]).energy[0])

    found = ensemble.predict([atoms])
    forces = np.empty((len(atoms), 3))
    for place in np.ndindex(*forces.shape):
        high, low = atoms.copy(), atoms.copy()
        high.positions[place] += STEP
        low.positions[place] -= STEP
        forces[place] = -(energy(high) - energy(low)) / (2 * STEP)
    stress = np.empty((3, 3))
    for one, other in VOIGT:
        ends = []
        for step in (STEP, -STEP):
            strain = np.eye(3)
            strain[one, other] += 0.5 * step
            strain[other, one] += 0.5 * step
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            ends.append(energy(strained))
        slope = (ends[0] - ends[1]) / (2 * STEP * atoms.get_volume())
        stress[one, other] = stress[other, one] = slope
    np.testing.assert_allclose(
        found.forces, forces, rtol=0, atol=DIFFERENCE * max(1, np.abs(forces).max())
    )
    np.testing.assert_allclose(
        found.stress[0], stress, rtol=0, atol=DIFFERENCE * np.abs(stress).max()
    )


def test_forces_of_a_crystal_sum_to_zero(ensemble):
    atoms = random_crystal(np.random.default_rng(5), ["Cu", "Au", "Au"])
    assert ensemble.predict([atoms]).forces.sum(dim=0).abs().max() < ROUNDING_ABS


def test_spreads_are_those_of_the_members(deep):
    """K ensembles of one member each (twice, as an ensemble has at least two) are the oracle."""
    atoms = [
        random_crystal(np.random.default_rng(7), ["Cu", "Au", "Cu"]),
        random_crystal(np.random.default_rng(8), ["Au"]),
    ]
    alone = [one_member(deep, k).predict(atoms) for k in range(3)]
    numbers = {"calibration": 2.0, "force_calibration": 3.0, "energy_floor": 0.1}
    found = replace(deep, **numbers, force_floor=0.2).predict(atoms, members=True)
    energies = torch.stack([one.energy for one in alone])
    assert close(found.energy, energies.mean(dim=0))
    spread = energies.std(dim=0) / torch.tensor([3, 1])
    assert close(found.energy_std, (4.0 * spread**2 + 0.01).sqrt())
    forces = torch.stack([one.forces for one in alone])
    assert close(found.forces, forces.mean(dim=0))
    variance = ((forces - forces.mean(dim=0)) ** 2).sum(dim=2).sum(dim=0) / 2
    # symmetry forbids a force on the last atom, which is alone in its cell
    floor = torch.tensor([0.04, 0.04, 0.04, 0.0])
    assert close(found.forces_std, (9.0 * variance + floor).sqrt())
    assert deep.predict(atoms).forces_std is None


def one_member(ensemble, member):
    from potentials.network import Networks

    twice = [member, member]
    _, n_elements, size = ensemble.linear.shape
    networks = Networks(2, n_elements, size, (6, 5), torch.Generator())
    with torch.no_grad():
        for own, all_members in zip(
            networks.parameters(), ensemble.networks.parameters(), strict=True
        ):
            own.copy_(all_members[:, twice])
    return replace(
        ensemble,
        linear=ensemble.linear[twice],
        constants=ensemble.constants[twice],
        networks=networks,
    )


def test_extrapolation_is_negative_on_the_data_and_not_far_from_it(ensemble, frames):
    inside = ensemble.predict([frame.atoms for frame in frames])
    assert (inside.extrapolation < 0.0).all()
    pressed = frames[0].atoms.copy()
    pressed.set_cell(pressed.cell * 0.6, scale_atoms=True)
    assert float(ensemble.predict([pressed]).extrapolation) > 0.1


def test_isolated_atoms_and_molecules_are_structures_too(ensemble):
    lone = Atoms("Cu", cell=[30, 30, 30], pbc=True)
    molecule = Atoms("CuAu", positions=[[0, 0, 0], [0, 0, 2.5]])
    found = ensemble.predict([lone, molecule, Atoms("Au")], members=True)
    assert torch.isfinite(found.energy).all()
    assert found.forces[[0, 3]].abs().max() == 0.0
    assert found.stress.abs().max() == 0.0
    assert close(found.forces[1], -found.forces[2])


def test_single_precision_is_close_and_stays_single(ensemble):
    atoms = [random_crystal(np.random.default_rng(9), ["Cu", "Au"])]
    single = ensemble.evaluate(ensemble.batch(atoms, torch.float32))
    double = ensemble.predict(atoms)
    assert single.forces.dtype == torch.float32
    scale = double.forces.abs().max()
    assert (single.forces - double.forces).abs().max() < 1e-4 * max(1.0, float(scale))


def test_evaluation_changes_no_structure(ensemble):
    atoms = random_crystal(np.random.default_rng(10), ["Cu", "Au"])
    before = atoms.copy()
    ensemble.predict([atoms], members=True)
    assert atoms == before
    assert atoms.calc is None


def test_saved_and_loaded_predicts_the_same_bits(ensemble, tmp_path):
    atoms = [random_crystal(np.random.default_rng(seed), ["Cu", "Au"]) for seed in range(3)]
    ensemble.save(tmp_path / "models" / "a")
    again = Ensemble.load(str(tmp_path / "models" / "a"))
    one, other = ensemble.predict(atoms, members=True), again.predict(atoms, members=True)
    for name in one.__dataclass_fields__:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    names = ("calibration", "force_calibration", "energy_floor", "force_floor", "trained_on")
    for name in ("spec", "elements", "engine", "facts", *names):
        assert getattr(again, name) == getattr(ensemble, name), name
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["a"]


def test_weights_are_plain_tensors(ensemble, tmp_path):
    """Nothing that runs code when it is read."""
    ensemble.save(tmp_path / "a")
    state = torch.load(tmp_path / "a" / "weights.pt", weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"ensemble.json", "weights.pt"}


def test_an_ensemble_is_never_overwritten(linear, deep, tmp_path):
    linear.save(tmp_path / "a")
    with pytest.raises(FileExistsError, match="holds an ensemble already"):
        deep.save(tmp_path / "a")
    assert Ensemble.load(tmp_path / "a").networks is None
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def rewrite(file, about):
    """With the checksum of what it says now."""
    about.pop("checksum")
    file.write_text(json.dumps(sealed(about)))


def spoil_weights(folder):
    data = bytearray((folder / "weights.pt").read_bytes())
    data[len(data) // 2] ^= 4
    (folder / "weights.pt").write_bytes(data)


def lose_weights(folder):
    (folder / "weights.pt").unlink()


def cut_about(folder):
    text = (folder / "ensemble.json").read_bytes()
    (folder / "ensemble.json").write_bytes(text[: len(text) // 2])


def change_about(folder):
    text = (folder / "ensemble.json").read_text()
    (folder / "ensemble.json").write_text(text.replace('"calibration": ', '"calibration": 1'))


def empty_about(folder):
    (folder / "ensemble.json").write_text("3")


@pytest.mark.parametrize(
    ("spoil", "file", "says"),
    [
        (spoil_weights, "weights.pt", "checksum"),
        (lose_weights, "weights.pt", "gone"),
        (cut_about, "ensemble.json", "not JSON"),
        (change_about, "ensemble.json", "checksum"),
        (empty_about, "ensemble.json", "not a mapping"),
    ],
)
def test_what_is_not_as_it_was_saved_is_refused(linear, tmp_path, spoil, file, says):
    linear.save(tmp_path / "a")
    spoil(tmp_path / "a")
    with pytest.raises(DamagedError, match=f"{file}: damaged.*{says}"):
        Ensemble.load(tmp_path / "a")


def test_an_ensemble_without_checksums_is_believed(linear, tmp_path):
    """As earlier versions wrote it."""
    linear.save(tmp_path / "a")
    file = tmp_path / "a" / "ensemble.json"
    about = json.loads(file.read_text())
    del about["checksum"], about["weights.pt"]
    file.write_text(json.dumps(about))
    assert Ensemble.load(tmp_path / "a").engine == linear.engine


def test_a_newer_format_is_refused(linear, tmp_path):
    linear.save(tmp_path / "a")
    file = tmp_path / "a" / "ensemble.json"
    rewrite(file, json.loads(file.read_text()) | {"format": FORMAT + 1})
    with pytest.raises(ValueError, match=f"format {FORMAT + 1}.*up to {FORMAT}.*install a newer"):
        Ensemble.load(tmp_path / "a")


def test_a_format_whose_products_stood_in_another_order_is_refused(linear, tmp_path):
    linear.save(tmp_path / "a")
    file = tmp_path / "a" / "ensemble.json"
    rewrite(file, json.loads(file.read_text()) | {"format": OLDEST - 1})
    with pytest.raises(ValueError, match=f"format {OLDEST - 1}.*fit the labels anew"):
        Ensemble.load(tmp_path / "a")


def test_format_3_knows_the_range_of_atoms_only(linear, frames, tmp_path):
    """As it was: nothing inside the range, an alarm beyond it, one factor and no floor."""
    linear.save(tmp_path / "a")
    file, weights = tmp_path / "a" / "ensemble.json", tmp_path / "a" / "weights.pt"
    about, state = json.loads(file.read_text()), torch.load(weights, weights_only=True)
    new = ("energy_floor", "force_floor", "margins", "trained_on", "checksum", "weights.pt")
    old = {name: value for name, value in about.items() if name not in new}
    file.write_text(json.dumps(old | {"format": 3, "calibration": 2.0}))
    torch.save({k: v for k, v in state.items() if k not in ("middle", "means")}, weights)
    again = Ensemble.load(tmp_path / "a")
    assert again.domain is None
    assert (again.energy_floor, again.force_floor) == (0.0, 0.0)
    pressed = frames[0].atoms.copy()
    pressed.set_cell(pressed.cell * 0.8, scale_atoms=True)
    atoms = [*(frame.atoms for frame in frames), pressed]
    found = again.predict(atoms)
    batch = again.batch(atoms)
    values = again.spec.descriptor.values(
        batch.vectors(),
        batch.pairs.first,
        batch.species[batch.pairs.second],
        batch.species,
        len(again.elements),
    )
    scaled = again.scaling.apply(values, batch.species)
    low, high = again.bounds[:, batch.species]
    beyond = torch.maximum(low - scaled, scaled - high).amax(dim=1) > 1e-9
    expected = [bool(beyond[batch.system == m].any()) for m in range(len(atoms))]
    assert (found.extrapolation > 0.0).tolist() == expected
    assert expected == [False] * len(frames) + [True]
    assert close(found.energy_std, 2.0 * found.member_energy.std(dim=0) / batch.n_atoms)


def test_a_folder_without_ensemble_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no ensemble.*models/latest"):
        Ensemble.load(tmp_path / "nothing")


def test_unknown_elements_are_refused(linear):
    with pytest.raises(UnknownElementError, match="Zn"):
        linear.predict([Atoms("Zn", cell=[3, 3, 3], pbc=True)])


def test_relative_tolerance_is_not_loose():
    """The helper above must be able to fail."""
    assert not close(torch.tensor([1.0 + 100 * ROUNDING]), torch.tensor([1.0]).double())

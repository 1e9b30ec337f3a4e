"""Potentials published by others give the numbers that their own codes gave."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read as ase_read

from potentials.formats import aenet, deepmd, runner, simple_nn
from potentials.formats.lines import FormatError

pytestmark = pytest.mark.reference

#: the files were computed by the original codes in float64
GOLDEN = 1e-6


@pytest.mark.parametrize("element", ["Si", "Cu", "Mo"])
def test_n2p2_networks_give_their_golden_numbers(element, reference):
    folder = reference / "mlearn" / "nnp_models"
    model = runner.read_potential(folder / element / "nnp.2020.01")
    golden = np.load(folder / f"golden_{element}.npz")
    path = reference / "mlearn" / "extxyz" / f"{element}_test.extxyz"
    crystals = ase_read(path, index=":6", format="extxyz")
    batch = model.batch(crystals[:1])
    pairs = batch.pairs
    values = model.spec.descriptor.values(
        batch.vectors(), pairs.first, batch.species[pairs.second], batch.species, 1
    )
    np.testing.assert_allclose(values[:4], golden["G0_atom0to3"], rtol=GOLDEN)
    found = model.predict(crystals)
    assert torch.isnan(found.energy_std).all()
    start = 0
    for index, atoms in enumerate(crystals):
        forces = found.forces[start : start + len(atoms)]
        start += len(atoms)
        np.testing.assert_allclose(found.energy[index], golden[f"E{index}"], rtol=GOLDEN)
        for ours, name in ((forces, f"F{index}"), (found.stress[index], f"S{index}")):
            theirs = golden[name]
            # components that symmetry makes zero have no relative error
            np.testing.assert_allclose(
                ours, theirs, rtol=GOLDEN, atol=GOLDEN * np.abs(theirs).max()
            )


def test_n2p2_copper_sulphide_gives_its_published_energy_and_error(reference):
    folder = reference / "n2p2" / "nnp-predict" / "Cu2S_PBE"
    model = runner.read_potential(folder, units="angstrom-ev")
    assert sum(map(len, model.spec.descriptor.components(2))) == 138
    assert model.networks.activations == ("softplus", "softplus")
    (frame,) = runner.read(folder, units="angstrom-ev")
    assert frame.label.energy == -573.700369
    found = model.predict([frame.atoms])
    assert float(found.energy[0]) == pytest.approx(-573.656032, abs=1e-6)
    errors = found.forces.numpy() - frame.label.forces
    assert np.sqrt((errors**2).mean()) == pytest.approx(0.0240, abs=1e-4)
    assert float(found.extrapolation[0]) < 0.0


def test_n2p2_water_agrees_with_its_own_data(reference):
    """Normalised, tanh^3 cutoff, bohr and hartree: labels within the errors of the publication."""
    model = runner.read_potential(reference / "n2p2" / "nnp-predict" / "H2O_RPBE-D3")
    data = reference / "n2p2" / "configuration-sets" / "input.data.H2O_RPBE-D3"
    frames = [frame for frame in runner.read(data) if len(frame.atoms) <= 48][:3]
    assert frames
    found = model.predict([frame.atoms for frame in frames])
    forces = np.concatenate([frame.label.forces for frame in frames])
    energies = np.array([frame.label.energy for frame in frames])
    sizes = np.array([len(frame.atoms) for frame in frames])
    assert (np.abs(found.energy.numpy() - energies) / sizes).max() < 0.003
    assert np.sqrt(((found.forces.numpy() - forces) ** 2).mean()) < 0.06
    assert np.sqrt((forces**2).mean()) > 0.5


@pytest.mark.parametrize(
    ("name", "says"),
    [("Anisole_SCAN", "type 2, 3 or 9"), ("H2O_RPBE-D3_4G", "charges are not supported")],
)
def test_n2p2_models_that_an_ensemble_cannot_hold_are_refused(name, says, reference):
    with pytest.raises(FormatError, match=says):
        runner.read_potential(reference / "n2p2" / "nnp-predict" / name)


def quartz(path, columns):
    """The structure of a LAMMPS data file of the tutorials."""
    lines = path.read_text().splitlines()
    box = {line.split()[-1]: line.split() for line in lines if line.endswith(("hi", "yz"))}
    x, y, z = (float(box[name][1]) for name in ("xhi", "yhi", "zhi"))
    xy, xz, yz = map(float, box["yz"][:3])
    start = next(n for n, line in enumerate(lines) if line.startswith("Atoms")) + 2
    rows = np.array([line.split() for line in lines[start : start + 72]], dtype=float)
    return Atoms(
        ["Si" if kind == 1 else "O" for kind in rows[:, 1]],
        positions=rows[:, columns],
        cell=[[x, 0, 0], [xy, y, 0], [xz, yz, z]],
        pbc=True,
    )


def test_simple_nn_tutorial_gives_its_energy(reference):
    folder = reference / "SIMPLE-NN_v2" / "tutorials" / "Molecular_dynamics_answer"
    model = simple_nn.read_potential(folder / "potential_saved_bestmodel")
    found = model.predict([quartz(folder / "SiO2.dat", slice(2, 5))])
    assert float(found.energy[0]) == pytest.approx(-556.28708689, abs=1e-8)


def test_simple_nn_replicas_spread_as_in_lammps(reference):
    """Networks of 30, 60 and 90 units; the dump has six digits, hence 5e-8."""
    folder = reference / "SIMPLE-NN_v2" / "tutorials" / "UE3"
    model = simple_nn.read_potential([folder / f"potential_saved_{n}" for n in (30, 60, 90)])
    atomic = model.atomic_energies([quartz(folder / "SiO2.dat", slice(3, 6))])
    found = atomic.std(dim=0, unbiased=False).numpy()
    rows = (folder / "dump.lammps").read_text().split("c_std\n")[1].splitlines()[:72]
    expected = np.array([float(row.split()[5]) for row in rows])
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-8)
    assert expected.max() > 0.01


def test_simple_nn_parameters_are_those_of_the_potential(reference):
    tutorials = reference / "SIMPLE-NN_v2" / "tutorials"
    params = {x: tutorials / "Preprocess" / f"params_{x}" for x in ("Si", "O")}
    listed = simple_nn.read_params(params)
    model = simple_nn.read_potential(tutorials / "UE3" / "potential_saved")
    assert listed.elements == ("O", "Si")
    assert listed.size(2) == 70

    def shapes(descriptor):
        return {
            (e, function.kind, function.eta, getattr(function, "zeta", 0), partners)
            for e, own in enumerate(descriptor.components(2))
            for function, partners in own
        }

    assert shapes(listed) == shapes(model.spec.descriptor)


def test_deepmd_examples(reference):
    folder = reference / "deepmd_examples"
    water = deepmd.read(folder / "water")
    assert len(water) == 400
    assert water[0].atoms.get_chemical_formula() == "H128O64"
    assert len({frame.id for frame in water}) == 400
    assert water[0].label.stress is None
    # forces of a whole crystal add to nothing
    assert (
        np.abs(water[0].label.forces.sum(axis=0)).max() < 0.01 * np.abs(water[0].label.forces).sum()
    )
    with pytest.raises(FormatError, match="give type_map"):
        deepmd.read(folder / "fparam")
    assert len(deepmd.read(folder / "fparam", type_map=["Be"])) == 600


def test_aenet_example(reference, tmp_path):
    import tarfile

    with tarfile.open(reference / "aenet_TiO2" / "example" / "dir_xsf.tar.gz") as archive:
        names = [name for name in archive.getnames() if name.endswith(".xsf")][:5]
        archive.extractall(tmp_path, members=map(archive.getmember, names), filter="data")
    frames = aenet.read(tmp_path / "dir_xsf", engine="vasp")
    assert len(frames) == 5
    for frame in frames:
        assert set(frame.atoms.get_chemical_symbols()) == {"Ti", "O"}
        assert frame.label.engine == "vasp"
        assert -1000 < frame.label.energy / len(frame.atoms) < -800
        assert frame.atoms.pbc.all()

"""Files of systems, and their references."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene
from ase.units import GPa

from tests import tolerances
from tests.search_bench.made import L1_0, TINY, tetragonal

HULL = "compositions: {elements: [Cu, Au], atoms: [2, 4]}"


class TestSystems:
    def test_the_shipped_ones_can_be_built(self, script):
        module = script("search.system")
        names = module.shipped()
        assert {"si8_tersoff", "si8_chgnet", "cu8au8", "ti4o8", "al4o6", "mg4si4o12"} <= {*names}
        for name in names:
            system = module.load(name)
            for one in system.references:
                atoms = script("search.references").atoms_from(one)
                if system.compositions:
                    assert set(atoms.symbols) <= set(system.elements), one["name"]
                    continue
                counts = {s: atoms.symbols.count(s) for s in system.composition}
                assert module.reduced(counts) == module.reduced(system.composition), one["name"]

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            ("[1]", "expected a mapping"),
            ("{", "not YAML"),
            (TINY.replace("oracle", "orakel"), "unknown key 'orakel'"),
            (TINY.replace("Cu: 2", "Kr: two"), "composition.Kr"),
            (TINY.replace("Cu: 2", "Xx: 2"), "'Xx' is no element"),
            (TINY.replace("Cu: 2", "Cu: [0, 4]"), "a range: give one number"),
            (TINY + "dimension: slab\n", "expected bulk or cluster, got 'slab'"),
            (TINY + "dimension: cluster\npressure_gpa: 3\n", "a cluster has neither"),
            (TINY + "pressure_gpa: high\n", "pressure_gpa"),
            (TINY + "noise: {energy: 0.1}\n", "noise: expected standard"),
            (TINY + "noise: {stress_gpa: -1}\n", "noise: expected standard deviations"),
            (TINY + "hit: enthalpy\n", "hit: expected form (that of the lowest reference"),
            (
                TINY.replace("composition: {Cu: 2, Au: 2}", HULL) + "hit: energy\n",
                "a hull is a matter of energies alone",
            ),
            (TINY.replace("{path: ase.calculators.emt.EMT}", "emt"), "oracle: expected"),
            (TINY.replace("spacegroup", "bulk"), "expected one of file, bulk"),
            (TINY.replace("[Cu, 0, 0, 0], ", ""), "of all of Cu, Au"),
            (TINY.partition("references")[0], "references is missing"),
            (TINY + "  - {name: mine, file: nowhere.xyz}\n", "no such file"),
        ],
    )
    def test_errors_say_where(self, script, tmp_path, found, told):
        file = tmp_path / "wrong.yaml"
        file.write_text(found)
        module = script("search.system")
        with pytest.raises(module.SystemFileError, match=r"wrong\.yaml") as error:
            module.load(str(file))
        assert told in str(error.value)

    def test_an_unknown_name_lists_those_there_are(self, script):
        module = script("search.system")
        with pytest.raises(module.SystemFileError, match="cu8au8"):
            module.load("cu8au9")

    def test_references_are_relaxed_once(self, script, tiny, tmp_path, monkeypatch):
        references = script("search.references")
        system = script("search.system").load(str(tiny))
        first = references.judge(system, tmp_path / "cache").goal
        assert first.enthalpy == pytest.approx(-0.01144, abs=2e-5)
        monkeypatch.setattr(references, "_relax", None)
        again = references.judge(system, tmp_path / "cache").goal
        assert again.enthalpy == first.enthalpy

    def test_what_does_not_fit_into_the_cell_is_no_goal(self, script, tiny, capsys):
        tiny.write_text(TINY.replace("Cu: 2, Au: 2", "Cu: 1, Au: 1").replace(
            L1_0, L1_0 + "  - {name: big, file: big.extxyz}\n"))  # fmt: skip
        big = tetragonal().repeat((2, 1, 1))
        big.symbols = ["Cu", "Cu", "Au", "Au"]
        big.write(tiny.parent / "big.extxyz")
        goals = script("search.references").judge(script("search.system").load(str(tiny)))
        assert [one.name for one in goals.references] == ["L1_0"]
        assert "big" in capsys.readouterr().err

    def test_a_reference_of_another_formula_is_refused(self, script, tiny):
        tiny.write_text(TINY.replace("Cu: 2", "Cu: 3"))
        system = script("search.system")
        with pytest.raises(system.SystemFileError, match="L1_0 is"):
            script("search.references").judge(system.load(str(tiny)))

    def test_what_a_hit_is_is_no_matter_of_the_references(self, script, tiny):
        module, key = script("search.system"), script("search.references")._key
        asked = module.load(str(tiny))
        tiny.write_text(TINY + "hit: energy\n")
        told = module.load(str(tiny))
        assert (asked.hit, told.hit) == ("form", "energy")
        assert key(asked) == key(told)

    def test_carbon_at_0_gpa_is_any_flat_network(self, script):
        judge = script("search.references").judge(script("search.system").load("c8_0gpa"))
        flat = [one.name for one in judge.references if judge.above(one.enthalpy) < 1e-4]
        assert {*flat} == {"graphite", "graphite (ABC)", "K4", "ThSi2"}
        assert judge.goal.enthalpy == pytest.approx(-7.3955, abs=1e-4)
        layers = graphene(a=2.53, vacuum=4.0)
        layers.pbc = True
        assert judge.verdict(layers, judge.goal.enthalpy + 0.004).found
        assert not judge.verdict(layers, judge.goal.enthalpy + 0.006).found

    def test_carbon_at_50_gpa_is_diamond(self, script):
        judge = script("search.references").judge(script("search.system").load("c8_50gpa"))
        lowest = [one.name for one in judge.references if judge.above(one.enthalpy) < 1e-3]
        assert {*lowest} == {"diamond", "lonsdaleite", "4H"}
        assert judge.goal.enthalpy == pytest.approx(-5.6902, abs=1e-4)
        assert min(judge.above(one.enthalpy) for one in judge.references[3:]) > 0.1


class TestTersoff:
    @pytest.mark.parametrize(
        ("name", "length", "energy"), [("silicon", 5.432, -4.6296), ("carbon", 3.566, -7.3704)]
    )
    def test_gives_the_crystals_of_its_papers(self, script, name, length, energy):
        atoms = bulk({"silicon": "Si", "carbon": "C"}[name], "diamond", length)
        atoms.calc = getattr(script("search.tersoff"), name)()
        assert atoms.get_potential_energy() / 2 == pytest.approx(energy, abs=5e-4)
        assert np.abs(atoms.get_stress()).max() < 0.5 * GPa

    def test_a_layer_of_graphite(self, script):
        layer = graphene(a=2.5297, vacuum=4.0)
        layer.pbc = True
        layer.calc = script("search.tersoff").carbon()
        assert layer.get_potential_energy() / 2 == pytest.approx(-7.3955, abs=1e-4)
        assert np.abs(layer.get_stress()).max() < 0.01 * GPa

    def test_a_longer_cutoff_is_none_of_diamonds_business(self, script):
        atoms = bulk("C", "diamond", 3.46)  # as at 50 GPa
        energies = []
        for cutoff in ({}, {"R": 2.1, "D": 0.3}):
            atoms.calc = script("search.tersoff").carbon(**cutoff)
            energies.append(atoms.get_potential_energy())
        assert energies[0] == energies[1]

    @pytest.mark.parametrize("name", ["silicon", "carbon"])
    @pytest.mark.parametrize("made", ["crystal", "chain"])
    def test_forces_and_stress_are_derivatives(self, script, name, made):
        atoms = MADE[made](*{"silicon": ("Si", 5.432), "carbon": ("C", 3.566)}[name])
        atoms.calc = script("search.tersoff").__dict__[name]()
        forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
        assert np.abs(forces).max() > 0.1
        assert forces == pytest.approx(
            differences(atoms), abs=tolerances.DIFFERENCE * np.abs(forces).max()
        )
        assert stress == pytest.approx(
            strained(atoms), abs=tolerances.DIFFERENCE * np.abs(stress).max()
        )

    def test_the_list_of_neighbours_is_long_enough(self, script):
        from ase.calculators.tersoff import Tersoff

        own = crystal("C", 3.1)
        own.calc = script("search.tersoff").carbon()
        other = own.copy()
        other.calc = Tersoff(own.calc.parameters)
        assert own.get_potential_energy() == other.get_potential_energy()
        assert np.array_equal(own.get_forces(), other.get_forces())


def crystal(symbol, length):
    """Diamond with every atom off its site."""
    atoms = bulk(symbol, "diamond", length, cubic=True)
    atoms.rattle(0.03 * length, seed=1)
    return atoms


def chain(symbol, length):
    """Three atoms in empty space: those at the ends have one neighbour."""
    bond = length * np.sqrt(3) / 4
    return Atoms([symbol] * 3, [[-bond, 0.3, 0], [0, 0, 0], [bond, 0.2, 0.4]], cell=[12.0] * 3,
                 pbc=True)  # fmt: skip


MADE = {"crystal": crystal, "chain": chain}


def differences(atoms):
    """Forces by central differences of the energy [eV/Å]."""
    found = np.zeros((len(atoms), 3))
    for place in np.ndindex(found.shape):
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[place] += sign * tolerances.STEP
            found[place] -= sign * moved.get_potential_energy() / (2 * tolerances.STEP)
    return found


def strained(atoms):
    """Stress by central differences of the energy [eV/Å^3]."""
    found = np.zeros((3, 3))
    for place in np.ndindex(3, 3):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[place] += sign * tolerances.STEP / 2
            strain[place[::-1]] += sign * tolerances.STEP / 2
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            found[place] += sign * moved.get_potential_energy() / (2 * tolerances.STEP)
    return found / atoms.get_volume()

"""What engines declare, and the section that is printed."""

import pytest
from ruamel.yaml import YAML

from aga.converge.settings import begun, engine_of, parsed, section, with_values
from calculators import engines

ABLE = [name for name, one in engines.kinds().items() if one.accuracy is not None]


def test_engines_with_plane_waves_can():
    assert {"gpaw", "espresso", "abinit", "cp2k", "vasp"} <= set(ABLE)


@pytest.mark.parametrize("kind", ABLE)
def test_what_an_engine_declares_are_numbers_that_decide_the_answer(kind):
    cls = engines.kinds()[kind]
    for name in cls.accuracy:
        field = cls.model_fields[name]
        assert field.default is None or float(field.default) > 0
        assert name not in cls.helpers
        assert field.description


@pytest.mark.parametrize("kind", ABLE)
def test_ladders_begin_below_what_is_usual_or_where_they_are_told(kind, sets):
    given = sets.get(kind, {})
    engine = engine_of(kind, given)
    low, usual = begun(engine, given, ["Si"]), engine.settled(["Si"])
    for name in engine.accuracy:
        assert 0 < getattr(low, name) < getattr(usual, name)
        told = {**given, name: 7.0}
        assert getattr(begun(engine_of(kind, told), told, ["Si"]), name) == 7.0


@pytest.mark.parametrize("kind", sorted(set(ABLE) - {"cp2k"}))
def test_hard_elements_begin_higher(kind, sets):
    given = sets.get(kind, {})
    engine = engine_of(kind, given)
    soft, hard = (begun(engine, given, symbols) for symbols in (["Si"], ["O", "Si"]))
    assert getattr(hard, engine.accuracy.cutoff) > 1.2 * getattr(soft, engine.accuracy.cutoff)


def test_an_open_cutoff_is_as_good_as_none(sets):
    given = {**sets["abinit"], "ecut_ev": None}
    assert begun(engine_of("abinit", given), given, ["Si"]).ecut_ev == 270.0  # 2/3 of 400 eV


def test_without_pseudopotentials_nothing_is_begun(tmp_path):
    given = {"pseudo_dir": str(tmp_path)}
    engine = begun(engine_of("vasp", given), given, ["Si"])
    assert engine.ecut_ev is None
    assert "Si/POTCAR" in " ".join(engine.problems(["Si"]))


def test_values_are_yaml():
    given = parsed(["xc=RPBE", "magmoms={Fe: 2.5}", "maxiter=90", "mixer=null"])
    assert given == {"xc": "RPBE", "magmoms": {"Fe": 2.5}, "maxiter": 90, "mixer": None}


def test_the_section_has_what_was_given_and_found():
    given = parsed(["xc=RPBE", "magmoms={Fe: 2.5}", "ecut_ev=300"])
    best = with_values(engine_of("gpaw", given), {"ecut_ev": 430.0, "kpts_density": 2.4})
    text = section(best, given)
    assert "ecut_ev: 430\n" in text
    assert YAML(typ="safe").load(text)["engine"] == {
        "kind": "gpaw",
        "ecut_ev": 430,
        "kpts_density": 2.4,
        "xc": "RPBE",
        "magmoms": {"Fe": 2.5},
    }


def test_the_retries_of_an_engine_stay():
    engine = engine_of("gpaw", {})
    assert with_values(engine, {"ecut_ev": 400.0}).retries == engine.retries

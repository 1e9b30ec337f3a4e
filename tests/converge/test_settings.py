"""What engines declare, and the section that is printed."""

import pytest
from ruamel.yaml import YAML

from aga.converge.settings import engine_of, parsed, section, with_values
from calculators import engines

ABLE = [name for name, one in engines.kinds().items() if one.accuracy is not None]


def test_some_engine_can():
    assert "gpaw" in ABLE


@pytest.mark.parametrize("kind", ABLE)
def test_what_an_engine_declares_are_numbers_that_decide_the_answer(kind):
    cls = engines.kinds()[kind]
    for name in cls.accuracy:
        field = cls.model_fields[name]
        assert float(field.default) > 0
        assert name not in cls.helpers
        assert field.description


@pytest.mark.parametrize("kind", ABLE)
def test_ladders_begin_below_the_defaults_or_where_they_are_told(kind):
    cls = engines.kinds()[kind]
    low = engine_of(kind, {}).model_dump()
    for name in cls.accuracy:
        assert 0 < low[name] < cls.model_fields[name].default
        assert engine_of(kind, {name: 7.0}).model_dump()[name] == 7.0


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

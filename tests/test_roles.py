"""Kinds are found by listing; unknown names get the nearest one."""

import sys
from abc import ABC, abstractmethod
from typing import Literal

import pytest
from pydantic import BaseModel

from potentials import roles


class Sound(BaseModel, ABC):
    kind: str

    @abstractmethod
    def noise(self): ...


class Bark(Sound):
    kind: Literal["bark"] = "bark"
    volume: int = 1

    def noise(self):
        return "wuff"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a role's folder; returns its name."""

    def write(**files):
        folder = tmp_path / "noises"
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        return "noises"

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "noises"]:
        del sys.modules[name]


MEOW = """
import {module} as roles_test
class Meow(roles_test.Sound):
    kind: str = "{kind}"
    def noise(self):
        return "meow"
"""


@pytest.fixture
def here(monkeypatch):
    """This module under a name that files can import."""
    monkeypatch.setitem(sys.modules, "roles_under_test", sys.modules[__name__])
    return "roles_under_test"


def test_kinds_are_the_files_of_the_folder(package, here):
    name = package(meow=MEOW.format(module=here, kind="meow"), _private="raise ValueError")
    found = roles.kinds(name, Sound, "tests.noises")
    assert list(found) == ["meow"]
    assert found["meow"]().noise() == "meow"


def test_a_kind_must_carry_the_name_of_its_file(package, here):
    name = package(purr=MEOW.format(module=here, kind="meow"))
    with pytest.raises(ValueError, match=r"kind must be 'purr' by default, got 'meow'"):
        roles.kinds(name, Sound, "tests.noises")


def test_a_file_without_a_kind_is_named(package):
    with pytest.raises(
        ValueError, match=r"noises\.silent: expected one concrete subclass of Sound"
    ):
        roles.kinds(package(silent="x = 1"), Sound, "tests.noises")


class Entry:
    value = "elsewhere:Bark"

    def __init__(self, name, loaded):
        self.name, self.loaded = name, loaded

    def load(self):
        return self.loaded


def test_entry_points_add_kinds(package, monkeypatch):
    groups = {"tests.noises": [Entry("bark", Bark)]}
    monkeypatch.setattr(roles, "entry_points", lambda group: groups[group])
    assert roles.kinds(package(), Sound, "tests.noises") == {"bark": Bark}


def test_an_entry_point_may_not_take_a_name_twice(package, here, monkeypatch):
    monkeypatch.setattr(roles, "entry_points", lambda group: [Entry("meow", Bark)])
    name = package(meow=MEOW.format(module=here, kind="meow"))
    with pytest.raises(ValueError, match="exists already"):
        roles.kinds(name, Sound, "tests.noises")


def test_an_entry_point_must_be_of_the_role(package, monkeypatch):
    monkeypatch.setattr(roles, "entry_points", lambda group: [Entry("bark", dict)])
    with pytest.raises(TypeError, match="expected a subclass of Sound"):
        roles.kinds(package(), Sound, "tests.noises")


def test_build_takes_the_fields():
    assert roles.build({"kind": "bark", "volume": 3}, {"bark": Bark}, "Sound").volume == 3


def test_build_names_the_nearest_kind():
    with pytest.raises(ValueError, match=r"no Sound 'brak' \(did you mean 'bark'\?\); known: bark"):
        roles.build({"kind": "brak"}, {"bark": Bark}, "Sound")


def test_build_asks_for_a_kind():
    with pytest.raises(ValueError, match="'kind' is missing; known: bark"):
        roles.build({"volume": 3}, {"bark": Bark}, "Sound")


def test_nothing_is_near_to_nonsense():
    assert roles.nearest("xyzzy", ["bark", "meow"]) == ""

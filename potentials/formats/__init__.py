"""Data sets and potentials of other codes, by name; a module of this folder for each.

A module for data sets has ``read(path, *, engine) -> list[Frame]`` and ``write(path, frames)``,
one for potentials has ``read_potential(path) -> Ensemble`` and ``write_potential(path, ensemble)``.
"""

import importlib
from typing import Any

from potentials.roles import unknown

#: module of each format of data sets
DATA = {
    "extxyz": "extxyz",
    "runner": "runner",
    "aenet": "aenet",
    "deepmd": "deepmd",
}
#: module of each format of potentials
POTENTIALS = {"runner": "runner", "simple-nn": "simple_nn"}


def data_format(name: str) -> Any:
    """The module that reads and writes data sets of a format.

    Raises:
        ValueError: the format is unknown.
    """
    return _module(name, DATA, "format of data sets")


def potential_format(name: str) -> Any:
    """The module that reads and writes potentials of a format.

    Raises:
        ValueError: the format is unknown.
    """
    return _module(name, POTENTIALS, "format of potentials")


def _module(name: str, table: dict[str, str], role: str) -> Any:
    if name not in table:
        raise ValueError(unknown(role, name, table))
    return importlib.import_module(f"{__name__}.{table[name]}")

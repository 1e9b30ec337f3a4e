"""Any ASE calculator, named by its import path; how third-party methods are tried without code."""

import importlib
import json
import re
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Literal

from ase import Atoms
from pydantic import Field, JsonValue

from calculators.engines import Engine


class AnyCalculator(Engine):
    """A class or function that returns an ASE calculator, called with ``arguments``.

    Nothing is known about the method, so it is not called DFT. A module of your own must be
    importable in the child process: install it, or put its folder on PYTHONPATH.
    """

    kind: Literal["ase"] = "ase"
    memory_gb: float = 16.0  # many are torch models
    path: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$",
        description="module and name, e.g. ase.calculators.lj.LennardJones",
    )
    arguments: dict[str, JsonValue] = Field(default={}, description="keywords of the call")

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """Whether the module and the name are there, found without importing anything."""
        module, _, name = self.path.rpartition(".")
        spec = _locate(module)
        if spec is None:
            return [
                f"The engine 'ase' cannot find the module {module!r} of path {self.path!r}: "
                "install it, put its folder on PYTHONPATH, or correct the path."
            ]
        source = Path(spec.origin or "")
        if source.suffix == ".py" and not re.search(rf"\b{name}\b", source.read_text("utf-8")):
            return [f"The engine 'ase' finds no {name!r} in {source}: correct {self.path!r}."]
        return []

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """The calculator made by the call."""
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)(**self.arguments)

    def distributions(self) -> tuple[str, ...]:
        """Installed distributions whose versions are kept with a label."""
        return tuple(dict.fromkeys(("ase", self.path.partition(".")[0])))

    def description(self) -> str:
        """One line for tables."""
        return f"{self.path} {json.dumps(self.arguments, sort_keys=True)}"


def _locate(module: str) -> ModuleSpec | None:
    """The spec of a dotted module; parents are walked by folder, not imported."""
    spec: ModuleSpec | None = None
    folders: list[str] | None = None
    parts = module.split(".")
    for part in parts:
        # by its own name: by the dotted one, a folder without __init__.py wants its parent imported
        spec = PathFinder.find_spec(part, folders)
        if spec is None:
            return None
        folders = list(spec.submodule_search_locations or [])
    return spec

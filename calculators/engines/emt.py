"""Effective medium theory as ASE ships it: a toy for tests and tutorials, no DFT.

Jacobsen, Stoltze, Nørskov 1996, doi:10.1016/0039-6028(96)00816-3.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from ase import Atoms

from calculators.engines import Engine

_ELEMENTS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "H", "C", "N", "O")


class EMT(Engine):
    """ASE's EMT; H, C, N and O have parameters only to make examples run."""

    kind: Literal["emt"] = "emt"
    deadline_s: float = 60.0

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """Elements without parameters."""
        missing = sorted(set(symbols) - set(_ELEMENTS))
        if not missing:
            return []
        return [
            f"EMT has no parameters for {', '.join(missing)}: it knows {', '.join(_ELEMENTS)}; "
            "take another composition or another engine."
        ]

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """ASE's calculator."""
        from ase.calculators import emt

        return emt.EMT()

    def description(self) -> str:
        """One line for tables."""
        return "EMT (a toy potential, not DFT)"

"""CHGNet, a universal potential with its weights in the wheel: a surrogate of PBE(+U), not DFT.

Deng et al. 2023, doi:10.1038/s42256-023-00716-3. It gives NaN for coincident atoms and a sane
looking energy for atoms 0.05 Å apart: only the gates of `calculators.gates` keep that out.
"""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

from ase import Atoms
from ase.data import atomic_numbers
from pydantic import Field

from calculators.engines import Engine

_LAST = 94  # embeddings go to plutonium


class CHGNet(Engine):
    """Energies, forces, stress and magnetic moments of CHGNet."""

    clusters: ClassVar[bool] = False

    kind: Literal["chgnet"] = "chgnet"
    deadline_s: float = 300.0
    memory_gb: float = 16.0  # torch reserves far more address space than it uses
    weights: Literal["0.3.0", "0.2.0", "r2scan"] = "0.3.0"
    device: Literal["cpu", "cuda"] = Field(default="cpu", description="where the network runs")

    helpers: ClassVar[frozenset[str]] = frozenset({"device"})
    ladder: ClassVar[frozenset[str]] = frozenset({"device"})

    def problems(self, symbols: Iterable[str]) -> list[str]:
        """Not installed, or elements beyond the table."""
        found = []
        if find_spec("chgnet") is None:
            found.append(
                "The engine 'chgnet' is not installed: pip install 'aga-search[chgnet]' "
                "(wheels only, no compiler)."
            )
        if self.device == "cuda" and self.memory_gb:
            found.append(
                "CUDA reserves more address space than any sensible limit: "
                "set memory_gb: 0 for the engine 'chgnet' with device: cuda."
            )
        beyond = sorted(name for name in set(symbols) if atomic_numbers.get(name, 999) > _LAST)
        if beyond:
            found.append(
                f"CHGNet does not know {', '.join(beyond)}: it covers H to Pu; "
                "take another composition or another engine."
            )
        return found

    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """CHGNet's own ASE calculator; an atom without neighbours is an error."""
        from chgnet.model.dynamics import CHGNetCalculator
        from chgnet.model.model import CHGNet as Network

        network = Network.load(model_name=self.weights, use_device=self.device, verbose=False)
        return CHGNetCalculator(model=network, use_device=self.device, on_isolated_atoms="error")

    def distributions(self) -> tuple[str, ...]:
        """Installed distributions whose versions are kept with a label."""
        return ("ase", "chgnet", "torch")

    def description(self) -> str:
        """One line for tables."""
        functional = "r2SCAN" if self.weights == "r2scan" else "PBE(+U)"
        return f"CHGNet {self.weights} (a surrogate of {functional}, not DFT)"

"""DeePMD-kit: se_e2_a in TensorFlow with its compiled operators, random weights.

Zeng et al., J. Chem. Phys. 159, 054801 (2023), doi:10.1063/5.0155600. Its wheel carries operators
for one version of each framework; those for TensorFlow work with the version that pip chooses,
those for torch need that very version of torch.
"""

import subprocess
import sys
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from peers.prepared import Found, Prepared, Variant
from peers.systems import CUTOFF

PACKAGE = "deepmd-kit"
REQUIRES = ("deepmd-kit[cpu]", "ase")
#: room for neighbours as a share of the most that an atom has: its own choice for sel "auto"
ROOM = 1.1
VARIANTS = (
    Variant("deepmd-kit se_e2_a", 1, "rc 6, 25-50-100, axis 16, fit 120x3, TensorFlow, fp64", {}),
)


class Ready(Prepared):
    """Structures of one composition are evaluated together, as the code offers."""

    def __init__(self, structures: Sequence[Atoms], path: Path, symbols: Sequence[str]) -> None:
        from deepmd.infer import DeepPot

        super().__init__(structures)
        self.potential = DeepPot(str(path))
        self.groups: dict[tuple[int, ...], list[int]] = {}
        for index, atoms in enumerate(structures):
            types = tuple(symbols.index(symbol) for symbol in atoms.symbols)
            self.groups.setdefault(types, []).append(index)

    def evaluate(self) -> list[tuple[list[int], Any]]:
        """Energies, forces and virials of each group."""
        return [(own, self._group(types, own)) for types, own in self.groups.items()]

    def _group(self, types: tuple[int, ...], own: list[int]) -> Any:
        positions = np.stack([self.structures[index].positions.ravel() for index in own])
        cells = np.stack([self.structures[index].cell.array.ravel() for index in own])
        return self.potential.eval(positions, cells, list(types))

    def results(self) -> list[Found]:
        """In the order of the structures; the virial is -stress times volume."""
        found: dict[int, Found] = {}
        for own, (energies, forces, virials) in self.evaluate():
            for row, index in enumerate(own):
                stress = -virials[row].reshape(3, 3) / self.structures[index].get_volume()
                found[index] = Found(float(energies[row, 0]), forces[row], stress)
        return [found[index] for index in range(len(self.structures))]


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Structures with a random model, frozen as for production."""
    del variant
    symbols = sorted(set(structures[0].get_chemical_symbols()))
    rooms = _rooms(structures, symbols)
    path = folder / f"deepmd_{'_'.join([*symbols, *map(str, rooms)])}.pb"
    if not path.exists():
        _write(path, symbols, rooms)
    return Ready(structures, path, symbols)


def _rooms(structures: Sequence[Atoms], symbols: Sequence[str]) -> list[int]:
    """Places for neighbours of each element, in fours: empty ones cost time as well."""
    most = np.zeros(len(symbols))
    for atoms in structures:
        first, second = neighbor_list("ij", atoms, CUTOFF)
        neighbours = np.array(atoms.get_chemical_symbols())[second]
        for index, symbol in enumerate(symbols):
            most[index] = max(most[index], np.bincount(first[neighbours == symbol]).max())
    return [4 * ceil(ROOM * number / 4) for number in most]


def _write(path: Path, symbols: Sequence[str], rooms: Sequence[int]) -> None:
    """A model of random weights in the code's own format, turned into a frozen graph."""
    from deepmd.dpmodel.model.model import get_model
    from deepmd.dpmodel.utils.serialization import save_dp_model

    settings = {
        "type_map": list(symbols),
        "descriptor": {
            "type": "se_e2_a",
            "rcut": CUTOFF,
            "rcut_smth": 0.5,
            "sel": list(rooms),
            "neuron": [25, 50, 100],
            "axis_neuron": 16,
            "seed": 1,
        },
        "fitting_net": {"neuron": [120, 120, 120], "seed": 1},
    }
    model = {"model": get_model(settings).serialize(), "model_def_script": settings}
    plain = path.with_suffix(".dp")
    save_dp_model(str(plain), {**model, "backend": "DPModel", "software": "deepmd-kit"})
    command = [sys.executable, "-m", "deepmd", "convert-backend", str(plain), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode or not path.exists():
        raise RuntimeError(f"dp convert-backend failed: {done.stderr[-500:]}")

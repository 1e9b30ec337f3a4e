"""The structure that settings are tried on: forces that symmetry forbids would tell nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from aga.search.symmetry import operations
from aga.structure_files import read_structures
from aga.yaml_source import ConfigError
from potentials.structures import bare

#: standard deviation of every coordinate [Å]
RATTLE = 0.03
#: forces that the operations of a structure forbid are smaller than this part of free ones
FORBIDDEN = 1e-8
#: tolerance of looking for operations [Å]; ten times as symmetric as it is rattled
SYMPREC = 0.003


@dataclass(frozen=True, eq=False, slots=True)
class Probe:
    """What is computed.

    Attributes:
        atoms: the structure, bare.
        change: what was done to it, for the reader; empty: nothing.
    """

    atoms: Atoms
    change: str = ""


def read_structure(path: Path, index: int | None = None) -> Atoms:
    """The one structure of a file.

    Args:
        path: in any format that ASE reads.
        index: which one, counted from 0, where there are several; negative from the end.

    Raises:
        ConfigError: there is no such file, it cannot be read, or it holds several structures or
            none.
    """
    found = read_structures(path)
    count = len(found)
    if index is None and count > 1:
        raise ConfigError(
            [f"{path}: holds {count} structures; say which: --index 0 to {count - 1}"]
        )
    if index is not None and not -count <= index < count:
        raise ConfigError(
            [f"{path}: --index {index}: the file holds {count} structures, from 0 on"]
        )
    return found[index or 0]


def probe(atoms: Atoms) -> Probe:
    """The structure, rattled where its symmetry forbids all forces.

    One atom in a cell never has a force: the cell is doubled along its shortest vector first.
    """
    atoms = bare(atoms)
    if not vanishing(atoms):
        return Probe(atoms)
    change = f"every coordinate rattled by {RATTLE:g} Å"
    if len(atoms) == 1:
        repeats = [1, 1, 1]
        repeats[int(atoms.cell.lengths().argmin())] = 2
        atoms = atoms.repeat(repeats)
        change = f"doubled along its shortest vector, {change}"
    atoms.positions += np.random.default_rng(0).normal(scale=RATTLE, size=atoms.positions.shape)
    return Probe(atoms, f"{change}: by symmetry its forces are zero and would tell nothing")


def vanishing(atoms: Atoms) -> bool:
    """Whether no atom of a crystal can have a force, by its symmetry."""
    if not atoms.pbc.all():
        return False
    if len(atoms) == 1:
        return True
    found = operations(atoms, SYMPREC)
    if found is None:
        return False
    free = np.random.default_rng(0).normal(size=atoms.positions.shape)
    return bool(np.abs(found.displacements(free)).max() < FORBIDDEN)

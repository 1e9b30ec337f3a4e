"""The exact judge of two crystals: pymatgen's StructureMatcher on their primitive cells.

Verdicts and primitive cells are kept: a search asks for the same pairs in every generation.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from ase import Atoms

from aga.search.symmetry import primitive

#: a distorted supercell may hide its primitive cell: tolerances at which it is looked for [Å]
_SYMPRECS = (0.0, 0.05, 0.15, 0.3, 0.5)


class _Crystal:
    """Atoms that can be looked up by what they are."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms = atoms
        parts = (atoms.numbers, atoms.positions, atoms.cell.array)
        plain = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        self.key = blake2b(plain, digest_size=16).digest()

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Crystal) and self.key == other.key


def matches(one: Atoms, two: Atoms) -> bool:
    """Whether two crystals match (ltol 0.2, stol 0.2, 5 degrees), whatever their volumes.

    Args:
        one: a crystal.
        two: one of the same reduced composition.
    """
    return _verdict(_Crystal(one.copy()), _Crystal(two.copy()))


@lru_cache(maxsize=8192)
def _verdict(one: _Crystal, two: _Crystal) -> bool:
    tried = set()
    for symprec in _SYMPRECS:
        cells = _primitive(one, symprec), _primitive(two, symprec)
        sizes = len(cells[0]), len(cells[1])
        # of the same sizes they are the cells that did not match before
        if sizes[0] != sizes[1] or sizes in tried:
            continue
        if _matcher().fit(*cells, skip_structure_reduction=True):
            return True
        tried.add(sizes)
    return False


@lru_cache(maxsize=4096)
def _primitive(crystal: _Crystal, symprec: float) -> Any:
    """The reduced primitive cell, a pymatgen structure; at 0 as pymatgen finds it.

    The matcher can do this itself, but looks each structure up in a cache whose keys it compares
    site by site: 50 ms for what takes 5.
    """
    from pymatgen.core import Lattice, Structure

    atoms = primitive(crystal.atoms, symprec) if symprec else crystal.atoms
    structure = Structure(
        Lattice(atoms.cell.array), atoms.numbers, atoms.positions, coords_are_cartesian=True
    )
    return structure.get_reduced_structure(reduction_algo="niggli").get_primitive_structure()


@lru_cache(maxsize=1)
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        ltol=0.2, stol=0.2, angle_tol=5, primitive_cell=True, scale=True, attempt_supercell=False
    )

"""Structures from files of any format that ASE reads: whole ones, or one clear refusal."""

import warnings
from pathlib import Path

import numpy as np
from ase import Atoms

from aga.yaml_source import ConfigError
from potentials.acceptance import WIDEST
from potentials.formats.extxyz import check_counts
from potentials.formats.lines import FormatError
from potentials.structures import bare, heights

#: cell vectors that span less are no cell [Å^3]
_NO_VOLUME = 1e-6
#: no cell to search in is flatter; labels of others may be [Å]
_FLATTEST = 0.1


def read_structures(path: Path) -> list[Atoms]:
    """All structures of a file, bare.

    Raises:
        ConfigError: there is no such file, it cannot be read, or one of its structures is none: no
            atoms, no element, a number that is not finite, a cell without volume.
    """
    if not path.is_file():
        kind = "a folder, expected a file" if path.is_dir() else "no such file"
        raise ConfigError([f"{path}: {kind}"])
    found = _read(path)
    if not found:
        raise ConfigError([f"{path}: expected a structure, found none with atoms"])
    for number, atoms in enumerate(found):
        if problem := _problem(atoms):
            which = f" (structure {number} of {len(found)}, from 0)" if len(found) > 1 else ""
            raise ConfigError([f"{path}: {problem}{which}"])
    return [bare(atoms) for atoms in found]


def _read(path: Path) -> list[Atoms]:
    """What ASE finds in a file."""
    from ase.io import read
    from ase.io.formats import UnknownFileTypeError, filetype

    try:
        if filetype(str(path)) in {"xyz", "extxyz"}:
            check_counts(path)
        with warnings.catch_warnings():
            # guesses about files that are a little wrong: what comes of them is looked at here
            warnings.simplefilter("ignore")
            return list(read(path, index=":"))
    except FormatError as error:
        raise ConfigError([str(error)]) from error
    except UnknownFileTypeError as error:
        raise ConfigError([f"{path}: a format that ASE does not know: {error}"]) from error
    except Exception as error:  # readers raise whatever they like
        said = (str(error).strip() or "it is cut short or of another format").splitlines()[0][:200]
        message = f"{path}: cannot be read: {type(error).__name__}: {said}"
        raise ConfigError([message]) from error


def _problem(atoms: Atoms) -> str:
    """Why this is no structure; empty where it is one."""
    if not len(atoms):
        return "expected a structure, found none with atoms"
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "a position or cell vector is not finite"
    if (atoms.numbers < 1).any():
        return f"atom {int(np.argmin(atoms.numbers))} (from 0) is of no element (X)"
    wide = max(float(np.abs(part).max()) for part in (atoms.positions, atoms.cell.array))
    if wide > WIDEST:
        return f"a coordinate of {wide:.3g} Å is beyond {WIDEST:g} Å"
    if not atoms.pbc.any():
        return ""
    if abs(np.linalg.det(atoms.cell.array)) < _NO_VOLUME:
        return "a periodic structure needs three independent cell vectors"
    flat = float(heights(atoms).min())
    return f"a cell of {flat:.3g} Å between two faces" if flat < _FLATTEST else ""

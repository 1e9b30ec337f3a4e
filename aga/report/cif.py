"""Structures as files: CIF of the symmetrised conventional cell if there is one; XYZ of clusters.

Each with its record.
"""

import re
import warnings
from pathlib import Path
from typing import Any

from aga.campaign.progress import SYMPREC
from aga.campaign.state import State
from aga.report import ranking, xyz
from aga.report.files import published
from aga.report.ranking import Row

#: largest relative change of the volume per atom that symmetrising may make
SAME_VOLUME = 0.05
#: names that `write_structures` gives, and clears away before it writes anew
OWN = re.compile(r"\d{2,}_.+\.(cif|xyz)")


def suffix(state: State) -> str:
    """Of the files of a campaign: "cif", for clusters "xyz"."""
    return "xyz" if state.config.dimension == "cluster" else "cif"


def write_structures(state: State, folder: Path, limit: int | None = None) -> list[Path]:
    """Write the distinct structures, lowest first: ``01_Fd-3m_Si8.cif``, ``01_Ih_Cu13.xyz`` ...

    Files of this kind from before are replaced; others in the folder stay.

    Returns:
        The files, by rank.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    ending = suffix(state)
    write = xyz.text if ending == "xyz" else text
    for row in ranking.rows(state, limit):
        path = folder / f"{name(row)}.{ending}"
        with published(path) as temporary:
            temporary.write_text(write(row, state), encoding="utf-8")
        written.append(path)
    for old in set(folder.glob(f"*.{ending}")) - set(written):
        if OWN.fullmatch(old.name):
            old.unlink()
    return written


def name(row: Row) -> str:
    """Of a structure's file; underscores of the symbol are dropped, strokes become dashes."""
    symbol = row.spacegroup.split(" (")[0].replace("_", "").replace("/", "-")
    return f"{row.rank:02d}_{symbol}_{row.formula}"


def text(row: Row, state: State) -> str:
    """The CIF with comments that say what the structure is and who says so."""
    structure = to_pymatgen(row.atoms)
    symmetrised = _symmetrised(structure)
    cell = "symmetrised conventional cell" if symmetrised else "the cell as it was computed, P1"
    stress = "not converged" if row.stress_gpa is None else f"{row.stress_gpa:.3f} GPa"
    comments = (
        f"{state.config.name}: rank {row.rank}, id {row.id}",
        f"enthalpy {row.enthalpy:.6f} eV/atom at {state.config.pressure_gpa:g} GPa, "
        f"{1e3 * row.above:.1f} meV/atom above the {'best' if state.hull is None else 'hull'}",
        f"computed by {state.config.engine.description()}",
        f"confirmed by {ranking.method(state.config.engine)}: {'yes' if row.confirmed else 'no'} "
        f"(max force {row.fmax:.3f} eV/Å, stress deviation {stress})",
        f"{row.spacegroup} found within {SYMPREC:g} Å; {cell}",
    )
    # a CIF is ASCII
    head = "".join(f"# {line}\n" for line in comments).replace("Å", "A")
    return head.encode("ascii", "replace").decode() + (symmetrised or _cif(structure))


def to_pymatgen(atoms: Any) -> Any:
    """An ASE structure as a pymatgen one."""
    from pymatgen.core import Lattice, Structure

    return Structure(
        Lattice(atoms.cell.array), list(atoms.symbols), atoms.get_scaled_positions(wrap=False)
    )


def _cif(structure: Any, symprec: float | None = None) -> str:
    from pymatgen.io.cif import CifWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice for pymatgen's own developers
        return str(CifWriter(structure, symprec=symprec))


def _symmetrised(structure: Any) -> str | None:
    """The CIF with symmetry if it reads back as the same crystal, else None."""
    from pymatgen.core import Structure
    from pymatgen.symmetry.analyzer import SymmetryUndeterminedError

    try:
        found = _cif(structure, SYMPREC)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            back = Structure.from_str(found, fmt="cif")
    except (SymmetryUndeterminedError, ValueError, TypeError):  # spglib gave up, or gave nonsense
        return None
    if back.composition.reduced_formula != structure.composition.reduced_formula:
        return None
    volumes = back.volume / len(back), structure.volume / len(structure)
    return found if abs(volumes[0] / volumes[1] - 1) <= SAME_VOLUME else None

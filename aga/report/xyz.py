"""Clusters as extended XYZ, with their record on the second line."""

from io import StringIO

from aga.campaign.state import State
from aga.report.ranking import Row


def text(row: Row, state: State) -> str:
    """The file of one cluster; energies [eV/atom], the largest force [eV/Å]."""
    from ase.io import write

    atoms = row.atoms.copy()
    atoms.info = {
        "campaign": state.config.name,
        "rank": row.rank,
        "id": row.id,
        "energy_per_atom": row.enthalpy,
        "above_best_per_atom": row.above,
        "point_group": row.spacegroup,
        "computed_by": state.config.engine.description(),
        "confirmed": row.confirmed,
        "max_force": row.fmax,
    }
    stream = StringIO()
    write(stream, atoms, format="extxyz")
    return stream.getvalue()

"""What VASP leaves behind, as tests need it: a whole vasprun.xml, a piece of OUTCAR."""

import numpy as np
from ase import Atoms


def _rows(name, values):
    lines = "".join(f"<v> {' '.join(f'{one:.8f}' for one in row)} </v>\n" for row in values)
    return f'<varray name="{name}">\n{lines}</varray>\n'


def _structure(atoms, name):
    head = f'<structure name="{name}">\n' if name else "<structure>\n"
    return (
        head
        + "<crystal>\n"
        + _rows("basis", atoms.cell.array)
        + f'<i name="volume"> {atoms.get_volume():.8f} </i>\n'
        + _rows("rec_basis", atoms.cell.reciprocal())
        + "</crystal>\n"
        + _rows("positions", atoms.get_scaled_positions())
        + "</structure>\n"
    )


def _energies(free, extrapolated, without):
    return (
        "<energy>\n"
        f'<i name="e_fr_energy"> {free:.8f} </i>\n'
        f'<i name="e_wo_entrp"> {without:.8f} </i>\n'
        f'<i name="e_0_energy"> {extrapolated:.8f} </i>\n'
        "</energy>\n"
    )


def vasprun(atoms: Atoms, forces, stress_kbar, *, steps=5, nelm=60, ispin=1, energy=-10.0) -> str:
    """A vasprun.xml of VASP 6 for one single point; ``atoms`` grouped by element."""
    symbols = list(dict.fromkeys(atoms.symbols))
    counts = [list(atoms.symbols).count(symbol) for symbol in symbols]
    listed = "".join(
        f"<rc><c>{symbol} </c><c> {symbols.index(symbol) + 1}</c></rc>\n"
        for symbol in atoms.symbols
    )
    types = "".join(
        f"<rc><c> {count}</c><c>{symbol} </c><c> 28.0</c><c> 4.0</c>"
        f"<c> PAW_PBE {symbol} 05Jan2001 </c></rc>\n"
        for symbol, count in zip(symbols, counts, strict=True)
    )
    fields = "".join(
        f"<field{kind}>{name}</field>\n"
        for kind, name in (
            (' type="int"', "atomspertype"),
            ("", "element"),
            ("", "mass"),
            ("", "valence"),
            ("", "pseudopotential"),
        )
    )
    # the entropy is 0.02 eV: free -0.02, extrapolated -0.01
    last = _energies(energy - 0.01, energy, energy + 0.01)
    scf = f"<scstep>\n{last}</scstep>\n" * steps
    # as VASP 6 has it: of the whole, the extrapolated energy is that without entropy
    whole = _energies(energy - 0.01, energy + 0.01, 0.02)
    return f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator>
<i name="program" type="string">vasp </i>
<i name="version" type="string">6.4.2 </i>
</generator>
<incar>
<i type="int" name="NELM"> {nelm}</i>
</incar>
<kpoints>
<generation param="Gamma">
<v type="int" name="divisions"> 2 2 2 </v>
<v name="usershift"> 0.0 0.0 0.0 </v>
<v name="genvec1"> 0.5 0.0 0.0 </v>
<v name="genvec2"> 0.0 0.5 0.0 </v>
<v name="genvec3"> 0.0 0.0 0.5 </v>
<v name="shift"> 0.0 0.0 0.0 </v>
</generation>
{_rows("kpointlist", [(0.0, 0.0, 0.0)])}
{_rows("weights", [(1.0,)])}
</kpoints>
<parameters>
<separator name="general">
<i type="int" name="NELM"> {nelm}</i>
<i type="int" name="NELMDL"> -5</i>
<i type="int" name="ISPIN"> {ispin}</i>
<i type="int" name="NSW"> 0</i>
<i type="int" name="IBRION"> -1</i>
<i type="int" name="ISIF"> 2</i>
<i type="logical" name="LHFCALC"> F </i>
<i type="logical" name="LEPSILON"> F </i>
</separator>
</parameters>
<atominfo>
<atoms> {len(atoms)} </atoms>
<types> {len(symbols)} </types>
<array name="atoms">
<dimension dim="1">ion</dimension>
<field type="string">element</field>
<field type="int">atomtype</field>
<set>
{listed}</set>
</array>
<array name="atomtypes">
<dimension dim="1">type</dimension>
{fields}<set>
{types}</set>
</array>
</atominfo>
{_structure(atoms, "initialpos")}
<calculation>
{scf}
{_structure(atoms, "")}
{_rows("forces", np.asarray(forces))}
{_rows("stress", np.asarray(stress_kbar))}
{whole}
</calculation>
{_structure(atoms, "finalpos")}
</modeling>
"""


def outcar(moments, total) -> str:
    """The end of an OUTCAR of a spin-polarised calculation with LORBIT."""
    rows = "".join(
        f"{number:5d}        0.010   0.020   {one - 0.03:.3f}   {one:.3f}\n"
        for number, one in enumerate(moments, 1)
    )
    return f"""\
 number of electron      12.0000000 magnetization       1.0000000
 number of electron      12.0000000 magnetization      {total:.7f}

 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
{rows}--------------------------------------------------
tot          0.020   0.040   {sum(moments):.3f}   {sum(moments):.3f}

"""

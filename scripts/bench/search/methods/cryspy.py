"""CrySPY's evolutionary algorithm in its high-throughput mode, guarded against its own ends.

One worker at a time, so that calls are counted in their order. One structure that fails would end
it: the relaxation answers with a high energy instead, and the check of distances after relaxation,
which ends a generation in the same way, is off. What still ends is started again, as its users do.
"""

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ase import Atoms

from search.relaxation import Relaxer
from search.task import Run

#: starts in a row that may bring no call
IDLE = 3
_INPUT = """[basic]
algo = EA
calc_code = ASE
njob = 1
[structure]
atype = {symbols}
nat = {counts}
[EA]
n_pop = 10
n_crsov = {crossovers}
n_perm = {permutations}
n_strain = 2
n_rand = 1
n_elite = 1
n_fittest = 5
slct_func = TNM
t_size = 2
maxgen_ea = 0
[ASE]
ase_python = ase_in.py
[option]
check_mindist_opt = False
seed = {seed}
"""


def search(run: Run) -> dict[str, Any]:
    """Start CrySPY until the run is over; the working folder must be that of the run."""
    Path("calc_in").mkdir(exist_ok=True)
    Path("calc_in/ase_in.py").write_text("from search.methods.cryspy import optimize_structure\n")
    counts = run.system.composition
    permutations = 2 if len(counts) > 1 else 0
    text = _INPUT.format(
        symbols=" ".join(counts),
        counts=" ".join(map(str, counts.values())),
        crossovers=7 - permutations,
        permutations=permutations,
        seed=run.seed,
    )
    Path("cryspy.in").write_text(text)
    idle, starts, reason = 0, 0, ""
    while not run.ledger.over and idle < IDLE:
        before = run.ledger.calls
        reason = _start()
        starts += 1
        idle = 0 if run.ledger.calls > before else idle + 1
        run = Run.read(run.folder)
    return {
        "starts": starts,
        "version": version("csp-cryspy"),
        "reason": "" if run.ledger.over else f"CrySPY went no further: {reason}",
    }


def _start() -> str:
    """One start of ``cryspy-ht``; what it ended with."""
    from cryspy.scripts.cryspy_ht import main

    Path("lock_cryspy").unlink(missing_ok=True)
    sys.argv = ["cryspy-ht"]
    try:
        main()
    except SystemExit as end:
        return f"exit {end.code}; see err_cryspy-ht"
    return "an end of its own"


_RELAXER: list[tuple[Run, Relaxer]] = []


def optimize_structure(atoms: Atoms) -> tuple[Atoms, float, bool]:
    """What CrySPY's workers call: structure, energy of the cell [eV] and whether it converged."""
    if not _RELAXER:
        run = Run.read(Path.cwd())
        _RELAXER.append((run, Relaxer(run.system, run.ledger)))
    run, relax = _RELAXER[0]
    if not run.ledger.over:
        found = relax(atoms)
    if run.ledger.over:
        Path("STOP_CRYSPY_HT").touch()  # its own way to be told
        return atoms, 0.0, False
    return found.atoms, found.enthalpy * len(atoms), found.converged

r"""What a random crystal costs, and what it costs to tell two crystals apart; beside their peers.

    python scripts/bench/proposals.py [--crystals 100] [--json]

Random crystals: `aga.search.seeds.random_crystal`, atoms pushed apart and checked, against PyXtal's
generator at the same composition and volume. Matching: `aga.search.matching.matches` of every
crystal with rattled copies, at first and when asked again, against pymatgen's StructureMatcher with
the same tolerances. Processor time of one core, and ratios measured in the same run.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from search.methods.random import crystal

from aga.search import matching, seeds
from aga.search.space import Space

SYSTEMS = ({"Si": 8}, {"Cu": 8, "Au": 8}, {"Ti": 4, "O": 8}, {"Mg": 4, "Si": 4, "O": 12})
#: crystals whose copies are compared, each with each
MATCHED = 16
RATTLE = 0.05


def taken(work: Callable[[], Any]) -> float:
    """Processor time of ``work`` [s]."""
    started = time.process_time()
    work()
    return time.process_time() - started


def crystals(space: Space, n: int) -> dict[str, float]:
    """Milliseconds per random crystal; tables are loaded before."""
    ours, theirs = np.random.default_rng(0), np.random.default_rng(0)
    seeds.many(space, n, ours)
    own = taken(lambda: seeds.many(space, n, ours)) / n
    peer = taken(lambda: _pyxtal(space, n, theirs)) / n
    return {"crystal_ms": 1e3 * own, "pyxtal_ms": 1e3 * peer, "crystal_ratio": peer / own}


def _pyxtal(space: Space, n: int, rng: np.random.Generator) -> list[Atoms]:
    return [crystal(dict(space.composition), space.volume_per_atom, rng) for _ in range(n)]


def matched(space: Space) -> dict[str, float]:
    """Milliseconds per pair, at first and again."""
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.ase import AseAtomsAdaptor

    ones = seeds.many(space, MATCHED, np.random.default_rng(1))
    twos = [one.copy() for one in ones]
    for number, two in enumerate(twos):
        two.rattle(RATTLE, seed=number)
    matcher = StructureMatcher(ltol=0.2, stol=0.2, angle_tol=5, primitive_cell=True, scale=True)
    plain = [[AseAtomsAdaptor.get_structure(one) for one in many] for many in (ones, twos)]

    def own() -> None:
        for one, two in product(ones, twos):
            matching.matches(one, two)

    def peer() -> None:
        for one, two in product(*plain):
            matcher.fit(one, two)

    first, again, theirs = (taken(work) / MATCHED**2 for work in (own, own, peer))
    return {
        "match_ms": 1e3 * first,
        "again_ms": 1e3 * again,
        "pymatgen_ms": 1e3 * theirs,
        "match_ratio": theirs / first,
        "again_ratio": theirs / again,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crystals", type=int, default=100, metavar="N", help="of each system")
    parser.add_argument("--json", action="store_true", help="one JSON object per system")
    given = parser.parse_args(arguments)
    if given.crystals < 1:
        parser.error("--crystals must be at least 1")
    for composition in SYSTEMS:
        space = Space(composition)
        row = {"system": space.name, **crystals(space, given.crystals), **matched(space)}
        if given.json:
            print(json.dumps(row), flush=True)
            continue
        shown = (f"{key} {value:.3g}" for key, value in row.items() if key != "system")
        print(f"{row['system']}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()

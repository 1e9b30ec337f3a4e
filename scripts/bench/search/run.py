r"""Oracle calls to the ground state: this program next to open peers, on one system and oracle.

    python scripts/bench/search/run.py --setup                    # once: install the peers
    python scripts/bench/search/run.py --system cu8au8 --method aga --seeds 10 --budget 300 --json
    python scripts/bench/search/run.py --system cu8au8 --method cryspy --seeds 10 --budget 5000 \
        --results cu8au8.jsonl
    python scripts/bench/search/run.py --system cu8au8 --method aga --seeds 10 --budget 300 \
        --set search.evolution.fresh_share=0.2 --results cu8au8.jsonl
    python scripts/bench/search/table.py *.jsonl --plot curves.svg

Methods: `aga` (this program, one set of defaults; add --whole to let it run to its own end),
`random` (PyXtal's symmetric crystals, or clusters of evenly spread atoms, relaxed with the
oracle), `cryspy` (CrySPY's EA, cryspy-ht
mode), `ase-ga` (ASE's genetic algorithm, variable cell). Systems: the YAML files in `systems/`,
or one of your own (see `system.py`). CrySPY and ase-ga run in a virtual environment that --setup
makes under --cache, or in this one where `pip install 'aga-search[bench-search]'` has put them.

Every energy/force evaluation counts, also those that fail. Peers relax with BFGS on the
FrechetCellFilter, fmax 0.05 eV/A, at most 200 steps; clusters with FIRE, at most 400. A run ends
with the first structure that has the form of the lowest reference and lies within 5 meV/atom of it,
or that is lower, or with the budget; where a system says `hit: energy`, with the first within 5
meV/atom, whatever its form. Of a hull (systems that name `compositions`): with the first call after
which the hull of all that was asked lies nowhere more than 1 meV/atom above that of the references
(`hulls.py`); the enthalpies of the elements are given to every method. A row, one JSON object per
seed:

    found        the ground state or a lower structure was met (`hit: energy`: one as low)
    oracle_calls calls until then; all calls where it was not
    strict_call, energy_call   first call with its form and energy; with its energy, whatever form
    calls_in_all, failed_calls, relaxations, budget
    best_above_reference_mev   lowest structure of the run; below zero: it replaces the reference;
                 of a hull how far the run's lies above it at most
    above_each_mev, below_mev  (hulls) the same at each compound on it; how far the run's hull lies
                 below anywhere: what does replaces references
    seconds, oracle_seconds    wall time of the run, and the part of it in the oracle
    cpu_seconds  processor time of the run and its children, where the platform tells
    reason       why it ended
    whole        (aga) whether it was to go on after the first hit
    found_by     (aga) the operator that made the structure of the first hit
    settings     (aga) what --set has changed of a campaign's defaults: an ablation
    by_rule, final_found, final_energy, confirmed   (aga, where it came to its own end) whether
                 that was the stop rule's and not the budget's; whether its answer is the ground
                 state, is as low, was confirmed
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peers.child import PeerError
from peers.environments import Environment, default_cache
from rows import Rows

from search import children, references, system
from search.hulls import HullJudge
from search.judge import Judge
from search.oracle import Ledger, Spent
from search.system import System, SystemFileError
from search.task import Run

METHODS = ("aga", "random", "cryspy", "ase-ga")
#: methods that run in the peers' environment
CHILDREN = ("cryspy", "ase-ga")
KEYS = ("system", "method", "seed", "whole", "settings")
#: why a method searches no hull
NO_HULL = {
    "cryspy": "CrySPY searches several compositions in its normal mode only, not in cryspy-ht, "
    "which counts calls in their order",
    "ase-ga": "ase-ga searches several compositions on fixed lattices with a fixed number of sites "
    "only, not with variable cells",
}


def measure(
    task: System,
    method: str,
    seed: int,
    given: argparse.Namespace,
    judge: Judge | HullJudge,
    folder: Path,
) -> dict[str, Any]:
    """One run, as a row."""
    whole = bool(given.whole and method == "aga")
    ledger = Ledger(folder, judge, given.budget, first=not whole)
    run = Run(task, ledger, seed, folder, volumes(task), whole, dict(given.set))
    started, cpu = time.perf_counter(), sum(os.times()[:4])
    if method in CHILDREN:
        told = children.search(run, method, given.environment)
    else:
        from importlib import import_module

        told = import_module(f"search.methods.{method}").search(run)
    seconds = time.perf_counter() - started
    seen = Ledger(folder, judge, given.budget)  # with what a child has left
    spent = seen.spent()
    _keep(given, f"{task.name}-{method}-{seed}", seen)
    about = {"system": task.name, "method": method, "seed": seed}
    return about | row(spent, seen.judge, given.budget) | {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(sum(os.times()[:4]) - cpu, 2),
        "oracle_seconds": round(spent.seconds, 2),
        "whole": whole,
        "settings": _shown(given.set),
        **{key: value for key, value in told.items() if key != "reason"},
        "reason": _reason(spent, told, whole=whole),
    }  # fmt: skip


def row(spent: Spent, judge: Judge | HullJudge, budget: int) -> dict[str, Any]:
    """What was counted."""
    best = None if spent.best is None else round(1e3 * judge.above(spent.best), 3)
    return {
        "found": spent.found is not None,
        "oracle_calls": spent.calls if spent.found is None else spent.found,
        "relaxations": spent.relaxations,
        "best_above_reference_mev": best,
        "strict_call": spent.strict,
        "energy_call": spent.energy,
        "calls_in_all": spent.calls,
        "failed_calls": spent.failed,
        "budget": budget,
        "reference": judge.title,
        **judge.details(),
    }


def setting(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` of the command line: a dotted key of a campaign, a value in YAML."""
    from ruamel.yaml import YAML, YAMLError

    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    try:
        return key, YAML(typ="safe").load(value)
    except YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML: {error}") from error


def _shown(settings: Sequence[tuple[str, Any]]) -> str:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in sorted(settings))


def _reason(spent: Spent, told: dict[str, Any], *, whole: bool) -> str:
    if told.get("reason"):
        return str(told["reason"])
    return "found" if spent.found is not None and not whole else "budget spent"


def _keep(given: argparse.Namespace, name: str, seen: Ledger) -> None:
    """Leave the lowest structure, or those on the hull, where the user wants them."""
    structures = seen.best
    if given.structures is None or not structures:
        return
    from ase.io import write

    given.structures.mkdir(parents=True, exist_ok=True)
    write(given.structures / f"{name}.extxyz", structures)


def volumes(task: System) -> dict[str, float]:
    """The guess from the elements that all methods start from [Å^3/atom], by composition."""
    from aga.search.volumes import mixture_volume

    return {system.named(cell): mixture_volume(cell) for cell in task.cells}


def run(given: argparse.Namespace) -> int:
    """All seeds; 0 if all could be run, 1 if a peer died, 2 if it is not there."""
    task = system.load(given.system)
    if task.compositions is not None and given.method in NO_HULL:
        print(f"{task.name}: {NO_HULL[given.method]}: take aga or random", file=sys.stderr)
        return 2
    if task.dimension == "cluster" and given.method == "cryspy":
        print(f"{task.name}: CrySPY searches crystals only: take another method", file=sys.stderr)
        return 2
    environment = given.environment
    if given.method in CHILDREN and (missing := environment.missing()):
        print(f"{given.method}: {missing}", file=sys.stderr)
        return 2
    judge = references.judge(task, given.cache / "references")
    rows, died = Rows(given.results, KEYS), 0
    with contextlib.ExitStack() as stack:
        work = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for seed in range(given.first, given.first + given.seeds):
            about = {"system": task.name, "method": given.method, "seed": seed}
            about["settings"] = _shown(given.set)
            if rows.has(**about, whole=bool(given.whole and given.method == "aga")):
                continue
            folder = work.resolve() / f"{task.name}-{given.method}-{seed}"
            if folder.exists():
                raise SystemFileError(f"{folder} is there already: choose another --keep")
            folder.mkdir(parents=True)
            try:
                measured = measure(task, given.method, seed, given, judge, folder)
            except PeerError as error:
                print(f"seed {seed}: {error}", file=sys.stderr)
                died = 1
                continue
            rows.add(measured)
            print(json.dumps(measured) if given.json else _line(measured), flush=True)
    return died


def _line(measured: dict[str, Any]) -> str:
    met = f"found at call {measured['oracle_calls']}" if measured["found"] else "not found"
    return (
        f"{measured['system']} {measured['method']} seed {measured['seed']}: {met}; "
        f"{measured['calls_in_all']} calls, best {measured['best_above_reference_mev']} meV/atom "
        f"above {measured['reference']}, {measured['seconds']} s ({measured['reason']})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--system", help=f"a YAML file, or one of {', '.join(system.shipped())}")
    add("--method", choices=METHODS)
    add("--seeds", type=int, default=1, metavar="N", help="number of seeds")
    add("--first", type=int, default=0, metavar="SEED", help="the first of them")
    add("--budget", type=int, default=1000, metavar="CALLS", help="oracle calls of one run")
    add("--json", action="store_true", help="one JSON object per seed")
    add("--results", type=Path, metavar="FILE", help="add rows to it; what it has is not run again")
    add("--whole", action="store_true", help="aga: go on to its own end after the first hit")
    add("--set", type=setting, action="append", default=[], metavar="KEY=VALUE",
        help="aga: a campaign's setting that is not its default, e.g. search.batch=2")  # fmt: skip
    add("--keep", type=Path, metavar="FOLDER", help="leave the files of all runs there")
    add("--structures", type=Path, metavar="FOLDER", help="leave the lowest structures there")
    add("--setup", action="store_true", help="install the peers and stop")
    add("--cache", type=Path, default=default_cache(), help="of environment and references")
    add("--python", type=Path, help="an interpreter that has the peers already")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, or measure and print."""
    parser = _parser()
    given = parser.parse_args(arguments)
    given.cache = given.cache.expanduser().resolve()
    given.environment = Environment("search", given.cache / "search", children.here(given.python))
    if given.setup:
        return children.set_up(given.environment)
    if given.system is None or given.method is None:
        parser.error("--system and --method are needed (or --setup)")
    if given.set and given.method != "aga":
        parser.error("--set changes settings of --method aga")
    if given.seeds < 1 or given.budget < 1:
        parser.error("--seeds and --budget must be at least 1")
    try:
        return run(given)
    except SystemFileError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

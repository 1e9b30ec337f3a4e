"""Speed of the ensemble on small crystals, next to the codes that people use.

Every figure is a ratio measured in one run: this program and the peer work on the same structures
in turn, each in a child process of its own on one core, atoms moving from call to call.

    python scripts/bench/potential_speed.py --setup               # once: install the peers
    python scripts/bench/potential_speed.py                       # tables
    python scripts/bench/potential_speed.py --json > speed.jsonl  # one JSON object per row
    python scripts/bench/potential_speed.py --quick --only calorine lammps --systems si8

Peers: calorine (NEP), LAMMPS (SNAP), torchani, DeePMD-kit (se_e2_a), n2p2, and for relaxations
ASE FIRE and torch-sim, both on this program's ensemble. `--setup` puts each into a virtual
environment under `--cache` (2 to 8 GB in all, no CUDA where pip finds a CPU build of torch; pip
obeys PIP_EXTRA_INDEX_URL and its other variables). `--python n2p2=PATH` names an interpreter that
has a code already, e.g. LAMMPS built with ML-HDNNP. A peer that is not there gets a row with the
reason.

Systems: `si8` diamond silicon with displaced atoms, `si216` 27 such cells, `tio2_24` rutile,
`random8x32` random skewed cells of 8 Si; `x32` 32 different structures in one batch; `si8x1024` is
for two threads against one, which smaller batches are not worth. Cutoff 6 A everywhere; random
weights, except for this program, whose ensemble learned the Stillinger-Weber potential so that
relaxations mean something. Before a code is timed, its forces and stress are held against
differences of its energies, and a cell against two cells.

Keys of a row: `code`, `system`, `K` (networks evaluated at once), `precision`, `threads`,
`us_per_atom` (energy, forces and stress of one call; process CPU time, or wall time with two
threads: `clock`; median over rounds), `ratio` (to `base` of this program in the same rounds; above
1 is slower), `relaxations_per_s` (fmax 0.05 eV/A, at most 200 steps) instead of `us_per_atom` where
structures are relaxed; `reason` instead of figures where there are none.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from peers import environments, plan
from peers.child import Child, PeerError, cores
from peers.environments import Environment
from peers.plan import Job
from peers.systems import SYSTEMS

#: largest differences of a code that does what it is timed for
ALLOWED = {"forces": 0.02, "stress": 0.05, "images": 0.01}
#: what `precision` says of peers, by a word of their description
PRECISIONS = {"fp32": "float32", "fp64": "float64"}
#: keys of every row
NOTHING = dict.fromkeys(("code", "system", "K", "precision", "threads", "us_per_atom", "ratio"))


class Bench:
    """All children of a run, and the measurements with them."""

    def __init__(self, given: argparse.Namespace, work: Path) -> None:
        self.given, self.work = given, work
        self.children: dict[tuple[str, int], Child] = {}
        self.checked: dict[str, dict[str, float]] = {}
        named = dict(given.python)
        self.environments = {
            name: Environment(name, given.cache / name, named.get(name))
            for name in ("ours", *plan.PEERS)
        }

    def child(self, peer: str, threads: int = 1) -> Child:
        """A living child of a peer."""
        found = self.children.get((peer, threads))
        if found is None or not found.alive:
            if found is not None:
                found.close()
            core = self.given.core if threads == 1 else -1
            program = peer == "ours" or getattr(plan.module(peer), "NEEDS_PROGRAM", False)
            found = Child(
                self.environments[peer], self.work, core=core, threads=threads, program=program
            )
            self.children[peer, threads] = found
        return found

    def row(self, job: Job) -> dict[str, Any]:
        """Measure one job, or say why not."""
        row = NOTHING | {
            "code": job.variant.code,
            "system": job.system,
            "K": job.variant.members,
            "precision": _precision(job),
            "threads": job.threads,
            "what": job.variant.what,
        }
        reason = self.environments[job.peer].missing(getattr(_peer(job), "MISSING", ""))
        if job.threads > len(cores() or range(job.threads)):
            reason = f"{job.threads} threads want as many processors"
        if reason:
            return row | {"reason": reason}
        try:
            return row | self._measure(job)
        except PeerError as error:
            return row | {"reason": str(error)}

    def _measure(self, job: Job) -> dict[str, Any]:
        wrong = self._check(job)
        if wrong:
            return {"reason": f"wrong results, not timed: {wrong}"}
        theirs = self.child(job.peer, job.threads)
        key, about = theirs.prepare(job.variant, job.system)
        alone = job.variant == job.base and job.threads == 1
        mine = theirs if alone else self.child("ours")
        own = key if alone else mine.prepare(job.base, job.system)[0]
        rounds = min(self.given.rounds, 3) if job.relaxes else self.given.rounds
        spent: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for _ in range(rounds):
            first = mine.ask({"do": "time", "key": own, "seconds": self.given.seconds})
            second = first
            if not alone:
                request = {"do": "time", "key": key, "seconds": self.given.seconds}
                second = theirs.ask(request)
            spent.append((first, second))
        clock = "cpu" if job.threads == 1 else "wall"
        return _figures(spent, clock, relaxes=job.relaxes) | {"version": about["version"]}

    def _check(self, job: Job) -> str:
        """What is wrong with a code's forces or stress; empty where nothing is."""
        if job.relaxes:
            return ""
        system = "tio2_24" if job.system.startswith("tio2") else "si8"
        name = json.dumps([asdict(job.variant), system])
        if name not in self.checked:
            request = {"do": "check", "variant": asdict(job.variant), "system": system}
            self.checked[name] = self.child(job.peer).ask(request)
        found = self.checked[name]
        bad = [f"{key} {found[key]:.2g}" for key, most in ALLOWED.items() if not found[key] < most]
        return ", ".join(bad)

    def close(self) -> None:
        """End all children."""
        for child in self.children.values():
            child.close()


def _peer(job: Job) -> Any:
    return None if job.peer == "ours" else plan.module(job.peer)


def _precision(job: Job) -> str:
    if job.peer in ("ours", "torch_sim"):
        return job.variant.options.get("precision") or "float64"
    return next((name for word, name in PRECISIONS.items() if word in job.variant.what), "")


def _figures(
    spent: Sequence[tuple[dict[str, Any], dict[str, Any]]], clock: str, *, relaxes: bool
) -> dict[str, Any]:
    """Medians over the rounds: time per unit, and ratio to ours in the same round."""
    each = statistics.median(second[clock] for _, second in spent)
    own = statistics.median(first[clock] for first, _ in spent)
    ratio = statistics.median(second[clock] / first[clock] for first, second in spent)
    calls = sum(second["calls"] for _, second in spent)
    common = {"ratio": ratio, "clock": clock, "rounds": len(spent), "calls": calls}
    if relaxes:
        speed = {"relaxations_per_s": 1.0 / each, "base_relaxations_per_s": 1.0 / own}
    else:
        speed = {"us_per_atom": 1e6 * each, "base_us_per_atom": 1e6 * own}
    return speed | common | spent[-1][1]["notes"]


def run(given: argparse.Namespace, work: Path) -> Iterator[dict[str, Any]]:
    """Rows as they are measured."""
    with contextlib.closing(Bench(given, work)) as bench:
        known = bench.child("ours").ask({"do": "make"})["made"]
        about = environments.describe() | {"models": known["facts"]}
        print(json.dumps(about), file=sys.stderr)
        for job in plan.jobs(given.only, given.systems, known["kinds"], known["precise"]):
            yield bench.row(job)
        for name, function in (("predict", "Ensemble.predict"), ("relax", "relax")):
            if name not in known["precise"]:
                reason = f"{function} has no choice of precision: float64 only"
                yield NOTHING | {"code": f"ours, {name}", "precision": "float32", "reason": reason}
        if "acsf" not in known["kinds"]:
            reason = "there is no descriptor of kind acsf"
            yield NOTHING | {"code": "ours, exact G4", "reason": reason}


def set_up(given: argparse.Namespace) -> int:
    """Install peers; the number that failed."""
    failures = 0
    for name in given.setup or plan.PEERS:
        found = plan.module(name)
        if not found.REQUIRES:
            print(f"{name}: {found.MISSING}")
            continue
        print(f"{name}: installing {' '.join(found.REQUIRES)} ...", flush=True)
        failed = Environment(name, given.cache / name, None).set_up(found.REQUIRES)
        print(f"{name}: {failed or 'installed'}", flush=True)
        failures += bool(failed)
    return failures


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Tables of one evaluation and of relaxations, then what could not be measured."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    kinds = {"us_per_atom": "us/atom", "relaxations_per_s": "relaxations/s"}
    for key, title in kinds.items():
        table = Table("system", "code", "K", "precision", "threads", title, "ratio")
        for row in rows:
            if row.get(key) is not None:
                cells = [str(row[name]) for name in ("system", "code", "K", "precision", "threads")]
                table.add_row(*cells, f"{row[key]:.4g}", f"{row['ratio']:.3g}")
        if table.row_count:
            console.print(table)
    missing = {f"{row['code']}: {row['reason']}": None for row in rows if "reason" in row}
    for line in missing:
        console.print(line, markup=False, highlight=False)


def _parser() -> argparse.ArgumentParser:
    names = ("ours", "relax", *plan.PEERS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--json", action="store_true", help="one JSON object per row")
    add("--setup", nargs="*", choices=plan.PEERS, help="install peers (all, or these) and stop")
    add("--cache", type=Path, default=environments.default_cache(), help="of the environments")
    add("--only", nargs="+", choices=names, default=names, help="what to time next to ours, K = 4")
    add("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    named = {"metavar": "NAME=PATH", "help": "interpreter of a peer"}
    add("--python", action="append", default=[], type=_named, **named)
    add("--rounds", type=int, default=5, help="times that ours and a peer take turns")
    add("--seconds", type=float, default=0.5, help="CPU time of each turn, at least [s]")
    add("--quick", action="store_true", help="one round of 0.05 s")
    add("--core", type=int, default=(cores() or [-1])[-1], help="processor to stay on; -1: any")
    add("--work", type=Path, help="keep models and logs there, and use the models found there")
    return parser


def _named(text: str) -> tuple[str, Path]:
    """A peer and its interpreter."""
    name, _, path = text.partition("=")
    if name not in plan.PEERS or not Path(path).is_file():
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected NAME=PATH, the name one of {', '.join(plan.PEERS)} and the path "
            "a Python interpreter"
        )
    return name, Path(path).absolute()


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, or measure and print."""
    given = _parser().parse_args(arguments)
    given.cache = given.cache.expanduser().resolve()
    if given.quick:
        given.rounds, given.seconds = 1, 0.05
    if given.setup is not None:
        return set_up(given)
    with contextlib.ExitStack() as stack:
        work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        rows = []
        try:
            for row in run(given, work.resolve()):
                rows.append(row)
                if given.json:
                    print(json.dumps(row), flush=True)
                else:
                    print(f"{row['system'] or ''} {row['code']}", file=sys.stderr, flush=True)
        except PeerError as error:
            print(f"the ensembles to be timed could not be made: {error}", file=sys.stderr)
            return 1
        if not given.json:
            show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What relaxing on the ensemble saves of a confirmation: single points, next to the engine's own.

    python scripts/bench/search/run.py --system cu8au8 --method aga --seeds 10 --whole --keep runs
    python scripts/bench/search/confirmations.py runs/*/campaign

For every structure that a campaign has confirmed by more than the label it had: the labels that
this took (rounds on the ensemble, and the engine's relaxation where these stalled), and the single
points that the engine needs by itself from the same label to the same thresholds, at most 60. Both
without the label that is the start. Engines are called in this process: for fast ones.
"""

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ase import Atoms

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
# of the oracles that systems name
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

#: single points that the engine may take
POINTS = 60
HEAD = ("cell", "structures", "labels", "confirmed", "the engine's points", "relaxed")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One structure.

    Attributes:
        cell: composition of its cell.
        labels: that its confirmation took.
        confirmed: whether the engine found it relaxed in the end.
        alone: single points of the engine's own relaxation.
        relaxed: whether that met the thresholds.
    """

    cell: str
    labels: int
    confirmed: bool
    alone: int
    relaxed: bool


def confirmations(folder: Path) -> Iterator[Confirmation]:
    """Those of one campaign that took a label or a relaxation."""
    from aga.campaign.store import Store

    store = Store(folder, readonly=True)
    try:
        state = store.state()
    finally:
        store.close()
    for chain in state.chains.values():
        tasks = {record.ordinal for record in chain if record.kind in {"label", "relax"}}
        labels = sum(one.ordinal in tasks for one in state.labelled)
        started = [record.inputs["target"][0] for record in chain if "target" in record.inputs]
        if not labels or not started:
            continue
        [(group, begun)] = [
            (group, one) for group in state.ranking for one in group.members if one.id == started[0]
        ]
        alone, relaxed = by_engine(state.config, begun.atoms)
        done = state.confirmed(group) is not None
        yield Confirmation(begun.cell, labels, done, alone, relaxed)


def by_engine(config: Any, atoms: Atoms) -> tuple[int, bool]:
    """Single points of the engine's relaxation after its start, and whether it got there."""
    from calculators.engine_relaxation import Recorded, relax
    from calculators.gates import LabelGates
    from calculators.single_point import RefusedError

    limits, engine = config.confirm, config.engine
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recorded = Recorded(
            engine.calculator(atoms, folder), engine, folder, LabelGates(), engine, folder
        )
        try:
            found = relax(
                atoms,
                recorded,
                folder,
                fmax=limits.fmax_ev_per_a,
                stress_gpa=limits.stress_gpa,
                max_steps=POINTS,
                pressure=config.pressure,
            )
        except RefusedError:
            return max(0, len(recorded.labels) - 1), False
    return len(found["keys"]) - 1, bool(found["converged"])


def table(found: Iterable[Confirmation]) -> str:
    """One line for each cell: medians, and how many got there."""
    lines = [HEAD, tuple("---" for _ in HEAD)]
    by_cell: dict[str, list[Confirmation]] = defaultdict(list)
    for one in found:
        by_cell[one.cell].append(one)
    for cell, own in sorted(by_cell.items()):
        labels = median(one.labels for one in own)
        alone = median(one.alone for one in own)
        reached = sum(one.confirmed for one in own), sum(one.relaxed for one in own)
        row = (len(own), f"{labels:g}", reached[0], f"{alone:g}", reached[1])
        lines.append((cell, *map(str, row)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="run folders of campaigns")
    folders = parser.parse_args(arguments).folders
    for folder in folders:
        if not (folder / "campaign.db").is_file():
            parser.error(f"{folder}: expected the folder of a campaign, found no campaign.db there")
    print(table(one for folder in folders for one in confirmations(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

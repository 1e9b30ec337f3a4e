"""Which operators brought what: made, new and low on the potential, labelled, lowest so far.

    python scripts/bench/search/run.py --system cu8au8 --method aga --seeds 10 --whole --keep runs
    python scripts/bench/search/origins.py runs/*/campaign

One line for each operator, over all the campaigns. *new low*: children that relaxed to something
new, low enough to count (`aga.search.evolution`); this is what the operators' weights follow.
*labelled*: single points of its children, followed back through relaxations to where they were
made; *best*: labels 2 meV/atom below all before, the first labels not counted. An ablation by
observation: that nobody else would have found them is not said.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: a label is lower than all before if it is so by more [eV/atom]
LOWER = 0.002
HEAD = ("operator", "children", "new low", "share", "labelled", "best")
Made = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class Tally:
    """Counts by operator."""

    tried: Counter[str] = field(default_factory=Counter)
    succeeded: Counter[str] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    best: Counter[str] = field(default_factory=Counter)


def made(proposals: Path) -> dict[str, dict[str, Any]]:
    """Everything that a campaign has proposed, by id."""
    return {
        one["id"]: one
        for file in sorted(proposals.glob("*.json"))
        for one in _candidates(json.loads(file.read_text()))
    }


def origin(identity: str, proposed: Made) -> str:
    """The operator that made a structure.

    What was only relaxed again, labelled or not, is followed back to where it was made.
    """
    from aga.search.candidate import RELABEL
    from aga.search.evolution import CARRIED

    while identity in proposed and proposed[identity]["origin"] in (RELABEL, CARRIED):
        identity = proposed[identity]["parents"][0]
    return str(proposed[identity]["origin"]) if identity in proposed else "engine_relaxation"


def count(state: Any, proposed: Made, tally: Tally) -> None:
    """Add one campaign.

    Args:
        state: of the campaign.
        proposed: see `made`.
        tally: changed.
    """
    for record in state.records:
        if record.kind == "evolve" and record.progress == "done":
            for name, (tried, succeeded) in record.ok["record"].items():
                tally.tried[name] += round(tried)
                tally.succeeded[name] += round(succeeded)
    lowest = float("inf")
    for one in state.labelled:
        if one.purpose != "seed":
            name = origin(one.known.id, proposed)
            tally.labelled[name] += 1
            tally.best[name] += one.known.height < lowest - LOWER
        lowest = min(lowest, one.known.height)


def markdown(tally: Tally) -> str:
    """A table for a page, what made the most labels first."""
    names = {*tally.tried, *tally.labelled}
    lines = [HEAD, tuple("---" for _ in HEAD)]
    for name in sorted(names, key=lambda one: (-tally.labelled[one], one)):
        tried, new = tally.tried[name], tally.succeeded[name]
        share = f"{100 * new / tried:.1f} %" if tried else ""
        counts = (tally.labelled[name], tally.best[name])
        lines.append((f"`{name}`", str(tried), str(new), share, *map(str, counts)))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _candidates(proposed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a generation, the first structures, or a step of a confirmation."""
    return proposed.get("candidates") or [
        proposed[key] for key in ("candidate",) if key in proposed
    ]


def tallied(folders: Iterable[Path]) -> Tally:
    """Counts over the campaigns of some run folders."""
    from aga.campaign.store import Store

    tally = Tally()
    for folder in folders:
        store = Store(folder, readonly=True)
        count(store.state(), made(folder / "proposals"), tally)
        store.close()
    return tally


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
    print(markdown(tallied(folders)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

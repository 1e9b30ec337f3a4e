"""Bars of an evaluation's time per atom, from the rows of `potential_speed.py --json`.

python scripts/bench/potential_speed.py --json > rows.jsonl
python scripts/bench/speed_bars.py rows.jsonl speed.png
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

#: a panel each: systems of `potential_speed.py`
TITLES = {"si8x32": "32 cells of 8 Si atoms", "tio2_24x32": "32 cells of rutile, 24 atoms"}


def bars(rows: Iterable[dict[str, Any]], system: str) -> list[tuple[str, float, float, bool]]:
    """Name, time [us/atom], ratio to this program in the same run, and whether it is this program.

    One thread only; slowest first.
    """
    found = []
    for row in rows:
        if row.get("system") != system or not row.get("us_per_atom") or row["threads"] != 1:
            continue
        own = row["code"].startswith("ours")
        if own and (row["precision"] != "float32" or row["K"] not in (1, 4, 8)):
            continue
        name = row["code"].replace("ours", "this program", 1)
        found.append((f"{name}, K = {row['K']}", row["us_per_atom"], row["ratio"], own))
    return sorted(found, key=lambda one: -one[1])


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each system."""
    from aga.report import drawing

    with drawing.style():
        systems = [name for name in TITLES if bars(rows, name)]
        height = max(len(bars(rows, name)) for name in systems)
        picture = drawing.figure((6.4 * len(systems), 0.9 + 0.3 * height))
        for number, system in enumerate(systems, 1):
            _panel(picture.add_subplot(1, len(systems), number), bars(rows, system), system)
        picture.savefig(path, dpi=150)


def _panel(axes: Any, found: Sequence[tuple[str, float, float, bool]], system: str) -> None:
    from matplotlib.ticker import FuncFormatter

    from aga.report.drawing import BLUE, GREY

    names, times, ratios, own = zip(*found, strict=True)
    places = range(len(names))
    axes.barh(places, times, color=[BLUE if mine else GREY for mine in own], height=0.7)
    for place, spent, ratio in zip(places, times, ratios, strict=True):
        axes.text(
            1.1 * spent, place, f"{_short(spent)} ({_short(ratio)} x)", va="center", fontsize=8
        )
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xscale="log", xlim=(1.0, 6.0 * max(times)), title=TITLES[system])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("energy, forces and stress [us/atom], one core")
    axes.grid(visible=False, axis="y")


def _short(number: float) -> str:
    """Two digits, or all before the point."""
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path, help="output of potential_speed.py --json")
    parser.add_argument("picture", type=Path, help="PNG to write")
    asked = parser.parse_args()
    rows = [json.loads(line) for line in asked.rows.read_text().splitlines()]
    draw(rows, asked.picture)


if __name__ == "__main__":
    main()

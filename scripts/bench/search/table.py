"""Table and success curves out of the rows of `run.py`.

    python scripts/bench/search/table.py cu8au8.jsonl si8.jsonl --plot curves.svg

`found` and `calls`: the ground state in form and energy, or a lower structure; medians over seeds,
a failure counting as more than any number, with 90 % bootstrap intervals. `calls per hit`: all
calls over all hits, which a seed without a hit makes larger and not undefined. `ratio`: median of
the best peer over the median of the method; with ">" where that peer found it in less than half of
its seeds, so that only its budget is known. `energy`: the same for structures as low, whatever
their form. `after`: calls from the hit to the campaign's own end, over those before it (runs with
--whole). `false stops`: campaigns whose stop rule ended them without the ground state. `s/call`:
time outside the oracle.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

OWN = "aga"
ROUNDS = 4000
#: fixed colours, told apart by everyone (Okabe & Ito), and markers for print
STYLES = {
    "aga": ("#0072B2", "o"),
    "random": ("#7F7F7F", "s"),
    "cryspy": ("#D55E00", "^"),
    "ase-ga": ("#009E73", "D"),
}
HEAD = (
    "system", "method", "seeds", "found", "calls [90 %]", "calls per hit", "ratio", "energy",
    "best meV", "after", "false stops", "s/call",
)  # fmt: skip
Row = dict[str, Any]


def read(paths: Iterable[Path]) -> list[Row]:
    """All rows of the files, one of each run: the whole campaign where there is one."""
    found: dict[tuple[Any, ...], Row] = {}
    for path in paths:
        for row in map(json.loads, path.read_text().splitlines()):
            key = row["system"], named(row), row["seed"]
            if row.get("whole") or not found.get(key, {}).get("whole"):
                found[key] = row
    return list(found.values())


def named(row: Row) -> str:
    """Its method, with what an ablation has changed of this program."""
    return " ".join([row["method"], row.get("settings", "")]).strip()


def calls(rows: Sequence[Row], hit: str = "") -> np.ndarray:
    """Calls to the hit of each row, infinite where there was none.

    Args:
        rows: of one method.
        hit: key of another first call, such as ``energy_call``.
    """
    if hit:
        return np.array([math.inf if row[hit] is None else row[hit] for row in rows])
    return np.array([row["oracle_calls"] if row["found"] else math.inf for row in rows])


def interval(values: np.ndarray, share: float = 0.9, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the median, by percentiles."""
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=(ROUNDS, len(values)))]
    tails = [(1 - share) / 2, (1 + share) / 2]
    low, high = np.quantile(np.median(drawn, axis=1), tails, method="inverted_cdf")
    return float(low), float(high)


def bound(rows: Sequence[Row]) -> tuple[float, bool]:
    """Median of the calls, or what it is larger than: the smallest budget that did not do."""
    median = float(np.median(calls(rows)))
    if math.isfinite(median):
        return median, True
    return float(min(row["calls_in_all"] for row in rows if not row["found"])), False


def ratio(rows: Sequence[Row], peers: Sequence[Sequence[Row]]) -> tuple[float, bool] | None:
    """Median of the best peer over that of the rows, and whether that is known or a bound."""
    own, known = bound(rows)
    bounds = [bound(peer) for peer in peers if peer]
    if not bounds or not known:
        return None
    best, exact = min(bounds)
    return best / own, exact


def grouped(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Rows by system, then by method, this program first."""
    found: dict[str, dict[str, list[Row]]] = {}
    order = [*STYLES]
    for row in sorted(rows, key=lambda one: order.index(one["method"])):
        found.setdefault(row["system"], {}).setdefault(named(row), []).append(row)
    return {system: found[system] for system in sorted(found)}


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The lines of the table, without its head."""
    lines = []
    for system, methods in grouped(rows).items():
        peers = [own for own in methods.values() if own[0]["method"] != OWN]
        for method, own in methods.items():
            against = peers if own[0]["method"] == OWN else []
            lines.append((system, method, *_cells(own, against)))
    return lines


def _cells(own: Sequence[Row], peers: Sequence[Sequence[Row]]) -> tuple[str, ...]:
    hits = sum(row["found"] for row in own)
    spent = sum(row["oracle_calls"] for row in own)
    gain = ratio(own, peers)
    near = calls(own, "energy_call")
    best = [row["best_above_reference_mev"] for row in own]
    wrong = sum(row.get("by_rule", False) and not row["final_found"] for row in own)
    seconds = sum(row["seconds"] - row["oracle_seconds"] for row in own)
    return (
        str(len(own)),
        f"{hits}/{len(own)}",
        _median(calls(own), own),
        f"{spent / hits:.0f}" if hits else f"> {spent}",
        "" if gain is None else f"{'' if gain[1] else '> '}{gain[0]:.1f}",
        f"{int(np.isfinite(near).sum())}/{len(own)}, {_number(float(np.median(near)), own)}",
        f"{min((one for one in best if one is not None), default=math.nan):.2f}",
        _after(own),
        f"{wrong}/{len(own)}" if own[0]["method"] == OWN else "",
        f"{seconds / max(1, sum(row['calls_in_all'] for row in own)):.2f}",
    )


def _median(values: np.ndarray, own: Sequence[Row]) -> str:
    low, high = interval(values)
    middle = _number(float(np.median(values)), own)
    return f"{middle} [{_number(low, own)}..{_number(high, own)}]"


def _number(value: float, own: Sequence[Row]) -> str:
    """A number of calls; more than the budget where it is infinite."""
    return f"{value:.0f}" if math.isfinite(value) else f"> {min(row['budget'] for row in own)}"


def _after(own: Sequence[Row]) -> str:
    """Calls after the hit over calls before it, of campaigns that went on."""
    shares = [
        (row["calls_in_all"] - row["oracle_calls"]) / row["oracle_calls"]
        for row in own
        if row.get("whole") and row["found"]
    ]
    return f"{float(np.median(shares)):.2f}" if shares else ""


def markdown(lines: Sequence[tuple[str, ...]]) -> str:
    """A table for a page."""
    shown = [HEAD, tuple("---" for _ in HEAD), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in shown)


def curve(rows: Sequence[Row], hit: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Share of the seeds that have found it, after so many calls: the corners of the steps.

    It ends where the first seed without a hit ends: nothing is known beyond.
    """
    values = np.sort(calls(rows, hit))
    lost = [
        row["calls_in_all"]
        for row, value in zip(rows, calls(rows, hit), strict=True)
        if not math.isfinite(value)
    ]
    end = min(lost) if lost else max(row["calls_in_all"] for row in rows)
    values = values[values <= end]
    shares = np.arange(len(values) + 1) / len(rows)
    return np.concatenate([[1.0], values, [end]]), np.append(shares, shares[-1])


def plot(rows: Sequence[Row], path: Path) -> None:
    """One panel per system; solid: form and energy, dotted: energy alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    systems = grouped([row for row in rows if not row.get("settings")])
    columns = min(3, len(systems))
    lines = -(-len(systems) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    handles: dict[str, Any] = {}
    for panel, (system, methods) in zip(panels, systems.items(), strict=False):
        for method, own in methods.items():
            handles.setdefault(method, _draw(panel, method, own))
        panel.set_title(f"{system}  ({_seeds(methods)})", fontsize=10)
        panel.set(xscale="log", ylim=(-0.03, 1.08), xlabel="oracle calls")
        panel.tick_params(labelbottom=True)
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel("share of seeds that found it")
        panel.grid(visible=True, which="major", color="#DDDDDD", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[len(systems) :]:
        panel.set_axis_off()
    (dotted,) = panels[0].plot([], [], color="#555555", linewidth=1.0, linestyle=":")
    handles["as low, any form"] = dotted
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path)


def _draw(panel: Any, method: str, own: Sequence[Row]) -> Any:
    color, marker = STYLES[method]
    # lines that coincide are shown side by side
    aside = 0.012 * [*STYLES].index(method)
    x, y = curve(own, "energy_call")
    panel.step(x, y + aside, where="post", color=color, linewidth=1.0, linestyle=":")
    x, y = curve(own)
    y = y + aside
    (line,) = panel.step(x, y, where="post", color=color, linewidth=2.0)
    # the end of what is known
    panel.plot(x[-1], y[-1], marker=marker, color=color, markersize=5, clip_on=False)
    return line


def _seeds(methods: dict[str, list[Row]]) -> str:
    numbers = [len(own) for own in methods.values()]
    low, high = min(numbers), max(numbers)
    return f"{low if low == high else f'{low}-{high}'} seed{'s' if high > 1 else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, draw the curves."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="files of rows")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="curves, .svg, .pdf or .png")
    given = parser.parse_args(arguments)
    rows = read(given.results)
    if not rows:
        print("no rows in these files", file=sys.stderr)
        return 2
    print(markdown(table(rows)))
    if given.plot:
        plot(rows, given.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

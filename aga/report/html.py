"""The report of a campaign: one HTML page that asks for nothing from outside, and its pictures."""

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

from aga import __version__
from aga.campaign.live import duration
from aga.campaign.record import Record
from aga.campaign.state import State
from aga.report import drawing, holes, hull, plots, ranking, status, timeline
from aga.report.files import published

#: structures in the table; the rest is folded away
SHOWN = 20
STYLE = """
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff;
  max-width: 78rem; margin: 1.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; } .state { font-weight: 600; } .note { color: #666; font-size: .88rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .22rem .6rem; text-align: right; white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }
td { border-bottom: 1px solid #e4e4e4; vertical-align: top; }
.text { text-align: left; }
.long { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; }
tr.yes td { font-weight: 600; } dl { display: grid; grid-template-columns: max-content 1fr;
  gap: .1rem 1rem; margin: .8rem 0; } dt { color: #666; } dd { margin: 0; }
svg { max-width: 100%; height: auto; } summary { cursor: pointer; margin: .5rem 0; }
"""
#: name of the file, heading, what is to be seen, and how it is drawn
PICTURES: tuple[tuple[str, str, str, plots.Drawing], ...] = (
    (
        "convergence",
        "Best enthalpy against labels",
        "Every single point of the engine in the order of recording, and the lowest so far.",
        plots.convergence,
    ),
    (
        "parity",
        "Predicted against computed enthalpy",
        "Predictions were made before the structure was labelled; bars are calibrated spreads.",
        plots.parity,
    ),
    (
        "calibration",
        "Spread against error",
        "Where the ensemble knows what it does not know, the dots lie along the line.",
        plots.calibration,
    ),
    (
        "timeline",
        "Workers",
        "A bar per task. Times in which the campaign was stopped are cut out.",
        timeline.picture,
    ),
    (
        "operators",
        "Operators",
        "How the shares of the operators followed their record.",
        plots.operators,
    ),
    (
        "ensembles",
        "Ensemble errors against labels",
        "On its own labels an ensemble is seen at its best; new labels were predicted first.",
        plots.ensembles,
    ),
)


#: of several compositions, before all others
HULL = (
    "hull",
    "Convex hull",
    "Enthalpies of formation; what lies on the line cannot fall apart into other phases.",
    hull.picture,
)


def pictures_of(state: State) -> tuple[tuple[str, str, str, plots.Drawing], ...]:
    """The pictures of a campaign."""
    return PICTURES if state.config.compositions is None else (HULL, *PICTURES)


def write_report(run_dir: Path) -> Path:
    """Write ``report/index.html`` and ``report/*.svg`` of a run, which may be running.

    Returns:
        The page.
    """
    state = status.load(run_dir)
    folder = run_dir / "report"
    pictures = {}
    for name, _, _, draw in pictures_of(state):
        with drawing.style():
            made = draw(state)
            pictures[name] = "" if made is None else drawing.svg(made)
        if made is not None:
            _write(folder / f"{name}.svg", pictures[name])
    path = folder / "index.html"
    _write(path, page(state, status.driver(run_dir), pictures))
    return path


def _write(path: Path, text: str) -> None:
    with published(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(state: State, who: status.Driver, pictures: dict[str, str]) -> str:
    """The whole page.

    Args:
        state: the campaign.
        who: runs it.
        pictures: SVG files by name; empty where there is nothing to draw yet.
    """
    sections = [
        _header(state, who),
        _section("Structures", _structures(state)),
        *(
            _section(heading, _picture(name, heading, note, pictures[name]) + _below(name, state))
            for name, heading, note, _ in pictures_of(state)
        ),
        _section("Holes of the potential", _holes(state)),
        _section("Failed calculations", _failures(state)),
    ]
    name, body = escape(state.config.name), "\n".join(sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}</style></head>
<body>
{body}
</body></html>
"""


def _header(state: State, who: status.Driver) -> str:
    config = state.config
    count = status.labels(state)
    facts = {
        "composition": config.question
        + (f" at {config.pressure_gpa:g} GPa" if config.dimension == "bulk" else ""),
        "engine": config.engine.description(),
        "single points": f"{count['done']} done, {count['failed']} failed, {count['pending']} "
        f"pending of {config.budget.labels}",
        "time": f"{duration(3600 * state.hours_used)} of {duration(3600 * config.budget.hours)}",
        "search": f"{len(state.generations)} generations, {len(state.groups)} distinct structures, "
        f"{len(state.models)} ensembles",
        "cluster": config.cluster.kind,
    }
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    written = f"written {time.strftime('%Y-%m-%d %H:%M:%S')} by aga {__version__}"
    return (
        f"<header><h1>{escape(config.name)}</h1>"
        f'<p class="state">{escape(status.headline(state, who))}</p>'
        f'<dl>{rows}</dl><p class="note">{written}</p></header>'
    )


def _section(heading: str, body: str) -> str:
    anchor = heading.lower().replace(" ", "-")
    return f'<section id="{anchor}"><h2>{escape(heading)}</h2>\n{body}</section>'


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[str] = (),
    long: str = "",
    marked: Sequence[bool] = (),
) -> str:
    """An HTML table; columns named in ``text`` are left-aligned, ``long`` may break its lines."""

    def cell(tag: str, index: int, value: str) -> str:
        kinds = ["text"] if headings[index] in text else []
        kinds += ["long"] if headings[index] == long else []
        attribute = f' class="{" ".join(kinds)}"' if kinds else ""
        return f"<{tag}{attribute}>{escape(value)}</{tag}>"

    lines = ["".join(cell("th", i, heading) for i, heading in enumerate(headings))]
    lines += ["".join(cell("td", i, value) for i, value in enumerate(row)) for row in rows]
    yes = [False, *(marked or [False] * len(rows))]
    body = "".join(
        f'<tr class="yes">{line}</tr>\n' if strong else f"<tr>{line}</tr>\n"
        for line, strong in zip(lines, yes, strict=True)
    )
    return f'<div class="wide"><table>\n{body}</table></div>'


def _structures(state: State) -> str:
    found = ranking.rows(state)
    if not found:
        return "<p>No structure has been labelled yet.</p>"
    headings = [*ranking.columns(state), "made by"]
    left = ("formula", "space group", "point group", "id", "made by")

    def part(rows: Sequence[ranking.Row]) -> str:
        cells = [[*row.cells(), row.origin.replace("_", " ")] for row in rows]
        return _table(headings, cells, text=left, marked=[row.confirmed for row in rows])

    text = part(found[:SHOWN]) + f'<p class="note">{escape(ranking.thresholds(state))}</p>'
    if rest := found[SHOWN:]:
        text += f"<details><summary>{len(rest)} more</summary>{part(rest)}</details>"
    return text


def _picture(name: str, heading: str, note: str, svg: str) -> str:
    if not svg:
        return '<p class="note">Nothing to draw yet.</p>'
    return f'<p class="note">{escape(note)}</p>{drawing.inline(svg, name, escape(heading))}'


def _below(name: str, state: State) -> str:
    """What a picture does not say."""
    if name == "hull" and (told := ranking.hull(state)):
        return f"<p>{escape(told[:1].upper() + told[1:])}.</p>"
    if name == "operators":
        return _operators(state)
    if name == "timeline" and (use := timeline.sentence(timeline.intervals(state))):
        return f"<p>Busy: {escape(use)}.</p>"
    return ""


def _operators(state: State) -> str:
    labels = timeline.by_origin(state)
    names = sorted({*state.operators, *labels})
    if not names:
        return ""
    lowest = min((value for _, value in labels.values()), default=0.0)
    rows = []
    for name in names:
        tried, succeeded = state.operators.get(name, (0.0, 0.0))
        count, best = labels.get(name, (0, None))
        rows.append(
            [
                name.replace("_", " "),
                f"{tried:.0f}" if tried else "-",
                f"{100 * succeeded / tried:.1f} %" if tried else "-",
                str(count),
                "-" if best is None else f"{1e3 * (best - lowest):.1f}",
            ]
        )
    above = "lowest above hull" if state.hull else "lowest above best"
    headings = ["operator", "tried (fading)", "succeeded", "labels", f"{above} [meV/atom]"]
    return _table(headings, rows, text=("operator",))


def _holes(state: State) -> str:
    note = (
        f"Predicted at most {1e3 * holes.LIKED:g} meV/atom above the best label before it, and "
        f"computed higher than predicted by more than {1e3 * holes.EXCESS:g} meV/atom and "
        f"{holes.SPREADS:g} spreads."
    )
    found = holes.holes(state)
    told = holes.sentence(found)
    text = f'<p>{escape(told[:1].upper() + told[1:])}.</p><p class="note">{escape(note)}</p>'
    if not found:
        return text
    rows = []
    for hole in found[: holes.SHOWN]:
        one = hole.worst
        rows.append(
            [
                one.known.id,
                one.known.formula,
                one.origin.replace("_", " "),
                f"{one.predicted:.4f}",
                f"{1e3 * (one.spread or 0.0):.0f}",
                f"{one.known.enthalpy:.4f}",
                str(len(hole.labels)),
                hole.reason,
            ]
        )
    headings = [
        *("worst", "formula", "made by", "predicted [eV/atom]", "spread [meV/atom]"),
        *("computed [eV/atom]", "labels", "reason"),
    ]
    return text + _table(headings, rows, text=headings[:3] + headings[-1:])


def _failure(record: Record) -> dict[str, str] | None:
    """Of a task, or of the rest of a relaxation whose first single points are labels."""
    if record.progress == "failed":
        return dict(record.outcome["failure"])
    if record.progress == "done" and record.kind == "relax":
        return record.ok.get("failure")
    return None


def _failures(state: State) -> str:
    found = [(record, _failure(record)) for record in state.records]
    failed = [(record, failure) for record, failure in found if failure is not None]
    if not failed:
        return "<p>None.</p>"
    rows = []
    for record, failure in failed:
        asked = record.inputs.get("candidate", {}).get("id") or record.inputs.get("chain", "")
        rows.append(
            [
                str(record.ordinal),
                record.kind,
                str(asked),
                failure["kind"],
                str(record.attempts),
                failure["reason"],
                failure["log"] or "-",
            ]
        )
    headings = ["task", "kind", "structure", "failure", "starts", "reason", "log"]
    return _table(headings, rows, text=headings[1:4] + headings[5:], long="reason")

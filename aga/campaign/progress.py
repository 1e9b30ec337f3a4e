"""What a campaign tells while it runs: one JSON line per event, and one line for the reader.

In a terminal the reader's lines are the last rows of a live table (`aga.campaign.live`).
"""

import os
import time
from collections.abc import Callable
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, Self, TextIO

from aga.campaign import hourly
from aga.campaign.groups import Group
from aga.campaign.hourly import Tally
from aga.campaign.live import Clocks, Live, view
from aga.campaign.log import Log
from aga.campaign.record import Record
from aga.campaign.state import Labelled, State
from aga.config_disk import DiskConfig
from aga.search.symmetry import spacegroup
from calculators.pools import Pools

#: tolerance for naming a space group, that of the search itself [Å]
SYMPREC = 0.1


class Progress:
    """Writes ``log.jsonl`` in the run folder; to a terminal a live table, else plain lines.

    Args:
        run_dir: the run folder.
        stream: where the lines for the reader go.
        kept: how large the log may become.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        run_dir: Path,
        stream: TextIO,
        kept: DiskConfig | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        kept = kept or DiskConfig()
        self._log = Log(run_dir, 1e6 * kept.log_mb, kept.logs)
        self._clock = clock
        self._then: Tally | None = None
        self._stream = stream
        self._live = Live(stream) if _can_draw(stream) else None
        self._clocks = Clocks()
        self._spacegroups: dict[str, str] = {}
        self._best = ""

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._log.close()

    def __call__(self, state: State, pools: Pools, records: list[Record]) -> None:
        """Tell what was closed in one turn of the loop."""
        for record in records:
            self._write(event(record, state))
            if line := sentence(record, state):
                self.say(line)
        answer = " ".join(f"{group.id}{group.best.id}" for group in state.answer)
        if answer != self._best:
            self._best = answer
            self.say(self._found(state))
        self._every_hour(state)
        if self._live is not None:
            self._live.show(view(state, pools, self._clocks, self._spacegroup))

    def _every_hour(self, state: State) -> None:
        """A line of what the last hour has brought; the first hour begins with the start."""
        moment = self._clock()
        if self._then is None:
            self._then = hourly.tally(state, moment)
        elif hourly.due(self._then, moment):
            now = hourly.tally(state, moment)
            line = hourly.line(self._then, now, state)
            self._then = now
            self._write({"event": "hour", "line": line, "labels": now.labels})
            self.say(line)

    def _found(self, state: State) -> str:
        """The best structure, or those on the hull."""
        after = f"after {len(state.labelled)} labels"
        if state.config.compositions is not None:
            stable = sorted((one.best.formula, self._spacegroup(one)) for one in state.answer)
            names = ", ".join(f"{formula} {group}" for formula, group in stable)
            return f"on the hull: {names}, {after}"
        best = state.lowest.best
        return (
            f"best so far: {self._spacegroup(state.lowest)} {best.enthalpy:.4f} eV/atom, "
            f"largest force {best.fmax:.2f} eV/Å, {after}"
        )

    def say(self, line: str) -> None:
        """One line for the reader, with the time of day."""
        stamped = f"{time.strftime('%H:%M:%S', time.localtime(self._clock()))} {line}"
        if self._live is not None:
            self._live.say(stamped)
            return
        self._stream.write(f"{stamped}\n")
        self._stream.flush()

    def _spacegroup(self, group: Group) -> str:
        """Of the lowest label; looked for once, because it takes milliseconds."""
        best = group.best
        if best.id not in self._spacegroups:
            self._spacegroups[best.id] = spacegroup(best.atoms, SYMPREC)
        return self._spacegroups[best.id]

    def _write(self, data: dict[str, Any]) -> None:
        self._log.write({"time": round(self._clock(), 3), **data})


def _can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def event(record: Record, state: State) -> dict[str, Any]:
    """One line of the log."""
    data: dict[str, Any] = {
        "event": record.progress,
        "task": record.ordinal,
        "kind": record.kind,
        "key": record.key,
        "labels": len(state.labelled),
    }
    if record.progress == "failed":
        data["reason"] = record.outcome["failure"]["reason"]
        data["log"] = record.outcome["failure"]["log"]
    if "reason" in record.inputs:
        data["reason"] = record.inputs["reason"]
    if record.kind == "relax" and record.progress == "done":
        data["points"], data["found"] = len(record.ok["points"]), record.ok.get("found", 0)
    if "meta" in record.outcome:
        data["meta"] = record.outcome["meta"]
    return data


def sentence(record: Record, state: State) -> str:
    """What a reader wants to know of a record, or an empty string."""
    if record.kind in ("stop_search", "finish", "resume"):
        return f"{record.kind.replace('_', ' ')}: {record.inputs.get('reason', '')}"
    if record.progress == "failed":
        return f"{record.kind} {record.ordinal} failed: {record.outcome['failure']['reason']}"
    if record.progress == "queued":
        return ""
    return _DONE[record.kind](record, state)


def _seeded(record: Record, _: State) -> str:
    return f"{len(record.ok['candidates'])} structures to begin with"


def _evolved(record: Record, state: State) -> str:
    found, rejected = record.ok["candidates"], sum(record.ok["rejected"].values())
    lowest = f"{found[0]['enthalpy'] if found else float('nan'):.4f} eV/atom"
    if state.hull is not None and found:
        height = min(one.height for one in state.generations[-1].candidates)
        lowest = f"{1e3 * height:.0f} meV/atom above the hull"
    return (
        f"generation {len(state.generations)}: {len(found)} distinct structures, "
        f"{rejected} rejected, lowest predicted {lowest}"
    )


def _labelled(record: Record, state: State) -> str:
    # it was closed in this turn: its labels are among the last
    newer = dropwhile(lambda one: one.ordinal != record.ordinal, reversed(state.labelled))
    own = [*takewhile(lambda one: one.ordinal == record.ordinal, newer)][::-1]
    return "; ".join(_one_label(one, named=state.hull is not None) for one in own)


def _one_label(one: Labelled, *, named: bool) -> str:
    known = one.known
    what = f"{known.formula} " if named else ""
    guess = ""
    if one.predicted is not None:
        spread = "" if one.spread is None else f" +- {1e3 * one.spread:.0f} meV"
        guess = f", predicted {one.predicted:.4f}{spread}"
    return (
        f"label {known.id} ({one.purpose}, {one.origin}): {what}{known.enthalpy:.4f} eV/atom"
        f"{guess}, "
        f"largest force {known.fmax:.2f} eV/Å, {one.label.seconds:.1f} s"
    )


def _relaxed(record: Record, state: State) -> str:
    points, found = record.ok["points"], record.ok.get("found", 0)
    saved = f", {found} of them from an attempt that was cut off" if found else ""
    end = "relaxed" if record.ok.get("converged") else "not relaxed yet"
    head = f"structure {record.inputs['chain']} {end} by the engine: {len(points)} single points"
    failure = record.ok.get("failure")
    why = f"then it failed: {failure['reason']}" if failure else ""
    return "; ".join(filter(None, [head + saved, why, _labelled(record, state)]))


def _trained(record: Record, _: State) -> str:
    facts = record.ok["facts"]
    return (
        f"ensemble of {facts['labels']} labels{' with networks' if facts['networks'] else ''}: "
        f"{facts['energy_rmse_mev_per_atom']:.0f} meV/atom, "
        f"{facts['force_rmse_ev_per_a']:.2f} eV/Å, {facts['seconds']:.1f} s"
    )


def _polished(record: Record, _: State) -> str:
    return f"structure {record.inputs['chain']} relaxed on the ensemble for confirmation"


_DONE = {
    "seed": _seeded,
    "evolve": _evolved,
    "label": _labelled,
    "train": _trained,
    "polish": _polished,
    "relax": _relaxed,
}

"""How busy DFT workers are: labels in a fixed time against their number, in turns and overlapped.

The loop of the campaign, its policy and database, the pools, Dask's scheduler and the files of the
labels are real; the engine sleeps, as do the search and the training (`simulated.py`), because no
machine of a few cores could do their work for hundreds of slots. ``--search real`` lets these two
work in earnest, which few slots allow.

Measured is for ``--seconds`` from the first generation on, when all slots have work. Slots are busy
while an engine sleeps, and at no other time. The driver is the process of the loop, and Dask's
scheduler runs in it, as with ``cluster: {kind: local}``.

    python scripts/bench/utilisation.py --workers 1,4,16,64,256 --json
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import bookkeeping
from simulated import Dream, Dreamers, Durations, Sleepers, work

from aga.campaign import loop, tasks
from aga.campaign.progress import Progress
from aga.campaign.store import Store
from aga.config import CampaignConfig, resolved
from aga.report.timeline import intervals
from calculators.pools import Pools
from calculators.publish import publish_json
from calculators.results import result_folder

#: more than any campaign here can spend
ENDLESS = 10_000_000


def config(slots, *, overlap, real):
    """A campaign that neither settles nor runs out of labels; with and without overlap alike."""
    search = {"initial_labels": max(8, slots), "batch": None if overlap else max(4, 2 * slots)}
    return CampaignConfig.model_validate(
        {
            "name": "utilisation",
            "composition": bookkeeping.CELL,
            "engine": {"kind": "emt"},
            "cluster": {"kind": "serial"},
            "overlap": overlap,
            "search": search,
            "budget": {"labels": ENDLESS, "hours": 1e6},
            "stop": {"patience_labels": ENDLESS if not real else 100_000},
        }
    )


class EnoughError(Exception):
    """The time to measure is over."""


class Watch:
    """Looks at the clocks when all slots have work for the first time after a new generation.

    When the time is over it ends the campaign.

    Args:
        slots: for labels.
        seconds: to measure.
        tell: what a campaign is watched by.
        clock: seconds.
    """

    def __init__(self, slots, seconds, tell, clock):
        self._slots, self._seconds, self._tell, self._clock = slots, seconds, tell, clock
        self._generations = None
        self.opened = clock()
        self.marks = []
        self.turns = 0

    def __call__(self, state, pools, records):
        """After every turn."""
        self._tell(state, pools, records)
        if self._generations is None:
            self._generations = len(state.generations)
        searched = len(state.generations) > self._generations
        if not self.marks and searched and len(state.outstanding("label")) >= self._slots:
            self._mark()
        self.turns += len(self.marks) == 1
        if len(self.marks) == 1 and self._clock() >= self.marks[0]["time"] + self._seconds:
            self._mark()
            raise EnoughError

    def _mark(self):
        self.marks.append(
            {"time": self._clock(), "process": time.process_time(), "loop": time.thread_time()}
        )


def measure(folder, slots, seconds, durations, *, overlap, known=0, history="labelled", dask=True):
    """One campaign; what its workers and its driver did.

    Args:
        folder: its run folder.
        slots: simulated DFT workers.
        seconds: to measure [s].
        durations: of the work.
        overlap: of search, labels and training.
        known: structures that are there before.
        history: how they came to be known, see `bookkeeping`.
        dask: else in a time of its own, where only what the policy decides takes any.
    """
    folder, settings = Path(folder), config(slots, overlap=overlap, real=durations.real)
    if known:
        bookkeeping.alone(bookkeeping.write, folder, history, known, bookkeeping.made_of())
    publish_json(folder / tasks.CONFIG, resolved(settings))
    store = Store(folder, settings)
    before = len(store.state().records)
    dream = Dream()
    cluster = Sleepers(dft_workers=slots) if dask else Dreamers(dft_workers=slots, dream=dream)
    with (
        Path(os.devnull).open("w") as nowhere,
        Progress(folder, nowhere) as progress,
        Pools(cluster, partial(work, run_dir=folder, durations=durations)) as pools,
    ):
        watch = Watch(slots, seconds, progress, time.time if dask else lambda: dream.now)
        with suppress(EnoughError):
            loop.run(store, pools, watch)
    state = store.state()
    if state.finished:
        raise RuntimeError(f"the campaign ended before its time: {state.finished}")
    labels = [one for one in state.of_kind("label") if one.ordinal >= before]
    work_done = [(begun(folder, one, dream.started), durations.of(one, folder)) for one in labels]
    row = {
        "workers": slots,
        "overlap": overlap,
        "search": "real" if durations.real else "simulated",
        "label_seconds": durations.label,
        "scheduler": "dask" if dask else "none",
        "known": known,
        "history": history if known else None,
        **shares(watch, state, [one for one in work_done if one[0] is not None], slots),
        "driver_mb": bookkeeping.memory(),
        "warm_up_seconds": round(watch.marks[0]["time"] - watch.opened, 1),
    }
    store.close()
    return row


def begun(folder, record, started):
    """When the engine began with a label, which may not be finished; None: it has not begun."""
    if record.ordinal in started:
        return started[record.ordinal]
    path = result_folder(tasks.labels(folder), record.key) / "starts"
    return json.loads(path.read_text().splitlines()[0])["time"] if path.is_file() else None


def shares(watch, state, labelled, slots):
    """What was reached between the two looks at the clocks; labels by start and seconds."""
    first, last = watch.marks
    wall = last["time"] - first["time"]
    busy, labels = 0.0, 0.0
    for start, seconds in labelled:
        inside = min(start + seconds, last["time"]) - max(start, first["time"])
        busy += max(0.0, inside)
        labels += max(0.0, inside) / seconds
    others = [
        (one.kind, max(0.0, min(one.end, last["time"]) - max(one.start, first["time"])))
        for one in intervals(state)
    ]
    return {
        "busy_fraction": round(busy / (slots * wall), 4),
        "labels_per_hour": round(3600 * labels / wall),
        "driver_share": round((last["process"] - first["process"]) / wall, 4),
        "loop_share": round((last["loop"] - first["loop"]) / wall, 4),
        "turns_per_second": round(watch.turns / wall, 2),
        "search_share": round(sum(t for kind, t in others if kind == "evolve") / wall, 3),
        "train_share": round(sum(t for kind, t in others if kind == "train") / wall, 3),
    }


def alone(*inputs, **settings):
    """One measurement in a process of its own, whose memory then is its driver's."""
    with tempfile.TemporaryDirectory() as folder:
        return bookkeeping.alone(partial(measure, folder, *inputs, **settings))


def table(rows):
    """A line per measurement."""
    names = ("workers", "overlap", "busy_fraction", "labels_per_hour", "driver_share", "driver_mb")
    print("".join(f"{name:>18}" for name in names))
    for row in rows:
        print("".join(f"{row[name]!s:>18}" for name in names))


def draw(rows, path):
    """Busy slots, and labels an hour, against the number of workers."""
    from aga.report import drawing

    with drawing.style():
        picture = drawing.figure((9.0, 3.6))
        busy, labels = picture.subplots(1, 2)
        for overlap, look in ((True, (drawing.BLUE, "o-")), (False, (drawing.ORANGE, "s--"))):
            own = sorted((r["workers"], r) for r in rows if r["overlap"] is overlap)
            sizes = [size for size, _ in own]
            name = "with overlap" if overlap else "in turns"
            style = {"color": look[0], "label": name}
            busy.plot(sizes, [100 * row["busy_fraction"] for _, row in own], look[1], **style)
            per_slot = [row["labels_per_hour"] * row["label_seconds"] / 3600 for _, row in own]
            labels.plot(sizes, per_slot, look[1], **style)
        sizes = sorted({row["workers"] for row in rows})
        labels.plot(sizes, sizes, color=drawing.GREY, lw=1, ls=":", label="every slot always busy")
        busy.axhline(95, color=drawing.GREY, lw=1, ls=":")
        busy.set(ylim=(0, 102), ylabel="DFT slots busy [%]")
        labels.set(yscale="log", ylabel="labels in the mean time of one")
        for axes in (busy, labels):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(size) for size in sizes])
            axes.set_xlabel("DFT slots")
        busy.legend(loc="lower left")
        labels.legend(loc="upper left")
        picture.savefig(path, dpi=150)


def main(words=None):
    """Measure every number of workers; print a table or one JSON object per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="1,4,16,64,256")
    parser.add_argument("--overlap", choices=("yes", "no", "both"), default="both")
    parser.add_argument("--label", type=float, default=20.0, help="mean of a label [s]")
    parser.add_argument("--seconds", type=float, default=120.0, help="to measure [s]")
    parser.add_argument("--search", choices=("simulated", "real"), default="simulated")
    parser.add_argument("--known", type=int, default=0, help="structures known before")
    parser.add_argument("--history", choices=bookkeeping.HISTORIES, default="labelled")
    parser.add_argument("--virtual", action="store_true", help="without Dask, in no time")
    parser.add_argument("--rows", type=Path, help="measure nothing: rows of --json from a file")
    parser.add_argument("--plot", type=Path, help="draw the rows (PNG, SVG)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)
    rows = [*measured(options)] if options.rows is None else read(options.rows)
    if options.plot:
        draw(rows, options.plot)
    if not options.json:
        table(rows)


def read(path):
    """Rows that were measured before."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def measured(options):
    """A row for every size and way; printed as soon as it is there, if JSON is asked for."""
    durations = Durations(options.label, real=options.search == "real")
    modes = {"yes": (True,), "no": (False,), "both": (True, False)}[options.overlap]
    for overlap in modes:
        for slots in map(int, options.workers.split(",")):
            inputs = {"overlap": overlap, "known": options.known, "history": options.history}
            inputs["dask"] = not options.virtual
            row = alone(slots, options.seconds, durations, **inputs)
            if options.json:
                print(json.dumps(row), flush=True)
            yield row


if __name__ == "__main__":
    main()

"""The campaign database: every decision and every outcome, one transaction each; one writer.

The history is the database. What the campaign knows is folded from it (`state.replay`), so that a
start, a resume and a restart after a crash are the same.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aga import __version__
from aga.campaign.record import NAMING, Packed, Progress, Record
from aga.campaign.state import Decision, State, replay
from aga.config import CampaignConfig, from_resolved, resolved

NAME = "campaign.db"

#: times a task is started before a lost worker counts as its failure
ATTEMPTS = 3
NOTES = ("stop_search", "finish", "resume")
#: file systems without working shared memory: SQLite's write-ahead log fails there
NETWORK = ("nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "fuse.sshfs", "9p")

_TABLES = """
create table if not exists meta (name text primary key, value text not null) strict;
create table if not exists task (
    ordinal integer primary key,
    kind text not null,
    key text not null,
    inputs text not null,
    progress text not null,
    outcome text not null,
    attempts integer not null,
    decided real not null,
    recorded real
) strict;
"""

Key = Callable[[int, Decision], str]


class Store:
    """The history of one run folder and the state that follows from it.

    Args:
        run_dir: the run folder.
        config: settings of this start; None takes those of the last.
        readonly: for reports on a campaign that may be running.
    """

    def __init__(
        self, run_dir: Path, config: CampaignConfig | None = None, *, readonly: bool = False
    ) -> None:
        self.run_dir = run_dir
        path = run_dir / NAME
        self._readonly = readonly
        self._database = _connected(path, readonly=readonly)
        if not readonly:
            journal = "delete" if _on_network(run_dir) else "wal"
            self._database.execute(f"pragma journal_mode={journal}")
            self._database.execute("pragma synchronous=full")
            self._database.executescript(_TABLES)
        stored = _meta(self._database, "config")
        if config is None and stored is None:
            raise ValueError(f"{path} holds no campaign")
        self.config = config or from_resolved(stored)
        if config is not None and not readonly:
            self._set_meta("config", resolved(config))
            self._set_meta("version", __version__)
        self._used = float(_meta(self._database, "hours_used") or 0.0)
        self._opened = time.monotonic()
        self._state = replay(self.config, list(self._rows()))
        self._order = 1 + self._state.order

    def close(self) -> None:
        """Note the time used and let go of the file."""
        if self._database.in_transaction:
            self._database.rollback()
        try:
            if not self._readonly:
                self._set_meta("hours_used", self.state().hours_used)
        finally:
            self._database.close()

    @staticmethod
    def configuration(run_dir: Path) -> CampaignConfig | None:
        """The settings a run folder was last started with, or None."""
        if not (run_dir / NAME).is_file():
            return None
        with closing(_connected(run_dir / NAME, readonly=True)) as database:
            stored = _meta(database, "config")
        return None if stored is None else from_resolved(stored)

    @staticmethod
    def latest(run_dir: Path) -> float | None:
        """When a run last decided or recorded anything [s since 1970], or None."""
        with closing(_connected(run_dir / NAME, readonly=True)) as database:
            row = database.execute("select max(decided), max(recorded) from task").fetchone()
        return max((moment for moment in row if moment is not None), default=None)

    def state(self) -> State:
        """The campaign as it stands."""
        self._state.hours_used = self._used + (time.monotonic() - self._opened) / 3600.0
        return self._state

    def plan(self, decisions: Sequence[Decision], key: Key) -> list[Record]:
        """Record decisions, all or none, before any of them starts.

        Args:
            decisions: what to do, in order.
            key: the content key of a decision under its ordinal.
        """
        start = len(self._state.records)
        made = [
            Record(
                start + i,
                d.kind,
                key(start + i, d),
                d.inputs,
                progress="done" if d.kind in NOTES else "queued",
            )
            for i, d in enumerate(decisions)
        ]
        with self._transaction():
            self._database.executemany(
                "insert into task values (?, ?, ?, ?, ?, '{}', 0, ?, null)",
                [
                    (r.ordinal, r.kind, r.key, _text(r.inputs), r.progress, time.time())
                    for r in made
                ],
            )
        for record in made:
            self._state.add(record)
        return made

    def record(self, ordinal: int, outcome: Mapping[str, Any]) -> bool:
        """Record what came of a task; False where it is to be tried again.

        A lost worker is no failure of the task until it has happened `ATTEMPTS` times.
        """
        record = self._state.records[ordinal]
        if record.progress != "queued":
            return True
        attempts = record.attempts + 1
        failure = outcome.get("failure")
        if failure is not None and failure["kind"] == "transient" and attempts < ATTEMPTS:
            with self._transaction():
                self._database.execute(
                    "update task set attempts = ? where ordinal = ?", (attempts, ordinal)
                )
            record.attempts = attempts
            return False
        full = {**outcome, "order": self._order, "groups": self._state.homes(ordinal, outcome)}
        progress: Progress = "done" if failure is None else "failed"
        with self._transaction():
            self._database.execute(
                "update task set progress = ?, outcome = ?, attempts = ?, recorded = ? "
                "where ordinal = ?",
                (progress, _text(full), attempts, time.time(), ordinal),
            )
            self._set_meta("hours_used", self.state().hours_used)
        self._order += 1
        record.attempts = attempts
        self._state.close(ordinal, progress, full)
        return True

    def times(self) -> dict[int, tuple[float, float | None]]:
        """When each task was decided and recorded [s since 1970], by ordinal."""
        rows = self._database.execute("select ordinal, decided, recorded from task")
        return {ordinal: (decided, recorded) for ordinal, decided, recorded in rows}

    def _rows(self) -> Iterator[Record]:
        columns = "ordinal, kind, key, inputs, progress, outcome, attempts"
        shared: dict[tuple[str, str], list[str]] = {}
        for row in self._database.execute(f"select {columns} from task order by ordinal"):  # noqa: S608
            ordinal, kind, key, inputs, progress, outcome, attempts = row
            packed = Packed(None, inputs)
            if kind in NAMING and "labels" in packed.data:
                # the same labels in every record: their names are kept once
                packed.wake()
                names = [(one, its) for one, its in packed.data["labels"]]
                packed.data["labels"] = [shared.setdefault(name, [*name]) for name in names]
            yield Record(ordinal, kind, key, packed, progress, Packed(None, outcome), attempts)

    def _set_meta(self, name: str, value: Any) -> None:
        self._database.execute("insert or replace into meta values (?, ?)", (name, _text(value)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._database.rollback()
            raise
        self._database.execute("commit")


def _connected(path: Path, *, readonly: bool) -> sqlite3.Connection:
    where = path.absolute().as_uri() + ("?mode=ro" if readonly else "")
    return sqlite3.connect(where, uri=True, timeout=30.0, isolation_level=None)


def _meta(database: sqlite3.Connection, name: str) -> Any:
    """A value, or None; a driver killed in its first moment leaves a file without tables."""
    tables = database.execute("select name from sqlite_master where name = 'meta'").fetchone()
    if tables is None:
        return None
    row = database.execute("select value from meta where name = ?", (name,)).fetchone()
    return None if row is None else json.loads(row[0])


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _on_network(folder: Path) -> bool:
    """Whether a folder lies on a network file system, by the longest mount point above it."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:  # not Linux
        return False
    place = str(folder.resolve()) + "/"
    mounts = [line.split()[1:3] for line in lines]
    above = [(point, kind) for point, kind in mounts if place.startswith(point.rstrip("/") + "/")]
    return max(above, key=lambda pair: len(pair[0]), default=("", ""))[1] in NETWORK

"""The campaign database: every decision and every outcome, one transaction each; one writer.

The history is the database. What the campaign knows is folded from it (`state.replay`), so that a
start, a resume and a restart after a crash are the same.
"""

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aga import __version__
from aga.campaign.record import NAMING, Packed, Progress, Record
from aga.campaign.state import Decision, State, replay
from aga.campaign.trouble import DamagedStoreError
from aga.config import CampaignConfig, from_resolved, resolved

NAME = "campaign.db"

#: times a task is started before a lost worker counts as its failure
ATTEMPTS = 3
#: in place of an ordinal: the checksum of the settings
SETTINGS = -1
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
create table if not exists seal (ordinal integer primary key, value text not null) strict;
"""
_COLUMNS = "ordinal, kind, key, inputs, progress, outcome, attempts, decided, recorded"

Key = Callable[[int, Decision], str]


class Store:
    """The history of one run folder and the state that follows from it.

    Args:
        run_dir: the run folder.
        config: settings of this start; None takes those of the last.
        readonly: for reports on a campaign that may be running.

    Raises:
        sqlite3.DatabaseError: it cannot be read, or not safely be written.
        DamagedStoreError: see there.
        ValueError: there is no campaign.
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
            _check(self._database)
            self._database.executescript(_TABLES)
        with _readable(), self._one_moment():
            stored = _settings(self._database)
            if config is None and stored is None:
                raise ValueError(f"{path} holds no campaign")
            records = list(self._rows())
        self.config = config or from_resolved(stored)
        if config is not None and not readonly:
            with self._sealing(SETTINGS):
                self._set_meta("config", resolved(config))
            self._set_meta("version", __version__)
        self._used = float(_meta(self._database, "hours_used") or 0.0)
        self._opened = time.monotonic()
        self._state = replay(self.config, records)
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
        with closing(_connected(run_dir / NAME, readonly=True)) as database, _readable():
            stored = _settings(database)
        return None if stored is None else from_resolved(stored)

    @staticmethod
    def latest(run_dir: Path) -> float | None:
        """When a run last decided or recorded anything [s since 1970], or None."""
        with closing(_connected(run_dir / NAME, readonly=True)) as database:
            row = database.execute("select max(decided), max(recorded) from task").fetchone()
        return max((moment for moment in row if moment is not None), default=None)

    def state(self) -> State:
        """The campaign as it stands."""
        # who only reads uses no time of the campaign's
        here = 0.0 if self._readonly else time.monotonic() - self._opened
        self._state.hours_used = self._used + here / 3600.0
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
        with self._sealing(*(record.ordinal for record in made)):
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
            with self._sealing(ordinal):
                self._database.execute(
                    "update task set attempts = ? where ordinal = ?", (attempts, ordinal)
                )
            record.attempts = attempts
            return False
        full = {**outcome, "order": self._order, "groups": self._state.homes(ordinal, outcome)}
        progress: Progress = "done" if failure is None else "failed"
        with self._sealing(ordinal):
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
        shared: dict[tuple[str, str], list[str]] = {}
        seals = _seals(self._database)
        seals.pop(SETTINGS, None)
        for row in self._database.execute(f"select {_COLUMNS} from task order by ordinal"):  # noqa: S608
            ordinal, kind, key, inputs, progress, outcome, attempts, *_ = row
            if seals.pop(ordinal, known := _digest(row)) != known:
                raise DamagedStoreError(f"the checksum of task {ordinal} is that of another")
            packed = Packed(None, inputs)
            if kind in NAMING and "labels" in (data := packed.data):
                # the same labels in every record: their names are kept once, and not as text
                names = [(one, its) for one, its in data["labels"]]
                packed = Packed(data | {"labels": [shared.setdefault(n, [*n]) for n in names]})
            yield Record(ordinal, kind, key, packed, progress, Packed(None, outcome), attempts)
        if seals:
            raise DamagedStoreError(f"task {min(seals)} is gone")

    @contextmanager
    def _one_moment(self) -> Iterator[None]:
        """All that is read inside is of one moment, whatever somebody else writes."""
        self._database.execute("begin")
        try:
            yield
        finally:
            if self._database.in_transaction:  # a damaged file may have ended it
                self._database.execute("commit")

    def _set_meta(self, name: str, value: Any) -> None:
        self._database.execute("insert or replace into meta values (?, ?)", (name, _text(value)))

    @contextmanager
    def _sealing(self, *ordinals: int) -> Iterator[None]:
        """One transaction, in which these rows also get a checksum of all that they hold."""
        self._database.execute("begin immediate")
        try:
            yield
            for ordinal in ordinals:
                seal = (ordinal, _digest(_row(self._database, ordinal)))
                self._database.execute("insert or replace into seal values (?, ?)", seal)
        except BaseException:
            self._database.rollback()
            raise
        self._database.execute("commit")


def _connected(path: Path, *, readonly: bool) -> sqlite3.Connection:
    where = path.absolute().as_uri() + ("?mode=ro" if readonly else "")
    log = path.with_name(f"{path.name}-wal")
    if readonly and not os.access(path.parent, os.W_OK) and not log.exists():
        # of a folder on a read-only disk: SQLite would want to make its log there
        where += "&immutable=1"
    return sqlite3.connect(where, uri=True, timeout=30.0, isolation_level=None)


@contextmanager
def _readable() -> Iterator[None]:
    """Tell what of the errors of reading comes of names and texts that something has spoilt."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DamagedStoreError(str(error)) from error
    except sqlite3.OperationalError as error:
        # a table or a column is missing, or text is no UTF-8, which has no code of its own
        if getattr(error, "sqlite_errorcode", 0) not in (0, sqlite3.SQLITE_ERROR):
            raise
        raise DamagedStoreError(str(error)) from error


def _check(database: sqlite3.Connection) -> None:
    """Refuse a file whose structure is damaged, before anything is written into it."""
    (found,) = database.execute("pragma quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedStoreError(str(found))


def _seals(database: sqlite3.Connection) -> dict[int, str]:
    """Checksums of the rows; those that earlier versions wrote have none."""
    if not _has_table(database, "seal"):
        return {}
    return dict(database.execute("select ordinal, value from seal").fetchall())


def _row(database: sqlite3.Connection, ordinal: int) -> tuple[Any, ...]:
    """What the checksum of an ordinal is of."""
    if ordinal == SETTINGS:
        found = database.execute("select value from meta where name = 'config'")
    else:
        found = database.execute(f"select {_COLUMNS} from task where ordinal = ?", (ordinal,))  # noqa: S608
    row: tuple[Any, ...] = found.fetchone()
    return row


def _settings(database: sqlite3.Connection) -> Any:
    """The settings of the last start, or None."""
    if (stored := _meta(database, "config")) is None:
        return None
    if _seals(database).get(SETTINGS, known := _digest(_row(database, SETTINGS))) != known:
        raise DamagedStoreError("the checksum of the settings is that of others")
    return stored


def _digest(row: Sequence[Any]) -> str:
    # by default: what was text may come back as bytes
    return hashlib.sha256(json.dumps(row, default=repr).encode()).hexdigest()[:32]


def _has_table(database: sqlite3.Connection, name: str) -> bool:
    query = "select 1 from sqlite_master where type = 'table' and name = ?"
    return database.execute(query, (name,)).fetchone() is not None


def _meta(database: sqlite3.Connection, name: str) -> Any:
    """A value, or None; a driver killed in its first moment leaves a file without tables."""
    if not _has_table(database, "meta"):
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

"""The campaign database: one transaction for every decision and every outcome."""

import json
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from aga.campaign import store as store_module
from aga.campaign.state import Decision
from aga.campaign.store import NAME, SETTINGS, Store
from aga.campaign.trouble import DamagedStoreError, damaged
from tests.campaign.builders import candidate, config, view
from tests.campaign.invented import Invented

LOST = {"failure": {"kind": "transient", "reason": "the worker died", "log": ""}}
BROKEN = {"failure": {"kind": "permanent", "reason": "it broke", "log": "x.log"}}


def key(ordinal, decision):
    return f"{decision.kind}-{ordinal}"


def seeds(n=3):
    return {"ok": {"candidates": [candidate(f"s{i}", i).to_dict() for i in range(n)]}}


def test_every_opening_gives_the_same_state(new_store, seed):
    store = new_store()
    store.plan([seed], key)
    assert view(new_store().state()) == view(store.state())
    store.record(0, {**seeds(), "meta": {"worker": "w"}})
    again = new_store().state()
    assert view(again) == view(store.state())
    assert [one.id for one in again.seeds] == ["s0", "s1", "s2"]
    assert again.records[0].outcome["meta"] == {"worker": "w"}


def test_a_plan_with_a_bad_decision_leaves_nothing(new_store, seed):
    store = new_store()
    bad = Decision("label", {"candidate": float("nan")})
    with pytest.raises(ValueError, match="Out of range"):
        store.plan([seed, bad, seed], key)
    assert store.state().records == []
    assert new_store().state().records == []
    (record,) = store.plan([seed], key)
    assert record.ordinal == 0


def test_a_plan_that_cannot_be_written_leaves_nothing(new_store, seed):
    store = new_store()
    store._database.execute(
        "create trigger full before insert on task when new.ordinal = 1 "
        "begin select raise(abort, 'disk full'); end"
    )
    with pytest.raises(sqlite3.IntegrityError, match="disk full"):
        store.plan([seed, seed], key)
    assert (store.state().records, new_store().state().records) == ([], [])


def test_an_outcome_that_cannot_be_written_is_not_taken_in(new_store, seed):
    store = new_store()
    store.plan([seed], key)
    with pytest.raises(ValueError, match="Out of range"):
        store.record(0, {"ok": {"candidates": [], "x": float("inf")}})
    assert store.state().records[0].progress == "queued"
    assert store.record(0, seeds())


def test_a_lost_worker_is_forgiven_twice(new_store, seed):
    store = new_store()
    store.plan([seed], key)
    assert not store.record(0, LOST)
    assert not store.record(0, LOST)
    assert [r.attempts for r in store.state().outstanding()] == [2]
    store = new_store()  # a restart does not forget
    assert [r.attempts for r in store.state().outstanding()] == [2]
    assert store.record(0, LOST)
    (record,) = store.state().records
    assert (record.progress, record.attempts) == ("failed", 3)
    assert record.outcome["failure"]["reason"] == "the worker died"


def test_a_permanent_failure_counts_at_once(new_store, seed):
    store = new_store()
    store.plan([seed], key)
    assert store.record(0, BROKEN)
    assert store.state().records[0].progress == "failed"


def test_the_first_outcome_stays(new_store, seed):
    store = new_store()
    store.plan([seed], key)
    store.record(0, seeds(3))
    before = view(store.state())
    assert store.record(0, seeds(5))
    assert store.record(0, BROKEN)
    assert view(store.state()) == before
    assert view(new_store().state()) == before


def test_notes_need_no_outcome(new_store):
    store = new_store()
    store.plan([Decision("stop_search", {"reason": "enough"})], key)
    again = new_store().state()
    assert again.search_over == "enough"
    assert again.outstanding() == []


def test_reports_read_while_the_campaign_writes(tmp_path):
    store = Store(tmp_path, config())
    campaign = Invented(store, 3, 0.0)
    seen, errors, done = [], [], threading.Event()

    def report():
        while not done.is_set():
            reader = Store(tmp_path, readonly=True)
            try:
                seen.append(len(reader.state().records))
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    reader._set_meta("config", {})
            finally:
                reader.close()

    def guarded():
        try:
            report()
        except BaseException as error:
            errors.append(error)

    reader = threading.Thread(target=guarded)
    reader.start()
    for _ in range(40):
        campaign.turn()
    done.set()
    reader.join()
    store.close()
    assert not errors
    assert seen == sorted(seen)
    assert seen[-1] > 1


def test_a_reader_changes_nothing(tmp_path, seed):
    store = Store(tmp_path, config())
    store.plan([seed], key)
    store.close()
    before = (tmp_path / NAME).read_bytes()
    reader = Store(tmp_path, readonly=True)
    assert reader.config == config()
    reader.close()
    assert (tmp_path / NAME).read_bytes() == before


def test_a_driver_killed_before_the_tables_leaves_no_campaign(tmp_path):
    assert Store.configuration(tmp_path) is None
    (tmp_path / NAME).touch()
    assert Store.configuration(tmp_path) is None
    with pytest.raises(ValueError, match="holds no campaign"):
        Store(tmp_path, readonly=True)
    store = Store(tmp_path, config())
    store.close()
    assert Store.configuration(tmp_path) == config()


def test_a_configuration_that_cannot_be_read_is_not_taken_for_none(tmp_path):
    """Else a run of a newer version would be overwritten."""
    store = Store(tmp_path, config())
    with store._sealing(SETTINGS):
        store._set_meta("config", {"version": 99})
    store.close()
    with pytest.raises(ValueError, match="version"):
        Store.configuration(tmp_path)


def test_folders_may_have_any_name(tmp_path):
    folder = tmp_path / "100% of #1?"
    folder.mkdir()
    Store(folder, config()).close()
    assert (folder / NAME).is_file()
    assert Store.configuration(folder) == config()


def test_time_adds_up_over_starts(tmp_path):
    store = Store(tmp_path, config())
    store._used = 0.25
    store.close()
    store = Store(tmp_path, config())
    assert store.state().hours_used >= 0.25
    store.close()


def test_times_tell_when_each_task_was_decided_and_closed(new_store, seed):
    store = new_store()
    store.plan([seed, seed], key)
    store.record(0, seeds())
    times = store.times()
    assert times[0][0] <= times[0][1]
    assert times[1][1] is None


KILLED = """
import os, sys
from pathlib import Path
from aga.campaign.store import Store
from tests.campaign.builders import config
from tests.campaign.invented import Invented

campaign = Invented(Store(Path(sys.argv[1]), config()), 5, 0.2)
for _ in range(25):
    campaign.turn()
os.kill(os.getpid(), 9)
"""


def test_nothing_recorded_is_lost_when_the_driver_is_killed(tmp_path):
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root, check=False)
    assert done.returncode == -9
    other = tmp_path / "other"
    other.mkdir()
    campaign = Invented(Store(other, config()), 5, 0.2)
    for _ in range(25):
        campaign.turn()
    killed = Store(tmp_path)
    assert view(killed.state()) == view(campaign.store.state())
    killed.close()
    campaign.store.close()


# a database that something has spoilt


def filled(folder, seed):
    """A history of several tasks, all in the file itself."""
    store = Store(folder, config())
    store.plan([seed, seed, seed], key)
    store.record(0, seeds())
    store.record(1, {"failure": {"kind": "permanent", "reason": "it broke", "log": ""}})
    store.record(2, LOST)
    store.close()
    return store.run_dir / NAME


def told(run_dir):
    """What the user is told of the database; empty where it is read."""
    try:
        Store.configuration(run_dir)
        store = Store(run_dir, readonly=True)
    except (sqlite3.Error, ValueError, DamagedStoreError) as error:
        return damaged(error, run_dir) or f"no message for {error!r}"
    found = view(store.state())
    store.close()
    return found


def test_any_flipped_bit_is_told_or_changes_nothing(tmp_path, seed):
    path = filled(tmp_path, seed)
    whole, sound = path.read_bytes(), told(path.parent)
    seen = 0
    for place in range(0, len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << place % 8
        path.write_bytes(spoilt)
        found = told(path.parent)
        if isinstance(found, str):
            assert "the database is damaged" in found, f"byte {place}: {found}"
            seen += 1
        else:
            assert found == sound, f"byte {place}"
    assert seen > 20


@pytest.mark.parametrize("ordinal", [1, 2])
def test_a_task_that_is_gone_is_missed(tmp_path, seed, ordinal):
    path = filled(tmp_path, seed)
    database = sqlite3.connect(path)
    database.execute("delete from task where ordinal = ?", (ordinal,))
    database.commit()
    database.close()
    assert f"task {ordinal} is gone" in told(path.parent)


def test_a_database_of_an_earlier_version_has_no_checksums(tmp_path, seed):
    path = filled(tmp_path, seed)
    sound = told(path.parent)
    database = sqlite3.connect(path)
    database.execute("drop table seal")
    database.commit()
    database.close()
    assert told(path.parent) == sound
    store = Store(tmp_path, config())
    store.plan([seed], key)
    store.close()
    assert told(path.parent)["records"][:3] == sound["records"]


def test_a_reader_sees_one_moment(new_store, seed, monkeypatch):
    """Somebody records between two of its questions."""
    store = new_store()
    store.plan([seed], key)
    seals = store_module._seals

    def interrupted(database):
        found = seals(database)
        if store.state().records[0].progress == "queued":
            store.record(0, seeds())
        return found

    monkeypatch.setattr(store_module, "_seals", interrupted)
    assert new_store(readonly=True).state().records[0].progress == "queued"
    assert new_store(readonly=True).state().records[0].progress == "done"


def test_names_of_labels_are_held_once(new_store):
    """Every training names all labels: as text they would be most of what a long campaign holds."""
    store = new_store()
    names = [[f"e{i:07d}", f"{i:020d}"] for i in range(400)]
    trains = [Decision("train", {"labels": names[:n]}) for n in range(100, 400)]
    store.plan(trains, key)
    written = sum(len(json.dumps(one.inputs)) for one in trains)
    tracemalloc.start()
    try:
        again = new_store()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [record.inputs for record in again.state().records] == [one.inputs for one in trains]
    assert held < written / 2

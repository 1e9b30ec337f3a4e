"""Conformance: what every kind of cluster does."""

import json
import os
from contextlib import ExitStack, contextmanager

import pytest

from calculators.clusters import Cluster, Needs, build, kinds
from calculators.pools import Pools
from calculators.task import POOL_OF, POOLS, Task
from tests.batch.fake_batch import COMMANDS, install
from tests.campaign.processes import ROOT
from tests.pool_work import memory, work

JOBS = {"interface": "lo", "poll_s": 1, "dft": {"max_jobs": 1, "workers_per_job": 2}}
# a small machine of each kind
SETTINGS = {
    "local": {"dft_workers": 2},
    "address": {"address": "tcp://127.0.0.1:1"},
    **dict.fromkeys(COMMANDS, JOBS),
}


def _marks(kind):
    """One batch system is like the other, but for its commands and directives: one is enough."""
    if kind == "serial":
        return ()
    return (pytest.mark.dask, *([pytest.mark.slow] if kind in {*COMMANDS} - {"pbs"} else []))


def _params():
    return [pytest.param(kind, marks=_marks(kind)) for kind in kinds()]


@contextmanager
def opened(kind, folder):
    """Pools on a small machine of a kind; batch systems are stand-ins."""
    settings = {"kind": kind, **SETTINGS.get(kind, {})}
    with ExitStack() as stack:
        if kind in COMMANDS:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("PATH", str(folder), prepend=os.pathsep)
            patch.setenv("PYTHONPATH", str(ROOT))
            patch.setattr("calculators.clusters._dask_crew.SUPERVISE_S", 0.5)
            install(kind, folder)
        if kind == "address":
            settings["address"] = stack.enter_context(scheduler())
        needs = Needs(folder / "run", {"dft": 60.0})
        yield stack.enter_context(Pools(build(settings), work, needs))


@contextmanager
def scheduler():
    """A scheduler that somebody else runs, with a worker for every pool; its address."""
    from distributed import Nanny, Scheduler, SpecCluster

    host = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    workers = {
        f"{pool}-{number}": {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": "127.0.0.1",
                "resources": {pool: 1},
                "preload": ["calculators.clusters._dask_worker"],
                "dashboard": False,
                "silence_logs": 40,
            },
        }
        for pool in POOLS
        for number in range(1 + (pool == "dft"))
    }
    cluster = SpecCluster(
        workers=workers, scheduler={"cls": Scheduler, "options": host}, silence_logs=40
    )
    try:
        yield cluster.scheduler_address
    finally:
        cluster.close(timeout=20)


@pytest.fixture(scope="module", params=_params())
def pools(request, tmp_path_factory):
    with opened(request.param, tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(autouse=True)
def _left_empty(request):
    yield
    if "pools" in request.fixturenames:
        drain(request.getfixturevalue("pools"))


def drain(pools):
    outcomes = {}
    while pools.in_flight():
        outcomes |= {task.ordinal: outcome for task, outcome in pools.completed(10.0)}
    return outcomes


def one(pools, kind="label", **inputs):
    pools.submit(Task(1, kind, "k1", inputs))
    return drain(pools)[1]


@pytest.mark.parametrize("kind", POOL_OF)
def test_runs_every_kind_of_task(pools, kind):
    outcome = one(pools, kind, x=[1.5, None], y="ä")
    assert outcome["ok"]["ordinal"] == 1
    assert outcome["ok"]["inputs"] == {"x": [1.5, None], "y": "ä"}
    meta = outcome["meta"]
    assert meta["started"] <= meta["finished"]
    rows = {row["name"]: row["pool"] for row in pools.workers()}
    assert rows[meta["worker"]] in (POOL_OF[kind], "")


def test_a_failure_is_a_value(pools):
    reason = {"kind": "permanent", "reason": "SCF did not converge", "log": "x.log"}
    assert one(pools, do="fail")["failure"] == reason


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("raise", "ValueError: no such thing: k1"),
        ("exit", "SystemExit: 3"),
        ("nonsense", "must return"),
        ("unserialisable", "TypeError"),
        ("unpicklable", "odd"),
        ("unknown", "KeyError"),
    ],
)
def test_what_a_task_raises_is_a_permanent_failure(pools, do, reason):
    outcome = one(pools, do=do)
    assert outcome["failure"]["kind"] == "permanent"
    assert reason in outcome["failure"]["reason"]
    assert outcome["meta"]["traceback"].startswith("Traceback")
    json.dumps(outcome)
    assert "ok" in one(pools), "the worker must go on"


def test_the_window_is_slots_plus_one(pools):
    for ordinal in range(pools.slots("dft") + 1):
        assert pools.free("dft") == pools.slots("dft") + 1 - ordinal
        pools.submit(Task(ordinal, "label", f"k{ordinal}"))
    assert pools.free("dft") == 0
    with pytest.raises(RuntimeError, match=r"pool dft has .* in flight"):
        pools.submit(Task(99, "relax", "k99"))
    assert pools.in_flight() == frozenset(range(pools.slots("dft") + 1))
    # other pools are not affected
    assert pools.free("search") == pools.slots("search") + 1
    assert sorted(drain(pools)) == list(range(pools.slots("dft") + 1))
    assert pools.free("dft") == pools.slots("dft") + 1


def test_an_ordinal_is_in_flight_once(pools):
    pools.submit(Task(7, "label", "k7"))
    with pytest.raises(ValueError, match=r"task 7 .* in flight already"):
        pools.submit(Task(7, "train", "other"))
    assert list(drain(pools)) == [7]


def test_the_same_key_runs_again(pools):
    assert one(pools)["ok"] is not None
    assert one(pools)["ok"] is not None


def test_nothing_in_flight_nothing_to_wait_for(pools):
    # a wait would run into pytest's time limit
    assert pools.completed(timeout=1e6) == []


def test_workers_rows_are_plain_data(pools):
    one(pools)  # jobs come with work
    rows = json.loads(json.dumps(pools.workers()))
    assert rows
    for row in rows:
        assert set(row) == {"name", "pool", "state", "pid", "memory"}
        assert row["state"] in ("busy", "idle")


@pytest.mark.parametrize("kind", _params())
def test_closing_twice_is_harmless(kind, tmp_path):
    with opened(kind, tmp_path) as pools:
        pools.submit(Task(0, "label", "k0", {"do": "sleep", "seconds": 60}))
        pools.close()
        pools.close()
        assert pools.in_flight() == frozenset()


@pytest.mark.parametrize("kind", kinds())
def test_kinds_are_frozen_models_with_every_pool(kind):
    cluster = build({"kind": kind, **SETTINGS.get(kind, {})})
    assert isinstance(cluster, Cluster)
    assert build(json.loads(cluster.model_dump_json())) == cluster
    with pytest.raises(ValueError, match="frozen"):
        cluster.kind = "other"
    with pytest.raises(ValueError, match="no_such_field"):
        build({"kind": kind, "no_such_field": 1})


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(ValueError, match=r"'locl'.*'local'"):
        build({"kind": "locl"})


def test_a_task_of_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="one of seed"):
        Task(0, "dream", "k")


def test_every_kind_of_task_has_a_pool():
    assert set(POOL_OF.values()) == set(POOLS)


@pytest.mark.dask
def test_workers_and_their_programs_keep_memory_instead_of_giving_it_back_at_every_step():
    """Dask's own default makes every large array a round of page faults."""
    with Pools(build({"kind": "local", "dft_workers": 1}), memory) as pools:
        pools.submit(Task(0, "label", "key"))
        ((_, outcome),) = pools.completed(30.0)
    assert int(outcome["ok"]["MALLOC_TRIM_THRESHOLD_"]) > 2**30
    assert int(outcome["ok"]["MALLOC_MMAP_THRESHOLD_"]) > 2**29

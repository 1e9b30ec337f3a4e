"""How many jobs a pool should have: rules without a clock or a queue."""

from calculators.clusters._batch import JobPool
from calculators.clusters._ranks import FAILURES, GRACE_S, HOLD_S, PATIENCE_S, Job, Ranks


def ranks(jobs=0, idle_s=100.0, **pool):
    made = Ranks(JobPool(**{"max_jobs": 4, **pool}), idle_s)
    made.jobs = [Job(str(i), f"j{i}", submitted=0.0) for i in range(jobs)]
    return made


def row(**tasks):
    return {"metrics": {"task_counts": tasks}}


def test_jobs_follow_the_load_up_to_the_limit():
    assert [ranks().missing(load, 0.0) for load in (0, 1, 3, 9)] == [0, 1, 3, 4]
    assert ranks(jobs=2).missing(3, 0.0) == 1
    assert [ranks(workers_per_job=3).missing(load, 0.0) for load in (1, 3, 4, 99)] == [1, 1, 2, 4]


def test_a_job_that_waits_for_long_is_not_counted_on():
    pool = ranks(jobs=2, workers_per_job=3)
    pool.jobs[1].submitted = 50.0
    assert pool.coming(0.0) == 6
    assert pool.coming(PATIENCE_S + 10.0) == 3
    pool.count({"j0": [row(), row()]}, PATIENCE_S)
    assert (pool.there, pool.coming(PATIENCE_S + 10.0)) == (2, 3)


def test_a_surplus_is_ended_when_it_lasts():
    pool = ranks(jobs=4)
    pool.count({"j0": [row(executing=1)], "j1": [row(memory=3)], "j2": [row()]}, 0.0)
    assert pool.surplus(1, 0.0) == ([], [])
    assert pool.surplus(4, 60.0) == ([], []), "it was needed in between"
    assert pool.surplus(1, 90.0) == ([], [])
    waiting, idle = pool.surplus(1, 190.0)
    assert [job.name for job in waiting] == ["j3"]
    assert [job.name for job in idle] == ["j1", "j2"], "never the one that works"


def test_workers_may_come_back_for_a_while():
    pool = ranks(jobs=1)
    pool.count({"j0": [row()]}, 10.0)
    assert pool.doubtful(10.0) == []
    pool.count({}, 12.0)
    assert pool.doubtful(12.0) == pool.jobs
    assert pool.given_up(12.0) == []
    assert pool.given_up(11.0 + GRACE_S) == pool.jobs


def test_trying_is_given_up_only_where_nothing_ever_worked():
    pool = ranks(jobs=1)
    assert [pool.failed(0.0) for _ in range(FAILURES)] == [False] * (FAILURES - 1) + [True]
    pool.count({"j0": [row()]}, 0.0)
    assert [pool.failed(0.0) for _ in range(9)] == [False] * 9
    pool = ranks(jobs=1)
    pool.count({"j0": [row()]}, 0.0)
    pool.failed(0.0)
    assert pool.missing(2, HOLD_S - 1) == 0
    assert pool.missing(2, HOLD_S + 1) == 1

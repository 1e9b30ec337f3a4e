"""Use of the pools: pauses do not count, and every worker does."""

import pytest

from aga.report.timeline import Interval, _Clock, intervals, pauses, sentence, utilisation


def interval(worker, kind, start, end):
    return Interval(worker, kind, start, end, failed=False)


def test_share_of_the_time(campaign):
    work = [
        interval("dft-0", "label", 0.0, 40.0),
        interval("dft-1", "label", 0.0, 20.0),
        interval("search-0", "evolve", 20.0, 100.0),
    ]
    assert utilisation(work) == {
        "search": (1, pytest.approx(80.0)),
        "dft": (2, pytest.approx(30.0)),
    }
    assert sentence(work) == "search: 80 % of 1 worker; dft: 30 % of 2 workers"


def test_pauses_are_cut_out():
    work = [
        interval("dft-0", "label", 0.0, 100.0),
        interval("dft-1", "relax", 10.0, 50.0),
        interval("dft-0", "label", 1100.0, 1200.0),
    ]
    assert pauses(work) == [(100.0, 1100.0)]
    assert utilisation(work)["dft"] == (2, pytest.approx(60.0))
    clock = _Clock(work)
    assert [clock(moment) for moment in (0.0, 100.0, 1100.0, 1200.0)] == [0, 100, 100, 200]
    assert clock.breaks == [(100.0, 1000.0)]


def test_of_a_campaign(campaign):
    work = intervals(campaign.store.state())
    assert len(work) == len([r for r in campaign.store.state().records if r.outcome])
    assert [one.failed for one in work].count(True) == 1
    assert [end - start for start, end in pauses(work)] == [7200.0]


def test_results_taken_up_after_a_crash_have_no_time(campaign):
    record = campaign.plan("seed", count=1, volume_per_atom=0.0)
    before = len(intervals(campaign.store.state()))
    campaign.store.record(record.ordinal, {"ok": {"candidates": []}, "meta": {}})
    assert len(intervals(campaign.store.state())) == before


def test_nothing_yet():
    assert utilisation([]) == {}
    assert pauses([]) == []

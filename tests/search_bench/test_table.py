"""The table and the success curves, from made-up rows."""

import json
import math

import numpy as np
import pytest


def made_up(method, calls, budget=100, seconds=1.0, **more):
    """Rows of a method; None: not found."""
    return [
        {
            "system": "s", "method": method, "seed": seed, "found": one is not None,
            "oracle_calls": one or budget, "calls_in_all": one or budget, "energy_call": one,
            "best_above_reference_mev": 0.5, "seconds": seconds, "oracle_seconds": 0.0,
            "budget": budget, **more,
        }
        for seed, one in enumerate(calls)
    ]  # fmt: skip


class TestTable:
    @pytest.fixture
    def module(self, script):
        return script("search.table")

    def test_the_interval_holds_the_median_and_shrinks_with_seeds(self, module):
        rng = np.random.default_rng(0)
        few, many = (rng.exponential(50, n) for n in (8, 80))
        spans = []
        for values in (few, many):
            low, high = module.interval(values)
            assert low <= np.median(values) <= high
            spans.append(high - low)
        assert spans[1] < spans[0]

    def test_failures_count_as_more_than_any_number(self, module):
        rows = made_up("random", [10, None, None, 20, None])
        assert module.bound(rows) == (100.0, False)
        assert module.interval(module.calls(rows))[1] == math.inf
        assert module.bound(made_up("random", [10, None, 30])) == (30.0, True)

    def test_the_ratio_is_to_the_best_peer(self, module):
        own = made_up("aga", [10, 20, 30])
        slow, quick = made_up("cryspy", [900] * 3, 1000), made_up("random", [300] * 3, 1000)
        assert module.ratio(own, [slow, quick]) == (15.0, True)
        assert module.ratio(own, []) is None
        # a peer that did not find it may have been about to
        lost = made_up("ase-ga", [None] * 3, 200)
        assert module.ratio(own, [quick, lost]) == (10.0, False)
        assert module.ratio(made_up("aga", [None] * 3), [quick]) is None

    def test_cells(self, module):
        rows = [*made_up("random", [None] * 3), *made_up("aga", [10, 20, None])]
        rows[-1].update(by_rule=True, final_found=False)
        own, peer = (dict(zip(module.HEAD, line, strict=True)) for line in module.table(rows))
        assert (own["found"], own["calls per hit"], own["ratio"]) == ("2/3", "65", "> 5.0")
        assert (peer["found"], peer["calls per hit"]) == ("0/3", "> 300")
        assert peer["calls [90 %]"] == "> 100 [> 100..> 100]"
        assert (own["method"], own["false stops"], peer["false stops"]) == ("aga", "1/3", "")

    def test_whole_campaigns_tell_what_came_after(self, module, tmp_path):
        file = tmp_path / "rows.jsonl"
        whole = made_up("aga", [10, 20], whole=True, by_rule=True, final_found=True)
        whole[0]["calls_in_all"], whole[1]["calls_in_all"] = 15, 40
        rows = [whole[0], *made_up("aga", [10, 20, 30]), whole[1]]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (line,) = module.table(module.read([file]))
        cells = dict(zip(module.HEAD, line, strict=True))
        # not one seed counts twice, and the third run does not say
        assert (cells["seeds"], cells["after"], cells["false stops"]) == ("3", "0.75", "0/3")

    def test_a_curve_ends_where_nothing_is_known(self, module):
        rows = made_up("random", [10, None, 60, 90])
        rows[1]["calls_in_all"] = 70
        x, y = module.curve(rows)
        assert x.tolist() == [1, 10, 60, 70]
        assert y.tolist() == [0, 0.25, 0.5, 0.5]
        x, y = module.curve(made_up("random", [None, None]))
        assert (x.tolist(), y.tolist()) == ([1, 100], [0, 0])

    def test_files_become_a_table_and_a_picture(self, module, tmp_path, capsys):
        file, picture = tmp_path / "rows.jsonl", tmp_path / "curves.svg"
        rows = [*made_up("aga", [10, 12]), *made_up("random", [50, None])]
        file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *rows]))
        assert module.main([str(file), "--plot", str(picture)]) == 0
        out = capsys.readouterr().out.splitlines()
        assert len(out) == 4
        assert out[2].startswith("| s | aga | 2 | 2/2 |")
        assert picture.read_text().count("<path") > 10

"""The log is put aside when it is large, and holds whole lines only."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aga.campaign.log import NAME, Log


def lines(path):
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


@given(st.integers(0, 4), st.integers(1, 200), st.lists(st.integers(0, 60), max_size=40))
def test_the_newest_lines_stay_in_order(tmp_path_factory, keep, limit, sizes):
    folder = tmp_path_factory.mktemp("log")
    with Log(folder, limit, keep) as log:
        for n, size in enumerate(sizes):
            log.write({"n": n, "text": "x" * size})
    names = [f"{NAME}.{i}" for i in range(keep, 0, -1)] + [NAME]
    assert {path.name for path in folder.iterdir()} <= set(names)
    files = [folder / name for name in names if (folder / name).exists()]
    found = [n for path in files for n in lines(path)]
    assert found == list(range(len(sizes)))[len(sizes) - len(found) :]
    for path in files:
        # over the limit by no more than the last line
        text = path.read_bytes()
        assert len(text) - len(text.splitlines()[-1] if text else b"") <= limit
    if len(files) <= keep:
        assert len(found) == len(sizes), "lost, though there was room"


def test_it_goes_on_where_it_was(tmp_path):
    for n in range(3):
        with Log(tmp_path, 1e6, 1) as log:
            log.write({"n": n})
    assert lines(tmp_path / NAME) == [0, 1, 2]


def test_a_line_that_does_not_fit_leaves_nothing(tmp_path, monkeypatch):
    write, room = os.write, [4]

    def full(file, text):
        part = min(len(text), room[0])
        room[0] -= part
        if not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, text[:part])

    with Log(tmp_path, 1e6, 1) as log:
        log.write({"n": 0})
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            log.write({"n": 1})
        monkeypatch.undo()
        log.write({"n": 2})
    assert lines(tmp_path / NAME) == [0, 2]

"""Fixtures for all tests of campaigns."""

import contextlib
import os
import signal
import time

import pytest

from aga.campaign import tasks
from aga.campaign.state import Decision
from aga.campaign.store import Store
from calculators.results import (
    document,
    label_key,
    outcome_of,
    publish_result,
    read_label,
    result_folder,
)
from calculators.single_point import calculate
from tests.campaign.builders import config
from tests.campaign.processes import Runs


@pytest.fixture
def new_store(tmp_path):
    """Opens the store of one run folder, as often as wanted; all are closed at the end."""
    opened = []

    def make(settings=None, *, readonly=False):
        chosen = None if readonly else settings or config()
        opened.append(Store(tmp_path, chosen, readonly=readonly))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def seed():
    return Decision("seed", {"count": 4, "volume_per_atom": 0.0, "first": True})


@pytest.fixture
def quick_labels(monkeypatch):
    """Labels without a child process: as published, but in milliseconds."""

    def single_point(atoms, engine, store, gates):
        key = label_key(atoms, engine)
        if (known := read_label(store, key)) is not None:
            return known
        about = document("label", atoms, engine, time.time(), [])
        label = calculate(atoms, engine.calculator(atoms, store), engine, gates)
        return outcome_of(publish_result(result_folder(store, key), about, label=label.to_dict()))

    monkeypatch.setattr(tasks, "single_point", single_point)


@pytest.fixture
def runs(tmp_path):
    """Campaigns in processes of their own; none survives the test."""
    made = Runs(tmp_path)
    yield made
    for pid in made.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if made.process is not None:
        made.process.wait()

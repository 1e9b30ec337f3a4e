"""Files of a run folder that something has spoilt, and what is made good from elsewhere."""

import json
import shutil

import pytest

from aga.campaign import loop, repair, tasks
from aga.campaign.run import FAILED, FINISHED, start
from aga.campaign.store import Store
from calculators.results import result_path
from potentials.ensemble import Ensemble
from tests.campaign.builders import config, stored

SETTINGS = {"budget": {"labels": 12, "confirm_reserve": 2}, "overlap": False}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that came to its end; to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    assert start(config(**SETTINGS), folder) == FINISHED
    return folder


@pytest.fixture
def run_dir(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def flip(path):
    """Another number in the same JSON."""
    text = path.read_text()
    place = text.index("0.", len(text) // 2) + 2
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def junk(path):
    path.write_bytes(bytes(range(256)))


def lose(path):
    path.unlink()


SPOIL = (cut, flip, junk, lose)


def again(run_dir, capsys, **changes):
    """Start again with a larger budget; what was said."""
    more = {**SETTINGS, "budget": {"labels": 16, "confirm_reserve": 2}, **changes}
    code = start(config(**more), run_dir)
    assert code == FINISHED
    return capsys.readouterr().err


@pytest.mark.parametrize("spoil", SPOIL)
def test_a_label_is_restored_from_the_database_and_not_computed(run_dir, spoil, capsys):
    one = stored(run_dir).labelled[2]
    path = result_path(run_dir / "labels", one.key)
    before = json.loads(path.read_text())
    spoil(path)
    told = again(run_dir, capsys)
    assert str(path) in told
    assert "restored from the database" in told
    after = json.loads(path.read_text())
    for name in ("key", "status", "kind", "atoms", "engine", "engine_key", "label"):
        assert after[name] == before[name], name
    starts = (path.parent / "starts").read_text().splitlines()
    assert len(starts) == 1, "it was computed again"


@pytest.mark.parametrize("kind", ["seed", "evolve"])
def test_proposals_are_restored(run_dir, kind, capsys):
    record = stored(run_dir).of_kind(kind)[0]
    path = tasks.proposal_path(run_dir, record.key)
    before = path.read_text()
    cut(path)
    told = again(run_dir, capsys)
    assert f"{path}: damaged, not JSON" in told
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["ensemble.json", "weights.pt"])
@pytest.mark.parametrize("spoil", [cut, junk, lose])
def test_an_ensemble_is_fitted_again_and_is_the_same(run_dir, name, spoil, capsys):
    """Of two, one fitted warm from the other, both."""
    models = stored(run_dir).models[-2:]
    folders = [run_dir / "models" / model.key for model in models]
    facts = [without_seconds(folder) for folder in folders]
    for folder in folders:
        spoil(folder / name)
    told = again(run_dir, capsys)
    for folder in folders:
        assert f"the ensemble {folder} is fitted again from its labels" in told
        Ensemble.load(folder)
    assert [without_seconds(folder) for folder in folders] == facts


def without_seconds(folder):
    facts = json.loads((folder / "ensemble.json").read_text())["facts"]
    return {name: value for name, value in facts.items() if name != "seconds"}


def test_an_ensemble_that_nobody_needs_is_left_alone(run_dir, capsys):
    first = run_dir / "models" / stored(run_dir).models[0].key
    cut(first / "weights.pt")
    assert "fitted again" not in again(run_dir, capsys)


def test_nothing_is_said_of_a_sound_run(run_dir, capsys):
    told = again(run_dir, capsys)
    assert "restored" not in told
    assert "damaged" not in told
    assert "fitted again" not in told


def test_an_ensemble_that_cannot_be_fitted_any_more_is_told(run_dir, monkeypatch, capsys):
    key = stored(run_dir).models[-1].key
    cut(run_dir / "models" / key / "weights.pt")
    monkeypatch.setitem(tasks._WORK, "train", lambda *_: 1 / 0)
    more = {**SETTINGS, "budget": {"labels": 16, "confirm_reserve": 2}}
    with pytest.raises(Exception, match="was done, and now fails: ZeroDivisionError"):
        start(config(**more), run_dir)
    monkeypatch.setitem(tasks._WORK, "train", tasks._train)
    assert "fitted again" in again(run_dir, capsys), "the next start tries again"


def test_a_result_that_was_not_recorded_is_computed_again(run_dir, caplog):
    """Published, then spoilt, before the driver could take it up."""
    store = Store(run_dir)
    last = store.state().of_kind("label")[-1]
    store._database.execute("delete from task where ordinal > ?", (last.ordinal,))
    store._database.execute(
        "update task set progress = 'queued', outcome = '{}' where ordinal = ?", (last.ordinal,)
    )
    store._database.execute("delete from seal")
    store.close()
    path = result_path(run_dir / "labels", last.key)
    before = json.loads(path.read_text())["label"]["energy"]
    cut(path)
    store = Store(run_dir)
    assert loop.adopt(store) == []
    assert "it is put aside and computed again" in caplog.text
    assert str(path) in caplog.text
    store.close()
    assert path.with_name("result.json.damaged").exists()
    assert start(config(**SETTINGS), run_dir) == FINISHED
    assert json.loads(path.read_text())["label"]["energy"] == before


def test_a_label_that_is_spoilt_while_it_is_needed_ends_the_run_and_a_start_mends_it(
    run_dir, monkeypatch, capsys
):
    key = stored(run_dir).labelled[0].key
    path = result_path(run_dir / "labels", key)
    train = tasks._WORK["train"]

    def spoil_first(*arguments):
        cut(path)
        return train(*arguments)

    monkeypatch.setitem(tasks._WORK, "train", spoil_first)
    more = {**SETTINGS, "budget": {"labels": 16, "confirm_reserve": 2}}
    assert start(config(**more), run_dir) == FAILED
    assert "damaged" in stored(run_dir).finished
    monkeypatch.setitem(tasks._WORK, "train", train)
    assert "restored from the database" in again(run_dir, capsys)


def test_needed_ensembles_are_those_of_waiting_tasks_too(run_dir):
    store = Store(run_dir)
    first, newest = store.state().models[0].key, store.state().models[-1].key
    evolve = store.state().of_kind("evolve")[0]
    assert evolve.inputs["model"] == first
    store._database.execute("update task set progress = 'queued' where key = ?", (evolve.key,))
    store._database.execute("delete from seal")
    store.close()
    for key in (first, newest):
        lose(run_dir / "models" / key / "weights.pt")
    store = Store(run_dir)
    again = repair.refits(store, lambda _: None)
    store.close()
    assert [task.key for task in again] == [first, newest]

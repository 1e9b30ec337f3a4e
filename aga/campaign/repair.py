"""What something has spoilt in a run folder, made good from what is known twice.

Labels and proposals are files, and in the database too; an ensemble follows from its labels. What
is gone counts as spoilt. All this happens before a start hands out its first task.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from aga.campaign import tasks
from aga.campaign.record import Record
from aga.campaign.state import State
from aga.campaign.store import Store
from aga.config import CampaignConfig
from calculators.publish import publish_json, put_aside, read_json
from calculators.results import document, result_path
from calculators.task import Task
from potentials.saved import check_weights, read_about
from potentials.seal import DamagedError, sealed
from potentials.structures import atoms_from_dict

Say = Callable[[str], None]
Content = Callable[[], dict[str, Any]]


def restore(store: Store, say: Say) -> None:
    """Write again the files of finished tasks that are not as they were written.

    Args:
        store: the campaign.
        say: told of each of them, in a line.
    """
    for record in store.state().records:
        for path, content in _files(store.run_dir, store.config, record):
            if why := _spoilt(path, must_be_there=record.progress == "done"):
                publish_json(path, sealed(content()))
                say(f"{why}; restored from the database")


def refits(store: Store, say: Say) -> list[Task]:
    """Ensembles to be fitted again from their labels, in this order: those that are needed.

    Needed are the newest, which the next is fitted warm from, and those that waiting tasks name; of
    a spoilt one also the one that it was fitted warm from.
    """
    state = store.state()
    trained = {record.key: record for record in state.of_kind("train")}
    wanted, again = _needed(state), dict[int, Task]()
    while wanted:
        record = trained[wanted.pop()]
        folder = tasks.models(store.run_dir) / record.key
        if record.ordinal in again or not (why := _unusable(folder)):
            continue
        if folder.exists():
            put_aside(folder)
        say(f"{why}; the ensemble {folder} is fitted again from its labels")
        again[record.ordinal] = Task(record.ordinal, record.kind, record.key, record.inputs)
        if (warm := record.inputs["warm"]) is not None:
            wanted.append(warm)
    return [again[ordinal] for ordinal in sorted(again)]


def _needed(state: State) -> list[str]:
    """Keys of the ensembles that tasks will read."""
    waiting = [record.inputs for record in state.outstanding("train", "evolve")]
    named = [inputs.get("model") or inputs.get("warm") for inputs in waiting]
    newest = [model.key for model in state.models[-1:]]
    return [key for key in (*newest, *named) if key is not None]


def _files(run_dir: Path, config: CampaignConfig, record: Record) -> Iterator[tuple[Path, Content]]:
    """Files of a closed task, and what is in them."""
    folder, done = tasks.labels(run_dir), record.progress == "done"
    if record.kind == "label" and record.progress != "queued":
        about = partial(_result, config, record.key, record.inputs["candidate"]["atoms"])
        yield result_path(folder, record.key), lambda: about(record.outcome)
    if record.kind in ("seed", "evolve", "polish", "relax") and done:
        yield tasks.proposal_path(run_dir, record.key), lambda: record.ok
    if record.kind == "relax" and done:
        for one in record.ok["points"]:
            about = partial(_result, config, one["key"], one["candidate"]["atoms"])
            yield result_path(folder, one["key"]), partial(about, {"ok": {"label": one["label"]}})


def _result(
    config: CampaignConfig, key: str, atoms: dict[str, Any], outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of a single point, as far as the database knows it."""
    meta = outcome.get("meta", {})
    about = document("label", atoms_from_dict(atoms), config.engine, meta.get("started", 0.0), [])
    ends = outcome.get("ok") or {"failure": outcome["failure"]}
    return {
        "key": key,
        "status": "ok" if "ok" in outcome else "failure",
        **about,
        "versions": {},  # those of now need not be those of then
        "restored": True,
        "finished": meta.get("finished", 0.0),
        **ends,
    }


def _spoilt(path: Path, *, must_be_there: bool) -> str:
    """What is wrong with a file; empty where nothing is."""
    try:
        data = read_json(path)
    except DamagedError as error:
        return str(error)
    return f"{path}: gone" if data is None and must_be_there else ""


def _unusable(folder: Path) -> str:
    """Why an ensemble cannot be loaded; empty where it can."""
    try:
        check_weights(folder, read_about(folder))
    except (FileNotFoundError, DamagedError) as error:
        return str(error).partition("; a run")[0]
    return ""

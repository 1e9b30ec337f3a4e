"""The label store: one folder per content key, ``<store>/<key[:2]>/<key>/``.

``result.json`` is absent or complete and never rewritten by a second calculation; ``starts`` has
one JSON line per started attempt; ``attempt-<n>/`` keeps the logs; ``steps``, of a relaxation, has
the key of every single point that was computed for it.
"""

import json
import logging
import os
import socket
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ase import Atoms

from calculators.engines import Engine
from calculators.outcome import Failure
from calculators.publish import append_line, publish_json, put_aside, read_json
from potentials.seal import DamagedError, sealed
from potentials.structures import (
    Label,
    atoms_from_dict,
    atoms_to_dict,
    content_key,
    rounded,
)

RESULT = "result.json"

_log = logging.getLogger(__name__)


def label_key(atoms: Atoms, engine: Engine) -> str:
    """Content key of a single point: geometry to 1e-6 Å and the engine's fingerprint."""
    return content_key(rounded(atoms), engine.key())


def point_key(atoms: Atoms, engine: Engine, *, every_stress: bool) -> str:
    """`label_key`, or another one for a label that also has a stress nobody vouches for."""
    key = label_key(atoms, engine)
    return content_key(key, "every stress") if every_stress else key


def result_folder(store: Path, key: str) -> Path:
    """Where everything about a key lies."""
    return store / key[:2] / key


def result_path(store: Path, key: str) -> Path:
    """The document of a key."""
    return result_folder(store, key) / RESULT


def read_result(store: Path, key: str) -> dict[str, Any] | None:
    """The published document of a key, or None.

    Raises:
        DamagedError: it is not as it was published.
    """
    data: dict[str, Any] | None = read_json(result_path(store, key))
    return data


def standing_result(path: Path) -> dict[str, Any] | None:
    """A published document, or None; a damaged one is put aside, to be computed again."""
    try:
        data: dict[str, Any] | None = read_json(path)
    except DamagedError as error:
        put_aside(path)
        _log.warning("%s; it is put aside and computed again", error)
        return None
    return data


def read_label(store: Path, key: str) -> Label | Failure | None:
    """The published label or failure of a single point, or None: to be computed."""
    data = standing_result(result_path(store, key))
    return None if data is None else outcome_of(data)


def sound_label(store: Path, key: str, engine: Engine) -> Label | Failure | None:
    """As `read_label`; but what is of another task is put aside too, and not there.

    Nothing here leaves such a file behind; a hand may.
    """
    path = result_path(store, key)
    data = standing_result(path)
    if data is None:
        return None
    try:
        same = (data["kind"], data["engine_key"]) == ("label", engine.key())
        if same and label_key(atoms_from_dict(data["atoms"]), engine) == key:
            return outcome_of(data)
    except (ValueError, KeyError, TypeError):
        pass  # a document of another kind
    put_aside(path)
    _log.warning("%s is of another task; it is put aside and computed again", path)
    return None


def outcome_of(result: dict[str, Any]) -> Label | Failure:
    """The label or failure in the published document of a single point."""
    if result["status"] == "ok":
        return Label.from_dict(result["label"])
    return Failure.from_dict(result["failure"])


def record_start(folder: Path) -> None:
    """Note that an attempt starts, before it does: what was computed twice can be counted."""
    line = {"time": time.time(), "host": socket.gethostname(), "pid": os.getpid()}
    append_line(folder / "starts", json.dumps(line))


def record_step(folder: Path, key: str) -> None:
    """Note that a single point of a relaxation was computed and published."""
    append_line(folder / "steps", key)


def steps(folder: Path) -> list[str]:
    """Keys of the single points computed for a relaxation by all attempts so far."""
    path = folder / "steps"
    return path.read_text("utf-8").splitlines() if path.exists() else []


def publish_result(folder: Path, about: dict[str, Any], **outcome: Any) -> dict[str, Any]:
    """Publish a document with its outcome: ``label=`` or ``relaxation=`` or ``failure=``.

    Returns:
        What now stands in the store: where two workers computed the same key, the first stays.
    """
    path = folder / RESULT
    published = standing_result(path)
    if published is None:
        status = "failure" if "failure" in outcome else "ok"
        head = {"key": folder.name, "status": status}
        published = {**head, **about, "finished": time.time(), **outcome}
        publish_json(path, sealed(published))
    return published


def document(
    kind: str, atoms: Atoms, engine: Engine, started: float, attempts: list[dict[str, Any]]
) -> dict[str, Any]:
    """What a result says besides its outcome: enough to repeat the calculation.

    Args:
        kind: ``label`` or ``relaxation``.
        atoms: the structure that was asked for.
        engine: settings before any override.
        started: Unix time [s].
        attempts: overrides, seconds and failure of each attempt.
    """
    return {
        "kind": kind,
        "atoms": atoms_to_dict(atoms),
        "engine": engine.model_dump(mode="json"),
        "engine_key": engine.key(),
        "versions": {name: _version(name) for name in engine.distributions()},
        "attempts": attempts,
        "started": started,
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def _version(distribution: str) -> str | None:
    """The installed version, or None for a module that is no distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None

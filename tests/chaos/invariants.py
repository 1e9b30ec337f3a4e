"""What must hold after any number of faults, read from the files, the database and the journal."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aga.campaign.state import State
from potentials.structures import atoms_from_dict
from tests.campaign.builders import stored
from tests.chaos.engine import GOOD, REASONS, geometry, journal, mood_of
from tests.chaos.theatre import Theatre

#: [s] between the kernel's two clocks, of files and of processes
GRAIN = 0.05
#: reasons of failures that faults from outside explain, whatever the structure
KILLED = ("SIGKILL", "deadline", "every worker that ran this task died")


@dataclass(frozen=True, slots=True)
class Account:
    """What a campaign has computed.

    Attributes:
        labels: good single points, each once in the store and in the database.
        failed: single points that failed.
        begun: computations that were begun.
        ended: computations that came to their end.
        moods: results by what their structure does to the engine.
    """

    labels: int
    failed: int
    begun: int
    ended: int
    moods: Counter[str]


def check(theatre: Theatre) -> Account:
    """Everything; the campaign has come to its end."""
    state = stored(theatre.run_dir)
    theatre.nobody_left()
    check_end(theatre, state)
    results = [json.loads(path.read_text()) for path in theatre.results()]
    points = {result["key"]: result for result in results if result["kind"] == "label"}
    check_exactly_once(state, points)
    check_failures(state, points)
    computed = check_nothing_twice(theatre, points)
    assert leftovers(theatre.run_dir) == []
    moods = Counter(computed.get(name, "good") for name in map(_geometry, points.values()))
    entries = Counter(entry["event"] for entry in journal(theatre.journal))
    good = sum(point["status"] == "ok" for point in points.values())
    return Account(good, len(points) - good, entries["begin"], entries["end"], moods)


def check_end(theatre: Theatre, state: State) -> None:
    """The campaign has a result, and nothing is left to do."""
    assert theatre.finished(), theatre.runs.said()
    assert state.finished, state.finished
    assert not state.failed, state.finished
    assert state.outstanding() == []
    # an engine that is moody about every geometry near the best leaves it unconfirmed, and says so
    told = "could not be confirmed by the engine" in state.finished
    assert state.confirmed(state.lowest) is not None or told, state.finished
    assert {one.kind for one in state.records if one.progress == "failed"} <= {
        "label",
        "relax",
        "polish",
    }
    said = theatre.runs.said()
    assert "report: failed" not in said, said
    assert (theatre.run_dir / "report" / "index.html").is_file()


def check_exactly_once(state: State, points: dict[str, Any]) -> None:
    """A label is in the store exactly when it is in the database, with the same numbers."""
    recorded = {one.key: one.label.to_dict() for one in state.labelled}
    stored = {key: point["label"] for key, point in points.items() if point["status"] == "ok"}
    assert set(recorded) == set(stored)
    assert recorded == {key: {**recorded[key], **label} for key, label in stored.items()}
    twice = [name for name, n in Counter(map(_geometry, points.values())).items() if n > 1]
    assert twice == [], "one structure under two keys"
    ordinals = Counter(one.ordinal for one in state.labelled if one.purpose != "confirm")
    assert set(ordinals.values()) <= {1}, "a label is recorded twice"


def check_failures(state: State, points: dict[str, Any]) -> None:
    """Every failure is in both too, and says what its structure does to the engine."""
    failed = {key: point for key, point in points.items() if point["status"] != "ok"}
    for record in state.failures:
        reason = record.outcome["failure"]["reason"]
        assert record.key in failed or any(word in reason for word in KILLED), reason
    for key, point in points.items():
        mood = _mood(point)
        if point["status"] == "ok":
            assert mood in GOOD, f"{key}: a label of an engine in the mood {mood}"
            continue
        reason = point["failure"]["reason"]
        words = (*KILLED, *([] if mood in GOOD else [REASONS[mood]]))
        assert any(word in reason for word in words), f"{key}: mood {mood}, told: {reason}"


def check_nothing_twice(theatre: Theatre, points: dict[str, Any]) -> dict[str, str]:
    """No computation begins after its result was published; moods by structure."""
    begun: dict[str, list[float]] = defaultdict(list)
    ended: Counter[str] = Counter()
    moods = {}
    for entry in journal(theatre.journal):
        moods[entry["geometry"]] = entry["mood"]
        if entry["event"] == "begin":
            begun[entry["geometry"]].append(entry["moment"])
        else:
            ended[entry["geometry"]] += 1
    for key, point in points.items():
        name = _geometry(point)
        # an engine may be killed before it has begun
        assert max(begun[name], default=0.0) < theatre.first_seen[key] + GRAIN, (
            f"{key} was computed again"
        )
        if point["status"] == "ok":
            assert ended[name] >= 1, f"{key} was never computed to its end"
    return moods


def leftovers(run_dir: Path) -> list[str]:
    """Temporary files, and files of attempts that succeeded but for their logs."""
    hidden = [path for path in run_dir.rglob(".*") if path.name != ".latest"]
    found = [str(path.relative_to(run_dir)) for path in hidden]
    for path in run_dir.glob("labels/*/*/result.json"):
        if json.loads(path.read_text())["status"] == "ok":
            attempts = [one for one in path.parent.glob("attempt-*/*") if one.suffix == ".json"]
            found += [str(one.relative_to(run_dir)) for one in attempts]
    return sorted(found)


def _geometry(point: dict[str, Any]) -> str:
    return geometry(atoms_from_dict(point["atoms"]))


def _mood(point: dict[str, Any]) -> str:
    return mood_of(_geometry(point))

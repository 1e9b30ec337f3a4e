"""Faults of files, while nobody runs the campaign: what is damaged is restored, or told."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.random import Generator

from aga.campaign.state import State
from aga.campaign.store import Store
from calculators.publish import read_json
from potentials.seal import SEAL, DamagedError
from tests.campaign.processes import until
from tests.chaos.deaths import bury, end_driver
from tests.chaos.theatre import Theatre


def truncate(path: Path, rng: Generator) -> None:
    """As where the end of a file was never written."""
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(0, len(data)))])


def flip(path: Path, rng: Generator) -> None:
    """One bit."""
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)


def blank(path: Path, rng: Generator) -> None:
    """A block of zeros, as some file systems leave it after a power failure."""
    data = bytearray(path.read_bytes())
    start = int(rng.integers(len(data)))
    data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    path.write_bytes(data)


Spoil = Callable[[Path, Generator], None]


def spoil_result(spoil: Spoil):
    """A result that is recorded: the database still has it."""

    def strike(theatre: Theatre, rng: Generator) -> None:
        path = _one(theatre, _results, "labels/*/*/result.json", rng)
        _spoil(path, spoil, rng)
        theatre.start("damaged result")
        told(theatre, str(path), "restored from the database")
        assert json.loads(path.read_text())["key"] == path.parent.name

    return strike


def spoil_proposal(theatre: Theatre, rng: Generator) -> None:
    """Structures that a task has proposed: the database has them too."""
    path = _one(theatre, _proposals, "proposals/*.json", rng)
    _spoil(path, truncate, rng)
    theatre.start("damaged proposal")
    told(theatre, str(path), "restored from the database")


def spoil_ensemble(theatre: Theatre, rng: Generator) -> None:
    """The newest ensemble does not load: it is fitted again from the same labels."""
    folder = _one(theatre, _newest_ensemble, "models/latest/weights.pt", rng)
    name = str(rng.choice(["ensemble.json", "weights.pt"]))
    _spoil(folder / name, [truncate, blank][int(rng.integers(2))], rng)
    theatre.start("damaged ensemble")
    told(theatre, str(folder), "fitted again")


def spoil_database(spoil: Spoil):
    """The database: the next start says so, changes nothing, and a copy that is put back works."""

    def strike(theatre: Theatre, rng: Generator) -> None:
        bring_down(theatre, rng)
        aside = theatre.copy_database()
        _spoil(theatre.run_dir / "campaign.db", spoil, rng)
        before = {path: path.read_bytes() for path in theatre.results()}
        theatre.start("damaged database")
        until(lambda: theatre.ended or theatre.at_work(), "a refusal, or work")
        if theatre.ended:
            bury(theatre, 2)
            assert "the database is damaged" in theatre.runs.said()
            assert {path: path.read_bytes() for path in theatre.results()} == before
            theatre.starts["refused: damaged database"] += 1
            for path in theatre.run_dir.glob("campaign.db*"):
                path.unlink()
            for path in aside.iterdir():
                shutil.copy2(path, theatre.run_dir)
            theatre.start("copy of the database put back")

    return strike


def readonly_folder(theatre: Theatre, rng: Generator) -> None:
    """A run folder that cannot be written: a refusal says so, and it can still be looked at."""
    bring_down(theatre, rng)
    with theatre.disk.readonly():
        done = theatre.second_driver()
        assert done.returncode == 2, done.stderr
        assert "read-only" in done.stderr.lower(), done.stderr
        assert str(theatre.run_dir) in done.stderr
        assert "Traceback" not in done.stderr
        shown = theatre.runs.beside("status", str(theatre.run_dir))
        assert shown.returncode == 0, shown.stderr
    theatre.start("read-only folder")


def bring_down(theatre: Theatre, rng: Generator) -> None:
    """End the driver, well or badly, and forget nothing of what it had published."""
    number = signal.SIGKILL if rng.random() < 0.5 else signal.SIGTERM
    if theatre.ended:
        bury(theatre)
    else:
        theatre.idle(rng.uniform(0.0, 3.0))
        end_driver(number)(theatre, rng)
        theatre.tally[f"driver {number.name}"] += 1
    theatre.results()


def told(theatre: Theatre, *parts: str) -> None:
    """A line of the driver says all of this; nothing is a traceback."""

    def line() -> bool:
        lines = theatre.runs.said().splitlines()
        return any(all(part in one for part in parts) for one in lines)

    until(lambda: line() or theatre.ended, f"{parts} in:\n{theatre.runs.said()}")
    assert line(), f"{parts} not in:\n{theatre.runs.said()}"


def _spoil(path: Path, spoil: Spoil, rng: Generator) -> None:
    before = path.read_bytes()
    while _unharmed(path, before):
        path.write_bytes(before)
        spoil(path, rng)


def _unharmed(path: Path, before: bytes) -> bool:
    """Whether a file says what it said: zeros where there were zeros, 1E-05 in place of 1e-05, or
    another name for the checksum; 102 of the 12904 bits of a result do no harm.
    """
    if path.read_bytes() == before:
        return True
    if path.suffix != ".json":
        return False
    try:
        found = read_json(path)
    except DamagedError:
        return False
    return isinstance(found, dict) and found == {**found, **_content(before)}


def _content(text: bytes) -> dict[str, Any]:
    return {name: value for name, value in json.loads(text).items() if name != SEAL}


def _one(
    theatre: Theatre, find: Callable[[Theatre, State], list[Path]], pattern: str, rng: Generator
) -> Path:
    """One of the files that the database speaks of, once there is any; the driver has ended."""
    while True:
        until(lambda: theatre.ended or any(theatre.run_dir.glob(pattern)), pattern)
        bring_down(theatre, rng)
        if (theatre.run_dir / "campaign.db").exists() and Store.configuration(theatre.run_dir):
            store = Store(theatre.run_dir, readonly=True)
            found = find(theatre, store.state())
            store.close()
            if found:
                return found[int(rng.integers(len(found)))]
        theatre.start("nothing to damage yet")
        theatre.idle(5.0)


def _results(theatre: Theatre, state: State) -> list[Path]:
    return [theatre.result(key) for key in sorted({one.key for one in state.labelled})]


def _proposals(theatre: Theatre, state: State) -> list[Path]:
    folder = theatre.run_dir / "proposals"
    done = {record.key for record in state.records if record.progress == "done"}
    return [path for path in sorted(folder.glob("*.json")) if path.stem in done]


def _newest_ensemble(theatre: Theatre, state: State) -> list[Path]:
    found = [theatre.run_dir / "models" / model.key for model in state.models[-1:]]
    return [folder for folder in found if folder.is_dir()]  # not while it is fitted again

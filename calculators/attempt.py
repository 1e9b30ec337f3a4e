"""One attempt: a child process in a folder of its own, and what became of it."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from calculators import disk, scratch
from calculators.engines import SCRATCH, Engine
from calculators.guard import Exit, Limits, run
from calculators.outcome import Failure
from calculators.publish import publish_json, read_json
from calculators.results import record_start

Again = Literal["ladder", "same", "no", "environment", "stopped"]

_ROOT = Path(__file__).parent.parent
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_TRANSIENT_ATTEMPTS = 2
_LAST_BYTES = 2**16  # of a log that are looked at


@dataclass(frozen=True, slots=True)
class Ended:
    """How an attempt ended.

    Attributes:
        data: what the child answered, or None.
        failure: why there is no answer, or None.
        again: what might help: the next rung of the ``ladder``; the ``same`` settings once more
            (the machine was to blame); ``no`` further attempt. Failures of the ``environment`` and
            attempts that were ``stopped`` say nothing about the structure and are not published.
    """

    data: dict[str, Any] | None
    failure: Failure | None
    again: Again


def climb(
    engine: Engine,
    folder: Path,
    job: dict[str, Any],
    points: int,
    should_stop: Callable[[], bool],
    progress: Callable[[], int],
) -> tuple[Ended, list[dict[str, Any]]]:
    """Attempt a job with the engine's settings, then rung by rung with its overrides.

    Args:
        engine: settings, ladder and limits.
        folder: the result's folder; attempts become its sub-folders.
        job: plain data for `calculators.single_point`; ``engine`` and ``overrides`` are added.
        points: how many single points the job may need, each with the engine's deadline.
        should_stop: see `calculators.guard.Limits`.
        progress: how much of the job is done and stays; while it grows from attempt to attempt, the
            machine may be to blame more than twice.

    Returns:
        The last attempt, and the record of all.

    Raises:
        OSError: the disk is full; that says nothing about the structure.
    """
    rungs = [{}, *engine.retries]
    attempts: list[dict[str, Any]] = []
    rung = transients = 0
    before = progress()
    while True:
        rung_engine = engine.overridden(rungs[rung])
        limits = Limits(rung_engine.deadline_s * points, rung_engine.memory_gb, should_stop)
        record_start(folder)
        full = {**job, "engine": engine.model_dump(mode="json"), "overrides": rungs[rung]}
        ended, seconds = _attempt(_new_folder(folder), full, limits, environment(engine))
        if ended.failure is not None and disk.no_room(folder):
            raise disk.full(folder)
        attempts.append(
            {
                "overrides": rungs[rung],
                "seconds": seconds,
                "failure": None if ended.failure is None else ended.failure.to_dict(),
            }
        )
        rung += ended.again == "ladder"
        if ended.again == "same":
            now = progress()
            transients = 1 if now > before else transients + 1
            before = now
        if (
            ended.again not in ("ladder", "same")
            or rung == len(rungs)
            or transients == _TRANSIENT_ATTEMPTS
        ):
            if ended.failure is None:
                scratch.tidy(folder)  # what earlier attempts have left
            return ended, attempts


def _attempt(
    folder: Path, job: dict[str, Any], limits: Limits, env: dict[str, str]
) -> tuple[Ended, float]:
    """Run the child in ``folder``; return how it ended and the wall time [s]."""
    publish_json(folder / "job.json", job)
    log = folder / "log.txt"
    argv = [sys.executable, "-P", "-X", "faulthandler", "-m", "calculators.single_point"]
    done = run([*argv, str(folder / "job.json")], limits, cwd=folder, log=log, env=env)
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    answer = read_json(folder / "outcome.json")
    if answer is None and done.ended_by == "program" and done.status == disk.STATUS:
        raise disk.full(folder)
    if answer is None:
        return _without_answer(done, limits, log), done.seconds
    if "failure" in answer:
        failure = Failure(answer["failure"]["kind"], answer["failure"]["reason"], str(log))
        return Ended(None, failure, answer["again"]), done.seconds
    return Ended(answer, None, "no"), done.seconds


def _without_answer(done: Exit, limits: Limits, log: Path) -> Ended:
    """Why a child said nothing."""
    if done.ended_by == "stop":
        return Ended(None, Failure("transient", "stopped on request", str(log)), "stopped")
    if done.ended_by == "deadline" or done.status == 128 + signal.SIGALRM:
        reason = (
            f"no result within the deadline of the engine (limit {limits.deadline:g} s, "
            f"ended after {done.seconds:.1f} s); raise deadline_s if that is too short"
        )
    elif done.status > 128:
        reason = f"the child process was killed by {_signal_name(done.status - 128)}"
    else:
        reason = f"the child process ended with status {done.status} and no result"
    return Ended(None, Failure("transient", reason + _last_words(log), str(log)), "same")


def _signal_name(number: int) -> str:
    """SIGKILL rather than 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(log: Path) -> str:
    """The first line of a traceback of a crash, or the last line of the log."""
    with log.open("rb") as file:  # an engine may have said gigabytes
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LAST_BYTES))
        text = file.read(_LAST_BYTES).decode("utf-8", "replace")
    lines = ["".join(filter(str.isprintable, line)).strip() for line in text.splitlines()]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    last = fatal or [line for line in lines if line][-1:]
    return f"; its log says: {last[0][:200]}" if last else ""


def _new_folder(folder: Path) -> Path:
    """The first free ``attempt-<n>``: earlier ones may belong to a worker that died."""
    number = 0
    while True:
        made = folder.absolute() / f"attempt-{number}"
        try:
            made.mkdir()
        except FileExistsError:
            number += 1
        else:
            return made


def environment(engine: Engine) -> dict[str, str]:
    """The worker's environment, with this package importable from any folder.

    Threads are those that the cluster gives to a task of this worker, one where it says nothing:
    several labels share the cores. Programs with MPI ranks have one each.
    """
    threads = {name: os.environ.get(name, "1") if engine.threaded else "1" for name in _THREADS}
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [str(_ROOT), *(str(Path(folder).absolute()) for folder in named if folder)]
    return {
        **os.environ,
        **threads,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(folders)),
    }

"""The commands of a batch system: submit, list, cancel."""

import logging
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from calculators.clusters import ClusterError
from calculators.clusters._batch import Batch

COMMAND_S = 60.0  # [s] for a command; busy systems take their time

log = logging.getLogger(__name__)


class QueueError(ClusterError):
    """A command of the batch system failed.

    Attributes:
        output: what it said on standard output all the same.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


class Queue:
    """The queue of a batch system, as far as one run folder is concerned.

    Args:
        batch: its commands.
        prefix: what the names of all jobs of the run begin with.
    """

    def __init__(self, batch: Batch, prefix: str) -> None:
        self._batch = batch
        self._prefix = prefix

    def submit(self, script: Path) -> str:
        """Submit a job script.

        Returns:
            the id of the job.

        Raises:
            QueueError: it was refused, or the answer has no id.
        """
        command = [*self._batch.submit_command, *self._batch.submit_options(script)]
        text = script.read_text() if self._batch.from_stdin else None
        try:
            said = _run(command if self._batch.from_stdin else [*command, str(script)], text)
        except QueueError as error:
            # some say on standard output why
            also = f", it said: {error.output.strip()}" if error.output.strip() else ""
            raise QueueError(f"{error}{also}") from error
        found = re.search(self._batch.id_pattern, said, flags=re.MULTILINE)
        if found is None:
            raise QueueError(f"{' '.join(command)}: expected the id of a job, it said: {said!r}")
        return found.group(1)

    def mine(self, ids: Sequence[str] = ()) -> dict[str, str]:
        """Ids and names of the jobs of this run that wait or run.

        Args:
            ids: the jobs in question; none: all.

        Raises:
            QueueError: the system does not answer.
        """
        try:
            said = _run(self._batch.listing(ids))
        except QueueError as error:
            if not re.search(self._batch.nothing_listed, str(error)):
                raise
            said = error.output
        jobs = self._batch.listed(said)
        return {number: name for number, name in jobs.items() if name.startswith(self._prefix)}

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs; those that have ended already do not matter."""
        if wanted := list(ids):
            try:
                _run([*self._batch.cancel_command, *wanted])
            except QueueError as error:
                log.debug("some of %s had ended already: %s", wanted, error)

    def clear(self) -> list[str]:
        """End all jobs of this run, also those that a killed driver has left.

        Returns:
            their names.

        Raises:
            QueueError: the system does not answer.
        """
        found = self.mine()
        self.cancel(found)
        return sorted(found.values())


def _run(command: Sequence[str], text: str | None = None) -> str:
    """What a command says.

    Raises:
        QueueError: it cannot be run, fails, or takes too long.
    """
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            start_new_session=True,  # out of reach of Ctrl-C: a job must not be half submitted
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise QueueError(f"{shown}: {error}") from error
    if done.returncode:
        why = done.stderr.strip() or f"status {done.returncode}"
        raise QueueError(f"{shown}: {why}", done.stdout)
    return done.stdout

"""Campaigns in processes of their own, all of whose descendants can be found."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aga.config import CampaignConfig, to_yaml

ROOT = Path(__file__).parents[2]
HANG_S = 120.0  # [s] the limit of every wait; nothing is measured
MARK = "AGA_TEST_MARK"


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a condition; its value."""
    end = time.monotonic() + HANG_S
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return value


@contextmanager
def listening() -> Iterator[None]:
    """Children hear Ctrl-C, even where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Runs:
    """Starts ``aga run`` on one folder, again and again.

    Args:
        folder: gets the campaign file and the run folder.
        run_dir: the run folder, where it is to be elsewhere.
        environment: more of it, for the driver and all that it starts.
    """

    def __init__(
        self,
        folder: Path,
        run_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._file = folder / "campaign.yaml"
        self._log = folder / "stderr.txt"
        self.run_dir = run_dir or folder / "run"
        self._environment = dict(environment or {})
        self._mark = uuid.uuid4().hex
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, config: CampaignConfig) -> subprocess.Popen[bytes]:
        """Start or go on."""
        self._file.write_text(to_yaml(config))
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command("run", self._file, "--run-dir", self.run_dir),
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def beside(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another `aga` command to its end; ``run`` starts what was started last once more."""
        if words == ("run",):
            words = ("run", str(self._file), "--run-dir", str(self.run_dir))
        return subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=5 * HANG_S,
            check=False,
            start_new_session=True,  # as from another terminal
        )

    @staticmethod
    def command(*words: str | Path) -> list[str]:
        """The command line of an `aga` command."""
        return [sys.executable, "-m", "aga", *map(str, words)]

    def environment(self) -> dict[str, str]:
        """Of the driver and all that it starts."""
        folders = [self._environment.get("PYTHONPATH", ""), str(ROOT), str(ROOT / "tests")]
        path = os.pathsep.join(folder for folder in folders if folder)
        return {**os.environ, **self._environment, "PYTHONPATH": path, MARK: self._mark}

    def stop_when(self, config: CampaignConfig, moment: Callable[[], Any], number: int) -> None:
        """Start, send a signal at a moment, and see that it ends as it should."""
        with listening():
            process = self.start(config)
        until(lambda: moment() or process.poll() is not None, "the moment")
        assert process.poll() is None, self.said()
        os.kill(process.pid, number)
        status = self.wait()
        if number != signal.SIGKILL:
            assert status == 130, self.said()
            assert "start the same command again to go on" in self.said()
            assert "KeyboardInterrupt" not in self.said()
        self.nobody_left()

    def wait(self) -> int:
        """Exit status of the last start."""
        assert self.process is not None
        return self.process.wait(HANG_S)

    def said(self) -> str:
        """What the last start has printed."""
        return self._log.read_text()

    def published(self) -> int:
        """Labels that are there."""
        return len(list(self.run_dir.glob("labels/*/*/result.json")))

    def alive(self) -> dict[int, list[str]]:
        """Command lines of all processes that descend from a start, by pid."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # gone, somebody else's, or a zombie: nothing to read
                if f"{MARK}={self._mark}" in (folder / "environ").read_text("utf-8", "replace"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().split("\0")
            except (OSError, ValueError):
                continue
        return found

    def nobody_left(self) -> None:
        """Every process ends soon."""
        until(lambda: not self.alive(), f"the end of {self.alive()}")

"""Dask's scheduler and workers that somebody else runs: each may die, and is started again.

Scheduler, nannies and workers are processes of their own, as on machines where an administrator
has them; a nanny is what the word says in Dask: the process that starts a worker and watches it.
"""

import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from calculators.task import POOLS
from tests.campaign.processes import until

#: workers of each pool
STAFF = {"search": 1, "dft": 2, "train": 1}
ENDS_S = 60.0  # [s] for a process that was killed to be gone


class Crowd:
    """Processes that a campaign joins with ``cluster: {kind: address}``.

    Args:
        environment: of all of them.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.scheduler: subprocess.Popen[bytes] | None = None
        self._nannies: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Of the campaign's cluster."""
        return {"kind": "address", "address": self._address}

    @property
    def _address(self) -> str:
        return f"tcp://127.0.0.1:{self._port}"

    def nannies(self) -> list[int]:
        """Pids of those that live."""
        return [one.pid for one in self._nannies.values() if one.poll() is None]

    def see_to_it(self) -> None:
        """Start whoever is missing; with a new scheduler, everybody."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            self.send_home()
            listen = ("--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard")
            self.scheduler = self._start("dask_scheduler", *listen)
            until(self._answers, "Dask's scheduler")
        for pool in POOLS:
            for number in range(STAFF[pool]):
                self._hire(f"{pool}-{number}", pool)

    def _hire(self, name: str, pool: str) -> None:
        """A nanny with her worker, if there is none of this name."""
        if name in self._nannies and self._nannies[name].poll() is None:
            return
        words = ("--nthreads", "1", "--nworkers", "1", "--no-dashboard", "--host", "127.0.0.1")
        offers = ("--name", name, "--resources", f"{pool}=1")
        self._nannies[name] = self._start("dask_worker", self._address, *words, *offers)

    def _start(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command}", *words],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), 1.0).close()
        except OSError:
            return False
        return True

    def send_home(self) -> None:
        """End everybody."""
        everybody = [*self._nannies.values(), *([self.scheduler] if self.scheduler else [])]
        for process in everybody:
            process.terminate()
        for process in everybody:
            try:
                process.wait(ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._nannies.clear()
        self.scheduler = None

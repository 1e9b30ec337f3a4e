"""The parent's side of a worker: start it, ask, and say why it died."""

import json
import os
import subprocess
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peers.environments import BENCH, Environment
from peers.prepared import Variant


class PeerError(RuntimeError):
    """A peer could not do what it was asked; the message is the reason."""


class Child:
    """One process that runs one peer.

    Args:
        environment: where the peer is installed.
        work: folder for files of all peers.
        core: processor to stay on, or -1.
        threads: threads the peer may use.
        program: whether the peer imports this program.
        limit: longest wait for an answer [s].
    """

    def __init__(
        self,
        environment: Environment,
        work: Path,
        *,
        core: int,
        threads: int = 1,
        program: bool = False,
        limit: float = 900.0,
    ) -> None:
        self.name, self.limit = environment.name, limit
        self.log = work / f"{environment.name}_{threads}.log"
        self.ready: set[str] = set()
        files = work / environment.name
        files.mkdir(parents=True, exist_ok=True)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    str(environment.interpreter),
                    "-m",
                    "peers.worker",
                    environment.name,
                    str(work / "ours" if program else files),
                    str(core),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=BENCH,
                env=environment.variables(threads, program=program),
                text=True,
            )

    def prepare(self, variant: Variant, system: str) -> tuple[str, dict[str, Any]]:
        """Make a system ready; its key, and version and number of atoms.

        Raises:
            PeerError: the peer failed.
        """
        key = json.dumps([asdict(variant), system], sort_keys=True)
        request = {"do": "prepare", "key": key, "variant": asdict(variant), "system": system}
        return key, self.ask(request)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer.

        Raises:
            PeerError: the process ended, or did not answer in time.
        """
        if self.process.stdin is None or self.process.stdout is None:
            raise PeerError("the worker was started without pipes")
        timer = threading.Timer(self.limit, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            late = not timer.is_alive()
            timer.cancel()
        if not line:
            self.process.wait()
            reason = f"no answer in {self.limit:.0f} s" if late else self._reason()
            raise PeerError(f"{self.name}: {reason}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _reason(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines()]
        # the message of an exception stands at the margin, after its traceback
        told = [line for line in lines if "Error" in line or "ERROR" in line]
        said = (told or [line for line in lines if line] or ["it said nothing"])[-1]
        return f"{said[:300]} (exit status {self.process.returncode})"

    @property
    def alive(self) -> bool:
        """Whether it still answers."""
        return self.process.poll() is None

    def close(self) -> None:
        """End the process by closing its input."""
        if self.process.stdin is not None and self.alive:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def cores() -> list[int]:
    """Processors this process may use; none where the platform does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

"""Peers in an environment of their own: made once, and one child process per run."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from peers.child import PeerError
from peers.environments import Environment

from search.task import Run
from search.worker import TOLD

PEERS = ("csp-cryspy>=1.5", "ase-ga>=1.0.3")
#: the oracle must be the same one there
SAME = ("ase", "chgnet", "torch")


def here(named: Path | None) -> Path | None:
    """The interpreter that has the peers: the one named, this one, or None for their own."""
    if named is not None:
        return named.absolute()
    installed = all(importlib.util.find_spec(name) for name in ("cryspy", "ase_ga"))
    return Path(sys.executable) if installed else None


def set_up(environment: Environment) -> int:
    """Make the environment; 0 where that went well."""
    wanted = [*PEERS, *filter(None, map(_same, SAME))]
    print(f"installing {' '.join(wanted)} in {environment.folder} ...", flush=True)
    failed = environment.set_up(tuple(wanted))
    print(failed or "installed")
    return int(bool(failed))


def _same(distribution: str) -> str:
    """The version that is installed here, as a requirement; empty where there is none."""
    try:
        return f"{distribution}=={version(distribution).partition('+')[0]}"
    except PackageNotFoundError:
        return ""


def search(run: Run, method: str, environment: Environment) -> dict[str, Any]:
    """Run a peer to its end; what it says of itself.

    Raises:
        PeerError: it died; nothing was measured.
    """
    run.write()
    told = run.folder / TOLD
    told.unlink(missing_ok=True)
    module = method.replace("-", "_")
    # what belongs to a process dies with it: CrySPY's workers do not hear Ctrl-C
    log = run.folder / "log.txt"
    with log.open("w") as file:
        child = subprocess.Popen(
            [str(environment.interpreter), "-W", "ignore", "-m", "search.worker", module],
            cwd=run.folder,
            env=_variables(environment),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = child.wait()
        finally:
            _end(child)
    if told.exists():
        answer: dict[str, Any] = json.loads(told.read_text())
        return answer
    last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
    said = last[0].strip() if last else "it said nothing"
    raise PeerError(f"{method} ended with status {status}: {said[:300]}")


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End what a child has left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _variables(environment: Environment) -> dict[str, str]:
    """Those of the peers, with the user's own modules: an oracle may be one of them."""
    variables = environment.variables(1, program=False)
    own = os.environ.get("PYTHONPATH", "")
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables["PYTHONPATH"], own]))
    return variables

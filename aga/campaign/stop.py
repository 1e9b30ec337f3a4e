"""`aga stop`: end a campaign that somebody runs, from any terminal."""

import os
import signal
import socket
from pathlib import Path

from aga.campaign import requests
from aga.campaign.lock import described, holder, left_behind
from aga.yaml_source import ConfigError


def stop(run_dir: Path, *, now: bool) -> str:
    """Ask the process that runs a campaign to end; say what was done.

    Args:
        run_dir: the run folder.
        now: what runs is dropped; else it is finished first, and nothing new is started.

    Raises:
        ConfigError: it cannot be asked.
    """
    who = holder(run_dir)
    if who is None:
        return f"{run_dir}: nobody runs this campaign; there is nothing to stop{_dead(run_dir)}"
    if now:
        return _end(run_dir, who.get("pid"), who.get("host"))
    known = requests.asked(run_dir)
    try:
        requests.ask(run_dir)
    except OSError as error:
        message = f"{run_dir}: the request cannot be written ({error.strerror}); use --now"
        raise ConfigError([message]) from error
    return (
        f"{run_dir}: {'was asked already: ' if known else ''}{described(who)}, finishes what runs, "
        "starts nothing new, and ends; `aga stop --now` ends it at once. `aga run` goes on later."
    )


def _end(run_dir: Path, pid: int | None, host: str | None) -> str:
    """Send a signal to a process of this machine."""
    if pid is None:
        raise ConfigError([f"{run_dir}: has only just been started; try again in a second"])
    if host != socket.gethostname():
        raise ConfigError(
            [f"{run_dir}: runs on {host}; call `aga stop --now` there, or `aga stop` here"]
        )
    try:
        os.kill(pid, signal.SIGTERM)  # not SIGINT: a shell's background jobs ignore that
    except PermissionError as error:
        message = f"{run_dir}: process {pid} belongs to somebody else; use `aga stop` without --now"
        raise ConfigError([message]) from error
    except ProcessLookupError:
        return f"{run_dir}: process {pid} has just ended"
    return (
        f"{run_dir}: told process {pid} to end at once; what it was computing is repeated when "
        "`aga run` goes on."
    )


def _dead(run_dir: Path) -> str:
    gone = left_behind(run_dir)
    return "" if gone is None else f" ({described(gone)}, is gone without an end: killed?)"

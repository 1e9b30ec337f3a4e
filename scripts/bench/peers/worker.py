"""A child process that prepares and times one peer, one request a line on standard input.

Started by `potential_speed.py` with the interpreter of the peer's environment:

    python -m peers.worker NAME FOLDER CORE

Requests and answers are JSON. Whatever the code itself prints goes to standard error. An error
ends the process; the parent finds the reason in what it wrote last.
"""

import dataclasses
import importlib
import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import Any

from peers.checks import differences
from peers.prepared import Prepared, Variant
from peers.systems import structures


def main() -> None:
    """Serve requests until the input ends."""
    name, folder, core = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if core >= 0 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    # libraries write to descriptor 1 as they please: keep it for them, answer on a copy
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    peer = importlib.import_module(f"peers.{name}")
    ready: dict[str, Prepared] = {}
    for line in sys.stdin:
        request = json.loads(line)
        channel.write(json.dumps(_answer(request, peer, folder, ready)) + "\n")


def _answer(
    request: dict[str, Any], peer: Any, folder: Path, ready: dict[str, Prepared]
) -> dict[str, Any]:
    if request["do"] == "prepare":
        variant = Variant(**request["variant"])
        system = structures(request["system"])
        ready[request["key"]] = prepared = peer.prepare(variant, system, folder)
        prepared.time(0.0)
        version = importlib.metadata.version(peer.PACKAGE) if peer.PACKAGE else ""
        return {"version": version, "n_atoms": sum(map(len, system))}
    if request["do"] == "check":
        variant = Variant(**request["variant"])
        return differences(
            lambda found: peer.prepare(variant, found, folder), structures(request["system"])[0]
        )
    if request["do"] == "make":
        return {"made": peer.make(folder)}
    return dataclasses.asdict(ready[request["key"]].time(request["seconds"]))


if __name__ == "__main__":
    main()

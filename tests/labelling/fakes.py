"""Engines that do what a test wants, and what a worker leaves that is killed with one."""

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

from calculators.engines import build
from calculators.results import result_folder
from potentials.structures import atoms_to_dict

#: the folder of the fake calculators
TESTS = Path(__file__).parents[1]
PATIENCE = 60.0  # [s]


def fake(name, *, deadline_s=60.0, memory_gb=0.0, retries=(), **arguments):
    path = f"fake_calculators.{name}"
    limits = {"deadline_s": deadline_s, "memory_gb": memory_gb, "retries": [*retries]}
    return build({"kind": "ase", "path": path, "arguments": arguments, **limits})


def starts(store, key):
    text = (result_folder(store, key) / "starts").read_text()
    return [json.loads(line) for line in text.splitlines()]


WORKER = """
    from pathlib import Path
    from ase import Atoms
    from calculators.engines import build
    from calculators.labelling import RelaxTarget, engine_relax, single_point
    from potentials.structures import atoms_from_dict
    {call}(atoms_from_dict({atoms}), build({engine}), Path({store!r}), {more})
"""


def killed_in_the_middle(call, atoms, engine, store, running, more=""):
    """A worker is killed when its child has written its pid; the child ends with it."""
    code = WORKER.format(
        call=call,
        atoms=atoms_to_dict(atoms),
        engine=engine.model_dump(mode="json"),
        store=str(store),
        more=more,
    )
    env = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=env)
    until = time.monotonic() + PATIENCE
    while not (running.exists() and running.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    child = psutil.Process(int(running.read_text()))
    worker.kill()
    worker.wait()
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.02)

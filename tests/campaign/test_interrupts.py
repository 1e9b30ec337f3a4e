"""Ctrl-C at moments that do not bear it."""

import os
import signal
import subprocess
import sys

import pytest

from aga.campaign.interrupts import held_while_importing
from tests.campaign.processes import ROOT, listening

#: takes a while, and must not be left half done
MODULE = """
import time
print("up", flush=True)
end = time.monotonic() + 0.5
while time.monotonic() < end:
    time.sleep(0.01)
whole = True
"""
PROGRAM = """
import sys, time
from aga.campaign.interrupts import held_while_importing, polite
with {guard}:
    try:
        import slow_module
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", sys.modules["slow_module"].whole)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_comes_to_its_end_before_ctrl_c_is_heard(tmp_path, number):
    guard = "held_while_importing()" if number == signal.SIGINT else "polite()"
    (tmp_path / "slow_module.py").write_text(MODULE)
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    with listening():
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(guard=guard)],
            env={**os.environ, "PYTHONPATH": paths},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=50)
    assert (process.returncode, out, err) == (0, "interrupted True\n", "")


def test_what_else_is_interrupted_is_so_at_once():
    """And a handler that somebody else has put there stays."""
    with listening(), held_while_importing(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    mine = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_while_importing():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, mine)

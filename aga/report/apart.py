"""What a campaign leaves behind, written by a process of its own.

Ctrl-C ends a campaign anywhere, also in the middle of an import of a compiled module, of which
Python then keeps a half. Drawing in the same process failed now and then with a SystemError ("bad
call flags") or a segmentation fault.
"""

import signal
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-P", "-X", "faulthandler", "-m", "aga.report")
ENDS_S = 10.0  # [s] for it to tidy up after Ctrl-C


def finish(run_dir: Path) -> None:
    """See `aga.report.finish.finish`; Ctrl-C stops the report, and nothing else.

    Args:
        run_dir: the run folder.
    """
    sys.stdout.flush()
    # Ctrl-C in a terminal reaches this process alone
    process = subprocess.Popen([*COMMAND, str(run_dir)], start_new_session=True)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = _interrupted(process)
    if status == 130:
        print(f"report: stopped; `aga report {run_dir}` writes it")  # noqa: T201 - for the reader
    elif status:
        print(f"report: failed (status {status}); try `aga report {run_dir}`")  # noqa: T201 - dito


def _interrupted(process: "subprocess.Popen[bytes]") -> int:
    """Let it end by itself, or end it; its status."""
    process.send_signal(signal.SIGINT)
    try:
        status = process.wait(ENDS_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        status = process.wait()
    # whatever it died of, it was told to
    return 130 if status else 0

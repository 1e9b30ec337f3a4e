"""A request to stop, left in the run folder: the driver and its workers see it wherever they run.

After it nothing new is started; what runs is completed and recorded.
"""

import time
from pathlib import Path

from calculators.publish import publish_json

NAME = "stop.request"


def ask(run_dir: Path) -> None:
    """Ask whoever runs the campaign to stop when what runs is done.

    Raises:
        OSError: the file cannot be written.
    """
    publish_json(run_dir / NAME, {"asked": time.strftime("%Y-%m-%d %H:%M:%S")})


def asked(run_dir: Path) -> bool:
    """Whether somebody has asked."""
    return (run_dir / NAME).exists()


def withdraw(run_dir: Path) -> None:
    """Forget a request: it was meant for a driver that has ended."""
    (run_dir / NAME).unlink(missing_ok=True)

"""Files that killed processes were in the middle of writing."""

import re
import shutil
from pathlib import Path

#: folders of a run in which something is written under a temporary name first
PLACES = (".", "labels/*/*", "proposals", "models")
#: a dot, the final name, and a number: see `calculators.publish` and `Ensemble.save`
TEMPORARY = re.compile(r"\.[^.].*\.([0-9a-f]{16}|[0-9]+)")


def sweep(run_dir: Path) -> None:
    """Remove them; to be called while no task of the campaign runs.

    Who still wrote one of them, a worker of a killed driver in its last moment, would fail to give
    it its name, and nothing would have been published.
    """
    for place in PLACES:
        for path in run_dir.glob(f"{place}/.*"):
            if TEMPORARY.fullmatch(path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

"""Child process of a peer: ``python -m search.worker METHOD``, in the folder of the run."""

import importlib
import json
import sys
from pathlib import Path

from search.task import Run

TOLD = "told.json"


def main() -> None:
    """Run the method, and leave what it says of itself."""
    module = importlib.import_module(f"search.methods.{sys.argv[1]}")
    told = module.search(Run.read(Path.cwd()))
    Path(TOLD).write_text(json.dumps(told))


if __name__ == "__main__":
    main()

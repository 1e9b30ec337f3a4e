"""The folder of a saved ensemble: what it says about itself, and whether it is as it was written.

Without torch, so that many can be looked at in no time.
"""

import json
from pathlib import Path
from typing import Any

from potentials.seal import DamagedError, file_hash, opened, sealed

ABOUT, WEIGHTS = "ensemble.json", "weights.pt"


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write what an ensemble says about itself beside its weights, with checksums of both."""
    full = sealed({**about, WEIGHTS: file_hash(folder / WEIGHTS)})
    (folder / ABOUT).write_text(json.dumps(full, indent=1), "utf-8")


def read_about(folder: Path) -> dict[str, Any]:
    """What an ensemble says about itself.

    Raises:
        FileNotFoundError: the folder holds no ensemble.
        DamagedError: the file is not as it was written.
    """
    path = folder / ABOUT
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder} holds no ensemble (no {ABOUT}); a run keeps its models in RUN/models, the "
            "newest as RUN/models/latest"
        ) from error
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DamagedError(f"{path}: damaged, not JSON ({error})") from error
    if not isinstance(data, dict):
        raise DamagedError(f"{path}: damaged, not a mapping")
    return opened(data, path)


def check_weights(folder: Path, about: dict[str, Any]) -> None:
    """Refuse weights that are not those that were saved.

    Args:
        folder: of the ensemble.
        about: what it says about itself; earlier versions had no checksum.

    Raises:
        DamagedError: they are others, or gone.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise DamagedError(f"{path}: damaged, the file is gone")
    if about.get(WEIGHTS, known := file_hash(path)) != known:
        raise DamagedError(f"{path}: damaged (its checksum is that of other data)")

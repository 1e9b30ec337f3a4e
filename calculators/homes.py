"""Names of files and folders as people write them in settings."""

from pathlib import Path


def homed(name: str) -> Path:
    """A path with ``~`` replaced; that of a user whom nobody knows stays, and is then not found."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)

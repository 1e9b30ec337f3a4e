"""Errors that the user can mend, as the lines that the command line prints."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aga.yaml_source import ConfigError


@contextmanager
def refusals(command: str, data: Path | None = None) -> Iterator[None]:
    """Turn what the rooms below raise about the user's files into a `ConfigError`.

    Only errors whose text is written for a reader; anything else is a fault of this program.

    Args:
        command: for the beginning of the line.
        data: the labels that errors without a file are about.
    """
    from potentials.batch import UnknownElementError
    from potentials.formats.lines import FormatError
    from potentials.training import DataError

    try:
        yield
    except FormatError as error:
        raise ConfigError([f"{command}: {error}"]) from error
    except (DataError, UnknownElementError) as error:
        where = "" if data is None else f"{data}: "
        raise ConfigError([f"{command}: {where}{error}"]) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ConfigError([f"{command}: {where}{error.strerror or error}"]) from error

"""Errors that the user can mend, as the lines that the command line prints."""

from collections.abc import Iterator
from contextlib import contextmanager

from aga.yaml_source import ConfigError


@contextmanager
def refusals(command: str) -> Iterator[None]:
    """Turn what the rooms below raise about the user's files into a `ConfigError`.

    Only errors whose text is written for a reader; anything else is a fault of this program.
    """
    from potentials.batch import UnknownElementError
    from potentials.formats.lines import FormatError
    from potentials.training import DataError

    try:
        yield
    except (FormatError, DataError, UnknownElementError) as error:
        raise ConfigError([f"{command}: {error}"]) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise ConfigError([f"{command}: {where}{error.strerror or error}"]) from error

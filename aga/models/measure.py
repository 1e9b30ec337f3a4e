"""`aga evaluate`: the errors of a saved ensemble on labelled structures."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from aga.models.data import Source, load
from aga.models.errors import evaluate
from aga.models.refusals import refusals
from aga.models.tables import show_errors
from aga.yaml_source import ConfigError
from potentials.acceptance import POSSIBLE

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble


def measure(
    model: Path,
    source: Source,
    *,
    as_json: bool = False,
    plots: Path | None = None,
    stream: TextIO | None = None,
) -> None:
    """Print the errors, as a table or as JSON, and draw them if asked to.

    Args:
        model: folder of an ensemble.
        source: the labels.
        as_json: five numbers for programs instead of the table.
        plots: folder for pictures.
        stream: where the result goes; standard output if None.

    Raises:
        ConfigError: there is no such ensemble, or the labels cannot be read or hold other elements.
    """
    out = stream or sys.stdout
    ensemble = load_ensemble(model)
    with refusals("evaluate", source.path):
        frames = load(source, POSSIBLE, sys.stderr)
        if not frames:
            raise ConfigError([f"evaluate: {source.path}: no structure is left"])
        found = evaluate(ensemble, frames, spread=not as_json or plots is not None)
        if not found.finite:
            raise ConfigError(
                [
                    f"evaluate: {source.path}: {model} predicts numbers that are not finite; are "
                    "there atoms on top of each other?"
                ]
            )
        if as_json:
            out.write(json.dumps(found.summary()) + "\n")
        else:
            show_errors(out, {source.path.name: found})
        if plots is not None:
            from aga.models.pictures import write_pictures

            for path in write_pictures(found, plots):
                sys.stderr.write(f"{path}\n")


def load_ensemble(folder: Path) -> "Ensemble":
    """A saved ensemble.

    Raises:
        ConfigError: the folder holds none, or one of a newer version.
    """
    from potentials.ensemble import Ensemble

    try:
        return Ensemble.load(folder)
    except Exception as error:  # of a damaged file JSON, torch and pickle raise what they like
        said = str(error)
        if isinstance(error, FileNotFoundError | ValueError) and str(folder) in said:
            raise ConfigError([said]) from error
        first = (said.strip() or "cut short").splitlines()[0][:200]
        message = f"{folder}: holds no whole ensemble: {type(error).__name__}: {first}"
        raise ConfigError([f"{message}; take another model, or train it again"]) from error

"""`aga train`: an ensemble from labelled structures, without a campaign."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from aga.models.data import Source, load
from aga.models.errors import evaluate
from aga.models.progress import Bar
from aga.models.refusals import refusals
from aga.models.settings import load_spec
from aga.models.tables import show_errors
from aga.yaml_source import ConfigError
from potentials.acceptance import LARGEST_FORCE, POSSIBLE, Limits, label_key
from potentials.spec import EnsembleSpec
from potentials.structures import Frame

if TYPE_CHECKING:
    from potentials.ensemble import Ensemble


@dataclass(frozen=True, slots=True)
class Training:
    """What to train on and where to put it.

    Attributes:
        data: the labels of the fit.
        test: labels that only errors are measured on, or None.
        out: folder of the ensemble; must not exist.
        config: settings (YAML), or None for the defaults.
        seed: of all random numbers.
        max_force: labels with a larger force are left out [eV/Å].
    """

    data: Source
    test: Source | None
    out: Path
    config: Path | None = None
    seed: int = 0
    max_force: float = LARGEST_FORCE


def train(wanted: Training, stream: TextIO | None = None) -> None:
    """Fit, say the errors on both sets, and save; nothing is written where anything fails.

    Args:
        wanted: what to do.
        stream: where progress and tables go; standard error if None.

    Raises:
        ConfigError: a file or setting is wrong, or the folder exists.
    """
    out = stream or sys.stderr
    _check_free(wanted.out)
    spec = load_spec(wanted.config)
    with refusals("train", wanted.data.path):
        frames = load(wanted.data, replace(Limits(), force=wanted.max_force), out)
        tests = [] if wanted.test is None else load(wanted.test, POSSIBLE, out)
        _check_sets(wanted, frames, tests)
        known = {label_key(frame) for frame in frames}
        if shared := sum(label_key(frame) in known for frame in tests):
            out.write(f"warning: {shared} of {len(tests)} test structures are trained on as well\n")
        made = _fit(spec, frames, wanted.seed, out)
        # spread against error says little on labels that were fitted, and costs the most
        found = {"train": evaluate(made, frames, spread=False)}
        if tests:
            found["test"] = evaluate(made, tests, spread=True)
        show_errors(out, found)
        facts = {name: one.summary() for name, one in found.items()}
        replace(made, facts={**made.facts, "seed": wanted.seed, **facts}).save(wanted.out)
    out.write(f"written to {wanted.out}; `aga evaluate {wanted.out} DATA` measures it again\n")


def _fit(spec: EnsembleSpec, frames: Sequence[Frame], seed: int, stream: TextIO) -> "Ensemble":
    from potentials.progress import Hooks
    from potentials.training import fit

    with Bar(stream) as bar:
        return fit(spec, frames, np.random.default_rng(seed), hooks=Hooks(bar))


def _check_free(out: Path) -> None:
    """Refuse to write over anything, before hours are spent."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError([f"train: {out} exists already; choose a new --out, or remove it first"])


def _check_sets(wanted: Training, frames: Sequence[Frame], tests: Sequence[Frame]) -> None:
    """Refuse sets that cannot be used together, before the fit."""
    for source, kept in ((wanted.data, frames), (wanted.test, tests)):
        if source is not None and not kept:
            raise ConfigError([f"train: {source.path}: no structure is left"])
    known = {symbol for frame in frames for symbol in frame.atoms.symbols}
    unseen = sorted({symbol for frame in tests for symbol in frame.atoms.symbols} - known)
    if unseen and wanted.test is not None:
        raise ConfigError(
            [
                f"train: {wanted.test.path}: holds {', '.join(unseen)}, which {wanted.data.path} "
                f"does not (it has {', '.join(sorted(known))}); leave them out or add labels"
            ]
        )

"""Role Engine: a reference method whose single points are the labels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, model_validator

from potentials.roles import build as build_kind
from potentials.roles import kinds as find_kinds
from potentials.structures import content_key

# how long and how much, never what comes out
_RESOURCES = frozenset({"deadline_s", "memory_gb"})

#: sub-folder of an attempt for large files (wave functions), which goes however the attempt ends
SCRATCH = "scratch"


class Accuracy(NamedTuple):
    """Names of the fields that decide how near an answer is to that of a complete calculation.

    The larger, the more accurate and the dearer.

    Attributes:
        cutoff: of the plane waves, in whatever unit its name says.
        kpts: k-points per 1/Å along each axis, the grid rounded up (`ase.calculators.calculator.
            kptdensity2monkhorstpack` without ``even``).
    """

    cutoff: str
    kpts: str


class Engine(BaseModel, ABC):
    """Settings of a reference method; the fields are its YAML keys.

    A kind imports its library inside `calculator` only: the methods here run in the driver, the
    calculation runs in a child process (see `calculators.labelling`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    deadline_s: float = Field(default=600.0, gt=0, description="wall time of one single point [s]")
    memory_gb: float = Field(
        default=6.0, ge=0, description="address space of the child process [GB]; 0 = no limit"
    )
    retries: tuple[dict[str, Any], ...] = Field(
        default=(), description="settings overridden in the 2nd, 3rd ... attempt"
    )

    surrogate: ClassVar[bool] = True
    """Whether the method is a model of something better: it must never be called DFT."""

    clusters: ClassVar[bool] = True
    """Whether it computes what is not periodic and has no cell (see `placed`)."""

    threaded: ClassVar[bool] = True
    """Whether a label takes the threads that its worker may use; no: a program of its own, which
    `command` gives cores as MPI ranks."""

    helpers: ClassVar[frozenset[str]] = frozenset()
    """Fields that lead to the same answer on another way: not part of the key."""

    places: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where something is, not what: not part of the key, not for an attempt."""

    ladder: ClassVar[frozenset[str]] = frozenset()
    """Fields that an attempt may override, besides deadline and memory."""

    accuracy: ClassVar[Accuracy | None] = None
    """Fields that `aga converge` raises until nothing changes any more; None: it has none."""

    @model_validator(mode="after")
    def _check_retries(self) -> Self:
        """Refuse at construction what would fail in the second attempt of a long night."""
        allowed = self.ladder | _RESOURCES
        for number, overrides in enumerate(self.retries):
            for name in overrides:
                if name not in allowed:
                    raise ValueError(
                        f"{self.kind}.retries[{number}]: {name!r} may not be overridden; "
                        f"allowed: {', '.join(sorted(allowed))} (anything else would change the "
                        "answer while the label keeps the engine's key)"
                    )
            self.overridden(overrides)
        return self

    def overridden(self, overrides: Mapping[str, Any]) -> Self:
        """This engine with some settings replaced, validated, without a ladder of its own."""
        return type(self)(**{**self.model_dump(), "retries": (), **overrides})

    def key(self) -> str:
        """Fingerprint of the settings that decide the answer; one key per data set.

        Deadline, memory, ladder and convergence helpers are left out: a label from a later rung
        keeps the key, and which settings were overridden stands in its ``result.json``.
        """
        same = self.helpers | self.places | _RESOURCES | {"retries"}
        return content_key(self.model_dump(mode="json", exclude=set(same)))

    def settled(self, symbols: Iterable[str]) -> Self:
        """This engine with what depends on the elements written out: cutoff, pseudopotentials.

        A campaign settles its engine once, for all of its elements, so that every label has the
        same settings and the key names them. What cannot be found is left open for `problems`.

        Args:
            symbols: elements of the campaign.
        """
        return self

    def open_settings(self, symbols: Iterable[str]) -> list[str]:
        """A sentence where something is left to settle: one key would stand for several methods."""
        if self.settled(symbols) == self:
            return []
        return [
            f"The engine {self.kind!r} is not settled: `aga` does so when it reads a campaign; in "
            "a program of yours call `engine.settled(elements)` once, for all of your elements."
        ]

    @abstractmethod
    def problems(self, symbols: Iterable[str]) -> list[str]:
        """What would keep this engine from working here, without computing or importing it.

        Args:
            symbols: elements of the campaign.

        Returns:
            Full sentences that say what to do; empty where all is well.
        """

    @abstractmethod
    def calculator(self, atoms: Atoms, directory: Path) -> Any:
        """An ASE calculator for ``atoms`` that writes its files into ``directory``.

        Raises:
            ImportError: the library is not installed.
        """

    def placed(self, atoms: Atoms) -> Atoms:
        """A structure as the calculator is to see it: a method that needs a cell makes one.

        Args:
            atoms: positions and order must stay as they are, but for a shift of the whole.
        """
        return atoms

    @abstractmethod
    def description(self) -> str:
        """One line for tables."""

    def distributions(self) -> tuple[str, ...]:
        """Installed distributions whose versions are kept with a label."""
        return ("ase",)

    def usual_cutoff(self, symbols: Iterable[str]) -> float | None:
        """What the stress of these elements mostly needs of the cutoff in `accuracy`.

        `aga converge` begins below it. None where that cannot be said here.
        """
        if self.accuracy is None:
            return None
        value = getattr(self, self.accuracy.cutoff)
        return None if value is None else float(value)

    def stress_converged(self, atoms: Atoms) -> bool:
        """Whether the stress of ``atoms`` can be trained on; False: the label has none."""
        return True


def kinds() -> dict[str, type[Engine]]:
    """Engines by kind: the files of this folder and entry points of group ``aga.engines``."""
    return find_kinds(__name__, Engine, "aga.engines")


def build(data: Mapping[str, Any]) -> Engine:
    """The engine that plain data with a ``kind`` describe.

    Raises:
        ValueError: the kind is unknown or a setting is wrong.
    """
    engine: Engine = build_kind(data, kinds(), "Engine")
    return engine

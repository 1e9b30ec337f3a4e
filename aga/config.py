"""The campaign file as frozen models: the only reader of settings.

A key is a field, its unit is in its name or its description, and an unknown key is an error.
`load` reports everything that is wrong at once. Torch, pymatgen, pyxtal and Dask stay outside,
so that a bad file is refused at once.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from ase.units import GPa
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from ruamel.yaml import YAML

from aga.config_compositions import (
    ELEMENTS,
    CompositionsConfig,
    Section,
    Symbol,
    within_reach,
)
from aga.config_disk import DiskConfig
from aga.config_errors import explain
from aga.config_limits import BudgetConfig, ConfirmConfig, RelaxationConfig, StopConfig
from aga.search import acquisition, operators
from aga.search.acquisition import Acquisition
from aga.search.operators import Operator
from aga.search.settings import EvolutionSettings
from aga.search.space import GATE_FACTOR, Dimension
from aga.yaml_source import ConfigError, Document, read
from calculators import clusters, engines
from calculators.clusters import Cluster
from calculators.engines import Engine
from calculators.homes import homed
from calculators.task import Pool
from potentials import descriptors
from potentials.descriptors import Descriptor
from potentials.spec import EnsembleSpec
from potentials.structures import content_key

__all__ = [
    "ELEMENTS",
    "CampaignConfig",
    "ConfigError",
    "config_hash",
    "from_resolved",
    "load",
    "resolved",
]

#: simple crystals of an element that are labelled first (`aga.search.seeds.prototypes`)
ELEMENT_LABELS = 4
#: random crystals of an end member that is no element
END_LABELS = 2

#: [lowest, highest] of random crystals
SPACEGROUPS = (2, 230)

ROLES: dict[type[BaseModel], Callable[[], Mapping[str, type[BaseModel]]]] = {
    Engine: engines.kinds,
    Cluster: clusters.kinds,
    Operator: operators.kinds,
    Acquisition: acquisition.kinds,
    Descriptor: descriptors.kinds,
}


def _by_kind(build: Callable[[dict[str, Any]], BaseModel]) -> BeforeValidator:
    """Mappings become the model that their ``kind`` names."""

    def validate(value: Any) -> Any:
        if not isinstance(value, dict | BaseModel):
            kind = value if isinstance(value, str) else "name"
            message = f"expected a mapping such as {{kind: {kind}}}, got {value!r}"
            raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueError only
        return build(value) if isinstance(value, dict) else value

    return BeforeValidator(validate)


EngineField = Annotated[SerializeAsAny[Engine], _by_kind(engines.build)]
ClusterField = Annotated[SerializeAsAny[Cluster], _by_kind(clusters.build)]
OperatorField = Annotated[SerializeAsAny[Operator], _by_kind(operators.build)]
AcquisitionField = Annotated[SerializeAsAny[Acquisition], _by_kind(acquisition.build)]


class SearchConfig(Section):
    """What is tried."""

    volume_per_atom: float | None = Field(
        None, gt=0, description="Guess of the volume [Å^3/atom]; none: from the elements."
    )
    spacegroups: tuple[int, ...] = Field(
        SPACEGROUPS,
        description="Space groups of random crystals: [lowest, highest], or a list of one or of "
        "three and more numbers, which is taken as it stands.",
    )
    structures: tuple[str, ...] = Field(
        (),
        description="Structures to start from: files or globs, relative to the campaign file. With "
        "compositions any cell of the elements, end members of the hull among them.",
    )
    initial_labels: int = Field(8, ge=2, description="Structures labelled before the first fit.")
    batch: int | None = Field(
        None,
        ge=1,
        description="Labels per generation; none: twice the DFT slots; 2 without overlap.",
    )
    min_distance_factor: float = Field(
        GATE_FACTOR,
        gt=0,
        lt=1.5,
        description="Shortest allowed distance over the sum of covalent radii.",
    )
    evolution: EvolutionSettings = Field(
        default_factory=EvolutionSettings, description="The genetic algorithm on the ensemble."
    )
    operators: tuple[OperatorField, ...] | None = Field(
        None, description="Operators of the search; none: all that apply."
    )
    acquisition: AcquisitionField = Field(
        default_factory=lambda: acquisition.build({}),
        description="Rule that chooses what to label.",
    )

    @field_validator("spacegroups")
    @classmethod
    def _real_groups(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [number for number in value if not 1 <= number <= 230]
        if wrong or not value:
            raise ValueError(f"expected space-group numbers from 1 to 230, got {wrong or '[]'}")
        if len(value) == 2 and value[0] > value[1]:
            raise ValueError(f"expected [lowest, highest], got {list(value)}")
        return value

    @field_validator("operators")
    @classmethod
    def _some(cls, value: tuple[Operator, ...] | None) -> tuple[Operator, ...] | None:
        if value is not None and not value:
            raise ValueError("expected at least one operator, got an empty list")
        return value

    @field_validator("structures")
    @classmethod
    def _existing_files(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """Globs become absolute paths, so that the resolved file means the same anywhere."""
        directory = (info.context or {}).get("directory")
        if directory is None:  # a resolved configuration: the files were there at the start
            return value
        try:
            found = {pattern: _files(directory, pattern) for pattern in value}
        except OSError as error:  # e.g. a name that is too long
            raise ValueError(f"{error.strerror}: {error.filename}") from error
        missing = [pattern for pattern, files in found.items() if not files]
        if missing:
            raise ValueError(f"no such file: {', '.join(missing)} (looked in {directory})")
        return tuple(dict.fromkeys(file for files in found.values() for file in files))

    def groups(self) -> tuple[int, ...]:
        """All space groups that are allowed; two numbers are a range."""
        if len(self.spacegroups) == 2:
            return tuple(range(self.spacegroups[0], self.spacegroups[1] + 1))
        return self.spacegroups


class CampaignConfig(Section):
    """One search: composition or several, reference method, machines, budget."""

    version: Literal[1] = Field(1, description="Version of this format.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",  # it names a folder
        description="Name of the run and of its folder: letters, digits, dot, dash, underscore.",
    )
    dimension: Dimension = Field(
        "bulk",
        description="Crystals (bulk), or clusters: atoms in free space, without cell and pressure.",
    )
    composition: dict[Symbol, PositiveInt] | None = Field(
        None,
        min_length=1,
        description="Atoms of each element in the cell or the cluster, e.g. {Ti: 4, O: 8}.",
    )
    compositions: CompositionsConfig | None = Field(
        None,
        validate_default=True,
        description="Instead of one composition several, searched together for the convex hull.",
    )
    pressure_gpa: float = Field(0.0, description="External pressure [GPa].")
    seed: int = Field(0, ge=0, description="Seed of all random numbers.")
    engine: EngineField = Field(description="Reference method, e.g. {kind: gpaw}.")
    search: SearchConfig = Field(default_factory=SearchConfig, description="What is tried.")
    potential: EnsembleSpec = Field(
        default_factory=EnsembleSpec, description="The ensemble of potentials."
    )
    relaxation: RelaxationConfig = Field(
        default_factory=RelaxationConfig, description="Relaxation on the ensemble."
    )
    cluster: ClusterField = Field(
        default_factory=lambda: clusters.build({"kind": "local"}),
        description="Machines: a mapping with a kind, or the path of a YAML file that holds one, "
        "relative to the campaign file.",
    )
    budget: BudgetConfig = Field(default_factory=BudgetConfig, description="What may be spent.")
    stop: StopConfig = Field(default_factory=StopConfig, description="When to stop early.")
    confirm: ConfirmConfig = Field(
        default_factory=ConfirmConfig, description="What a result must show."
    )
    disk: DiskConfig = Field(
        default_factory=DiskConfig, description="What stays in the run folder."
    )
    overlap: bool = Field(
        default=True,
        description="Search, label and train at the same time; false: strict generations, the "
        "same result on every machine.",
    )
    retrain_after: int | None = Field(
        None, ge=1, description="New labels that start a training; none: half a batch."
    )

    @field_validator("composition")
    @classmethod
    def _sorted(cls, value: dict[str, int] | None) -> dict[str, int] | None:
        """The order of the elements in the file means nothing, so it must not steer the search."""
        if value is None:
            return None
        within_reach(sum(value.values()))
        return dict(sorted(value.items()))

    @field_validator("compositions")
    @classmethod
    def _one_question(
        cls, value: CompositionsConfig | None, info: ValidationInfo
    ) -> CompositionsConfig | None:
        single = info.data.get("composition", {})  # {}: already told
        if single != {} and (single is None) == (value is None):
            got = "neither" if value is None else "both"
            raise ValueError(f"expected either composition or compositions, got {got}")
        if value is not None and info.data.get("dimension") == "cluster":
            raise ValueError("a hull is of crystals; for clusters give one composition")
        return value

    @field_validator("pressure_gpa")
    @classmethod
    def _on_crystals(cls, value: float, info: ValidationInfo) -> float:
        if value != 0 and info.data.get("dimension") == "cluster":
            raise ValueError(f"a cluster has no volume to press on: expected 0, got {value:g}")
        return value

    @field_validator("engine")
    @classmethod
    def _able(cls, value: Engine, info: ValidationInfo) -> Engine:
        if info.data.get("dimension") == "cluster" and not value.clusters:
            raise ValueError(
                f"the engine {value.kind} computes crystals only: take another for clusters"
            )
        return value

    @field_validator("search")
    @classmethod
    def _of_dimension(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        dimension = info.data.get("dimension", "bulk")
        if dimension == "cluster" and value.spacegroups != SPACEGROUPS:
            raise ValueError(
                "spacegroups are of crystals; clusters draw point groups: leave it out"
            )
        for operator in value.operators or ():
            if dimension not in operator.dimensions:
                raise ValueError(
                    f"the operator {operator.kind} makes {' and '.join(operator.dimensions)}, not "
                    f"{dimension}: leave it out"
                )
        return value

    @field_validator("search")
    @classmethod
    def _volume_of_one(cls, value: SearchConfig, info: ValidationInfo) -> SearchConfig:
        if value.volume_per_atom is not None and info.data.get("compositions") is not None:
            raise ValueError(
                "volume_per_atom is for one composition; of several it follows from the elements "
                "and the labels: leave it out"
            )
        return value

    @field_validator("cluster")
    @classmethod
    def _long_enough(cls, value: Cluster, info: ValidationInfo) -> Cluster:
        """A label that cannot end within the walltime would be started again and again."""
        engine = info.data.get("engine")
        if engine is not None and (found := value.too_short(_task_seconds(engine))):
            raise ValueError("; ".join(found))
        return value

    @field_validator("budget")
    @classmethod
    def _affordable(cls, value: BudgetConfig, info: ValidationInfo) -> BudgetConfig:
        search, several = info.data.get("search"), info.data.get("compositions")
        ends = _end_labels(several) if several else 0
        if search and value.labels < search.initial_labels + ends + value.confirm_reserve:
            of_ends = f", {ends} of end members" if ends else ""
            raise ValueError(
                f"labels ({value.labels}) must cover search.initial_labels "
                f"({search.initial_labels}){of_ends} and confirm_reserve ({value.confirm_reserve})"
            )
        return value

    @property
    def pressure(self) -> float:
        """External pressure [eV/Å^3]."""
        return float(self.pressure_gpa * GPa)

    @property
    def cells(self) -> tuple[dict[str, int], ...]:
        """The compositions that are searched: atoms in the cell by symbol."""
        return self.compositions.cells if self.compositions else (self.composition or {},)

    @property
    def elements(self) -> list[str]:
        """The elements that are searched, sorted."""
        return sorted({symbol for counts in self.cells for symbol in counts})

    @property
    def task_seconds(self) -> dict[Pool, float]:
        """How long one task of a pool may take, where that is known [s]."""
        return _task_seconds(self.engine)

    @property
    def question(self) -> str:
        """What is searched, in a few words."""
        sizes = sorted(sum(counts.values()) for counts in self.cells)
        if self.composition:
            cell = "".join(f"{symbol}{count}" for symbol, count in self.composition.items())
            kind = "cluster " if self.dimension == "cluster" else ""
            return f"{kind}{cell}, {sizes[0]} atoms"
        span = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        return f"{'-'.join(self.elements)}, {len(sizes)} compositions of {span} atoms"


def _task_seconds(engine: Engine) -> dict[Pool, float]:
    """One single point; a relaxation by the engine that is cut off goes on from its labels."""
    rungs = [engine, *(engine.overridden(rung) for rung in engine.retries)]
    return {"dft": max(rung.deadline_s for rung in rungs)}


def _end_labels(compositions: CompositionsConfig) -> int:
    """Labels that the end members of the hull take at first."""
    return sum(ELEMENT_LABELS if len(end) == 1 else END_LABELS for end in compositions.ends)


def load(path: Path, cluster: Path | None = None) -> CampaignConfig:
    """Read a campaign file.

    Args:
        path: the file.
        cluster: a file that stands in for its key ``cluster``; None: as the file says.

    Raises:
        ConfigError: with every error of the file, each with file, line and key.
    """
    document, messages = read(path)
    messages += _include_cluster(document, cluster)
    if isinstance(document.data.get("cluster"), str):  # already reported
        document.data.pop("cluster")
    try:
        config = CampaignConfig.model_validate(
            document.data, context={"directory": path.parent.absolute()}
        )
    except ValidationError as error:
        messages += explain(error, CampaignConfig, document, ROLES)
    if messages:
        raise ConfigError(messages)
    return config.model_copy(update={"engine": config.engine.settled(config.elements)})


def resolved(config: CampaignConfig) -> dict[str, Any]:
    """The configuration with every default written out, as plain JSON data."""
    return config.model_dump(mode="json")


def from_resolved(data: dict[str, Any]) -> CampaignConfig:
    """The inverse of `resolved`; looks at no other file."""
    return CampaignConfig.model_validate(data)


def to_yaml(config: CampaignConfig) -> str:
    """The resolved configuration as YAML that `load` reads back to the same model."""
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump(resolved(config), stream)
    return stream.getvalue()


def config_hash(config: CampaignConfig) -> str:
    """A hash of the resolved configuration."""
    return content_key(resolved(config))


def _include_cluster(document: Document, instead: Path | None) -> list[str]:
    """Replace ``cluster: file.yaml`` by what the file holds; returns what went wrong."""
    if instead is not None:
        inner, complaints = read(instead)
        document.data["cluster"] = inner.data
        document.included["cluster"] = inner
        return complaints
    name = document.data.get("cluster")
    if not isinstance(name, str):
        return []
    try:
        inner, complaints = read(document.path.parent / homed(name))
    except ConfigError as error:
        hint = f" (did you mean {{kind: {name}}}?)" if name in clusters.kinds() else ""
        where = document.where(["cluster"])
        return [f"{where}: cluster: {message}{hint}" for message in error.messages]
    document.data["cluster"] = inner.data
    document.included["cluster"] = inner
    return complaints


def _files(directory: Path, pattern: str) -> Sequence[str]:
    """Absolute paths of the files that a name or glob stands for, sorted."""
    path = directory / homed(pattern)
    if path.is_file():
        return [str(path)]
    root = Path(path.anchor)
    return sorted(str(file) for file in root.glob(str(path.relative_to(root))) if file.is_file())

"""The engine that the command line describes, and where its settings begin to rise."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from aga.yaml_source import ConfigError
from calculators import engines
from calculators.engines import Accuracy, Engine
from potentials.roles import nearest

#: a ladder begins at this part of what is usual
CUTOFF_START, KPTS_START = 2 / 3, 1 / 3


def parsed(settings: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts, values in YAML.

    Raises:
        ConfigError: a text has no key or no value, a value is not YAML, or a key is there twice.
    """
    found: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise ConfigError([f"--set {text}: expected KEY=VALUE, e.g. --set xc=PBE"])
        if key in found:
            raise ConfigError([f"--set {text}: {key} is set twice"])
        try:
            found[key] = YAML(typ="safe").load(value)
        except YAMLError as error:
            first = str(error).splitlines()[0]
            raise ConfigError([f"--set {text}: the value is not YAML: {first}"]) from error
    return found


def engine_of(kind: str, given: dict[str, Any]) -> Engine:
    """The engine with these settings.

    Raises:
        ConfigError: no such engine, none that has these two settings, or a setting is wrong.
    """
    known = engines.kinds()
    if kind not in known:
        close = nearest(kind, known)
        hint = f" (did you mean {close!r}?)" if close else ""
        raise ConfigError([f"--engine {kind}: no such engine{hint}; known: {', '.join(known)}"])
    accuracy_of(known[kind])
    try:
        return known[kind].model_validate({"kind": kind, **given})
    except ValidationError as error:
        raise ConfigError(list(_explained(error, known[kind]))) from error


def begun(engine: Engine, given: dict[str, Any], symbols: Iterable[str]) -> Engine:
    """The engine with its ladders at their beginning where nothing is said, and settled.

    Args:
        engine: as given.
        given: settings that stay.
        symbols: elements of the structure, which say what cutoff is usual.
    """
    fields = accuracy_of(type(engine))
    wanted = sorted(set(symbols))
    start = {}
    usual = engine.usual_cutoff(wanted)
    if given.get(fields.cutoff) is None and usual is not None:
        start[fields.cutoff] = _rounded(CUTOFF_START * usual)
    if given.get(fields.kpts) is None:
        start[fields.kpts] = KPTS_START * getattr(engine, fields.kpts)
    return with_values(engine, start).settled(wanted)


def accuracy_of(kind: type[Engine]) -> Accuracy:
    """The names of its two settings.

    Raises:
        ConfigError: it has none.
    """
    if kind.accuracy is None:
        able = [name for name, one in engines.kinds().items() if one.accuracy is not None]
        name = kind.model_fields["kind"].default
        raise ConfigError(
            [
                f"--engine {name}: it has no plane-wave cutoff and no k-points to converge; "
                f"engines that have: {', '.join(able)}"
            ]
        )
    return kind.accuracy


def with_values(engine: Engine, values: dict[str, Any]) -> Engine:
    """The engine with some settings replaced, validated; its ladder of retries stays."""
    return type(engine).model_validate({**engine.model_dump(), **values})


def section(engine: Engine, given: dict[str, Any]) -> str:
    """The ``engine:`` section of a campaign file: what was given and what was found."""
    import io

    fields = accuracy_of(type(engine))
    names = ["kind", fields.cutoff, fields.kpts, *given]
    data = engine.model_dump(mode="json")
    plain = {name: _plain(data[name]) for name in dict.fromkeys(names)}
    stream = io.StringIO()
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    # ruamel declares it as None, and reads it as a truth value
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.dump({"engine": plain}, stream)
    return stream.getvalue()


def _plain(value: Any) -> Any:
    """Whole numbers without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _rounded(value: float) -> float:
    return float(f"{value:.1e}")


def _explained(error: ValidationError, kind: type[Engine]) -> list[str]:
    """A line for every setting that is wrong."""
    lines = []
    for details in error.errors(include_url=False):
        key = ".".join(map(str, details["loc"]))
        if details["type"] == "extra_forbidden":
            close = nearest(key, kind.model_fields)
            hint = f" (did you mean {close!r}?)" if close else ""
            lines.append(
                f"--set {key}: no such setting{hint}; known: {', '.join(kind.model_fields)}"
            )
        elif details["type"] == "missing":
            lines.append(f"--set {key}=...: required, but not given")
        else:
            where = f"--set {key}: " if key else ""
            lines.append(f"{where}{details['msg']}, got {details['input']!r}")
    return lines

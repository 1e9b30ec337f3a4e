"""What pydantic found wrong, as lines a user can act on: file, line, key, expected, got."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from aga.yaml_source import Document, Key
from potentials.roles import nearest

Roles = Mapping[type[BaseModel], Callable[[], Mapping[str, type[BaseModel]]]]

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text (in quotes if it looks like a number)",
    "model": "a mapping of keys to values",
    "dict": "a mapping of keys to values",
    "tuple": "a list",
    "list": "a list",
}


def explain(
    error: ValidationError, model: type[BaseModel], document: Document, roles: Roles
) -> list[str]:
    """One line per error, in the order of the lines in the file.

    Args:
        error: what pydantic raised for ``document.data``.
        model: the model that was validated.
        document: the file, for line numbers.
        roles: abstract model of each role and its kinds, to name the keys of a kind.
    """
    lines = []
    for keys, details in _flat(error, ()):
        mapping = details["type"] == "value_error" and isinstance(details["input"], dict)
        if mapping and _model_at(model, keys, document.data, roles) in roles:
            keys = (*keys, "kind")  # a role refuses a mapping for its kind  # noqa: PLW2901
        where = document.where(keys)
        text = _message(keys, details, model, document.data, roles)
        file, _, line = where.rpartition(":")
        lines.append((file, int(line), f"{where}: {'.'.join(map(_plain, keys))}: {text}"))
    return [text for _, _, text in sorted(lines, key=lambda item: item[:2])]


def _plain(key: Key) -> str:
    """A key as it is named in a message: in quotes where it would not be seen."""
    text = str(key)
    return text if text.strip() == text != "" else repr(text)


def _flat(
    error: ValidationError, prefix: tuple[Key, ...]
) -> Iterator[tuple[tuple[Key, ...], Mapping[str, Any]]]:
    """All errors with their full key path; a kind is validated inside a validator, so they nest."""
    for details in error.errors(include_url=False):
        keys = prefix + tuple(key for key in details["loc"] if key != "[key]")
        inner = details.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            yield from _flat(inner, keys)
        else:
            yield keys, details


def _message(
    keys: Sequence[Key],
    details: Mapping[str, Any],
    model: type[BaseModel],
    data: Any,
    roles: Roles,
) -> str:
    """What was expected, and what was found."""
    error, context = details["type"], details.get("ctx", {})
    if error == "missing":
        described = _described(_model_at(model, keys[:-1], data, roles), keys[-1])
        return f"required, but not given{described}"
    if error == "extra_forbidden":
        return _unknown(str(keys[-1]), _model_at(model, keys[:-1], data, roles), model)
    if error == "value_error":
        return str(context["error"])
    got = _got(details["input"])
    if error == "literal_error":
        names = re.findall(r"'([^']*)'", context["expected"])
        return f"expected {context['expected']}, got {got}{_hint(str(details['input']), names)}"
    expected = details["msg"].removeprefix("Input should be ")
    if error == "string_pattern_mismatch":  # the pattern is for programs, the description for users
        described = _described(_model_at(model, keys[:-1], data, roles), keys[-1])
        expected = described[2:3].lower() + described[3:].rstrip(".")
    elif error.partition("_")[0] in _EXPECTED:
        expected = _EXPECTED[error.partition("_")[0]]
    elif error.startswith(("greater", "less")):
        expected = f"a number {expected}"
    return f"expected {expected}, got {got}"


def _unknown(key: str, here: type[BaseModel] | None, root: type[BaseModel]) -> str:
    """An unknown key: the nearest known one, else the section that has it, else all known ones."""
    names = list(here.model_fields) if here else []
    hint = _hint(key, names)
    homes = [path for path in _paths(root) if path.rpartition(".")[2] == key]
    if not hint and homes:
        hint = f" (did you mean '{homes[0]}'?)"
    return f"unknown key{hint or '; known here: ' + ', '.join(names)}"


def _hint(name: str, names: Sequence[str]) -> str:
    close = nearest(name, names)
    return f" (did you mean '{close}'?)" if close else ""


def _got(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if len(value) > 4 else repr(list(value))
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _described(model: type[BaseModel] | None, key: Key) -> str:
    field = model.model_fields.get(str(key)) if model else None
    return f": {field.description}" if field and field.description else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models named in an annotation such as ``tuple[Model, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _model_at(
    model: type[BaseModel], keys: Sequence[Key], data: Any, roles: Roles
) -> type[BaseModel] | None:
    """The model whose fields are the keys allowed at this place of the file."""
    here: type[BaseModel] | None = model
    for key in keys:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            data = None
        if isinstance(key, str):
            field = here.model_fields.get(key) if here else None
            here = next(_models(field.annotation), None) if field else None
        if here in roles and not isinstance(data, list):
            here = _kind(here, data, roles)
    return here


def _kind(role: type[BaseModel] | None, data: Any, roles: Roles) -> type[BaseModel] | None:
    """The model of the kind that the file names, else the role itself."""
    kind = data.get("kind") if isinstance(data, dict) else None
    return roles[role]().get(str(kind), role) if role else None


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """All dotted key paths of a model and its sections."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _models(field.annotation):
            yield from _paths(section, f"{prefix}{name}.")

"""Roles and their kinds: one abstract class per folder, one kind per file, found by listing."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any


def kinds(package: str, base: type[Any], group: str) -> dict[str, type[Any]]:
    """The kinds of a role: the files of its folder, then what other distributions add.

    Every file of the folder holds exactly one concrete subclass of ``base`` whose field ``kind``
    has the file's name as default; nothing else has to be edited to add one.

    Args:
        package: dotted name of the role's folder, e.g. ``calculators.engines``.
        base: abstract class of the role.
        group: entry-point group for kinds of other distributions, e.g. ``aga.engines``.

    Returns:
        Classes by kind, sorted by name.

    Raises:
        TypeError: an entry point is no subclass of ``base``.
        ValueError: a file does not hold one kind of its name, or a name is taken twice.
    """
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            found[module.name] = _kind_in(f"{package}.{module.name}", base)
    for entry in entry_points(group=group):
        cls = entry.load()
        if entry.name in found:
            raise ValueError(
                f"entry point {entry.name!r} of group {group!r} ({entry.value}): "
                f"the kind exists already as {found[entry.name].__qualname__}; choose another name"
            )
        _check(cls, base, entry.name, f"entry point {entry.value}")
        found[entry.name] = cls
    return dict(sorted(found.items()))


def build(data: Mapping[str, Any], known: Mapping[str, type[Any]], role: str) -> Any:
    """Make the object that plain data with a ``kind`` describe.

    Raises:
        ValueError: ``kind`` is missing or unknown, or a field is wrong (pydantic's message).
    """
    name = data.get("kind")
    if name is None:
        raise ValueError(f"{role}: the key 'kind' is missing; known: {', '.join(known)}")
    if not isinstance(name, str) or name not in known:
        raise ValueError(unknown(role, str(name), known))
    return known[name](**data)


def unknown(role: str, name: str, names: Iterable[str]) -> str:
    """The sentence for a name nobody knows: the nearest one and the list."""
    names = list(names)
    near = nearest(name, names)
    hint = f" (did you mean {near!r}?)" if near else ""
    return f"no {role} {name!r}{hint}; known: {', '.join(names)}"


def nearest(name: str, names: Iterable[str]) -> str:
    """The name most like ``name``, or an empty string where none is."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def _kind_in(module: str, base: type[Any]) -> type[Any]:
    """The one class of a kind's file."""
    name = module.rpartition(".")[2]
    classes = [
        value
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module
        and not getattr(value, "__abstractmethods__", None)
    ]
    if len(classes) != 1:
        raise ValueError(
            f"{module}: expected one concrete subclass of {base.__name__}, got {len(classes)}"
        )
    _check(classes[0], base, name, module)
    return classes[0]


def _check(cls: Any, base: type[Any], name: str, where: str) -> None:
    """A kind is a subclass of its role and carries the name it is found by."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise TypeError(f"{where}: expected a subclass of {base.__name__}, got {cls!r}")
    fields: Mapping[str, Any] = getattr(cls, "model_fields", {})
    default = fields["kind"].default if "kind" in fields else None
    if default != name:
        raise ValueError(
            f"{where}: {cls.__name__}.kind must be {name!r} by default, got {default!r}; "
            f'write `kind: Literal["{name}"] = "{name}"`'
        )

"""Settings of an ensemble from a YAML file: the keys that `potential:` has in a campaign file."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from aga.config import ROLES
from aga.config_errors import explain
from aga.yaml_source import ConfigError, Document, read
from potentials.spec import EnsembleSpec, LabelWeights

SECTION = "potential"
#: who gives a data set wants all of it fitted; a search cares for what lies low
ALIKE = LabelWeights(energy_scale_ev_per_atom=None, force_scale_ev_per_a=None)


def load_spec(path: Path | None) -> EnsembleSpec:
    """The settings of a file, or the defaults.

    Args:
        path: a file with the keys of the section, or one that has the section itself, such as a
            campaign file, of which nothing else is looked at.

    Raises:
        ConfigError: every error of the file, each with file, line, key and the nearest name.
    """
    if path is None:
        return EnsembleSpec(labels=ALIKE)
    document, messages = read(path)
    if SECTION in document.data:
        where = document.where([SECTION])
        document = Document(path, document.data[SECTION], document.tree[SECTION])
        if not isinstance(document.data, dict):
            raise ConfigError([f"{where}: {SECTION}: expected a mapping of keys to values"])
    spec = EnsembleSpec()
    try:
        spec = EnsembleSpec.model_validate(_alike(document.data))
    except ValidationError as error:
        messages += explain(error, EnsembleSpec, document, ROLES)
    if messages:
        raise ConfigError(messages)
    return spec


def _alike(data: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file, with labels that count alike as far as it says nothing of them."""
    named = data.get("labels", {})
    if not isinstance(named, dict):
        return data
    return data | {"labels": ALIKE.model_dump() | named}

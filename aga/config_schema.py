"""The JSON schema of campaign files, for completion in editors."""

from typing import Any

from aga.config import ROLES, CampaignConfig
from aga.search import acquisition
from aga.search.acquisition import Acquisition


def json_schema() -> dict[str, Any]:
    """JSON schema of a campaign file; each role is a union of its known kinds."""
    schema = CampaignConfig.model_json_schema()
    definitions = schema["$defs"]
    for role, kinds in ROLES.items():
        members = {}
        for kind, model in sorted(kinds().items()):
            part = model.model_json_schema(ref_template="#/$defs/{model}")
            definitions |= part.pop("$defs", {})
            if (role, kind) != (Acquisition, acquisition.DEFAULT):
                part["required"] = sorted({*part.get("required", []), "kind"})
            definitions[model.__name__] = part
            members[kind] = f"#/$defs/{model.__name__}"
        definitions[role.__name__] = {
            "oneOf": [{"$ref": reference} for reference in members.values()],
            "discriminator": {"propertyName": "kind", "mapping": members},
        }
    path_or_kind = [{"type": "string"}, {"$ref": "#/$defs/Cluster"}]
    cluster = schema["properties"]["cluster"]
    schema["properties"]["cluster"] = {
        "anyOf": path_or_kind,
        "description": cluster["description"],
    }
    return schema

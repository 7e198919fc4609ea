"""What a backend offers as JSON: facts about it, and the extra specs by which a type can ask for more."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import RowMapping

from breezeblock.api.views import pools
from breezeblock.api.views.shapes import TEXT, TEXT_OR_NULL, Shape, many, map_of, object_of, one_of
from breezeblock.resources.backend_changes import TARGETS

# What a report says that is a fact about the backend, and no wish that a volume type could have.
FACTS: Final = frozenset(
    {
        "description",
        "display_name",
        "driver_version",
        "pool_name",
        "storage_protocol",
        "vendor_name",
        "visibility",
        "volume_backend_name",
        TARGETS,
    }
)


SHOWN: Final = Shape(
    object_of(
        {
            "namespace": TEXT,
            "vendor_name": TEXT,
            "volume_backend_name": TEXT,
            "pool_name": TEXT,
            "driver_version": TEXT_OR_NULL,
            "storage_protocol": TEXT_OR_NULL,
            "display_name": TEXT_OR_NULL,
            "description": TEXT_OR_NULL,
            "visibility": TEXT_OR_NULL,
            "replication_targets": many(TEXT),
            "properties": map_of(object_of({"title": TEXT, "description": TEXT, "type": one_of("boolean", "string")})),
        }
    )
)


def detail(row: Mapping[str, Any] | RowMapping) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(row["capabilities_json"])
    known = pools.capabilities(row)
    return {
        "namespace": f"OS::Storage::Capabilities::{row['queue']}",
        "vendor_name": known["vendor_name"],
        "volume_backend_name": known["volume_backend_name"],
        "pool_name": known["pool_name"],
        "driver_version": known["driver_version"],
        "storage_protocol": known["storage_protocol"],
        "display_name": reported.get("display_name"),
        "description": reported.get("description"),
        "visibility": reported.get("visibility"),
        "replication_targets": str(reported.get(TARGETS, "")).split(),
        "properties": {name: _property(name, reported[name]) for name in sorted(reported.keys() - FACTS)},
    }


def _property(name: str, value: object) -> dict[str, str]:
    shown = value if isinstance(value, str) else json.dumps(value)
    return {
        "title": name.replace("_", " ").capitalize(),
        "description": f"The extra spec {name} of a volume type is compared with it; this backend has {shown!r}.",
        "type": "boolean" if shown.lower() in ("true", "false") else "string",
    }

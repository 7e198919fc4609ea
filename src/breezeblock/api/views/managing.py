"""What could be managed, as JSON."""

from collections.abc import Iterable
from typing import Any, Final

from breezeblock.api.views.shapes import FLAG, NULL, NUMBER, TEXT, TEXT_OR_NULL, many, named, object_of
from breezeblock.resources.manageable import Entry

_REFERENCE: Final = object_of({"source-name": TEXT})
_SHORT: Final = {"reference": _REFERENCE, "size": NUMBER, "safe_to_manage": FLAG}
_LONG: Final = {**_SHORT, "reason_not_safe": TEXT_OR_NULL, "cinder_id": TEXT_OR_NULL, "extra_info": NULL}
_SOURCE: Final = {"source_reference": object_of({}, {"source-name": TEXT})}
VOLUMES: Final = named("manageable-volumes", many(object_of(_LONG)))
VOLUMES_SHORT: Final = named("manageable-volumes", many(object_of(_SHORT)))
SNAPSHOTS: Final = named("manageable-snapshots", many(object_of({**_LONG, **_SOURCE})))
SNAPSHOTS_SHORT: Final = named("manageable-snapshots", many(object_of({**_SHORT, **_SOURCE})))


def volumes(entries: Iterable[Entry], *, detail: bool) -> dict[str, Any]:
    """`{"manageable-volumes": […]}`."""
    return {"manageable-volumes": [_entry(one, detail=detail) for one in entries]}


def snapshots(entries: Iterable[Entry], *, detail: bool) -> dict[str, Any]:
    """`{"manageable-snapshots": […]}`. The source of one that is not ours is not known: an empty reference."""
    return {
        "manageable-snapshots": [
            _entry(one, detail=detail) | {"source_reference": {} if one.source is None else reference(one.source)}
            for one in entries
        ]
    }


def reference(name: str) -> dict[str, str]:
    """A reference as clients send it back."""
    return {"source-name": name}


def _entry(one: Entry, *, detail: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "reference": reference(one.reference),
        "size": one.size_gib,
        "safe_to_manage": one.why_not is None,
    }
    if detail:
        shown |= {"reason_not_safe": one.why_not, "cinder_id": one.cinder_id, "extra_info": None}
    return shown

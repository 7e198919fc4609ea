"""Every text that a body may have is bounded, or is one that nobody keeps."""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
import pytest
from tests.api.world import Api
from tests.fuzz.bodies import kinds_of

from breezeblock.api.routes import ROUTES
from breezeblock.resources.metadata_size import BYTES_MOST

# Compared with what there is, or handed to one reader: as long as a body may be, and gone with it.
NOT_KEPT: Final = {
    "CreateVolumeBody.OS-SCH-HNT:scheduler_hints",
    "CreateVolumeStrictBody.OS-SCH-HNT:scheduler_hints",
    "Retype.new_type",
    "Revert.snapshot_id",
    "CompleteMigration.error",
    "UpdateStatus.status",
    "ImportedRecord.backup_url",
    "ConsistencyGroupFromSource.cgsnapshot_id",
    "ConsistencyGroupFromSource.source_cgid",
    "CreateCgsnapshot.consistencygroup_id",
    "ManageVolumeOnCluster.ref",
    "ManageVolume.ref",
    "ManageSnapshot.ref",
    "QuotaSetBody.quota_set",
    "QuotaClassSetBody.quota_class_set",
}


def unbounded(kind: Any, at: str, seen: set[Any], notes: tuple[Any, ...] = ()) -> Iterator[str]:
    """The fields with a text of any length."""
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        yield from unbounded(inner, at, seen, (*notes, *more))
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        if kind not in seen:
            seen.add(kind)
            for field in msgspec.structs.fields(kind):
                yield from unbounded(field.type, f"{kind.__name__}.{field.encode_name}", seen)
    elif kind is str:
        if not any(getattr(note, "max_length", None) or getattr(note, "pattern", None) for note in notes):
            yield at
    elif get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from unbounded(part, at, seen)


def test_every_text_that_is_kept_has_a_bound() -> None:
    handlers = [one.handler for one in ROUTES if one.handler is not None]
    handlers += [action.handler for one in ROUTES for action in (one.actions or {}).values()]
    seen: set[Any] = set()
    found = {at for handler in handlers for kind in kinds_of(handler) for at in unbounded(kind, "", seen)}

    assert len(seen) > 50  # the bodies were found at all
    assert found == NOT_KEPT


@pytest.mark.parametrize("kind", ["volumes", "snapshots"])
def test_metadata_does_not_grow_without_end(api: Api, kind: str) -> None:
    """Each body is within its bounds; all of them together are not."""
    own_id = api.given(kind)
    path = f"/v3/p1/{kind}/{own_id}/metadata"
    statuses = []
    for number in range(4):
        pairs = {f"key-{number}-{one}": "x" * 255 for one in range(200)}
        statuses.append(api("POST", path, {"metadata": pairs}).status_code)

    assert statuses == [200, 200, 400, 400]
    refused = api("POST", path, {"metadata": {f"more-{one}": "x" * 255 for one in range(200)}})
    assert str(BYTES_MOST) in refused.json()["badRequest"]["message"]
    assert api("DELETE", f"{path}/key-0-0").status_code == 200
    assert len(api("GET", path).json()["metadata"]) == 399

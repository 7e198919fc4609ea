"""Volumes as JSON: which keys there are, since when, and for whom."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final

import msgspec

from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    CLUSTER_NAME,
    CONSUMES_QUOTA,
    GROUP_OF_VOLUME,
    PROVIDER_ID,
    SHARED_TARGETS,
    SUMMARY_METADATA,
    VOLUME_TYPE_ID,
    Version,
)
from breezeblock.api.policy import allows
from breezeblock.api.views import template
from breezeblock.api.views.template import Key, Values, flag, flag_text, number, plain, text, time
from breezeblock.resources.listing import VOLUMES, Summary

COLUMNS: Final = tuple(str(column.key) for column in VOLUMES.columns)
_ID: Final = COLUMNS.index("id")
_NAME: Final = COLUMNS.index("name")
_READONLY: Final = COLUMNS.index("readonly")

HOST_RULE: Final = "volume_extension:volume_host_attribute"
MIGRATION_RULE: Final = "volume_extension:volume_mig_status_attribute"
PROJECT_RULE: Final = "volume_extension:volume_tenant_attribute"
ADMIN_RULE: Final = HOST_RULE  # what else Cinder shows to administrators has no rule of its own


def _metadata(index: int) -> Callable[[Values], str]:
    """The user's metadata, and beside it the flag that this API shows there as well."""

    def fill(row: Values) -> str:
        content: str = row[index]
        readonly = row[_READONLY]
        if readonly is None:
            return content
        return json.dumps({**json.loads(content), "readonly": str(bool(readonly))}, ensure_ascii=False)

    return fill


# `links` is put in for each request: it needs the URL that the client used.
KEYS: Final = (
    Key("id", "id", plain),
    Key("status", "status", plain),
    Key("size", "size_gib", number),
    Key("availability_zone", "availability_zone", text),
    Key("created_at", "created_at_us", time),
    Key("updated_at", "updated_at_us", time),
    Key("name", "name", text),
    Key("description", "description", text),
    Key("volume_type", "volume_type_name", text),
    Key("snapshot_id", "snapshot_id", plain),
    Key("source_volid", "source_volid", plain),
    Key("metadata", "metadata_json", _metadata),
    Key("user_id", "user_id", text),
    Key("bootable", "bootable", flag_text),
    Key("encrypted", "encrypted", flag),
    Key("replication_status", "", "null"),
    Key("consistencygroup_id", "", "null"),
    Key("multiattach", "multiattach", flag),
    Key("attachments", "", "[]"),
    Key("migration_status", "migration_status", text, rule=ADMIN_RULE),
    Key("group_id", "", "null", since=GROUP_OF_VOLUME),
    Key("provider_id", "", "null", since=PROVIDER_ID, rule=ADMIN_RULE),
    Key("shared_targets", "", "false", since=SHARED_TARGETS),
    Key("service_uuid", "", "null", since=SHARED_TARGETS),
    Key("cluster_name", "pool_name", text, since=CLUSTER_NAME, rule=ADMIN_RULE),
    Key("volume_type_id", "volume_type_id", plain, since=VOLUME_TYPE_ID),
    Key("consumes_quota", "", "true", since=CONSUMES_QUOTA),
    Key("os-vol-tenant-attr:tenant_id", "project_id", text, rule=PROJECT_RULE, attribute=True),
    Key("os-vol-host-attr:host", "pool_name", text, rule=HOST_RULE, attribute=True),
    Key("os-vol-mig-status-attr:migstat", "migration_status", text, rule=MIGRATION_RULE, attribute=True),
    Key("os-vol-mig-status-attr:name_id", "", "null", rule=MIGRATION_RULE, attribute=True),
)


@lru_cache(maxsize=512)  # every version, for each audience and kind of answer
def _template(version: Version, is_admin: bool, attributes: bool) -> template.Template:
    keys = template.select_keys(
        KEYS, version=version, may=lambda rule: allows(rule, is_admin=is_admin), attributes=attributes
    )
    return template.compile_template(keys, COLUMNS)


def detail(call: Call, row: Mapping[str, Any], *, attributes: bool) -> msgspec.Raw:
    """`{"volume": {…}}`. `attributes`: with the keys that only show and list have."""
    values = [row[column] for column in COLUMNS]
    one = next(_objects(call, (values,), attributes=attributes))
    return msgspec.Raw(f'{{"volume":{one}}}'.encode())


def details(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `volumes/detail`."""
    return msgspec.Raw(f"[{','.join(_objects(call, rows, attributes=True))}]".encode())


def _objects(call: Call, rows: Iterable[Values], *, attributes: bool) -> Iterator[str]:
    fill = _template(call.microversion, call.origin.is_admin, attributes)
    links = _links(call)
    for row in rows:
        yield f'{fill(row)[:-1]},"links":{links(row)}}}'


def summaries(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `volumes`: id, name and links."""
    links = _links(call)
    items = (
        f'{{"id":"{row[_ID]}","name":{"null" if row[_NAME] is None else encode_basestring(row[_NAME])},'
        f'"links":{links(row)}}}'
        for row in rows
    )
    return msgspec.Raw(f"[{','.join(items)}]".encode())


def _links(call: Call) -> Callable[[Values], str]:
    """Where the volume is, with the version in the URL and, as a bookmark, without."""
    self_ = encode_basestring(f"{call.v3_url}/volumes/")[:-1].replace("%", "%%")
    bookmark = encode_basestring(f"{call.bookmark_url}/volumes/")[:-1].replace("%", "%%")
    both = f'[{{"rel":"self","href":{self_}%s"}},{{"rel":"bookmark","href":{bookmark}%s"}}]'
    return lambda row: both % (row[_ID], row[_ID])


def summary(call: Call, found: Summary) -> dict[str, Any]:
    """Numbers over all volumes; from 3.36 on with each metadata key's distinct values."""
    numbers: dict[str, Any] = {"total_count": found.volumes, "total_size": found.size_gib}
    if call.microversion >= SUMMARY_METADATA:
        values: dict[str, set[str]] = {}
        for one in found.metadata_texts:
            for key, value in json.loads(one).items():
                values.setdefault(key, set()).add(value)
        numbers["metadata"] = {key: sorted(distinct) for key, distinct in values.items()}
    return {"volume-summary": numbers}

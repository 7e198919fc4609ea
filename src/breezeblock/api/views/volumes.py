"""Volumes as JSON: which keys there are, since when, and for whom."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from breezeblock.api.call import Call
from breezeblock.api.microversions import (
    CLUSTER_NAME,
    CONSUMES_QUOTA,
    ENCRYPTION_KEY_ID,
    GROUP_OF_VOLUME,
    OLDEST,
    PROVIDER_ID,
    SHARED_TARGETS,
    SUMMARY_METADATA,
    VOLUME_TYPE_ID,
    Version,
)
from breezeblock.api.policy import Rights
from breezeblock.api.views.shapes import (
    COUNT,
    MAP_OF_TEXTS,
    MAP_OF_TEXTS_OR_NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    Answer,
    Shape,
    late,
    many,
    object_of,
)
from breezeblock.api.views.template import (
    ID,
    RAW,
    Key,
    Template,
    Values,
    compile_template,
    flag,
    flag_text,
    format_time,
    plain,
    quote,
    select_keys,
    text,
    time,
)
from breezeblock.resources.listing import VOLUMES, Summary
from breezeblock.resources.shown_volumes import COLUMN, Shown

COLUMNS: Final = tuple(str(column.key) for column in VOLUMES.columns)
_ID: Final = COLUMNS.index("id")
_NAME: Final = COLUMNS.index("name")

HOST_RULE: Final = "volume_extension:volume_host_attribute"
MIGRATION_RULE: Final = "volume_extension:volume_mig_status_attribute"
PROJECT_RULE: Final = "volume_extension:volume_tenant_attribute"
IMAGE_RULE: Final = "volume_extension:volume_image_metadata:show"
ADMIN_RULE: Final = HOST_RULE  # what else Cinder shows to administrators has no rule of its own


def _metadata(content: str, readonly: bool | None, attachments: str | None) -> str:
    """The user's metadata, and among it what this API shows there as well: a flag, and how the volume is attached."""
    shown = {} if readonly is None else {"readonly": str(bool(readonly))}
    for one in () if attachments is None else _read(attachments):
        if one.mode is not None:
            shown["attached_mode"] = one.mode
    return json.dumps({**json.loads(content), **shown}, ensure_ascii=False) if shown else content


def _attachments(volume_id: str, content: str | None) -> str:
    """Who has attached it, without whose host that is."""
    return "[]" if content is None else _all_attachments(volume_id, content, hosts=False)


def _all_attachments(volume_id: str, content: str | None, *, hosts: bool = True) -> str:
    """The same for administrators. A volume that was only changed is answered without."""
    shown = [
        {
            "id": volume_id,
            "attachment_id": one.attachment_id,
            "volume_id": volume_id,
            "server_id": one.server_id,
            "host_name": one.host_name if hosts else None,
            "device": one.device,
            "attached_at": None if one.attached_at_us is None else format_time(one.attached_at_us),
        }
        for one in ([] if content is None else _read(content))
    ]
    return json.dumps(shown, ensure_ascii=False)


def _read(attachments: str) -> list[Shown]:
    return msgspec.json.decode(attachments, type=list[Shown])


def _image_metadata(content: str | None) -> str:
    return "" if content is None else f',"volume_image_metadata":{content}'


def _key_id(key_id: str | None) -> str:
    return "" if key_id is None else f',"encryption_key_id":"{key_id}"'


ATTACHMENT: Final = object_of(
    {
        "id": TEXT,
        "attachment_id": TEXT,
        "volume_id": TEXT,
        "server_id": TEXT_OR_NULL,
        "host_name": TEXT_OR_NULL,
        "device": TEXT_OR_NULL,
        "attached_at": TEXT_OR_NULL,
    }
)

# And `links`, which is put in for each request: it needs the URL that the client used.
KEYS: Final = (
    Key("id", ("id",), ID),
    Key("status", ("status",), ID),
    Key("size", ("size_gib",), RAW, shape=NUMBER),
    Key("availability_zone", ("availability_zone",), quote),
    Key("created_at", ("created_at_us",), time),
    Key("updated_at", ("updated_at_us",), time),
    Key("name", ("name",), text),
    Key("description", ("description",), text),
    Key("volume_type", ("volume_type_name",), text),
    Key("snapshot_id", ("snapshot_id",), plain),
    Key("source_volid", ("source_volid",), plain),
    Key("metadata", ("metadata_json", "readonly", "attachments_json"), _metadata, shape=MAP_OF_TEXTS),
    Key("user_id", ("user_id",), quote),
    Key("bootable", ("bootable",), flag_text),
    Key("encrypted", ("encrypted",), flag),
    Key("replication_status", ("replication_status",), plain),
    Key("consistencygroup_id"),
    Key("multiattach", ("multiattach",), flag),
    Key("attachments", ("id", "attachments_json"), _attachments, shape=many(ATTACHMENT)),
    Key("migration_status", ("migration_status",), text, rule=ADMIN_RULE),
    Key("group_id", ("group_id",), plain, since=GROUP_OF_VOLUME),
    Key("provider_id", since=PROVIDER_ID, rule=ADMIN_RULE),
    Key("shared_targets", form="false", since=SHARED_TARGETS),
    Key("service_uuid", since=SHARED_TARGETS),
    Key("cluster_name", ("pool_name",), text, since=CLUSTER_NAME, rule=ADMIN_RULE),
    Key("volume_type_id", ("volume_type_id",), plain, since=VOLUME_TYPE_ID),
    Key("consumes_quota", form="true", since=CONSUMES_QUOTA),
    Key("os-vol-tenant-attr:tenant_id", ("project_id",), quote, rule=PROJECT_RULE, attribute=True),
    Key("os-vol-host-attr:host", ("pool_name",), text, rule=HOST_RULE, attribute=True),
    Key("os-vol-mig-status-attr:migstat", ("migration_status",), text, rule=MIGRATION_RULE, attribute=True),
    Key("os-vol-mig-status-attr:name_id", rule=MIGRATION_RULE, attribute=True),
    Key("encryption_key_id", ("encryption_key_id",), _key_id, since=ENCRYPTION_KEY_ID, optional=True, shape=TEXT),
    Key(
        "volume_image_metadata",
        ("image_metadata_json",),
        _image_metadata,
        rule=IMAGE_RULE,
        attribute=True,
        optional=True,
        shape=MAP_OF_TEXTS_OR_NULL,
    ),
)


@lru_cache(maxsize=512)  # every version, for each audience and kind of answer
def _template(version: Version, rights: Rights, attributes: bool) -> Template:
    keys = select_keys(KEYS, version=version, may=rights.may, attributes=attributes)
    if rights.is_admin:
        keys = tuple(key._replace(form=_all_attachments) if key.name == "attachments" else key for key in keys)
    return compile_template(keys, COLUMNS)


SUMMARY_KEYS: Final = (Key("id", ("id",), ID), Key("name", ("name",), text))
_SUMMARY: Final = compile_template(SUMMARY_KEYS, COLUMNS)
ONE: Final = Answer("volume", KEYS, links=True)
MANY: Final = Answer("volumes", KEYS, links=True, many=True)
MANY_SHORT: Final = Answer("volumes", SUMMARY_KEYS, links=True, many=True)
LEGACY: Final = Answer("volume", tuple(key for key in KEYS if key.since == OLDEST and not key.attribute), links=True)


def detail(call: Call, row: Mapping[str, Any], *, attributes: bool) -> msgspec.Raw:
    """`{"volume": {…}}`. `attributes`: with the keys that only show and list have."""
    template = _with_links(call, _template(call.microversion, call.rights, attributes))
    shown = {COLUMN: None, **row}  # what a request has changed comes without attachments
    (one,) = template.fill([[shown[column] for column in COLUMNS]])
    return msgspec.Raw(f'{{"volume":{one}}}'.encode())


def legacy_detail(call: Call, row: Mapping[str, Any]) -> msgspec.Raw:
    """The same as the first version had it, which one call has kept."""
    template = _with_links(call, _template(OLDEST, call.rights, False))
    shown = {COLUMN: None, **row}
    (one,) = template.fill([[shown[column] for column in COLUMNS]])
    return msgspec.Raw(f'{{"volume":{one}}}'.encode())


def details(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `volumes/detail`."""
    return _array(_with_links(call, _template(call.microversion, call.rights, True)).fill(rows))


def summaries(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `volumes`: id, name and links."""
    return _array(_with_links(call, _SUMMARY).fill(rows))


def _with_links(call: Call, template: Template) -> Template:
    """With where the volume is: with the version in the URL and, as a bookmark, without."""
    self_, bookmark = (quote(f"{url}/volumes/")[:-1].replace("%", "%%") for url in (call.v3_url, call.bookmark_url))
    links = f'[{{"rel":"self","href":{self_}%s"}},{{"rel":"bookmark","href":{bookmark}%s"}}]'
    return template.with_key("links", links, (_ID, _ID))


def _array(items: Iterable[str]) -> msgspec.Raw:
    return msgspec.Raw(f"[{','.join(items)}]".encode())


SUMMARY: Final = Shape(
    object_of(
        {
            "volume-summary": object_of(
                {
                    "total_count": COUNT,
                    "total_size": COUNT,
                    "metadata": late(SUMMARY_METADATA, {"type": "object", "additionalProperties": many(TEXT)}),
                }
            )
        }
    )
)


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

"""Backups as JSON: which keys there are, since when, and for whom."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from breezeblock.api.call import Call
from breezeblock.api.microversions import BACKUP_METADATA, BACKUP_PROJECT, BACKUP_USER, Version
from breezeblock.api.policy import Rights
from breezeblock.api.views.shapes import FLAG, MAP_OF_TEXTS, NUMBER, TEXT, TEXT_OR_NULL, Answer, named, object_of
from breezeblock.api.views.template import (
    ID,
    RAW,
    Key,
    Template,
    Values,
    compile_template,
    plain,
    quote,
    select_keys,
    text,
    time,
)
from breezeblock.resources.backup_records import Record
from breezeblock.resources.listing import BACKUPS

COLUMNS: Final = tuple(str(column.key) for column in BACKUPS.columns)
_ID: Final = COLUMNS.index("id")
ATTRIBUTES_RULE: Final = "backup:backup_project_attribute"


def _is_there(value: object) -> str:
    """Whether there is one, or any."""
    return "true" if value else "false"


# And `links`, as volumes have them.
KEYS: Final = (
    Key("id", ("id",), ID),
    Key("status", ("status",), ID),
    Key("size", ("size_gib",), RAW, shape=NUMBER),
    Key("object_count", ("object_count",), RAW, shape=NUMBER),
    Key("availability_zone", ("availability_zone",), text),
    Key("container", ("container",), text),
    Key("created_at", ("created_at_us",), time),
    Key("updated_at", ("updated_at_us",), time),
    Key("name", ("name",), text),
    Key("description", ("description",), text),
    Key("fail_reason", ("fail_reason",), text),
    Key("volume_id", ("volume_id",), ID),
    Key("is_incremental", ("parent_id",), _is_there, shape=FLAG),
    Key("has_dependent_backups", ("dependent_backups",), _is_there, shape=FLAG),
    Key("snapshot_id", ("snapshot_id",), plain),
    Key("data_timestamp", ("data_timestamp_us",), time),
    Key("metadata", ("metadata_json",), RAW, shape=MAP_OF_TEXTS, since=BACKUP_METADATA),
    Key("os-backup-project-attr:project_id", ("project_id",), quote, since=BACKUP_PROJECT, rule=ATTRIBUTES_RULE),
    Key("user_id", ("user_id",), quote, since=BACKUP_USER, rule=ATTRIBUTES_RULE),
)
SUMMARY_KEYS: Final = (Key("id", ("id",), ID), Key("name", ("name",), text))
_SUMMARY: Final = compile_template(SUMMARY_KEYS, COLUMNS)
ONE: Final = Answer("backup", KEYS, links=True)
ONE_SHORT: Final = Answer("backup", SUMMARY_KEYS, links=True)
MANY: Final = Answer("backups", KEYS, links=True, many=True)
MANY_SHORT: Final = Answer("backups", SUMMARY_KEYS, links=True, many=True)


@lru_cache(maxsize=512)  # every version, for each audience
def _template(version: Version, rights: Rights) -> Template:
    keys = select_keys(KEYS, version=version, may=rights.may, attributes=True)
    return compile_template(keys, COLUMNS)


def detail(call: Call, row: Mapping[str, Any]) -> msgspec.Raw:
    """`{"backup": {…}}`."""
    return _one(_with_links(call, _template(call.microversion, call.rights)), row)


def summary(call: Call, row: Mapping[str, Any]) -> msgspec.Raw:
    """`{"backup": {…}}` with id, name and links: what create and update answer."""
    return _one(_with_links(call, _SUMMARY), row)


def details(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `backups/detail`."""
    return _array(_with_links(call, _template(call.microversion, call.rights)).fill(rows))


def summaries(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `backups`: id, name and links."""
    return _array(_with_links(call, _SUMMARY).fill(rows))


RESTORED: Final = named("restore", object_of({"backup_id": TEXT, "volume_id": TEXT, "volume_name": TEXT_OR_NULL}))
RECORD: Final = named("backup-record", object_of({"backup_service": TEXT, "backup_url": TEXT}))


def restore(backup_id: str, volume: Mapping[str, Any]) -> dict[str, Any]:
    """What a restore fills."""
    return {"restore": {"backup_id": backup_id, "volume_id": volume["id"], "volume_name": volume["name"]}}


def record(found: Record) -> dict[str, Any]:
    """What an export answers."""
    return {"backup-record": {"backup_service": found.service, "backup_url": found.url}}


def _with_links(call: Call, template: Template) -> Template:
    self_, bookmark = (quote(f"{url}/backups/")[:-1].replace("%", "%%") for url in (call.v3_url, call.bookmark_url))
    links = f'[{{"rel":"self","href":{self_}%s"}},{{"rel":"bookmark","href":{bookmark}%s"}}]'
    return template.with_key("links", links, (_ID, _ID))


def _one(template: Template, row: Mapping[str, Any]) -> msgspec.Raw:
    (one,) = template.fill([[row[column] for column in COLUMNS]])
    return msgspec.Raw(f'{{"backup":{one}}}'.encode())


def _array(items: Iterable[str]) -> msgspec.Raw:
    return msgspec.Raw(f"[{','.join(items)}]".encode())

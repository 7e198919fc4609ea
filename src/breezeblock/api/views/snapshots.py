"""Snapshots as JSON: which keys there are, since when, and for whom."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from breezeblock.api.call import Call
from breezeblock.api.microversions import CONSUMES_QUOTA, GROUP_SNAPSHOT_OF_SNAPSHOT, SNAPSHOT_USER, Version
from breezeblock.api.policy import Rights
from breezeblock.api.views.shapes import MAP_OF_TEXTS, NUMBER, Answer
from breezeblock.api.views.template import (
    ID,
    RAW,
    Key,
    Template,
    Values,
    compile_template,
    flag,
    plain,
    quote,
    select_keys,
    text,
    time,
)
from breezeblock.resources.listing import SNAPSHOTS

COLUMNS: Final = tuple(str(column.key) for column in SNAPSHOTS.columns)

ATTRIBUTES_RULE: Final = "volume_extension:extended_snapshot_attributes"

KEYS: Final = (
    Key("id", ("id",), ID),
    Key("created_at", ("created_at_us",), time),
    Key("updated_at", ("updated_at_us",), time),
    Key("name", ("name",), text),
    Key("description", ("description",), text),
    Key("volume_id", ("volume_id",), ID),
    Key("status", ("status",), ID),
    Key("size", ("size_gib",), RAW, shape=NUMBER),
    Key("metadata", ("metadata_json",), RAW, shape=MAP_OF_TEXTS),
)
DETAIL_KEYS: Final = (
    *KEYS,
    Key("group_snapshot_id", ("group_snapshot_id",), plain, since=GROUP_SNAPSHOT_OF_SNAPSHOT),
    Key("user_id", ("user_id",), quote, since=SNAPSHOT_USER),
    Key("consumes_quota", ("consumes_quota",), flag, since=CONSUMES_QUOTA),
    Key("os-extended-snapshot-attributes:progress", ("progress",), quote, rule=ATTRIBUTES_RULE, attribute=True),
    Key("os-extended-snapshot-attributes:project_id", ("project_id",), quote, rule=ATTRIBUTES_RULE, attribute=True),
)

_SUMMARY: Final = compile_template(KEYS, COLUMNS)
ONE: Final = Answer("snapshot", DETAIL_KEYS)
MANY: Final = Answer("snapshots", DETAIL_KEYS, many=True)
MANY_SHORT: Final = Answer("snapshots", KEYS, many=True)


@lru_cache(maxsize=512)  # every version, for each audience and kind of answer
def _template(version: Version, rights: Rights, attributes: bool) -> Template:
    keys = select_keys(DETAIL_KEYS, version=version, may=rights.may, attributes=attributes)
    return compile_template(keys, COLUMNS)


def detail(call: Call, row: Mapping[str, Any], *, attributes: bool) -> msgspec.Raw:
    """`{"snapshot": {…}}`. `attributes`: with the keys that only show and list have."""
    template = _template(call.microversion, call.rights, attributes)
    (one,) = template.fill([[row[column] for column in COLUMNS]])
    return msgspec.Raw(f'{{"snapshot":{one}}}'.encode())


def details(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `snapshots/detail`."""
    return _array(_template(call.microversion, call.rights, True).fill(rows))


def summaries(call: Call, rows: Sequence[Values]) -> msgspec.Raw:
    """The list of `snapshots`."""
    return _array(_SUMMARY.fill(rows))


def _array(items: Iterable[str]) -> msgspec.Raw:
    return msgspec.Raw(f"[{','.join(items)}]".encode())

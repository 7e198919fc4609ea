"""No request reads row by row: every GET that there is takes as many statements at 200 rows of everything as at one."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from sqlalchemy import Boolean, Column, Connection, RowMapping, String, Table
from tests.api.builders import START_US
from tests.api.world import Api
from tests.databases import statements

from breezeblock.api.routes import ROUTES, TOP
from breezeblock.api.routing import Route
from breezeblock.resources import pools
from breezeblock.store import tables

FEW: Final = 1
MANY: Final = 200
ADMIN: Final = "admin:p1"

# Whatever a URL names is the first of its kind.
NAMED: Final = {
    "{volume_id}": "volumes-0",
    "{snapshot_id}": "snapshots-0",
    "{backup_id}": "backups-0",
    "{transfer_id}": "transfers-0",
    "{attachment_id}": "attachments-0",
    "{type_id}": "type-0",
    "{group_id}": "volume_groups-0",
    "{group_snapshot_id}": "group_snapshots-0",
    "{group_type_id}": "group_types-0",
    "{message_id}": "messages-0",
    "{cluster_name}": "c@b0",
    "{owner}": "p1",
    "{key}": "key",
    "{alias}": "os-hosts",
    "{qos_id}": "qos_specs-0",
    "{encryption_id}": "provider",
    "{word}": "encryption_key_id",
    "{host}": "nodes-0@b0",
}
# What shows one thing or a sum, and is the same however many others there are. Every other GET is a list, and gets longer.
NOT_LISTS: Final = {
    "/", "/healthcheck",
    "/healthcheck/live", "/openapi.json", "/v3", "/v3/p1/extensions", "/v3/p1/extensions/{alias}", "/v3/p1/limits",
    "/v3/p1/volumes/summary", "/v3/p1/volumes/{volume_id}", "/v3/p1/volumes/{volume_id}/encryption",
    "/v3/p1/volumes/{volume_id}/metadata", "/v3/p1/volumes/{volume_id}/metadata/{key}",
    "/v3/p1/snapshots/{snapshot_id}", "/v3/p1/snapshots/{snapshot_id}/metadata",
    "/v3/p1/snapshots/{snapshot_id}/metadata/{key}", "/v3/p1/backups/{backup_id}", "/v3/p1/volume-transfers/{transfer_id}",
    "/v3/p1/os-volume-transfer/{transfer_id}", "/v3/p1/resource_filters", "/v3/p1/capabilities/{host}",
    "/v3/p1/os-hosts/{host}", "/v3/p1/attachments/{attachment_id}",
    "/v3/p1/backups/{backup_id}/export_record", "/v3/p1/types/{type_id}", "/v3/p1/types/{type_id}/extra_specs",
    "/v3/p1/types/{type_id}/extra_specs/{key}", "/v3/p1/messages/{message_id}", "/v3/p1/clusters/{cluster_name}",
    "/v3/p1/volumes?limit=1", "/v3/p1/volumes/detail?limit=1", "/v3/p1/volumes/summary?all_tenants=1",
    "/v3/p1/limits?project_id=p1", "/v3/p1/types/{type_id}/encryption", "/v3/p1/types/{type_id}/encryption/{encryption_id}",
    "/v3/p1/volumes/{volume_id}/encryption/{word}", "/v3/p1/qos-specs/{qos_id}", "/v3/p1/default-types/{owner}",
    "/v3/p1/group_snapshots/{group_snapshot_id}", "/v3/p1/group_types/{group_type_id}",
    "/v3/p1/group_types/{group_type_id}/group_specs", "/v3/p1/group_types/{group_type_id}/group_specs/{key}",
    "/v3/p1/cgsnapshots/{group_snapshot_id}",
}  # fmt: skip
# GETs that change something, or that a node answers.
CHANGE: Final = (
    *(f"qos-specs/{{qos_id}}/{verb}" for verb in ("associate", "disassociate", "disassociate_all")),
    *(f"os-{noun}-manage{rest}" for noun in ("volume", "snapshot") for rest in ("", "/detail")),
    *(f"manageable_{nouns}{rest}" for nouns in ("volumes", "snapshots") for rest in ("", "/detail")),
)
# Queries that lead to other statements.
ALSO: Final = (
    "volumes/detail?all_tenants=1&with_count=true&sort=name:asc",
    "volumes/detail?metadata={'key':'value'}&bootable=false&status=available",
    "volumes?marker=volumes-0&sort=created_at:asc",
    "volumes?limit=1",
    "volumes/detail?limit=1",
    "volumes/summary?all_tenants=1",
    "snapshots/detail?all_tenants=1&with_count=true&availability_zone=zone",
    "backups/detail?all_tenants=1&with_count=true&sort=name:asc&status=available",
    "volume-transfers/detail?all_tenants=1&sort=name:asc&marker=transfers-0",
    "groups/detail?list_volume=true&all_tenants=1&sort=name:asc",
    "groups/{group_id}?list_volume=true",
    "group_snapshots/detail?all_tenants=1&status=available&marker=group_snapshots-0&sort=created_at:asc",
    "types?is_public=none&extra_specs={'key':'value'}",
    "messages?sort=event_id:asc&marker=messages-0",
    "scheduler-stats/get_pools?detail=true",
    "os-quota-sets/p1?usage=true",
    "limits?project_id=p1",
    "clusters/detail?is_up=true",
    "qos-specs?sort=name:asc&marker=qos_specs-0",
    "volumes/detail?glance_metadata={'key':'value'}",
)

ENCRYPTED: Final = '{"encryption_id":"e","words":{"provider":"luks","control_location":"front-end"},"created_at_us":1}'
# What a row's columns hold where that matters; `number` counts the rows of a table.
HOLDS: Final[dict[str, Callable[[int], Any]]] = {
    "project_id": lambda number: "p1",
    "volume_type_access.project_id": lambda number: f"p{number}",
    "volume_type_access.volume_type_id": lambda number: "type-0",
    "volume_types.id": lambda number: f"type-{number}",
    "volume_types.is_public": lambda number: number > 0,
    "volume_type_id": lambda number: f"type-{number}",
    "volume_id": lambda number: f"volumes-{number}",
    "group_id": lambda number: f"volume_groups-{number}",
    "volumes.group_id": lambda number: "volume_groups-0",
    "group_volume_types.group_id": lambda number: "volume_groups-0",
    "group_specs_json": lambda number: '{"key":"value"}',
    "group_types.is_public": lambda number: True,
    "resource": lambda number: f"volumes_type-{number}",
    "metadata_json": lambda number: '{"key":"value"}',
    "image_metadata_json": lambda number: '{"key":"value"}',
    "encryption_json": lambda number: ENCRYPTED,
    "qos_specs_id": lambda number: "qos_specs-0",
    "default_types.project_id": lambda number: f"p{number + 1}",
    "extra_specs_json": lambda number: '{"key":"value"}',
    "locks_json": lambda number: "[]",
    "queues_json": lambda number: json.dumps([f"c@b{number}"]),
    "queue": lambda number: f"c@b{number}",
    "availability_zone": lambda number: f"zone-{number}",
    "volumes.availability_zone": lambda number: "zone",
    "status": lambda number: "available",
    "volumes.attach_status": lambda number: "attached",
    "attachments.status": lambda number: "attached",
    "attached_at_us": lambda number: START_US,
    "nodes.state": lambda number: "up",
    "nodes.renewed_at_us": lambda number: START_US,
    "cluster": lambda number: "c",
    "direction": lambda number: "do",
    "progress": lambda number: "100%",
    "created_at_us": lambda number: START_US + number,
}


def held(table: Table, column: Column[Any], number: int) -> Any:
    """What a column holds: by its full name, by its name, or something of its type."""
    for name in (f"{table.name}.{column.name}", column.name):
        if name in HOLDS:
            return HOLDS[name](number)
    if column.name.endswith("_json"):
        return "{}"
    if isinstance(column.type, Boolean):
        return False
    return f"{table.name}-{number}"[-(column.type.length or 36) :] if isinstance(column.type, String) else number


def fill(api: Api, start: int, stop: int) -> None:
    """Rows of every table there is, so that a new one is not forgotten."""
    for table in tables.metadata.sorted_tables:
        wanted = [column for column in table.c if not column.nullable or column.name in HOLDS]
        api.insert(
            table, *({column.name: held(table, column, number) for column in wanted} for number in range(start, stop))
        )


def urls() -> dict[str, str]:
    """Every GET, by its template."""
    found = {template: template for template in TOP}
    for route in ROUTES:
        if route.method == "GET" and route.template not in CHANGE:
            found[at(route)] = at(route)
    found |= {f"/v3/p1/{query}": f"/v3/p1/{query}" for query in ALSO}
    for name, value in NAMED.items():
        found = {template: url.replace(name, value) for template, url in found.items()}
    return found


def at(route: Route) -> str:
    return f"/v3/p1/{route.template}" if route.template else "/v3"


def size(content: Any) -> int:
    """How many values are in an answer."""
    if isinstance(content, dict | list):
        parts = content.values() if isinstance(content, dict) else content
        return 1 + sum(map(size, parts))
    return 1


def ask(api: Api) -> dict[str, tuple[list[str], int]]:
    """The statements of each GET, and how much it answers."""
    found = {}
    for template, url in urls().items():
        if template == "/healthcheck/ready":
            continue  # it is about no rows, and who asks again within a second gets the same answer
        api.forget_scrapes()
        with statements() as seen:
            answer = api("GET", url, token=ADMIN, version="3.71")
        assert answer.status_code in (200, 300), (url, answer.text)
        long = len(answer.text) if template == "/metrics" else size(answer.json()) if answer.content[:1] == b"{" else 1
        found[template] = (seen, long)
    return found


def test_every_get_takes_as_many_statements_for_many_rows_as_for_one(api: Api) -> None:
    fill(api, 0, FEW)
    few = ask(api)
    fill(api, FEW, MANY)

    many = ask(api)

    differ = {url: (few[url][0], many[url][0]) for url in few if len(few[url][0]) != len(many[url][0])}
    assert not differ, differ
    constant = {url for url in few if many[url][1] < few[url][1] + MANY - FEW}
    assert constant == NOT_LISTS, "what answers no list is to be named, and what is named must not be a list"


def test_a_request_that_reads_row_by_row_is_found(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counting is not blind."""
    real = pools.list_pools

    def row_by_row(tx: Connection, **wanted: Any) -> list[RowMapping]:
        return [row for one in real(tx, **wanted) for row in real(tx, **wanted | {"name": one["name"]})]

    monkeypatch.setattr(pools, "list_pools", row_by_row)
    fill(api, 0, 3)

    assert len(ask(api)["/v3/p1/scheduler-stats/get_pools"][0]) == 1 + 4

"""How far backups and restores are: what clients see of it among the metadata, and what it costs."""

import json
from typing import Any

import pytest
from tests.api.builders import QUEUE, START_US
from tests.api.world import Api
from tests.databases import statements

from breezeblock.resources.progress import ETA_KEY, PERCENT_KEY
from breezeblock.store import tables

GIB = 1024**3
TOLD = {"told": {"done": 3 * GIB, "total": 10 * GIB, "rate": 100 * 1024**2}}


def at_work(api: Api, kind: str, *resources: str, number: int = 1, **values: Any) -> None:
    """An operation that works on these, the first in line."""
    id_ = f"operation-{number}"
    row = {
        "id": id_, "kind": kind, "version": 1, "queue": QUEUE, "resource_type": "volume", "resource_id": resources[0],
        "project_id": "p1", "user_id": "u", "request_id": "r", "payload_json": '{"store":"default"}',
        "created_at_us": START_US, "owner": "n-1", "state_json": json.dumps({"segments": [{"number": 0}]} | TOLD),
    }  # fmt: skip
    api.insert(tables.operations, row | values)
    locks = ({"resource_id": one, "seq": number, "operation_id": id_, "exclusive": True} for one in resources)
    api.insert(tables.operation_locks, *locks)


def shown(api: Api, kind: str, id_: str) -> Any:
    """The metadata, which show and the list agree about."""
    one = api("GET", f"/v3/{kind}/{id_}", version="3.71").json()[kind[:-1]]
    listed = {row["id"]: row for row in api("GET", f"/v3/{kind}/detail", version="3.71").json()[kind]}
    assert listed[id_] == one
    return one["metadata"]


def test_a_backup_shows_how_far_it_is_and_so_does_its_volume(api: Api) -> None:
    volume = api.given("volumes", status="backing-up")
    backup = api.given("backups", status="creating", volume_id=volume, metadata_json='{"k":"ä"}')
    at_work(api, "create_backup", backup, volume)

    assert shown(api, "backups", backup) == {"k": "ä", PERCENT_KEY: "30%", ETA_KEY: "72"}
    assert shown(api, "volumes", volume) == {PERCENT_KEY: "30%", ETA_KEY: "72"}
    old = api("GET", f"/v3/backups/{backup}", version="3.42").json()["backup"]
    assert "metadata" not in old


def test_a_restore_shows_how_far_it_is_on_both(api: Api) -> None:
    volume = api.given("volumes", status="restoring-backup", metadata_json='{"k":"v"}')
    backup = api.given("backups", status="restoring")
    at_work(api, "restore_backup", volume, backup)

    assert shown(api, "volumes", volume) == {"k": "v", PERCENT_KEY: "30%", ETA_KEY: "72"}
    assert shown(api, "backups", backup) == {PERCENT_KEY: "30%", ETA_KEY: "72"}


@pytest.mark.parametrize(
    ("values", "metadata"),
    [
        ({"owner": None}, {PERCENT_KEY: "30%"}),
        ({"owner": None, "state_json": "{}"}, {PERCENT_KEY: "0%"}),
        (
            {"state_json": json.dumps({"told": {"done": 10, "total": 10, "rate": 5}})},
            {PERCENT_KEY: "99%", ETA_KEY: "0"},
        ),
        ({"state_json": json.dumps({"told": {"done": 1, "total": 10, "rate": 0}})}, {PERCENT_KEY: "10%"}),
        ({"kind": "delete_backup"}, {}),
    ],
    ids=["nobody is at it", "waiting", "to be published", "just begun", "not a copy"],
)
def test_what_is_not_known_is_not_shown(api: Api, values: dict[str, Any], metadata: dict[str, str]) -> None:
    backup = api.given("backups", status="creating")
    at_work(api, values.pop("kind", "create_backup"), backup, **values)

    assert shown(api, "backups", backup) == metadata


def test_the_first_in_line_is_the_one_that_tells(api: Api) -> None:
    """What waits behind it has done nothing yet."""
    backup = api.given("backups", status="restoring")
    at_work(api, "create_from_backup", backup, number=1)
    at_work(api, "restore_backup", backup, number=2, owner=None, state_json="{}")

    assert shown(api, "backups", backup)[PERCENT_KEY] == "30%"


def test_what_clients_send_back_is_not_stored(api: Api) -> None:
    """`openstack volume backup set --property` sends all that it has seen."""
    backup = api.given("backups", status="creating")
    volume = api.given("volumes", status="backing-up")
    at_work(api, "create_backup", backup, volume)
    seen = shown(api, "backups", backup) | {"mine": "1"}

    api("PUT", f"/v3/backups/{backup}", {"backup": {"metadata": seen}}, version="3.43")
    api("PUT", f"/v3/volumes/{volume}", {"volume": {"metadata": seen}})
    api("POST", f"/v3/volumes/{volume}/metadata", {"metadata": seen})

    assert json.loads(api.row(tables.backups, backup)["metadata_json"]) == {"mine": "1"}
    assert json.loads(api.row(tables.volumes, volume)["metadata_json"]) == {"mine": "1"}
    api("PUT", f"/v3/volumes/{volume}/metadata", {"metadata": seen})
    assert json.loads(api.row(tables.volumes, volume)["metadata_json"]) == {"mine": "1"}


@pytest.mark.parametrize("kind", ["volumes", "backups"])
def test_it_costs_one_statement_and_only_where_something_is_worked_on(api: Api, kind: str) -> None:
    def counted(url: str) -> int:
        with statements() as seen:
            assert api("GET", url, version="3.71").status_code == 200
        return len(seen)

    urls = (f"/v3/{kind}/detail", f"/v3/{kind}")
    first = api.given(kind)
    show_quiet, quiet = counted(f"/v3/{kind}/{first}"), [counted(url) for url in urls]
    status = {"volumes": "restoring-backup", "backups": "creating"}[kind]
    busy = [api.given(kind, status=status) for _ in range(30)]
    at_work(api, "create_backup", busy[0], number=1)
    one = [counted(url) for url in urls]
    for number, id_ in enumerate(busy[1:], start=2):
        at_work(api, "create_backup", id_, number=number)

    assert counted(f"/v3/{kind}/{first}") == show_quiet
    assert counted(f"/v3/{kind}/{busy[0]}") == show_quiet + 1
    assert one == [quiet[0] + 1, quiet[1]]
    assert [counted(url) for url in urls] == one

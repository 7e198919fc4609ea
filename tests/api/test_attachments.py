"""Attachments over the API, with a node behind it that makes the connections on a real folder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api import keys_attachments as keys
from tests.api.working import Node
from tests.api.world import Api

from breezeblock.store import tables

SERVER = "7f3b5a52-1111-4222-8333-9d2c5a1e0a01"
OTHER = "7f3b5a52-1111-4222-8333-9d2c5a1e0a02"
HERE = {"host": "host-1", "ip": "192.0.2.1", "mountpoint": "/dev/vdb"}
THERE = {"host": "host-2", "ip": "192.0.2.2"}
ATTACHMENTS = "/v3/p1/attachments"


class World:
    """The API, the node behind it, and a volume that is there."""

    def __init__(self, api: Api, node: Node) -> None:
        self.api, self.node = api, node

    def volume(self, **values: Any) -> str:
        id_ = self.api.given_volume(**values)
        name = f"{id_}.1.1"
        self.api._run(self.node.make(name))
        self.api._run(self.api._store.run(_name, id_, name))
        return id_

    def path(self, volume_id: str) -> str:
        return str(self.node.folder / volume_id[:2] / f"{volume_id}.1.1")

    def create(self, volume_id: str, *, version: str = "3.54", **asked: Any) -> Any:
        body = {"attachment": {"volume_uuid": volume_id, **asked}}
        return self.api("POST", ATTACHMENTS, body, version=version)

    def created(self, volume_id: str, **asked: Any) -> dict[str, Any]:
        answer = self.create(volume_id, **asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["attachment"]
        return found

    def update(self, attachment_id: str, connector: Any) -> Any:
        body = {"attachment": {"connector": connector}}
        return self.api("PUT", f"{ATTACHMENTS}/{attachment_id}", body, version="3.54")

    def complete(self, attachment_id: str) -> Any:
        return self.api("POST", f"{ATTACHMENTS}/{attachment_id}/action", {"os-complete": {}}, version="3.54")

    def delete(self, attachment_id: str) -> Any:
        return self.api("DELETE", f"{ATTACHMENTS}/{attachment_id}", version="3.54")

    def act(self, volume_id: str, action: str, said: Any = None, *, token: str = "user:p1") -> Any:
        return self.api("POST", f"/v3/p1/volumes/{volume_id}/action", {action: said}, token=token)

    def state(self, volume_id: str) -> tuple[str, str]:
        row = self.api.row(tables.volumes, volume_id)
        return row["status"], row["attach_status"]

    def done(self) -> list[str]:
        """What the node has done. Its last transaction is seen by others before the node itself goes on."""
        self.api._run(self.node.rest())
        return self.node.done

    def accesses(self) -> list[str]:
        return self.api._run(self.node.accesses())


def _name(tx: Any, id_: str, name: str) -> None:
    tx.execute(tables.volumes.update().where(tables.volumes.c.id == id_).values(object_name=name))


@pytest.fixture
def world(api: Api, tmp_path: Path) -> Iterator[World]:
    node = Node(api, tmp_path, api._store)
    (tmp_path / "storage").mkdir()
    api.bell.ring = node.ring  # type: ignore[method-assign]
    yield World(api, node)


# --- the attachments API ---------------------------------------------------------------------------------------------


def test_a_volume_is_reserved_connected_completed_and_let_go(world: World) -> None:
    """As a compute service does it, step by step, and each shows in the volume."""
    volume = world.volume()
    made = world.created(volume, instance_uuid=SERVER)
    assert set(made) == keys.DETAIL
    assert (made["status"], made["connection_info"], made["attached_at"]) == ("reserved", {}, "")
    assert (world.state(volume), world.node.rung) == (("reserved", "reserved"), [])

    updated = world.update(made["id"], HERE).json()["attachment"]
    assert set(updated["connection_info"]) == keys.CONNECTION
    assert updated["connection_info"]["device_path"] == world.path(volume)
    assert (updated["status"], updated["attach_mode"]) == ("attaching", "rw")
    assert (world.state(volume), world.accesses()) == (("attaching", "attaching"), [made["id"]])

    assert world.complete(made["id"]).status_code == 204
    assert world.state(volume) == ("in-use", "attached")

    left = world.delete(made["id"])
    assert (left.status_code, left.json()) == (200, {"attachments": []})
    assert (world.state(volume), world.accesses(), world.api.rows(tables.attachments)) == (
        ("available", "detached"), [], [],
    )  # fmt: skip
    assert world.delete(made["id"]).status_code == 404


def test_with_a_connector_the_volume_is_connected_at_once(world: World) -> None:
    volume = world.volume()
    made = world.created(volume, instance_uuid=SERVER, connector=HERE, mode="ro")

    assert (made["status"], made["attach_mode"]) == ("attaching", "ro")
    assert made["connection_info"]["access_mode"] == "ro"
    row = world.api.row(tables.attachments, made["id"])
    assert (row["attached_host"], row["mountpoint"], row["operation_id"]) == ("host-1", "/dev/vdb", None)


def test_an_attached_volume_shows_who_has_it(world: World) -> None:
    """The host only to administrators."""
    volume = world.volume()
    made = world.created(volume, instance_uuid=SERVER, connector=HERE)
    url = f"/v3/p1/volumes/{volume}"
    assert world.api("GET", url).json()["volume"]["attachments"] == []
    world.complete(made["id"])

    (shown,) = world.api("GET", url).json()["volume"]["attachments"]
    (listed,) = world.api("GET", "/v3/p1/volumes/detail").json()["volumes"][0]["attachments"]
    (to_admin,) = world.api("GET", url, token="admin:p1").json()["volume"]["attachments"]
    assert set(shown) == keys.OF_VOLUME
    assert shown == listed
    assert (shown["id"], shown["attachment_id"], shown["server_id"], shown["device"]) == (
        volume, made["id"], SERVER, "/dev/vdb",
    )  # fmt: skip
    assert (shown["host_name"], to_admin["host_name"]) == (None, "host-1")


def test_the_same_connector_again_joins_or_finds_the_result(world: World) -> None:
    """However its keys are ordered: no second operation."""
    volume = world.volume()
    made = world.created(volume, connector=HERE)
    again = world.update(made["id"], dict(reversed(HERE.items())))

    assert again.json()["attachment"]["connection_info"] == made["connection_info"]
    assert world.done() == ["connect_attachment"]


def test_another_connector_makes_another_connection_in_its_place(world: World) -> None:
    volume = world.volume()
    made = world.created(volume, connector=HERE)
    moved = world.update(made["id"], THERE)

    assert moved.status_code == 200
    assert world.done() == ["connect_attachment"] * 2
    assert world.accesses() == [made["id"]]
    assert world.api.row(tables.attachments, made["id"])["attached_host"] == "host-2"


def test_a_volume_is_reserved_once_unless_its_server_moves(world: World) -> None:
    """The same server may have it twice, while it moves to another host."""
    volume = world.volume()
    first = world.created(volume, instance_uuid=SERVER, connector=HERE)
    world.complete(first["id"])

    refused = world.create(volume, instance_uuid=OTHER)
    assert refused.status_code == 400
    assert "in-use" in refused.json()["badRequest"]["message"]
    second = world.created(volume, instance_uuid=SERVER, connector=THERE)
    assert world.state(volume) == ("in-use", "attached")
    rest = world.delete(first["id"]).json()["attachments"]
    assert [(one["id"], set(one)) for one in rest] == [(second["id"], keys.SUMMARY)]
    assert world.state(volume) == ("attaching", "attaching")


def test_two_hosts_have_a_multiattach_volume(world: World) -> None:
    volume = world.volume(multiattach=True)
    for server, connector in ((SERVER, HERE), (OTHER, THERE)):
        world.complete(world.created(volume, instance_uuid=server, connector=connector)["id"])

    assert (world.state(volume), len(world.accesses())) == (("in-use", "attached"), 2)


def test_one_that_is_not_multiattach_is_not_connected_twice(world: World) -> None:
    """A second reservation of the same server cannot be connected by an update while the first one is."""
    volume = world.volume()
    first = world.created(volume, instance_uuid=SERVER, connector=HERE)
    world.complete(first["id"])
    second = world.created(volume, instance_uuid=SERVER)

    refused = world.update(second["id"], THERE)
    assert refused.status_code == 409
    assert first["id"] in refused.json()["conflictingRequest"]["message"]


def test_what_cannot_be_connected_says_why_and_can_be_tried_again(world: World) -> None:
    """The storage's own sentence; the volume is as it was, and the attachment still there."""
    volume = world.volume()
    made = world.created(volume)
    path = Path(world.path(volume))
    path.rename(path.with_suffix(".away"))

    failed = world.update(made["id"], HERE)
    assert failed.status_code == 500
    assert "not on backend" in failed.json()["computeFault"]["message"]
    assert (world.state(volume), world.accesses()) == (("available", "detached"), [])
    shown = world.api("GET", f"{ATTACHMENTS}/{made['id']}", version="3.27").json()["attachment"]
    assert shown["status"] == "error_attaching"
    (message,) = world.api.rows(tables.messages)
    assert "not on backend" in message["user_message"]
    path.with_suffix(".away").rename(path)
    assert world.update(made["id"], HERE).status_code == 200


def test_who_waits_too_long_is_told_and_finds_the_result_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operation goes on without the one who asked for it."""
    monkeypatch.setattr("breezeblock.api.answers_of_operations.FIRST_LOOK_S", 0.001)
    volume = world.volume()
    world.node.away = True
    made = world.created(volume)
    world.api.limit_waiting(0.05)
    late = world.update(made["id"], HERE)
    assert late.status_code == 504
    assert "ask again" in late.json()["computeFault"]["message"]

    assert world.delete(made["id"]).status_code == 504  # the disconnection waits behind the connection
    world.node.away = False
    world.api.limit_waiting(50.0)
    assert world.delete(made["id"]).status_code == 200
    assert world.done() == ["connect_attachment", "disconnect_attachments"]
    assert (world.state(volume), world.accesses()) == (("available", "detached"), [])


def test_a_request_that_is_cut_off_leaves_its_operation(world: World) -> None:
    """A client that hangs up in the middle has connected the volume all the same."""
    volume = world.volume()
    made = world.created(volume)
    world.node.away = True

    async def cut_off() -> None:
        body = {"attachment": {"connector": HERE}}
        url = f"{ATTACHMENTS}/{made['id']}"
        headers = {"OpenStack-API-Version": "volume 3.54", "X-Auth-Token": "user:p1"}
        asking = asyncio.ensure_future(world.api._client.put(url, json=body, headers=headers))
        await world.node.was_rung.wait()
        asking.cancel()

    world.api._run(cut_off())
    world.api._run(world.node.work(world.node.rung[0]))
    world.node.away = False
    assert world.update(made["id"], HERE).json()["attachment"]["connection_info"]
    assert world.done() == ["connect_attachment"]


@pytest.mark.parametrize(
    ("status", "code"),
    [("error", 400), ("error_extending", 400), ("deleting", 400), ("in-use", 400), ("maintenance", 400)],
)
def test_only_what_is_available_is_reserved(world: World, status: str, code: int) -> None:
    volume = world.volume(status=status)
    assert world.create(volume).status_code == code
    assert world.api.rows(tables.attachments) == []


def test_a_volume_with_an_error_is_not_connected(world: World) -> None:
    volume = world.volume()
    made = world.created(volume)
    world.api._run(world.api._store.run(_set, volume, {"status": "error"}))

    assert world.update(made["id"], HERE).status_code == 409
    assert world.delete(made["id"]).status_code == 200
    assert world.state(volume) == ("error", "detached")


def _set(tx: Any, id_: str, values: dict[str, Any]) -> None:
    tx.execute(tables.volumes.update().where(tables.volumes.c.id == id_).values(**values))


def test_others_do_not_see_an_attachment(world: World) -> None:
    """Not even that it is there."""
    made = world.created(world.volume())
    url = f"/v3/p2/attachments/{made['id']}"
    ask: dict[str, Any] = {"version": "3.54", "token": "user:p2"}
    connector = {"attachment": {"connector": HERE}}

    assert world.api("GET", url, **ask).status_code == 404
    assert world.api("PUT", url, connector, **ask).status_code == 404
    assert world.api("DELETE", url, **ask).status_code == 404
    assert world.api("POST", f"{url}/action", {"os-complete": None}, **ask).status_code == 404
    assert world.api("GET", "/v3/p2/attachments", **ask).json() == {"attachments": []}
    foreign = {"attachment": {"volume_uuid": made["volume_id"]}}
    assert world.api("POST", "/v3/p2/attachments", foreign, **ask).status_code == 404


def test_attachments_are_listed_filtered_and_cut_into_pages(world: World) -> None:
    volumes = [world.volume() for _ in range(3)]
    made = [world.created(volume, instance_uuid=SERVER) for volume in volumes[:2]]
    made.append(world.created(volumes[2], instance_uuid=OTHER, connector=HERE))

    def listed(query: str, *, url: str = ATTACHMENTS, token: str = "user:p1") -> list[dict[str, Any]]:
        answer = world.api("GET", f"{url}?{query}", version="3.54", token=token)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["attachments"]
        return found

    everything = listed("sort=created_at:asc")
    assert [one["id"] for one in everything] == [one["id"] for one in made]
    assert all(set(one) == keys.SUMMARY for one in everything)
    assert [one["id"] for one in listed(f"volume_id={volumes[1]}")] == [made[1]["id"]]
    assert {one["id"] for one in listed(f"instance_id={SERVER}")} == {one["id"] for one in made[:2]}
    assert [one["id"] for one in listed("status=attaching")] == [made[2]["id"]]
    marker = everything[0]["id"]
    assert [one["id"] for one in listed(f"sort=created_at:asc&limit=1&marker={marker}")] == [everything[1]["id"]]
    (detail,) = listed("attach_status=attaching", url=f"{ATTACHMENTS}/detail")
    assert set(detail) == keys.DETAIL
    assert listed("", url="/v3/p2/attachments", token="admin:p2") == []
    assert len(listed("all_tenants=1", url="/v3/p2/attachments", token="admin:p2")) == 3
    assert world.api("GET", f"{ATTACHMENTS}?colour=red", version="3.54").status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "since"),
    [("GET", "", 27), ("GET", "/detail", 27), ("POST", "", 27), ("POST", "/x/action", 27)],
)
def test_older_clients_have_no_attachments(world: World, method: str, path: str, since: int) -> None:
    body: Any = {"os-complete": None} if path.endswith("action") else {"attachment": {}}
    answer = world.api(method, f"{ATTACHMENTS}{path}", body if method == "POST" else None, version=f"3.{since - 1}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {}, {"attachment": {}}, {"attachment": {"volume_uuid": "no"}}, {"attachment": {"volume_uuid": SERVER, "x": 1}},
        {"attachment": {"volume_uuid": SERVER, "mode": "rx"}}, {"attachment": {"volume_uuid": SERVER, "connector": []}},
        {"attachment": {"volume_uuid": SERVER, "instance_uuid": 5}},
    ],
)  # fmt: skip
def test_malformed_bodies_are_refused(world: World, body: Any) -> None:
    assert world.api("POST", ATTACHMENTS, body, version="3.54").status_code == 400


@pytest.mark.parametrize("connector", [{}, {"host": 5}, {"mode": "rx"}, {"host": "h" * 256}, {"mountpoint": []}])
def test_connectors_that_cannot_be_are_refused(world: World, connector: Any) -> None:
    made = world.created(world.volume())
    assert world.update(made["id"], connector).status_code == 400


def test_only_one_is_completed_where_only_one_may_be(world: World) -> None:
    """An operator's reset let a second host in beside a reservation, which was completed later without being connected."""
    volume = world.volume()
    first = world.created(volume, instance_uuid=SERVER)
    world.act(volume, "os-reset_status", {"status": "available"}, token="admin:p1")
    second = world.created(volume, instance_uuid=OTHER, connector=HERE)

    refused = world.complete(first["id"])
    assert (refused.status_code, second["id"] in refused.text) == (409, True)
    assert world.complete(second["id"]).status_code == 204
    assert world.delete(second["id"]).status_code == 200
    assert world.complete(first["id"]).status_code == 204


def test_what_is_reserved_for_a_server_that_has_it_is_completed(world: World) -> None:
    """A server moves to a host that reaches the volume without us."""
    volume = world.volume()
    first = world.created(volume, instance_uuid=SERVER, connector=HERE)
    world.complete(first["id"])
    second = world.created(volume, instance_uuid=SERVER)
    assert world.complete(second["id"]).status_code == 204


def test_a_host_finds_its_own_attachment(world: World) -> None:
    """Also while that is not complete, by the name that it has given."""
    volume = world.volume(multiattach=True)
    other = world.created(volume, connector=THERE)
    world.complete(other["id"])
    mine = world.created(volume, connector=HERE)
    query = f"{ATTACHMENTS}/detail?volume_id={volume}&attached_host=host-1"
    found = world.api("GET", query, version="3.71").json()["attachments"]
    assert [one["id"] for one in found] == [mine["id"]]


def test_a_mode_needs_its_version(world: World) -> None:
    assert world.create(world.volume(), version="3.53", mode="ro").status_code == 400


def test_a_read_only_volume_is_attached_read_only(world: World) -> None:
    made = world.created(world.volume(readonly=True), connector=HERE, mode="rw")
    assert (made["attach_mode"], made["connection_info"]["access_mode"]) == ("ro", "ro")


# --- what others may do meanwhile ------------------------------------------------------------------------------------


def test_an_attached_volume_is_not_deleted_and_not_reverted(world: World) -> None:
    volume = world.volume()
    made = world.created(volume, connector=HERE)
    world.complete(made["id"])
    admin: dict[str, Any] = {"token": "admin:p1"}

    assert world.api("DELETE", f"/v3/p1/volumes/{volume}").status_code == 400
    assert world.act(volume, "os-force_delete", {}, **admin).status_code == 400
    world.act(volume, "os-reset_status", {"status": "available"}, **admin)
    refused = world.api("DELETE", f"/v3/p1/volumes/{volume}")
    assert refused.status_code == 400
    assert world.api("DELETE", f"/v3/p1/volumes/{volume}?force=true", version="3.23", **admin).status_code == 400


def test_what_is_only_reserved_goes_with_its_volume(world: World) -> None:
    """By force; and with it what a failed connection has left."""
    volume = world.volume()
    world.created(volume)
    assert world.api("DELETE", f"/v3/p1/volumes/{volume}").status_code == 400
    assert world.act(volume, "os-force_delete", {}, token="admin:p1").status_code == 202
    world.api._run(world.node.rest())

    assert (world.api.rows(tables.volumes), world.api.rows(tables.attachments)) == ([], [])


def test_a_volume_in_use_is_extended_from_3_42_on_where_its_pool_can(world: World) -> None:
    """And is in use again afterwards, or what its attachments have become."""
    volume = world.volume(charged_gib=1)
    made = world.created(volume, connector=HERE)
    world.complete(made["id"])
    url = f"/v3/p1/volumes/{volume}/action"
    body = {"os-extend": {"new_size": 2}}

    assert world.api("POST", url, body, version="3.41").status_code == 400
    refused = world.api("POST", url, body, version="3.42")
    assert (refused.status_code, "online_extend_support" in refused.text) == (400, True)
    world.api._run(world.api._store.run(_can_extend))
    world.node.away = True
    assert world.api("POST", url, body, version="3.42").status_code == 202
    assert world.state(volume) == ("extending", "attached")
    world.api._run(world.node.work(world.node.rung[-1]))
    assert world.state(volume) == ("in-use", "attached")
    assert Path(world.path(volume)).stat().st_size == 2 << 30


def _can_extend(tx: Any) -> None:
    tx.execute(tables.pools.update().values(capabilities_json='{"online_extend_support": "True"}'))


def test_a_type_makes_its_volumes_multiattach(world: World) -> None:
    admin: dict[str, Any] = {"token": "admin:p1"}
    specs = {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}
    assert world.api("POST", "/v3/p1/types", {"volume_type": specs}, **admin).status_code == 200
    asked = {"volume": {"size": 1, "volume_type": "shared"}}
    assert world.api("POST", "/v3/p1/volumes", asked).json()["volume"]["status"] == "error"
    world.api._run(world.api._store.run(_can_share))
    made = world.api("POST", "/v3/p1/volumes", asked).json()["volume"]

    assert (made["status"], made["multiattach"]) == ("creating", True)


def _can_share(tx: Any) -> None:
    tx.execute(tables.pools.update().values(capabilities_json='{"multiattach": "True"}'))


def test_detached_by_an_operators_word_everybody_is_disconnected(world: World) -> None:
    volume = world.volume()
    made = world.created(volume, connector=HERE)
    world.complete(made["id"])
    words = {"status": "available", "attach_status": "detached"}
    assert world.act(volume, "os-reset_status", words, token="admin:p1").status_code == 202
    world.api._run(world.node.rest())

    assert (world.state(volume), world.accesses()) == (("available", "detached"), [])
    assert world.api.rows(tables.attachments) == []


def test_an_operators_word_that_the_attachments_contradict_is_refused(world: World) -> None:
    volume = world.volume()
    world.created(volume)
    refused = world.act(volume, "os-reset_status", {"attach_status": "attached"}, token="admin:p1")
    assert refused.status_code == 400
    assert world.state(volume) == ("reserved", "reserved")


# --- what an instance of a cloud is connected by ---------------------------------------------------------------------


def ways_to_take_it_away(world: World, volume: str, attachment_id: str, **more: Any) -> list[Any]:
    """Each call that could, and its answer."""
    url = f"/v3/p1/volumes/{volume}/action"
    asked = [
        ("user:p1", {"os-detach": None}),
        ("user:p1", {"os-detach": {"attachment_id": attachment_id}}),
        ("user:p1", {"os-terminate_connection": {"connector": HERE}}),
        ("admin:p1", {"os-force_detach": {"attachment_id": attachment_id, "connector": HERE}}),
    ]
    answers = [world.api("DELETE", f"{ATTACHMENTS}/{attachment_id}", version="3.54", **more)]
    return answers + [world.api("POST", url, body, token=token, **more) for token, body in asked]


def test_users_take_no_volume_away_under_an_instance(world: World) -> None:
    """CVE-2023-2088: its host would keep a device that belongs to somebody else later. Administrators are users as well."""
    volume = world.volume()
    made = world.created(volume, instance_uuid=SERVER, connector=HERE)
    world.complete(made["id"])
    world.api.in_a_cloud()

    refused = ways_to_take_it_away(world, volume, made["id"])

    assert [one.status_code for one in refused] == [409] * 5
    assert {one.json()["conflictingRequest"]["message"] for one in refused} == {
        f"Attachment {made['id']} connects volume {volume} to instance {SERVER}: detach it there, by the Compute API. "
        "Only a service, with its service token, may do it here."
    }
    assert (world.state(volume), world.accesses()) == (("in-use", "attached"), [made["id"]])
    taken = world.api("DELETE", f"{ATTACHMENTS}/{made['id']}", version="3.54", headers={"X-Service-Token": "nova"})
    assert (taken.status_code, world.state(volume)) == (200, ("available", "detached"))


def test_nor_while_it_is_being_connected_anew(world: World) -> None:
    """For that time there is no connection, and still an instance that has one."""
    volume = world.volume()
    made = world.created(volume, instance_uuid=SERVER, connector=HERE)
    world.complete(made["id"])
    world.api.in_a_cloud()
    world.api.change(tables.attachments, made["id"], connection_json=None)

    answers = [*ways_to_take_it_away(world, volume, made["id"])]

    assert [one.status_code for one in answers] == [409] * 5


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({"connector": HERE}, {}),
        ({"instance_uuid": SERVER}, {}),
        ({"instance_uuid": SERVER, "connector": HERE}, {"protect_nova_attachments": False}),
    ],
)
def test_what_no_instance_is_connected_by_is_the_users(
    world: World, asked: dict[str, Any], options: dict[str, bool]
) -> None:
    """A host that is none, an instance that was never connected, and where an operator has said so."""
    volume = world.volume()
    made = world.created(volume, **asked)
    world.api.in_a_cloud(**options)

    assert world.delete(made["id"]).status_code == 200
    assert world.state(volume) == ("available", "detached")


# --- the older actions -----------------------------------------------------------------------------------------------


def test_a_volume_is_attached_in_the_older_way(world: World) -> None:
    """Reserve, connect, attach; then begin to detach, disconnect, detach."""
    volume = world.volume()
    assert world.act(volume, "os-reserve").status_code == 202
    assert world.state(volume) == ("attaching", "detached")
    answer = world.act(volume, "os-initialize_connection", {"connector": HERE})
    assert answer.status_code == 200
    info = answer.json()["connection_info"]
    assert set(info) == {"driver_volume_type", "data", "enforce_multipath"}
    assert set(info["data"]) == keys.NESTED_DATA
    assert (info["driver_volume_type"], info["data"]["device_path"]) == ("local", world.path(volume))
    assert world.act(volume, "os-initialize_connection", {"connector": HERE}).json()["connection_info"] == info
    assert world.api("GET", ATTACHMENTS, version="3.54").json() == {"attachments": []}

    body = {"instance_uuid": SERVER, "mountpoint": "/dev/vdc", "mode": "rw"}
    assert world.act(volume, "os-attach", body).status_code == 202
    assert world.act(volume, "os-attach", body).status_code == 202
    assert (world.state(volume), len(world.accesses())) == (("in-use", "attached"), 1)
    shown = world.api("GET", f"/v3/p1/volumes/{volume}").json()["volume"]
    assert [one["server_id"] for one in shown["attachments"]] == [SERVER]
    assert (shown["metadata"]["attached_mode"], shown["metadata"]["readonly"]) == ("rw", "False")

    assert world.act(volume, "os-begin_detaching").status_code == 202
    assert world.state(volume) == ("detaching", "attached")
    assert world.act(volume, "os-terminate_connection", {"connector": HERE}).status_code == 202
    assert world.accesses() == []
    assert world.act(volume, "os-detach", {}).status_code == 202
    assert world.state(volume) == ("available", "detached")
    assert world.api.rows(tables.attachments) == []


def test_words_are_taken_back(world: World) -> None:
    volume = world.volume()
    world.act(volume, "os-reserve")
    assert world.act(volume, "os-reserve").status_code == 400
    assert world.act(volume, "os-unreserve").status_code == 202
    assert world.state(volume) == ("available", "detached")
    assert world.act(volume, "os-unreserve").status_code == 202
    assert world.act(volume, "os-begin_detaching").status_code == 400
    world.act(volume, "os-attach", {"host_name": "h", "mountpoint": "/mnt"})
    world.act(volume, "os-begin_detaching")
    assert world.act(volume, "os-roll_detaching").status_code == 202
    assert world.state(volume) == ("in-use", "attached")


def test_the_last_detach_disconnects_whoever_is_connected(world: World) -> None:
    """A client that forgets to terminate its connection leaves none."""
    volume = world.volume()
    world.act(volume, "os-initialize_connection", {"connector": HERE})
    world.act(volume, "os-attach", {"host_name": "host-1", "mountpoint": "/mnt"})
    assert world.act(volume, "os-detach", None).status_code == 202
    assert (world.accesses(), world.api.rows(tables.attachments)) == ([], [])


@pytest.mark.parametrize("name", ["HOST-1", "host_1", "host-1.example.org"])
def test_the_host_that_attaches_is_the_one_that_is_connected_however_it_is_spelled(world: World, name: str) -> None:
    """And shown as Cinder spells it."""
    volume = world.volume()
    world.act(volume, "os-reserve")
    world.act(volume, "os-initialize_connection", {"connector": HERE})
    body = {"host_name": name, "mountpoint": "/mnt"}
    assert world.act(volume, "os-attach", body).status_code == 202
    assert world.act(volume, "os-attach", body).status_code == 202
    (attached,) = [row for row in world.api.rows(tables.attachments) if not row["bare"]]
    assert attached["attached_host"] == name.lower().replace("_", "-")


@pytest.mark.parametrize("name", ["host-10", "host", "host-2.host-1", ""])
def test_another_host_than_the_connected_one_does_not_attach(world: World, name: str) -> None:
    volume = world.volume()
    world.act(volume, "os-reserve")
    world.act(volume, "os-initialize_connection", {"connector": HERE})
    refused = world.act(volume, "os-attach", {"host_name": name, "mountpoint": "/mnt"})
    assert (refused.status_code, "connected already" in refused.text) == (400, True)


def test_one_of_several_attachments_is_named(world: World) -> None:
    volume = world.volume(multiattach=True)
    for host in ("host-1", "host-2"):
        assert world.act(volume, "os-attach", {"host_name": host, "mountpoint": "/mnt"}).status_code == 202
    assert world.act(volume, "os-detach", {}).status_code == 400
    first, second = world.api.rows(tables.attachments)
    assert world.act(volume, "os-detach", {"attachment_id": first["id"]}).status_code == 202
    assert [row["id"] for row in world.api.rows(tables.attachments)] == [second["id"]]
    assert world.state(volume) == ("in-use", "attached")


def test_force_detach_is_for_administrators_and_ends_both(world: World) -> None:
    volume = world.volume()
    world.act(volume, "os-initialize_connection", {"connector": HERE})
    world.act(volume, "os-attach", {"host_name": "host-1", "mountpoint": "/mnt"})
    (attached,) = [row for row in world.api.rows(tables.attachments) if not row["bare"]]
    body = {"attachment_id": attached["id"], "connector": HERE}

    assert world.act(volume, "os-force_detach", body).status_code == 403
    assert world.act(volume, "os-force_detach", {"attachment_id": SERVER}, token="admin:p1").status_code == 404
    assert world.act(volume, "os-force_detach", body, token="admin:p1").status_code == 202
    assert (world.accesses(), world.api.rows(tables.attachments)) == ([], [])
    assert world.state(volume) == ("available", "detached")


def test_a_read_only_volume_is_not_attached_for_writing(world: World) -> None:
    volume = world.volume(readonly=True)
    body = {"host_name": "h", "mountpoint": "/mnt"}
    assert world.act(volume, "os-attach", body | {"mode": "rw"}).status_code == 400
    assert world.act(volume, "os-attach", body | {"mode": "ro"}).status_code == 202


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("os-attach", {}), ("os-attach", {"mountpoint": "/mnt"}), ("os-attach", {"mountpoint": "", "host_name": "h"}),
        ("os-attach", {"mountpoint": "/mnt", "host_name": "h", "mode": "x"}), ("os-detach", {"attachment_id": "x"}),
        ("os-initialize_connection", {}), ("os-initialize_connection", {"connector": 5}),
        ("os-terminate_connection", {}), ("os-terminate_connection", {"connector": [1]}),
    ],
)  # fmt: skip
def test_malformed_actions_are_refused(world: World, action: str, said: Any) -> None:
    assert world.act(world.volume(), action, said).status_code == 400

"""Connecting and disconnecting by nodes that may die anywhere: what storage gives access to is what attachments there are."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.backup.bench import VOLUME, Bench, bench, id_of
from tests.store.given import origin

from breezeblock.drivers.contract import ObjectName
from breezeblock.model.errors import BackendFailed, Conflict, InvalidState, NotFound, StorageFailed
from breezeblock.model.ids import AttachmentId, VolumeId
from breezeblock.resources import attachments, connections, old_attachments, volume_changes, volumes
from breezeblock.resources.attachments import Change, NewAttachment
from breezeblock.store import tables

ONE, TWO = id_of(8), id_of(9)
HOST = {"host": "here"}
# More transactions than any of these operations has.
MOST = 12


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as one:
        one.create_volume()
        yield one


def reserve(made: Bench, id_: str = ONE, **asked: Any) -> Change:
    wanted = NewAttachment(id=AttachmentId(id_), volume_id=VolumeId(VOLUME), **asked)
    return made.base.run(attachments.begin_create, origin=origin(), wanted=wanted)


def update(made: Bench, id_: str = ONE, connector: dict[str, Any] = HOST) -> Change:
    return made.base.run(
        attachments.begin_update, origin=origin(), attachment_id=AttachmentId(id_), connector=connector
    )


def delete(made: Bench, id_: str = ONE) -> Change:
    return made.base.run(attachments.begin_delete, origin=origin(), attachment_id=AttachmentId(id_))


def complete(made: Bench, id_: str = ONE) -> None:
    made.base.run(attachments.complete, origin=origin(), attachment_id=AttachmentId(id_))


def row(made: Bench, id_: str = ONE) -> dict[str, Any]:
    return made.base.row(tables.attachments, id_)


def accesses(made: Bench) -> list[str]:
    return [name.resource_id for name in asyncio.run(made.driver.accesses())]


def check(made: Bench) -> None:
    """*Once* and *Termination*: access is given for each connected attachment, once, and for nothing else."""
    assert made.base.problems() == []
    assert made.base.rows(tables.operations) == []
    there = [one["id"] for one in made.base.rows(tables.attachments) if one["connection_json"] is not None]
    assert accesses(made) == sorted(there)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_node_that_dies_while_connecting_leaves_nothing_half_connected(made: Bench, after: bool) -> None:
    """Wherever it dies, the next one gives access once, under its own name."""
    for at in range(1, MOST):
        reserve(made, connector=HOST)
        died = made.die(at=at, after=after)
        made.work()
        assert (row(made)["status"], made.volume()["status"]) == ("attaching", "attaching")
        check(made)
        delete(made)
        made.work()
        check(made)
        if not died:
            return
    pytest.fail("it has more transactions than was thought")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_node_that_dies_while_disconnecting_leaves_no_access(made: Bench, after: bool) -> None:
    for at in range(1, MOST):
        reserve(made, connector=HOST)
        made.work()
        complete(made)
        delete(made)
        died = made.die(at=at, after=after)
        made.work()
        assert (made.base.rows(tables.attachments), accesses(made)) == ([], [])
        assert (made.volume()["status"], made.volume()["attach_status"]) == ("available", "detached")
        check(made)
        if not died:
            return
    pytest.fail("it has more transactions than was thought")


def test_a_disconnection_waits_for_the_connection_before_it(made: Bench) -> None:
    """Which is cancelled, if it has not begun."""
    reserve(made)
    update(made)
    change = delete(made)
    assert (row(made)["status"], change.going) == ("detaching", (ONE,))
    made.work()

    outcomes = {log["kind"]: log["outcome"] for log in made.base.rows(tables.operation_log)}
    assert (outcomes["connect_attachment"], outcomes["disconnect_attachments"]) == ("cancelled", "done")
    assert made.base.rows(tables.messages) == []
    check(made)


def test_a_repeat_joins_what_is_under_way(made: Bench) -> None:
    """A connection by the same connector, and a deletion."""
    reserve(made)
    first, second = update(made), update(made)
    assert first.operation_id == second.operation_id
    with pytest.raises(Conflict, match="another connector"):
        update(made, connector={"host": "there"})
    made.work()
    delete(made)
    again = delete(made)
    assert again.going == (ONE,)
    assert len(made.base.rows(tables.operations)) == 1
    made.work()
    with pytest.raises(NotFound):
        delete(made)


def test_who_waits_is_told_how_it_ended(made: Bench) -> None:
    reserve(made)
    operation_id = update(made).operation_id

    def look() -> Any:
        return made.base.run(connections.connected, attachment_id=ONE, operation_id=operation_id)

    assert look() is None
    made.work()
    assert look()["connection_json"] is not None
    delete(made)
    with pytest.raises(NotFound, match="was deleted"):
        look()
    assert made.base.run(connections.removed, ids=[ONE]) is None
    made.work()
    assert made.base.run(connections.removed, ids=[ONE]) is True


def test_a_connection_that_fails_leaves_the_volume_free_and_a_message(made: Bench) -> None:
    """Others may have it; the attachment can be tried again, or deleted."""
    reserve(made)
    path = made.path()
    path.rename(path.with_suffix(".away"))
    operation_id = update(made).operation_id
    made.work()

    assert (row(made)["status"], made.volume()["status"]) == ("error_attaching", "available")
    with pytest.raises(StorageFailed, match="not on backend"):
        made.base.run(connections.connected, attachment_id=ONE, operation_id=operation_id)
    assert [message["event_id"] for message in made.base.rows(tables.messages)] == ["attach_volume"]
    check(made)
    path.with_suffix(".away").rename(path)
    update(made)
    made.work()
    assert row(made)["status"] == "attaching"
    check(made)


def test_a_storage_that_will_not_let_go_is_insisted_on(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while; then the attachment says so, and is deleted by the next one who asks."""
    reserve(made, connector=HOST)
    made.work()
    tries = 0

    async def refuse(self: Any, access: ObjectName) -> None:
        nonlocal tries
        tries += 1
        raise BackendFailed("It is away.")

    monkeypatch.setattr("breezeblock.work.attachments.PATIENCE_S", 1.0)
    monkeypatch.setattr("breezeblock.work.attachments.PAUSE_FIRST_S", 0.01)
    with monkeypatch.context() as away:
        away.setattr("breezeblock.drivers.file.FileDriver.disconnect", refuse)
        delete(made)
        made.work()
    assert tries > 1
    assert (row(made)["status"], row(made)["fail_reason"]) == ("error_detaching", "It is away.")
    with pytest.raises(StorageFailed, match="away"):
        made.base.run(connections.removed, ids=[ONE])
    with pytest.raises(InvalidState, match="attachments"):
        made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False)
    delete(made)
    made.work()
    assert accesses(made) == []
    check(made)


@pytest.mark.parametrize("unknown", [False, True], ids=["no node", "no node that understands it"])
@pytest.mark.parametrize("before", ["connect", "disconnect"])
def test_what_no_node_can_run_ends_in_an_error(made: Bench, before: str, unknown: bool) -> None:
    """And converges when there is one."""
    reserve(made, connector=HOST)
    if before == "disconnect":
        made.work()
        delete(made)
    made.park(unknown=unknown)
    assert row(made)["status"] == "error_detaching"  # a node may have given access before, and nobody has looked
    assert (row(made)["operation_id"], "Nobody" in row(made)["fail_reason"]) == (None, True)
    assert made.base.rows(tables.messages)[-1]["resource_id"] == VOLUME
    assert made.base.problems() == []
    delete(made)
    made.work()
    assert (made.base.rows(tables.attachments), accesses(made)) == ([], [])
    check(made)


def test_a_disconnection_goes_on_behind_a_connection_that_nobody_understands(made: Bench) -> None:
    """It has taken the attachment over, and takes back whatever there is."""
    reserve(made, connector=HOST)
    change = delete(made)
    made.park(unknown=True)

    assert (row(made)["status"], row(made)["fail_reason"], change.going) == ("detaching", None, (ONE,))
    made.work()
    assert made.base.rows(tables.attachments) == []
    check(made)


def test_what_is_detached_while_it_is_backed_up_is_available_afterwards(made: Bench) -> None:
    """The summary is kept for the end of what is done meanwhile."""
    reserve(made, connector=HOST)
    made.work()
    complete(made)
    made.back_up(force=True)
    assert made.volume()["status"] == "backing-up"
    delete(made)
    made.work()

    assert (made.volume()["status"], made.volume()["attach_status"]) == ("available", "detached")
    check(made)


def test_a_volume_that_is_deleted_in_spite_of_a_reset_takes_its_attachments_along(made: Bench) -> None:
    """A deletion that has begun is not cancelled; who had reserved the volume meanwhile has nothing left to disconnect."""
    asked = origin(is_admin=True)
    made.base.run(volumes.begin_delete, origin=asked, volume_id=VolumeId(VOLUME), cascade=False)
    assert made.die(at=1, after=False)  # claimed once: it goes on to its end whatever is said
    made.base.run(
        volume_changes.reset_status,
        origin=origin(is_admin=True),
        volume_id=VolumeId(VOLUME),
        status="available",
        attach_status=None,
        migration_status=None,
    )
    made.base.change(tables.operations, asked.operation_id, cancel=True)
    reserve(made, connector=HOST)
    delete(made)
    made.work()

    assert made.base.problems() == []
    assert made.base.rows(tables.operations) == []
    assert made.base.rows(tables.volumes) == []
    assert (made.base.rows(tables.attachments), accesses(made)) == ([], [])


def test_bare_connections_are_one_for_each_host(made: Bench) -> None:
    """And go with it, or with the last attachment. Several hosts are for a volume that several may have."""
    made.base.change(tables.volumes, VOLUME, multiattach=True)

    def connect(id_: str, connector: dict[str, Any]) -> Change:
        ids = {"volume_id": VolumeId(VOLUME), "attachment_id": AttachmentId(id_)}
        return made.base.run(old_attachments.begin_connection, origin=origin(), connector=connector, **ids)

    first = connect(ONE, HOST)
    assert connect(TWO, HOST).operation_id == first.operation_id
    connect(TWO, {"host": "there"})
    made.work()
    assert accesses(made) == [ONE, TWO]
    assert made.volume()["status"] == "available"
    leave: dict[str, Any] = {"origin": origin(), "volume_id": VolumeId(VOLUME)}
    made.base.run(old_attachments.begin_disconnection, connector=HOST, **leave)
    made.work()
    assert accesses(made) == [TWO]
    made.base.run(old_attachments.begin_disconnection, connector=None, **(leave | {"origin": origin()}))
    made.work()
    check(made)


def test_several_attachments_go_with_one_operation(made: Bench) -> None:
    """Which may die in the middle of them."""
    made.base.change(tables.volumes, VOLUME, multiattach=True)
    for id_, host in ((ONE, "a"), (TWO, "b")):
        reserve(made, id_, connector={"host": host})
        made.work()
        complete(made, id_)
    made.base.run(
        volume_changes.reset_status,
        origin=origin(is_admin=True),
        volume_id=VolumeId(VOLUME),
        status="available",
        attach_status="detached",
        migration_status=None,
    )
    assert len(made.base.rows(tables.operations)) == 1
    assert made.base.problems() == []
    assert made.die(at=1, after=False)
    made.work()
    assert made.base.rows(tables.attachments) == []
    check(made)


# --- the older actions, and who else may be connected -----------------------------------------------------------------

THERE = {"host": "there"}
SERVER, OTHER = "server-1", "server-2"


def old(made: Bench, f: Any, **said: Any) -> Change:
    change: Change = made.base.run(f, origin=origin(), volume_id=VolumeId(VOLUME), **said)
    return change


def bare(made: Bench, id_: str, connector: dict[str, Any]) -> Change:
    return old(made, old_attachments.begin_connection, attachment_id=AttachmentId(id_), connector=connector)


def os_attach(made: Bench, id_: str, server: str) -> Change:
    said = {"instance_uuid": server, "host_name": None, "mountpoint": "/dev/vdb", "mode": "rw"}
    return old(made, old_attachments.attach, attachment_id=AttachmentId(id_), **said)


async def _refuse(self: Any, access: ObjectName) -> None:
    raise BackendFailed("It is away.")


def away(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node work while the storage takes no access back."""
    with monkeypatch.context() as patched:
        patched.setattr("breezeblock.work.attachments.PATIENCE_S", 0.0)
        patched.setattr("breezeblock.drivers.file.FileDriver.disconnect", _refuse)
        made.work()


def test_words_of_the_older_actions_outlast_what_connects_meanwhile(made: Bench) -> None:
    """Reserved is reserved until it is attached; being detached, until it is."""
    old(made, old_attachments.reserve)
    bare(made, ONE, HOST)
    made.work()
    assert (made.volume()["status"], made.volume()["attach_status"]) == ("attaching", "detached")
    with pytest.raises(InvalidState, match="must be available"):
        old(made, old_attachments.reserve)
    os_attach(made, TWO, SERVER)
    assert made.volume()["status"] == "in-use"

    old(made, old_attachments.begin_detaching)
    old(made, old_attachments.begin_disconnection, connector=HOST)
    assert made.volume()["status"] == "detaching"
    made.work()
    assert (made.volume()["status"], made.volume()["attach_status"]) == ("detaching", "attached")
    old(made, old_attachments.begin_detach, attachment_id=None)
    assert (made.volume()["status"], made.volume()["attach_status"]) == ("available", "detached")
    check(made)


def test_a_reserved_word_outlasts_the_end_of_what_could_not_be_connected(made: Bench) -> None:
    reserve(made)
    path = made.path()
    path.rename(path.with_suffix(".away"))
    update(made)
    made.work()
    path.with_suffix(".away").rename(path)
    old(made, old_attachments.reserve)
    delete(made)
    made.work()
    assert made.volume()["status"] == "attaching"
    old(made, old_attachments.unreserve)
    assert made.volume()["status"] == "available"


def test_two_connect_at_once_and_one_of_them_does(made: Bench) -> None:
    """Whatever the first one is at: not connected yet, connected anew, or on its way out."""
    for id_ in (ONE, TWO):
        made.base.change(tables.volumes, VOLUME, status="available")
        reserve(made, id_, instance_uuid=SERVER)
    update(made, ONE)
    with pytest.raises(Conflict, match=ONE):
        update(made, TWO, THERE)
    made.work()
    update(made, ONE, {"host": "elsewhere"})
    with pytest.raises(Conflict, match=ONE):
        update(made, TWO, THERE)
    made.work()
    delete(made, ONE)
    with pytest.raises(Conflict, match=ONE):
        update(made, TWO, THERE)
    made.work()
    update(made, TWO, THERE)
    made.work()
    assert accesses(made) == [TWO]
    check(made)


def test_what_could_not_be_disconnected_keeps_other_servers_away(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The volume is available, by its status; its own server may move, and a repeat of its connection is refused."""
    reserve(made, connector=HOST, instance_uuid=SERVER)
    made.work()
    delete(made)
    away(made, monkeypatch)
    assert (row(made)["status"], made.volume()["status"]) == ("error_detaching", "available")
    with pytest.raises(InvalidState, match="way out"):
        update(made)
    with pytest.raises(InvalidState, match=ONE):
        reserve(made, TWO, connector=THERE, instance_uuid=OTHER)
    with pytest.raises(InvalidState, match=ONE):
        os_attach(made, TWO, OTHER)
    with pytest.raises(InvalidState, match="here"):
        bare(made, TWO, THERE)
    delete(made)
    made.work()
    reserve(made, TWO, connector=THERE, instance_uuid=OTHER)
    made.work()
    check(made)


def test_a_bare_connection_keeps_other_hosts_away(made: Bench) -> None:
    """Its own host may have the attachment that it is for."""
    bare(made, ONE, HOST)
    made.work()
    with pytest.raises(InvalidState, match="host here"):
        reserve(made, TWO, connector=THERE, instance_uuid=OTHER)
    with pytest.raises(InvalidState, match="host here"):
        bare(made, TWO, THERE)
    reserve(made, TWO, instance_uuid=OTHER)
    with pytest.raises(Conflict, match="host here"):
        update(made, TWO, THERE)
    update(made, TWO, HOST)
    made.work()
    assert accesses(made) == [ONE, TWO]
    check(made)


def test_a_second_bare_host_comes_while_the_volume_is_in_use(made: Bench) -> None:
    """As its server moves there; a third one does not."""
    old(made, old_attachments.reserve)
    bare(made, ONE, HOST)
    made.work()
    os_attach(made, id_of(7), SERVER)
    bare(made, TWO, THERE)
    made.work()
    with pytest.raises(InvalidState, match="not multiattach"):
        bare(made, id_of(6), {"host": "elsewhere"})
    assert accesses(made) == [ONE, TWO]


def test_what_is_being_connected_is_not_attached_in_the_older_way(made: Bench) -> None:
    """`attaching` is not always a word that the caller has said."""
    reserve(made, connector=HOST, instance_uuid=SERVER)
    with pytest.raises(InvalidState, match=ONE):
        os_attach(made, TWO, OTHER)
    made.work()
    with pytest.raises(InvalidState, match=ONE):
        os_attach(made, TWO, OTHER)
    complete(made)
    assert [one["id"] for one in made.base.rows(tables.attachments)] == [ONE]


def os_attach_host(made: Bench, id_: str, host: str) -> Change:
    said = {"instance_uuid": None, "host_name": host, "mountpoint": "/dev/vdb", "mode": "rw"}
    return old(made, old_attachments.attach, attachment_id=AttachmentId(id_), **said)


def test_a_host_that_says_again_that_it_has_it_has_it_once(made: Bench) -> None:
    """In whatever spelling. With another domain, or without one, it is another host, as for Cinder."""
    made.base.change(tables.volumes, VOLUME, multiattach=True)
    os_attach_host(made, ONE, "node_1.example.org")
    os_attach_host(made, TWO, "Node-1.Example.org")
    os_attach_host(made, id_of(7), "node-1")
    hosts = {one["id"]: one["attached_host"] for one in made.base.rows(tables.attachments)}
    assert hosts == {ONE: "node-1.example.org", id_of(7): "node-1"}


def test_who_is_connected_by_its_full_name_may_attach_by_its_short_one(made: Bench) -> None:
    """Of a volume that only one host may have: the connector's name and that of `os-attach` come from different tools."""
    old(made, old_attachments.reserve)
    bare(made, ONE, {"host": "node-1.example.org"})
    made.work()
    with pytest.raises(InvalidState, match="not multiattach"):
        os_attach_host(made, TWO, "node-2")
    os_attach_host(made, TWO, "node-1")
    assert row(made, TWO)["status"] == "attached"


def test_a_host_that_wants_one_attachment_is_given_no_second_one(made: Bench) -> None:
    """Also of a volume that many may have; a server on it, and another host, are somebody else."""
    made.base.change(tables.volumes, VOLUME, multiattach=True)
    once = HOST | {"once_per_host": True}
    reserve(made, id_of(6), connector=HOST, instance_uuid=SERVER)
    made.work()
    complete(made, id_of(6))
    reserve(made, connector=once)
    refused = f"Host here has volume {VOLUME} already, by attachment {ONE} "
    with pytest.raises(InvalidState, match=refused):
        reserve(made, TWO, connector=once)
    made.work()
    complete(made)
    with pytest.raises(InvalidState, match=refused):
        reserve(made, TWO, connector=once)
    reserve(made, TWO, connector=THERE | {"once_per_host": True})
    made.work()
    assert [one["id"] for one in made.base.rows(tables.attachments)] == [id_of(6), ONE, TWO]
    check(made)


def test_a_reset_to_available_lets_no_other_server_in(made: Bench) -> None:
    reserve(made, connector=HOST, instance_uuid=SERVER)
    made.work()
    complete(made)
    said = {"status": "available", "attach_status": None, "migration_status": None}
    asked = origin(is_admin=True)
    made.base.run(volume_changes.reset_status, origin=asked, volume_id=VolumeId(VOLUME), **said)
    for id_, connector in ((TWO, None), (TWO, THERE)):
        with pytest.raises(InvalidState, match=ONE):
            reserve(made, id_, connector=connector, instance_uuid=OTHER)
    with pytest.raises(InvalidState, match=ONE):
        os_attach(made, TWO, OTHER)


def test_an_undo_that_fails_leaves_what_is_to_be_deleted(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a volume that anybody takes for unconnected."""
    reserve(made, connector=HOST)
    made.work()
    path = made.path()
    path.rename(path.with_suffix(".away"))
    operation_id = update(made, connector=THERE).operation_id
    away(made, monkeypatch)
    assert (row(made)["status"], accesses(made)) == ("error_detaching", [ONE])
    with pytest.raises(StorageFailed, match="not on backend"):
        made.base.run(connections.connected, attachment_id=ONE, operation_id=operation_id)
    with pytest.raises(InvalidState, match="attachments"):
        made.base.run(volumes.begin_delete, origin=origin(), volume_id=VolumeId(VOLUME), cascade=False)
    path.with_suffix(".away").rename(path)
    delete(made)
    made.work()
    assert (made.base.rows(tables.attachments), accesses(made)) == ([], [])
    check(made)


def test_a_foreign_file_among_the_accesses_is_passed_over(made: Bench) -> None:
    reserve(made, connector=HOST)
    made.work()
    for name in (".nfs0000", "README", f"{ONE}.x.1", f"{ONE}.1.-1"):
        (made.folder / "volumes" / "attached" / name).write_text("")
    update(made, connector=THERE)
    made.work()
    assert (row(made)["status"], accesses(made)) == ("attaching", [ONE])


def test_an_attachment_of_a_volume_that_was_given_away_is_nobodys_but_the_operators(made: Bench) -> None:
    reserve(made)
    made.base.change(tables.volumes, VOLUME, project_id="somebody-else")
    for ask in (update, complete, delete):
        with pytest.raises(NotFound):
            ask(made)
    with pytest.raises(NotFound):
        made.base.run(attachments.get, attachment_id=ONE, origin=origin())
    assert made.base.run(attachments.get, attachment_id=ONE, origin=origin(is_admin=True))["id"] == ONE
    made.base.change(tables.volumes, VOLUME, project_id="p1")  # whom it is charged to

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


@pytest.mark.parametrize("before", ["connect", "disconnect"])
def test_what_no_node_can_run_ends_in_an_error(made: Bench, before: str) -> None:
    """And converges when there is one."""
    reserve(made, connector=HOST)
    if before == "disconnect":
        made.work()
        delete(made)
    made.park()
    assert row(made)["status"] == ("error_attaching" if before == "connect" else "error_detaching")
    assert made.base.problems() == []
    delete(made)
    made.work()
    assert (made.base.rows(tables.attachments), accesses(made)) == ([], [])
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
    """And go with it, or with the last attachment."""

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

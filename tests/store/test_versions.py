"""Which version of its kind an operation is written in, while nodes of two releases serve its queue."""

import json
from typing import Any

import pytest
from sqlalchemy import Connection, event, update
from tests.store.given import KINDS, ME, OTHER, QUEUE, Base, available_volume, origin

from breezeblock.model.errors import NotYet
from breezeblock.model.ids import VolumeId
from breezeblock.protocol import queue
from breezeblock.protocol.queue import Job, Lock, node_queue
from breezeblock.protocol.versions import Kind
from breezeblock.resources import kinds, volume_changes
from breezeblock.store.tables import nodes, operation_locks, operations, volumes

COAT: dict[str, Any] = {"colour": "red", "coats": 1}


def as_first(payload: Any) -> Any | None:
    """The first version of the payload knew of one coat of paint."""
    return {"colour": payload["colour"]} if payload["coats"] == 1 else None


def as_second(payload: Any) -> Any | None:
    """The third one has a gloss, which the second has not; where it has none, it is the same."""
    return None if payload.get("gloss") else {name: payload[name] for name in ("colour", "coats")}


PAINT = Kind("paint", newest=2, older=(as_first,))
POLISH = Kind("paint", newest=3, older=(as_second, as_first))


def node(base: Base, incarnation: str, reads: int | None, **values: Any) -> None:
    """A node that reads that version of the kind, or does not know it."""
    known = {} if reads is None else {"paint": reads}
    base.node(incarnation, kinds_json=json.dumps(known), **values)


def asked(base: Base, payload: dict[str, Any] = COAT, *, kind: Kind = PAINT, at: str = QUEUE) -> tuple[str, int, Any]:
    """What was enqueued: its id, its version, its payload."""
    job = Job(kind.name, kind.newest, at, "volume", "v", payload, kind.older)
    id_ = base.enqueue(Lock("v", 1, exclusive=True), job=job)
    row = base.row(operations, id_)
    return id_, row["version"], json.loads(row["payload_json"])


def test_the_newest_is_written_when_all_read_it(base: Base) -> None:
    node(base, ME, 2)
    node(base, OTHER, 3)

    assert asked(base)[1:] == (2, COAT)


def test_the_version_is_written_that_all_read(base: Base) -> None:
    """So each of them can take it."""
    node(base, ME, 2)
    node(base, OTHER, 1)

    id_, version, payload = asked(base)

    assert (version, payload) == (1, {"colour": "red"})
    assert [base.claimable(kinds={"paint": reads}) for reads in (1, 2)] == [[id_], [id_]]


def test_versions_are_gone_back_one_by_one_and_no_further_than_needed(base: Base) -> None:
    node(base, ME, 3)
    node(base, OTHER, 2)

    assert asked(base, kind=POLISH)[1:] == (2, COAT)

    base.change(nodes, OTHER, kinds_json=json.dumps({"paint": 1}))
    base.run(lambda tx: tx.execute(operation_locks.delete()))
    assert asked(base, kind=POLISH)[1:] == (1, {"colour": "red"})


@pytest.mark.parametrize(
    ("payload", "behind"), [({"colour": "red", "coats": 2}, ["old"]), (COAT | {"gloss": True}, ["middle", "old"])]
)
def test_what_an_older_release_cannot_be_told_is_refused(
    base: Base, payload: dict[str, Any], behind: list[str]
) -> None:
    """With the names of the nodes that are behind, and nothing of the request is left."""
    for name, reads in (("new", 3), ("middle", 2), ("old", 1)):
        node(base, name, reads)

    with pytest.raises(NotYet) as refused:
        asked(base, payload, kind=POLISH)

    assert f"on node {', '.join(behind)}, too" in refused.value.message
    assert base.rows(operations) == base.rows(operation_locks) == []


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"queues_json": '["c@other"]'}, id="it serves another backend"),
        pytest.param({"cluster": "d"}, id="it is of another cluster"),
        pytest.param({"state": "draining"}, id="it takes nothing any more"),
        pytest.param({"state": "expired"}, id="it is lost"),
        pytest.param({"kinds_json": "{}", "queues_json": "[]"}, id="it has not announced anything yet"),
        pytest.param({"kinds_json": '{"copy": 1}'}, id="it knows nothing of the kind"),
    ],
)
def test_who_could_not_take_it_has_no_say(base: Base, values: dict[str, Any]) -> None:
    """Also where the older form could not say it."""
    node(base, ME, 2)
    node(base, OTHER, 1)
    base.change(nodes, OTHER, **values)

    assert asked(base, {"colour": "red", "coats": 2})[1] == 2


def test_where_nobody_is_live_the_oldest_is_written_that_says_it(base: Base) -> None:
    """The only node is being replaced: the same release may come back."""
    node(base, ME, 1, state="gone")

    assert asked(base)[1] == 1
    base.run(lambda tx: tx.execute(operation_locks.delete()))
    assert asked(base, {"colour": "red", "coats": 2})[1] == 2


def test_work_for_one_node_is_written_for_that_node(base: Base) -> None:
    """Whatever the others read, and whichever of two incarnations of it takes the work."""
    node(base, ME, 2, name="new")
    node(base, OTHER, 1, name="old")

    assert asked(base, at=node_queue("c", "new"))[1] == 2
    base.run(lambda tx: tx.execute(operation_locks.delete()))
    assert asked(base, at=node_queue("c", "old"))[1] == 1

    node(base, "node-3", 1, name="new")
    base.run(lambda tx: tx.execute(operation_locks.delete()))
    assert asked(base, at=node_queue("c", "new"))[1] == 1


def test_an_older_node_that_comes_afterwards_leaves_it_to_the_others(base: Base) -> None:
    node(base, ME, 2)
    id_, version, _ = asked(base)
    node(base, OTHER, 1)

    assert version == 2
    assert base.claimable(kinds={"paint": 1}) == []
    assert base.claimable(kinds={"paint": 2}) == [id_]


def test_a_request_that_is_refused_changes_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a real request: the volume stays as it was, and so does what its project is charged."""
    cannot = Kind("extend_volume", newest=2, older=(lambda payload: None,))
    monkeypatch.setitem(kinds.KINDS, "extend_volume", cannot)
    available_volume(base, kinds_json=json.dumps(KINDS | {"extend_volume": 2}))
    wanted: dict[str, Any] = {"volume_id": VolumeId("v1"), "size_gib_new": 9, "quota_defaults": {}}

    base.node(OTHER)
    with pytest.raises(NotYet, match=f"on node {OTHER}, too"):
        base.run(volume_changes.begin_extend, origin=origin(), **wanted)
    assert base.row(volumes, "v1")["status"] == "available"
    assert base.problems() == []

    base.run(lambda tx: tx.execute(update(nodes).where(nodes.c.incarnation == OTHER).values(state="gone")))
    base.run(volume_changes.begin_extend, origin=origin(operation_id="o2"), **wanted)
    assert base.row(volumes, "v1")["status"] == "extending"
    assert base.row(operations, "o2")["version"] == 2


def test_a_kind_that_never_changed_asks_nobody(base: Base) -> None:
    """It costs nothing before there is something to choose."""
    base.node()
    statements: list[str] = []

    def enqueue(tx: Connection) -> None:
        @event.listens_for(tx, "before_cursor_execute")
        def heard(*args: Any) -> None:
            statements.append(str(args[2]))

        job = kinds.job("extend_volume", QUEUE, "volume", "v", {})
        queue.enqueue(tx, job, origin=origin(), locks=(Lock("v", 1, exclusive=True),))

    base.run(enqueue)

    assert len(statements) == 2
    assert all(statement.startswith("INSERT") for statement in statements)

"""Work that is meant for one node: that node does it, whichever incarnation; and when it does not come, it ends as well."""

import asyncio
from collections.abc import Iterator
from typing import ClassVar, cast

import pytest
from tests.store.failing_over import Site
from tests.store.given import KINDS, NOW_US, QUEUE, create_volume, in_virtual_time, note, origin, virtual_env

from breezeblock.commands.node_check import await_result
from breezeblock.model.errors import NotFound
from breezeblock.model.ids import Incarnation, OperationId
from breezeblock.node.identity import Limits
from breezeblock.protocol import membership, queue, recovery
from breezeblock.resources import node_checks
from breezeblock.resources.node_checks import Result
from breezeblock.store import tables
from breezeblock.store.run import Store as RealStore
from breezeblock.testing.replicating import DEFAULT, SECONDARY, ReplicatingDriver

V1 = "11111111-0000-4000-8000-000000000001"


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.base.close()


def ask(site: Site, node: str) -> OperationId:
    asked = origin(is_admin=True)
    accepted = site.base.run(node_checks.begin_check, cluster="c", node=node, origin=asked)
    assert accepted.queue == f"c@@{node}"
    return asked.operation_id


def answer(site: Site, operation_id: OperationId) -> Result | None:
    return site.base.run(node_checks.result, operation_id=operation_id)


def test_the_node_that_is_asked_answers_and_no_other(site: Site) -> None:
    """However many others are idle."""
    found: list[Result | None] = []

    async def story() -> None:
        for name in ("node-1", "node-2", "node-3"):
            site.start(name)
        await site.until(lambda: bool(site.base.rows(tables.pools)))
        for name in ("node-2", "node-3", "node-2"):
            id_ = ask(site, name)
            await site.until(lambda id_=id_: answer(site, id_) is not None)  # type: ignore[misc]
            found.append(answer(site, id_))

    in_virtual_time(story())

    assert [one and (one.outcome, one.incarnation) for one in found] == [
        ("done", name) for name in ("node-2", "node-3", "node-2")
    ]
    assert found[0] is not None
    ((said),) = found[0].answers
    assert (said.queue, said.target, said.error, said.total_gib > 0) == (QUEUE, None, None, True)


def test_what_is_wrong_with_a_storage_is_an_answer(site: Site) -> None:
    """On the target that is in use; one that hangs is not waited for."""
    errors: list[str | None] = []

    async def look() -> None:
        id_ = ask(site, "node-1")
        await site.until(lambda: answer(site, id_) is not None, within_s=60)
        found = answer(site, id_)
        assert found is not None
        errors.extend(one.error for one in found.answers)

    async def story() -> None:
        site.start("node-1")
        await site.until(lambda: bool(site.base.rows(tables.pools)))
        site.array.hang(DEFAULT)
        await look()
        site.fail_over()
        await site.until(lambda: site.backend == ("failed-over", SECONDARY))
        await look()
        site.array.fail(SECONDARY)
        await look()

    in_virtual_time(story())

    assert errors[:2] == ["It gave no answer within 15 s.", None]
    assert errors[2]


def test_the_next_incarnation_of_a_lost_node_goes_on(site: Site) -> None:
    """What the lost one had begun is released when all of it is certainly dead, and not backend by backend."""
    first = site.base.node("first", name="node-1")
    site.base.run(membership.announce, incarnation=first, identities={QUEUE: {}}, kinds=KINDS, worker_pid=1)
    id_ = ask(site, "node-1")
    claimed = site.base.run(
        queue.claim, wanted=[queue.Wanted(id_, 0, "c@@node-1", 0)], incarnation=first, now_us=NOW_US
    )
    site.base.run(membership.expire, incarnation=first, heartbeat=1, fencer=None, note=note())
    before = site.base.run(recovery.release_dead)
    site.base.run(membership.record_fenced, incarnation=first, method="same_machine", note=note())
    after = site.base.run(recovery.release_dead)

    async def story() -> None:
        site.start("node-1")
        await site.until(lambda: answer(site, id_) is not None)

    in_virtual_time(story())

    assert ([one.queue for one in claimed], before, after) == (["c@@node-1"], [], ["c@@node-1"])
    found = answer(site, id_)
    assert found is not None
    assert (found.outcome, found.incarnation) == ("done", Incarnation("node-1"))


def test_what_waits_for_a_node_that_does_not_come_ends_as_well(site: Site) -> None:
    """The others end it, and say why; as long as the node is there, however busy, they do not."""

    async def story() -> None:
        site.base.node("lost", name="node-9", state="gone")
        site.start("node-1", ttl_s=6.0, limits=Limits(park_after_s=60.0))
        await site.until(lambda: bool(site.base.rows(tables.pools)))
        id_ = ask(site, "node-9")
        await site.until(lambda: answer(site, id_) is not None, within_s=600)
        found = answer(site, id_)
        assert found is not None
        assert (found.outcome, found.detail) == ("parked", "No running node serves 'c@@node-9'.")
        there = site.base.node("busy", name="node-8")
        keeps = asyncio.ensure_future(site.base.keep(there, every_s=1.0))
        waiting = ask(site, "node-8")
        await asyncio.sleep(600.0)
        keeps.cancel()
        assert answer(site, waiting) is None

    in_virtual_time(story())


def test_who_waits_no_longer_withdraws_the_question(site: Site) -> None:
    """The node ends it without asking its storage."""

    async def story() -> None:
        site.base.node("lost", name="node-1", state="gone")
        id_ = ask(site, "node-1")
        assert site.base.run(node_checks.withdraw, operation_id=id_)
        site.start("node-1")
        await site.until(lambda: answer(site, id_) is not None)
        found = answer(site, id_)
        assert found is not None
        assert (found.outcome, found.answers) == ("cancelled", ())
        assert not site.base.run(node_checks.withdraw, operation_id=id_)

    in_virtual_time(story())


def test_a_node_that_was_never_there_is_not_asked(site: Site) -> None:
    """Nor one of another cluster."""
    site.base.node("other", name="node-1", cluster="d")

    with pytest.raises(NotFound, match="no node node-1 in cluster c"):
        ask(site, "node-1")
    assert site.base.rows(tables.operations) == []


def test_a_full_backend_does_not_keep_a_node_from_answering(site: Site) -> None:
    """It has places of its own for that."""

    async def story() -> None:
        site.start("node-1", slots=1)
        await site.until(lambda: bool(site.base.rows(tables.pools)))
        site.array.hang(DEFAULT)
        create_volume(site.base, V1)
        await site.until(lambda: bool(site.base.rows(tables.operations)[0]["owner"]))
        id_ = ask(site, "node-1")
        await site.until(lambda: answer(site, id_) is not None, within_s=60)

    in_virtual_time(story())
    assert [row["kind"] for row in site.base.rows(tables.operations)] == ["create_volume"]


def test_a_storage_that_hangs_is_asked_once_at_a_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call to it holds a thread, which the work on other storages needs."""
    calls: list[str] = []
    real = ReplicatingDriver.check

    async def noted(self: ReplicatingDriver, *, known: bool) -> None:
        calls.append("begins")
        await real(self, known=known)

    async def answered(times: int) -> None:
        for _ in range(times):
            id_ = ask(site, "node-1")
            await site.until(lambda id_=id_: answer(site, id_) is not None, within_s=60)  # type: ignore[misc]

    async def story() -> None:
        site.start("node-1")
        await site.until(lambda: bool(site.base.rows(tables.pools)))
        monkeypatch.setattr(ReplicatingDriver, "check", noted)
        site.array.hang(DEFAULT)
        await answered(times=3)
        assert calls == ["begins"]
        site.array.repair(DEFAULT)
        await asyncio.sleep(1.0)
        await answered(times=1)
        assert calls == ["begins"] * 2

    in_virtual_time(story())


def test_an_answer_that_comes_with_the_end_of_patience_is_read() -> None:
    """It cannot be withdrawn any more: it is there."""
    came = Result(outcome="done", incarnation="i", detail="[]")

    class Store:
        reads: ClassVar[list[Result | None]] = [None, came]

        async def read(self, f: object, **asked: object) -> Result | None:
            return self.reads.pop(0)

        async def run(self, f: object, **asked: object) -> bool:
            return False

    waited = await_result(cast("RealStore", Store()), virtual_env(1), OperationId("o"), wait_s=0.0)
    assert in_virtual_time(waited) is came

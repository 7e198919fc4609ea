"""Locks in the database: one line over all nodes, and nothing that stays behind whoever dies when."""

import asyncio
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection
from tests.drivers.locking import Diary, Node, Page, nothing_is_left, places, until
from tests.store.given import ME, NOW_US, OTHER, QUEUE, Base, in_virtual_time, note, virtual_env

from breezeblock.env.contract import Env
from breezeblock.model.errors import Ambiguous, Fenced, Unavailable
from breezeblock.node.gate import Gate
from breezeblock.node.locks import OperationContext
from breezeblock.protocol import driver_locks, membership, queue, recovery
from breezeblock.protocol.queue import Claim
from breezeblock.store.run import Store
from breezeblock.store.tables import driver_lock_lines, nodes, operations
from breezeblock.testing.loop import PROCESS, Process

# A crash is tried at each of so many moments, each later than the one before; the last ones come after the end.
MOMENTS = 60
# What one journey to the database takes, each way.
WAY_S = 0.1


@pytest.fixture
def base() -> Iterator[Base]:
    base = Base()
    base.node(ME)
    base.node(OTHER)
    yield base
    base.close()


@pytest.fixture
def env() -> Env:
    return virtual_env()


class Far:
    """A lane on which each journey takes a while, so that there is a moment at which to die on each."""

    def __init__(self, base: Base, env: Env) -> None:
        self._base = base
        self._env = env

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        await self._env.clock.sleep(WAY_S)
        result = await self._base.write(body)
        await self._env.clock.sleep(WAY_S)
        return result

    read = write


class Lossy:
    """A lane that loses every second answer of a commit, and is out of reach before some."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._calls = 0

    async def write(self, body: Callable[[Connection], Any]) -> Any:
        self._calls += 1
        if self._calls % 3 == 1:
            raise Unavailable("cut off")
        result = await self._base.write(body)
        if self._calls % 3 == 2:
            raise Ambiguous("the answer was lost")
        return result

    async def read(self, body: Callable[[Connection], Any]) -> Any:
        return await self._base.read(body)


def in_a_process(work: Any) -> Process:
    """Start it in a simulated process of its own, which can be killed at any await."""
    process = Process("worker")
    context = copy_context()
    context.run(PROCESS.set, process)
    context.run(asyncio.ensure_future, work)
    return process


# --- order ------------------------------------------------------------------------------------------------------------


def test_a_lock_excludes_over_all_nodes_and_leaves_nothing(base: Base, env: Env) -> None:
    """Two nodes, one name."""
    here, there, diary = Node(base, env), Node(base, env, OTHER), Diary(env)

    async def main() -> None:
        await asyncio.gather(
            diary.visit(here.context("v").ctx, "a", "x"), diary.visit(there.context("w").ctx, "b", "x")
        )

    in_virtual_time(main())

    assert (len(diary.lines), diary.most_inside) == (4, 1)
    assert nothing_is_left(base)


def test_first_come_first_served(base: Base, env: Env) -> None:
    """Whatever node they are on, and however long those before them take."""
    workers, diary = [Node(base, env), Node(base, env, OTHER)], Diary(env)

    async def main() -> None:
        visits = []
        for number in range(6):
            ctx = workers[number % 2].context(f"v{number}").ctx
            visits.append(asyncio.ensure_future(diary.visit(ctx, str(number), "x", for_s=5.0)))
            await env.clock.sleep(0.3)
        await asyncio.gather(*visits)

    in_virtual_time(main())

    assert [line for line in diary.lines if line.startswith("+")] == [f"+{number}" for number in range(6)]


def test_those_who_share_are_in_together_and_pass_nobody(base: Base, env: Env) -> None:
    """A reader that comes after a waiting writer waits behind it, so a stream of readers keeps nobody out."""
    node, diary = Node(base, env), Diary(env)

    async def main() -> None:
        visits = []
        for who, shared in (("r1", True), ("r2", True), ("w", False), ("r3", True)):
            visits.append(asyncio.ensure_future(diary.visit(node.context(who).ctx, who, "x", shared=shared, for_s=4.0)))
            await env.clock.sleep(0.3)
        await asyncio.gather(*visits)

    in_virtual_time(main())

    assert diary.lines == ["+r1", "+r2", "-r1", "-r2", "+w", "-w", "+r3", "-r3"]


@pytest.mark.parametrize("seed", range(20))
def test_several_names_are_taken_without_a_deadlock(base: Base, seed: int) -> None:
    """Each wants two of three, named in any order, all at the same time, on two nodes."""
    env = virtual_env(seed)
    workers, diary = [Node(base, env), Node(base, env, OTHER)], Diary(env)
    wanted = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b"), ("a", "c"), ("c", "a")]

    async def main() -> None:
        contexts = [workers[number % 2].context(f"v{number}").ctx for number in range(6)]
        visits = [diary.visit(contexts[n], str(n), *names) for n, names in enumerate(wanted)]
        await asyncio.wait_for(asyncio.gather(*visits), 120)

    in_virtual_time(main())

    assert (len(diary.lines), diary.most_inside) == (12, 1)
    assert nothing_is_left(base)


def test_other_names_and_other_scopes_do_not_wait(base: Base, env: Env) -> None:
    """Names that differ in case, in accents or by a blank at their end are different on every database."""
    node, diary = Node(base, env), Diary(env)
    names = ["x", "X", "x ", "", "\0", "é", "e\u0301", "😀", "\ud800", "n" * 5000]

    async def main() -> None:
        here = [diary.visit(node.context(f"v{n}").ctx, str(n), name, for_s=9.0) for n, name in enumerate(names)]
        elsewhere = node.context("other", space=node.scope("c@other")).ctx
        await asyncio.gather(*here, diary.visit(elsewhere, "other", "x", for_s=9.0))

    in_virtual_time(main())

    assert diary.most_inside == len(names) + 1
    assert nothing_is_left(base)


def test_the_same_name_twice_in_one_call_is_one(base: Base, env: Env) -> None:
    """It does not wait for itself."""
    node, diary = Node(base, env), Diary(env)

    in_virtual_time(asyncio.wait_for(diary.visit(node.context("v").ctx, "a", "x", "x"), 30))

    assert diary.lines == ["+a", "-a"]


def test_a_lock_within_a_lock_is_refused(base: Base, env: Env) -> None:
    """It could wait for ever; the outer one is let go as usual."""
    node, diary = Node(base, env), Diary(env)
    ctx = node.context("v").ctx

    async def main() -> None:
        async with diary.hold(ctx, "outer", "x"):
            await diary.visit(ctx, "inner", "y")

    with pytest.raises(AssertionError, match="all names in one call"):
        in_virtual_time(main())
    assert nothing_is_left(base)


def test_who_leaves_rings_for_those_who_wait(base: Base, env: Env) -> None:
    """In the queues of the operations that wait, and for nobody when nobody does."""
    here, there, diary = Node(base, env), Node(base, env, OTHER), Diary(env)

    async def main() -> None:
        await asyncio.gather(
            diary.visit(here.context("v").ctx, "a", "x", for_s=3.0), diary.visit(there.context("w").ctx, "b", "x")
        )

    in_virtual_time(main())

    assert sorted([here.bell.rung, there.bell.rung]) == [[], [QUEUE]]


def test_a_ring_is_heard_at_once(base: Base, env: Env) -> None:
    """Without it the next look may be a second away."""
    node, diary = Node(base, env), Diary(env)
    waited: list[float] = []

    async def main() -> None:
        first = asyncio.ensure_future(diary.visit(node.context("v").ctx, "a", "x", for_s=30.0))
        await env.clock.sleep(1)
        second = asyncio.ensure_future(diary.visit(node.context("w").ctx, "b", "x", for_s=0.0))
        await first
        left = env.clock.boottime()
        await second
        waited.append(env.clock.boottime() - left)

    in_virtual_time(main())

    assert waited == [pytest.approx(0.0, abs=0.001)]


# --- who loses it -----------------------------------------------------------------------------------------------------


def test_who_is_cancelled_while_waiting_leaves_the_line(base: Base, env: Env) -> None:
    """Those behind move up."""
    node, diary = Node(base, env), Diary(env)

    async def main() -> None:
        first = asyncio.ensure_future(diary.visit(node.context("a").ctx, "a", "x", for_s=10.0))
        await env.clock.sleep(0.5)
        second = asyncio.ensure_future(diary.visit(node.context("b").ctx, "b", "x"))
        await env.clock.sleep(0.5)
        third = asyncio.ensure_future(diary.visit(node.context("c").ctx, "c", "x"))
        await env.clock.sleep(0.5)
        assert len(places(base)) == 3
        second.cancel()
        await env.clock.sleep(0.5)
        assert len(places(base)) == 2
        await asyncio.gather(first, third)

    in_virtual_time(main())

    assert diary.lines == ["+a", "-a", "+c", "-c"]
    assert nothing_is_left(base)


def test_who_has_lost_its_claim_gets_no_place(base: Base, env: Env) -> None:
    """Its node is expired: nothing may be written for it that nobody would remove."""
    node = Node(base, env)
    running = node.context("v")
    base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())

    async def main() -> None:
        async with running.ctx.lock("x"):
            raise AssertionError("got it")

    with pytest.raises(Fenced):
        in_virtual_time(main())
    assert nothing_is_left(base)


@pytest.mark.parametrize("lost_by", ["expiry", "failover"])
def test_no_place_is_written_for_a_claim_that_is_over(base: Base, env: Env, lost_by: str) -> None:
    """The transaction itself refuses: after the release nobody would look for what came later."""
    claim = Node(base, env).claim("v")
    if lost_by == "expiry":
        base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
        base.change(operations, claim.operation_id, epoch=claim.epoch)
    else:
        base.run(recovery.revoke_queue, queue=QUEUE)

    with pytest.raises(Fenced):
        base.run(
            driver_locks.take_places, claim, call_id="1", lines=[driver_locks.line_of("c@b", None, "x")], exclusive=True
        )

    assert nothing_is_left(base)


def test_who_loses_its_claim_while_waiting_leaves(base: Base, env: Env) -> None:
    """A failover revokes; the node lives, and removes its place itself."""
    node, diary = Node(base, env), Diary(env)
    lost: list[bool] = []

    async def main() -> None:
        first = asyncio.ensure_future(diary.visit(node.context("a").ctx, "a", "x", for_s=20.0))
        await env.clock.sleep(0.5)
        waiting = node.context("b")
        second = asyncio.ensure_future(diary.visit(waiting.ctx, "b", "x"))
        await env.clock.sleep(0.5)
        base.change(operations, waiting.claim.operation_id, epoch=waiting.claim.epoch + 1)
        lost.append(isinstance((await asyncio.gather(second, return_exceptions=True))[0], Fenced))
        assert [place for _, place, _ in places(base)] == [1]
        await first

    in_virtual_time(main())

    assert (lost, diary.lines) == ([True], ["+a", "-a"])


def test_the_lock_of_a_revoked_operation_stays_until_it_has_stopped(base: Base, env: Env) -> None:
    """Its node lives, and a call of it may be under way: whoever comes next waits for its end."""
    node, diary = Node(base, env), Diary(env)

    async def main() -> None:
        holding = node.context("a")
        first = asyncio.ensure_future(diary.visit(holding.ctx, "a", "x", for_s=20.0))
        await env.clock.sleep(0.5)
        base.change(operations, holding.claim.operation_id, epoch=holding.claim.epoch + 1)
        holding.guard.revoke()
        await node.locks.sweep()
        second = asyncio.ensure_future(diary.visit(node.context("b").ctx, "b", "x"))
        await asyncio.gather(first, second)

    in_virtual_time(main())

    assert diary.lines == ["+a", "-a", "+b", "-b"]
    assert nothing_is_left(base)


def test_no_effect_passes_without_the_lease_however_long_the_wait_was(base: Base, env: Env) -> None:
    """Revoked while it waited: the lock is granted, the guard is not."""
    node, diary = Node(base, env), Diary(env)

    async def main() -> None:
        first = asyncio.ensure_future(diary.visit(node.context("a").ctx, "a", "x", for_s=5.0))
        await env.clock.sleep(0.5)
        waiting = node.context("b")
        second = asyncio.ensure_future(diary.visit(waiting.ctx, "b", "x"))
        await env.clock.sleep(0.5)
        waiting.guard.revoke()
        with pytest.raises(Fenced):
            await second
        await first

    in_virtual_time(main())

    assert diary.lines == ["+a", "-a"]
    assert nothing_is_left(base)


# --- deaths -----------------------------------------------------------------------------------------------------------


def bury(base: Base, node: Any = ME) -> list[str]:
    """What is between a death and the release of everything: expired, fenced, released."""
    base.run(membership.expire, incarnation=node, heartbeat=1, fencer=OTHER, note=note())
    before = places(base)
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)
    assert places(base) == before, "nothing is released before the fence"
    base.run(membership.record_fenced, incarnation=node, method="same_machine", note=note())
    return base.run(membership.housekeeping, cluster="c", now_us=NOW_US)


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_time_takes_no_lock_from_anybody(base: Base, env: Env) -> None:
    """A holder that was expired and is not fenced may still be inside: those behind wait, however long."""
    dead, node, diary = Node(base, env), Node(base, env, OTHER), Diary(env)

    async def main() -> None:
        holder = in_a_process(diary.visit(dead.context("a").ctx, "a", "x", for_s=1e9))
        await env.clock.sleep(1)
        holder.kill()
        waiting = asyncio.ensure_future(diary.visit(node.context("b").ctx, "b", "x"))
        base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
        await env.clock.sleep(2_000)
        base.run(membership.housekeeping, cluster="c", now_us=NOW_US)
        assert diary.lines == ["+a"]
        base.run(membership.record_fenced, incarnation=ME, method="same_machine", note=note())
        assert base.run(membership.needs_housekeeping, cluster="c")
        assert base.run(membership.housekeeping, cluster="c", now_us=NOW_US) == [QUEUE]
        await asyncio.wait_for(waiting, 30)
        assert diary.lines == ["+a", "+b", "-b"]
        assert nothing_is_left(base)

    in_virtual_time(main())


def test_a_fence_of_one_backend_releases_the_locks_of_its_operations_only(base: Base, env: Env) -> None:
    """The node may still write to its other backends."""
    node = Node(base, env)
    fast, slow = node.context("a"), node.context("b")
    base.change(operations, slow.claim.operation_id, queue="c@slow")
    elsewhere = Claim(**{name: getattr(slow.claim, name) for name in Claim.__slots__} | {"queue": "c@slow"})
    base.run(membership.announce, incarnation=ME, identities={QUEUE: {}, "c@slow": {}}, kinds={}, worker_pid=1)
    for call_id, claim in (("1", fast.claim), ("2", elsewhere)):
        lines = [driver_locks.line_of("c@b", None, call_id)]
        base.run(driver_locks.take_places, claim, call_id=call_id, lines=lines, exclusive=True)

    base.run(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=note())
    base.run(membership.record_backend_fenced, incarnation=ME, queue=QUEUE, method="storage", note=note())
    noticed = base.run(membership.needs_housekeeping, cluster="c")
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert noticed
    assert base.run(driver_locks.of_node, incarnation=ME) == {"2"}
    assert not base.run(membership.needs_housekeeping, cluster="c")


def test_the_operation_and_its_locks_are_released_together(base: Base, env: Env) -> None:
    """Whoever takes the operation over finds no lock of its own earlier claim in its way."""
    node = Node(base, env)
    running = node.context("a")
    lines = [driver_locks.line_of("c@b", None, "x"), driver_locks.line_of("c@b", None, "y")]
    base.run(driver_locks.take_places, running.claim, call_id="1", lines=lines, exclusive=True)

    released = bury(base)

    assert released == [QUEUE]
    assert base.row(operations, running.claim.operation_id)["owner"] is None
    assert nothing_is_left(base)


def test_locks_of_a_node_that_nobody_knows_go(base: Base, env: Env) -> None:
    """Its row was removed by hand."""
    running = Node(base, env).context("a")
    lines = [driver_locks.line_of("c@b", None, "x")]
    base.run(driver_locks.take_places, running.claim, call_id="1", lines=lines, exclusive=True)
    with base.tx() as tx:
        tx.execute(nodes.delete().where(nodes.c.incarnation == ME))

    noticed = base.run(membership.needs_housekeeping, cluster="c")
    base.run(membership.housekeeping, cluster="c", now_us=NOW_US)

    assert noticed
    assert nothing_is_left(base)


# What is left of the dead process's coroutines is collected in the middle of what they did.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_crash_at_any_moment_leaves_nothing_for_ever(base: Base, env: Env, moment: int) -> None:
    """Before and after each commit, while it waits and while it holds; two names, with others before and behind it."""
    dies = Node(base, env, store=Store(Far(base, env), env))
    lives, diary = Node(base, env, OTHER), Diary(env)

    async def main() -> None:
        before = asyncio.ensure_future(diary.visit(lives.context("a").ctx, "a", "y", for_s=2.0))
        await env.clock.sleep(0.1)
        process = in_a_process(diary.visit(dies.context("b").ctx, "b", "x", "y", for_s=1.0))
        await env.clock.sleep(moment * WAY_S + WAY_S / 2)
        process.kill()
        behind = asyncio.ensure_future(diary.visit(lives.context("c").ctx, "c", "y", "x"))
        await before
        await env.clock.sleep(10)
        bury(base)
        lives.locks.wake()
        await asyncio.wait_for(behind, 30)
        assert diary.lines[-2:] == ["+c", "-c"]
        assert nothing_is_left(base)

    in_virtual_time(main())


def test_the_moments_of_those_crashes_reach_from_before_the_first_commit_to_after_the_last(
    base: Base, env: Env
) -> None:
    """So that the test above cannot become one that kills nobody in the middle."""
    node, other, diary = Node(base, env, store=Store(Far(base, env), env)), Node(base, env, OTHER), Diary(env)
    took: list[float] = []

    async def main() -> None:
        before = asyncio.ensure_future(diary.visit(other.context("a").ctx, "a", "y", for_s=2.0))
        await env.clock.sleep(0.1)
        begun = env.clock.boottime()
        await diary.visit(node.context("b").ctx, "b", "x", "y", for_s=1.0)
        took.append(env.clock.boottime() - begun)
        await before

    in_virtual_time(main())

    assert 20 * WAY_S < took[0] < (MOMENTS - 1) * WAY_S


# --- the database -----------------------------------------------------------------------------------------------------


def test_lost_answers_and_outages_pause_and_double_nothing(base: Base, env: Env) -> None:
    """Each commit's answer is lost in turn, and each is out of reach in turn."""
    node, diary = Node(base, env, store=Store(Lossy(base), env)), Diary(env)

    async def main() -> None:
        await asyncio.gather(*(diary.visit(node.context(f"v{n}").ctx, str(n), "x", "y") for n in range(5)))

    in_virtual_time(main())

    assert (len(diary.lines), diary.most_inside) == (10, 1)
    assert nothing_is_left(base)


def test_what_a_call_that_is_over_has_left_is_swept(base: Base, env: Env) -> None:
    """Its task was cancelled twice, and the commit came after that; who still waits or holds keeps its own."""
    node, diary = Node(base, env), Diary(env)
    lines = [driver_locks.line_of("c@b", None, "x")]

    async def main() -> None:
        base.run(driver_locks.take_places, node.claim("a"), call_id="gone", lines=lines, exclusive=True)
        waiting = asyncio.ensure_future(diary.visit(node.context("b").ctx, "b", "x", for_s=1.0))
        await env.clock.sleep(50)
        assert (diary.lines, len(places(base))) == ([], 2)
        await node.scope("c@another").sweep()
        await until(env, lambda: diary.lines == ["+b"])
        await node.locks.sweep()
        assert len(places(base)) == 1
        await waiting

    in_virtual_time(main())

    assert nothing_is_left(base)


def test_another_nodes_calls_are_not_swept(base: Base, env: Env) -> None:
    """Each knows its own only."""
    here, there = Node(base, env), Node(base, env, OTHER)
    lines = [driver_locks.line_of("c@b", None, "x")]
    base.run(driver_locks.take_places, there.claim("a"), call_id="theirs", lines=lines, exclusive=True)

    in_virtual_time(here.locks.sweep())

    assert places(base) == [(OTHER, 1, True)]


def test_who_hangs_in_an_array_that_was_left_keeps_nobody_waiting_on_the_next(base: Base, env: Env) -> None:
    """A failover revokes what runs; the same operation is claimed again, on the other target, and takes the same lock."""
    node, there = Node(base, env), Node(base, env, OTHER)
    left = node.context("a")
    hangs = asyncio.Event()

    async def hang() -> None:
        async with left.ctx.lock("exports"):
            hangs.set()
            await asyncio.Event().wait()

    async def main() -> None:
        hanging = asyncio.ensure_future(hang())
        await hangs.wait()
        again = replace(left.claim, owner=OTHER, epoch=left.claim.epoch + 1, target="second")
        base.change(operations, left.claim.operation_id, owner=OTHER, epoch=again.epoch)
        left.guard.revoke()
        guard = Gate(env.clock, Page()).guard({})
        async with asyncio.timeout(60), OperationContext(guard, again, there.locks).lock("exports"):
            assert len(places(base)) == 2
        hanging.cancel()

    in_virtual_time(main())


def test_a_lock_is_no_progress(base: Base, env: Env) -> None:
    """An operation that brings its node down each time behind its lock has to be parked some day."""
    node = Node(base, env)
    running = node.context("a")

    async def main() -> None:
        async with running.ctx.lock("x"):
            pass

    in_virtual_time(main())

    row = base.row(operations, running.claim.operation_id)
    assert row["saved_epoch"] < row["claim_epoch"]


def test_numbers_go_on_while_anybody_stands_in_line(base: Base, env: Env) -> None:
    """A place that was given out never comes again before a lower one has gone."""
    node = Node(base, env)
    line = driver_locks.line_of("c@b", None, "x")
    for call_id in ("1", "2", "3"):
        claim = node.claim(call_id)
        base.run(driver_locks.take_places, claim, call_id=call_id, lines=[line], exclusive=True)
        if call_id == "2":
            base.run(driver_locks.give_up, call_id="2")

    assert [row["last_place"] for row in base.rows(driver_lock_lines)] == [4]
    assert [place for _, place, _ in places(base)] == [1, 4]
    assert base.run(queue.owned, incarnation=ME) != []

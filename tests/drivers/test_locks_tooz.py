"""Locks that a service keeps, with real services: files, Redis and etcd."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.drivers.locking import Diary, Running, running_nowhere, until
from tests.servers.etcd import Etcd
from tests.servers.needed import needed
from tests.servers.ports import free_port
from tests.servers.redis import Redis
from tests.servers.server import Server, running
from tests.store.given import in_real_time

from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.errors import BackendFailed, Fenced
from breezeblock.node import locks_tooz
from breezeblock.node.locks_tooz import ToozLocks

# After so long a service forgets a silent holder. In whole seconds, and one is little for the heartbeats of a busy machine.
TIMEOUT_S = 2
PATIENCE_S = 60.0


class Kept(NamedTuple):
    """A service, where it can be turned off."""

    url: str
    server: Server | None


@pytest.fixture(scope="module")
def redis() -> Iterator[Kept]:
    with needed(running("re", Redis)) as server:
        yield Kept(f"{server.url}?lock_timeout={TIMEOUT_S}&socket_timeout=1", server)


@pytest.fixture(scope="module")
def etcd() -> Iterator[Kept]:
    with needed(running("et", Etcd)) as server:
        times = f"timeout=2&membership_timeout={TIMEOUT_S}&lock_timeout={TIMEOUT_S}"
        yield Kept(f"etcd3+{server.url}?api_version=v3&{times}", server)


@pytest.fixture(params=["file", "redis", "etcd"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "file":
        return Kept(f"file://{tmp_path / 'locks'}", None)
    found: Kept = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["redis", "etcd"])
def remote(request: pytest.FixtureRequest) -> Kept:
    found: Kept = request.getfixturevalue(request.param)
    return found


class Worker:
    """One process's locks. Two of them in one process know nothing of each other."""

    def __init__(self, env: Env, url: str, *, scope: str = "c@b", name: str = "n") -> None:
        self.env = env
        self.locks = ToozLocks(env, url=url, backend="b", scope=scope, member=name)

    def operation(self) -> Running:
        return running_nowhere(self.env, self.locks)


def server_of(kept: Kept) -> Server:
    assert kept.server is not None
    return kept.server


# --- any service ------------------------------------------------------------------------------------------------------


def test_workers_exclude_each_other(kept: Kept) -> None:
    """Each of six operations of three processes is alone."""
    env = real_env()
    diary = Diary(env)

    async def main() -> None:
        workers = [Worker(env, kept.url, name=str(n)) for n in range(3)]
        visits = [diary.visit(workers[n % 3].operation().ctx, str(n), "x", for_s=0.05) for n in range(6)]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*visits)

    in_real_time(main())

    assert (len(diary.lines), diary.most_inside) == (12, 1)


def test_within_a_process_it_is_first_come_first_served(kept: Kept) -> None:
    """And shared is exclusive: not every service knows better."""
    env = real_env()
    diary = Diary(env)

    async def main() -> None:
        worker = Worker(env, kept.url)
        visits = []
        for n in range(4):
            visit = diary.visit(worker.operation().ctx, str(n), "x", shared=True, for_s=0.2)
            visits.append(asyncio.ensure_future(visit))
            await env.clock.sleep(0.02)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*visits)

    in_real_time(main())

    assert diary.lines == ["+0", "-0", "+1", "-1", "+2", "-2", "+3", "-3"]


def test_several_names_in_any_order_end(kept: Kept) -> None:
    """Taken one after another, in one order."""
    env = real_env()
    diary = Diary(env)
    wanted = [("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")]

    async def main() -> None:
        workers = [Worker(env, kept.url, name=str(n)) for n in range(2)]
        visits = [
            diary.visit(workers[n % 2].operation().ctx, str(n), *names, for_s=0.02) for n, names in enumerate(wanted)
        ]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*visits)

    in_real_time(main())

    assert (len(diary.lines), diary.most_inside) == (8, 1)


def test_scopes_keep_apart_and_names_may_be_anything(kept: Kept) -> None:
    """All of these are held at the same time."""
    env = real_env()
    diary = Diary(env)
    names = ["x", "X", "x ", "", "\0", "../../etc", "é", "\ud800", "n" * 5000]

    async def main() -> None:
        worker, elsewhere = Worker(env, kept.url), Worker(env, kept.url, scope="c@other")

        async def stay(at: Worker, who: str, name: str) -> None:
            async with diary.hold(at.operation().ctx, who, name):
                await until(env, lambda: diary.most_inside == len(names) + 1)

        here = [stay(worker, str(n), name) for n, name in enumerate(names)]
        await asyncio.gather(*here, stay(elsewhere, "other", "x"))

    in_real_time(main())

    assert diary.most_inside == len(names) + 1


def test_a_lock_is_held_for_longer_than_its_timeout(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """By heartbeats; and after it was let go nobody waits for any timeout."""
    monkeypatch.setattr(locks_tooz, "LOOK_EVERY_S", TIMEOUT_S / 3)
    env = real_env()
    diary = Diary(env)
    waited: list[float] = []

    async def main() -> None:
        one, two = Worker(env, kept.url, name="one"), Worker(env, kept.url, name="two")
        first = asyncio.ensure_future(diary.visit(one.operation().ctx, "a", "x", for_s=TIMEOUT_S * 1.75))
        await until(env, lambda: diary.lines)
        second = asyncio.ensure_future(diary.visit(two.operation().ctx, "b", "x", for_s=0.0))
        await first
        left = env.clock.boottime()
        await asyncio.wait_for(second, PATIENCE_S)
        waited.append(env.clock.boottime() - left)

    in_real_time(main())

    assert diary.lines == ["+a", "-a", "+b", "-b"]
    assert waited[0] < locks_tooz.PAUSE_MOST_S + 1.0


def test_who_is_cancelled_lets_go(kept: Kept) -> None:
    """While it waits, and while it holds; the next one waits for no timeout."""
    env = real_env()
    diary = Diary(env)

    async def main() -> None:
        one, two = Worker(env, kept.url, name="one"), Worker(env, kept.url, name="two")
        inside = asyncio.ensure_future(diary.visit(one.operation().ctx, "a", "x", for_s=3600.0))
        await until(env, lambda: diary.lines)
        waits = [asyncio.ensure_future(diary.visit(two.operation().ctx, "b", "y", "x")) for _ in range(3)]
        for number, waiting in enumerate(waits):
            await env.clock.sleep(0.05 * number)
            waiting.cancel()
        await asyncio.wait(waits)
        inside.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await diary.visit(two.operation().ctx, "c", "x", "y", for_s=0.0)

    in_real_time(main())

    assert diary.lines == ["+a", "-a", "+c", "-c"]


# --- services that fail -----------------------------------------------------------------------------------------------


def test_a_service_that_dies_while_a_lock_is_held_shuts_the_guard(remote: Kept) -> None:
    """No effect passes any more, and the claim is given up; when the service is back, a new claim gets the lock."""
    env = real_env()
    seen: list[bool] = []

    async def main() -> None:
        worker = Worker(env, remote.url)
        running = worker.operation()
        with pytest.raises(Fenced):
            async with running.ctx.lock("dies"):
                seen.append(may(running))
                server_of(remote).kill()
                await until(env, lambda: not may(running))
                with pytest.raises(Fenced):
                    await running.ctx.wait_open()
        with pytest.raises(Fenced):
            running.guard.require_current()
        server_of(remote).start()
        async with asyncio.timeout(PATIENCE_S):
            again = worker.operation()
            async with again.ctx.lock("dies"):
                seen.append(may(again))

    in_real_time(main())

    assert seen == [True, True]


def may(running: Running) -> bool:
    with running.ctx.enter() as allowed:
        return allowed


def test_what_fails_after_the_lock_was_lost_is_no_failed_operation(redis: Kept) -> None:
    """The storage's no says nothing then, as after a lost lease."""
    env = real_env()

    async def main() -> None:
        running = Worker(env, redis.url).operation()
        with pytest.raises(Fenced):
            async with running.ctx.lock("fails"):
                server_of(redis).kill()
                await until(env, lambda: not may(running))
                server_of(redis).start()
                raise BackendFailed("The array says no.")

    in_real_time(main())


def test_a_failure_under_a_lock_that_holds_is_one(redis: Kept) -> None:
    """It passes as it is."""

    async def main() -> None:
        running = Worker(real_env(), redis.url).operation()
        async with running.ctx.lock("fails"):
            raise BackendFailed("The array says no.")

    with pytest.raises(BackendFailed, match="The array says no"):
        in_real_time(main())


def test_a_service_that_forgets_shuts_the_guard(redis: Kept) -> None:
    """It was restarted between two heartbeats, without its memory: somebody else can have the lock."""
    env = real_env()

    async def main() -> None:
        running = Worker(env, redis.url).operation()
        with pytest.raises(Fenced):
            async with running.ctx.lock("forgotten"):
                server_of(redis).kill()
                server_of(redis).start()
                await until(env, lambda: not may(running), for_s=TIMEOUT_S)

    in_real_time(main())


def test_a_lock_that_was_not_ours_to_the_end_is_reported_at_the_end(redis: Kept) -> None:
    """Forgotten so late that no heartbeat has noticed."""
    env = real_env()

    async def main() -> None:
        running = Worker(env, redis.url).operation()
        async with running.ctx.lock("late"):
            server_of(redis).kill()
            server_of(redis).start()

    with pytest.raises(Fenced):
        in_real_time(main())


def test_nobody_is_inside_while_it_counts_on_a_lock_that_has_lapsed(remote: Kept) -> None:
    """The service stands still for longer than its timeout. The old holder stops by its own clock, before anybody enters."""
    env = real_env()
    both: list[bool] = []

    async def main() -> None:
        one, two = Worker(env, remote.url, name="one"), Worker(env, remote.url, name="two")
        first = one.operation()
        entered = asyncio.Event()

        async def hold_on() -> None:
            with pytest.raises(Fenced):
                async with first.ctx.lock("lapses"):
                    entered.set()
                    await until(env, lambda: not may(first))

        async def come_next() -> None:
            second = two.operation()
            async with second.ctx.lock("lapses"):
                both.append(may(first) and may(second))

        holding = asyncio.ensure_future(hold_on())
        await entered.wait()
        server_of(remote).pause()
        await env.clock.sleep(TIMEOUT_S * 1.5)
        both.append(may(first))
        server_of(remote).resume()
        async with asyncio.timeout(PATIENCE_S):
            await come_next()
            await holding

    in_real_time(main())

    assert both == [False, False]


def test_who_wants_a_lock_waits_for_a_service_that_comes_back(remote: Kept) -> None:
    """As for a database."""
    env = real_env()
    diary = Diary(env)

    async def main() -> None:
        server_of(remote).kill()
        waiting = asyncio.ensure_future(diary.visit(Worker(env, remote.url).operation().ctx, "a", "x", for_s=0.0))
        await env.clock.sleep(1.5)
        assert not waiting.done()
        server_of(remote).start()
        await asyncio.wait_for(waiting, PATIENCE_S)

    in_real_time(main())

    assert diary.lines == ["+a", "-a"]


def test_a_service_that_stays_away_fails_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sentence for the operator: nobody promises that it comes back."""
    monkeypatch.setattr(locks_tooz, "PATIENCE_S", 0.5)
    url = f"etcd3+http://127.0.0.1:{free_port()}?api_version=v3&timeout=1"

    async def main() -> None:
        async with Worker(real_env(), url).operation().ctx.lock("x"):
            raise AssertionError("got it")

    with pytest.raises(BackendFailed, match=r"^The service that keeps the locks of backend b cannot be reached\.$"):
        in_real_time(main())

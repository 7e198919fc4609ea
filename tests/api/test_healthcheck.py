"""Whether a process lives, and whether requests should be sent to it."""

import asyncio
from typing import Any

import pytest
from tests.api.world import Api
from tests.store.given import in_virtual_time

from breezeblock.api.health import KEPT_S, LEAVING, LOOK_S, NO_DATABASE, NO_TABLES, OLD_TABLES, SLOW_DATABASE, Health
from breezeblock.model.errors import Unavailable
from breezeblock.store import schema
from breezeblock.testing.virtual import VirtualClock


class Database:
    """Answers with a revision, fails, or takes its time; counts how often it is asked."""

    def __init__(self, answer: str | Exception | None, *, takes_s: float = 0.0) -> None:
        self.answer = answer
        self.takes_s = takes_s
        self.asked = 0

    async def read(self, what: Any) -> str | None:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def reasons(database: Database, *, is_leaving: bool = False) -> tuple[str, ...]:
    async def look() -> tuple[str, ...]:
        health = Health(database, VirtualClock())
        health.is_leaving = is_leaving
        return await health.reasons()

    return in_virtual_time(look())


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (schema.HEAD, ()),
        ("9999", ()),  # a later release has upgraded it: what runs goes on
        ("0001", (OLD_TABLES,)),
        (None, (NO_TABLES,)),
        (Unavailable("mysql://u:secret@10.0.0.1: refused"), (NO_DATABASE,)),
    ],
)
def test_a_process_is_ready_when_its_database_is(answer: str | Exception | None, found: tuple[str, ...]) -> None:
    assert reasons(Database(answer)) == found


def test_a_process_that_is_stopping_is_not_ready() -> None:
    assert reasons(Database(schema.HEAD), is_leaving=True) == (LEAVING,)
    assert reasons(Database(None), is_leaving=True) == (LEAVING, NO_TABLES)


def test_however_many_ask_the_database_is_asked_once_a_second() -> None:
    async def look() -> tuple[int, int]:
        database, clock = Database(schema.HEAD, takes_s=0.01), VirtualClock()
        health = Health(database, clock)
        await asyncio.gather(*(health.reasons() for _ in range(50)))
        first = database.asked
        await clock.sleep(KEPT_S)
        await asyncio.gather(*(health.reasons() for _ in range(50)))
        return first, database.asked

    assert in_virtual_time(look()) == (1, 2)


def test_a_database_that_hangs_is_told_in_time_and_asked_by_one() -> None:
    """Ten balancers that ask every second must not fill all threads with waiting."""

    async def look() -> tuple[list[tuple[str, ...]], int]:
        database = Database(schema.HEAD, takes_s=10.0)
        health = Health(database, VirtualClock())
        found = [await health.reasons() for _ in range(3)]
        await asyncio.sleep(10.0 - 3 * LOOK_S)
        return [*found, await health.reasons()], database.asked

    assert in_virtual_time(look()) == ([(SLOW_DATABASE,)] * 3 + [()], 1)


def test_what_was_found_long_ago_is_not_told() -> None:
    """A look took too long, nobody waited for its end, and the database has gone since."""

    async def look() -> list[tuple[str, ...]]:
        database = Database(schema.HEAD, takes_s=5.0)
        health = Health(database, VirtualClock())
        found = [await health.reasons()]
        await asyncio.sleep(3600)
        database.answer, database.takes_s = Unavailable("gone"), 0.1
        return [*found, await health.reasons()]

    assert in_virtual_time(look()) == [(SLOW_DATABASE,), (NO_DATABASE,)]


def with_revision(api: Api, revision: str) -> Api:
    """The test's database was never upgraded, so it has no revision of its own."""
    health = Health(Database(revision), api.services.env.clock)
    object.__setattr__(api.services, "health", health)
    return api


@pytest.mark.parametrize("path", ["/healthcheck", "/healthcheck/live", "/healthcheck/ready"])
def test_a_healthy_process_says_ok_to_anybody(api: Api, path: str) -> None:
    answer = with_revision(api, schema.HEAD)("GET", path, token=None)

    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_who_asks_for_json_gets_it(api: Api) -> None:
    answer = with_revision(api, schema.HEAD)(
        "GET", "/healthcheck/ready", token=None, headers={"Accept": "application/json"}
    )

    assert (answer.status_code, answer.json()) == (200, {"detailed": False, "reasons": ["OK"]})


def test_a_database_of_an_earlier_release_makes_a_process_unready_but_not_dead(api: Api) -> None:
    with_revision(api, "0001")

    answer = api("GET", "/healthcheck/ready", token=None)
    assert (answer.status_code, answer.text) == (503, OLD_TABLES)
    assert int(answer.headers["Retry-After"]) > 0
    told = api("GET", "/healthcheck/ready", token=None, headers={"Accept": "application/json"})
    assert (told.status_code, told.json()["reasons"]) == (503, [OLD_TABLES])
    assert api("GET", "/healthcheck", token=None).status_code == 200

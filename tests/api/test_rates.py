"""How fast a project may ask, and what it is told when it asks faster."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.api.world import Api
from tests.store.given import in_virtual_time

from breezeblock.api.rates import BUCKETS_MOST, Rates
from breezeblock.options_limits import Limits
from breezeblock.testing.virtual import VirtualClock

READS = Limits(reads_per_s=4, reads_burst=6)


def test_a_burst_is_taken_and_then_as_many_as_the_rate_says() -> None:
    async def asks() -> tuple[int, int, int]:
        clock = VirtualClock()
        rates = Rates(READS, clock, processes=1)
        at_once = sum(rates.take("p1", "GET") is None for _ in range(20))
        await clock.sleep(1)
        second = sum(rates.take("p1", "HEAD") is None for _ in range(20))
        await clock.sleep(3600)
        return at_once, second, sum(rates.take("p1", "GET") is None for _ in range(20))

    assert in_virtual_time(asks()) == (6, 4, 6)


def test_projects_and_kinds_of_requests_have_buckets_of_their_own() -> None:
    """Nobody waits because somebody else asks too fast, and who has read too much may still delete."""

    async def asks() -> list[bool]:
        rates = Rates(Limits(reads_per_s=1, writes_per_s=1), VirtualClock(), processes=1)
        asked = [("p1", "GET"), ("p1", "GET"), ("p2", "GET"), ("p1", "POST"), ("p1", "DELETE")]
        return [rates.take(project, method) is None for project, method in asked]

    assert in_virtual_time(asks()) == [True, False, True, True, False]


def test_who_is_refused_is_told_when_to_come_again_and_pays_nothing_for_asking() -> None:
    async def asks() -> tuple[Any, Any, Any]:
        clock = VirtualClock()
        rates = Rates(Limits(writes_per_s=1), clock, processes=4)
        first = rates.take("p1", "PUT")
        refused = [rates.take("p1", "PUT") for _ in range(5)]
        assert refused[0] is not None
        await clock.sleep(refused[0][1])
        return first, {one and one[1] for one in refused}, rates.take("p1", "PUT")

    # Four processes give a quarter each: one request in four seconds.
    assert in_virtual_time(asks()) == (None, {4}, None)


def test_all_processes_together_give_no_more_than_the_rate() -> None:
    async def asks() -> int:
        clock = VirtualClock()
        processes = [Rates(Limits(reads_per_s=30), clock, processes=3) for _ in range(3)]
        await clock.sleep(5)
        given = 0
        for _ in range(100):
            given += sum(one.take("p", "GET") is None for one in processes for _ in range(5))
            await clock.sleep(0.1)
        return given

    assert in_virtual_time(asks()) <= 30 * 10 + 30


def test_no_number_of_projects_takes_more_memory() -> None:
    async def asks() -> int:
        rates = Rates(READS, VirtualClock(), processes=1)
        for number in range(BUCKETS_MOST + 500):
            rates.take(f"p{number}", "GET")
        return len(rates._buckets)

    assert in_virtual_time(asks()) == BUCKETS_MOST


# --- through the API --------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_api(tmp_path: Path) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    environ = {
        "BREEZEBLOCK_API__WORKERS": "1",
        "BREEZEBLOCK_LIMITS__WRITES_PER_S": "1",
        "BREEZEBLOCK_LIMITS__WRITES_BURST": "2",
        "BREEZEBLOCK_LIMITS__READS_PER_S": "100",
    }
    api = Api(tmp_path, loop, environ=environ)
    yield api
    api.close()
    loop.close()


def test_who_asks_too_fast_is_refused_in_the_api_s_form(slow_api: Api) -> None:
    answers = [slow_api("POST", "/v3/p1/volumes", {"volume": {"size": 1}}) for _ in range(3)]

    assert [one.status_code for one in answers] == [202, 202, 429]
    assert answers[2].headers["Retry-After"] == "1"
    fault = answers[2].json()["overLimit"]
    assert fault["code"] == 429
    assert "p1" in fault["message"] and "1 requests a second that change something" in fault["message"]


def test_another_project_and_what_is_no_project_s_are_not_slowed(slow_api: Api) -> None:
    for _ in range(4):
        slow_api("DELETE", "/v3/p1/volumes/none")

    assert slow_api("DELETE", "/v3/p2/volumes/none", token="user:p2").status_code == 404
    assert slow_api("GET", "/v3/p1/volumes").status_code == 200
    assert slow_api("GET", "/healthcheck", token=None).status_code == 200


def test_the_limits_show_where_the_project_stands(slow_api: Api) -> None:
    slow_api("POST", "/v3/p1/volumes", {"volume": {"size": 1}})

    (rate,) = slow_api("GET", "/v3/p1/limits").json()["limits"]["rate"]
    assert (rate["uri"], rate["regex"]) == ("*", ".*")
    shown = {one["verb"]: (one["value"], one["remaining"], one["unit"]) for one in rate["limit"]}
    assert shown["POST"] == shown["PUT"] == shown["DELETE"] == (1, 1, "SECOND")
    assert shown["GET"] == (100, 99, "SECOND")
    assert all(one["next-available"].count("T") == 1 for one in rate["limit"])


def test_without_a_limit_none_is_shown(api: Api) -> None:
    assert api("GET", "/v3/p1/limits").json()["limits"]["rate"] == []


def test_a_refusal_is_json(slow_api: Api) -> None:
    for _ in range(3):
        answer = slow_api("PUT", "/v3/p1/volumes/none", {"volume": {}})

    assert json.loads(answer.content).keys() == {"overLimit"}

"""How fast a project may ask, and what it is told when it asks faster."""

import asyncio
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs
from tests.api.world import Api
from tests.store.given import in_virtual_time

from breezeblock.api.auth import Asking, Caller
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


def test_an_address_has_a_bucket_for_everything() -> None:
    """However it is written; one of IPv6 is that of its network, since who has one there has all of them."""

    async def asks() -> list[bool]:
        rates = Rates(Limits(address_per_s=1, address_burst=2), VirtualClock(), processes=1)
        asked = [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2001:db8::1",
            "2001:db8::2",
            "2001:db8::3",
            "2001:db8:0:1::1",
        ]
        return [rates.take_of_address(address) is None for address in asked]

    assert in_virtual_time(asks()) == [True, True, False, True, True, False, True]


def test_no_number_of_addresses_takes_more_memory() -> None:
    async def asks() -> int:
        rates = Rates(Limits(address_per_s=5), VirtualClock(), processes=1)
        for number in range(BUCKETS_MOST + 500):
            rates.take_of_address(str(ipaddress.IPv4Address(number)))
        return len(rates._addresses)

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
    value, remaining, unit = shown["GET"]
    assert (value, unit) == (100, "SECOND")
    assert remaining in (99, 100)  # one comes back within 10 ms
    assert all(one["next-available"].count("T") == 1 for one in rate["limit"])


def test_without_a_limit_none_is_shown(api: Api) -> None:
    assert api("GET", "/v3/p1/limits").json()["limits"]["rate"] == []


def test_a_refusal_is_json(slow_api: Api) -> None:
    for _ in range(3):
        answer = slow_api("PUT", "/v3/p1/volumes/none", {"volume": {}})

    assert json.loads(answer.content).keys() == {"overLimit"}


# --- before anybody is known ------------------------------------------------------------------------------------------


async def nobody_asks(asking: Asking) -> Caller:
    """What an identity service costs."""
    raise AssertionError(f"{asking.address} was asked who it is")


@pytest.fixture
def crowded_api(tmp_path: Path) -> Iterator[Api]:
    """One request in half a minute of each address, behind a proxy; nobody may be asked who he is."""
    loop = asyncio.new_event_loop()
    environ = {
        "BREEZEBLOCK_API__WORKERS": "30",
        "BREEZEBLOCK_API__TRUSTED_PROXIES": '["127.0.0.1"]',
        "BREEZEBLOCK_LIMITS__ADDRESS_PER_S": "1",
    }
    api = Api(tmp_path, loop, environ=environ, authenticate=nobody_asks)
    yield api
    api.close()
    loop.close()


def come(api: Api, address: str, *, path: str = "/v3/p1/volumes", method: str = "GET") -> httpx.Response:
    return api(method, path, headers={"X-Forwarded-For": address}, body={} if method == "POST" else None)


def test_an_address_that_asks_too_fast_is_refused_before_anybody_asks_who_it_is(crowded_api: Api) -> None:
    """And another one is not; nobody else's requests are in its way."""
    first = come(crowded_api, "192.0.2.1", path="/nowhere")
    refused = [come(crowded_api, "192.0.2.1"), come(crowded_api, "192.0.2.1", method="POST")]

    assert first.status_code == 404
    assert [one.status_code for one in refused] == [429, 429]
    assert refused[0].headers["Retry-After"] == "30"
    message = refused[0].json()["overLimit"]["message"]
    assert "192.0.2.1" in message and "1 a second" in message
    assert come(crowded_api, "192.0.2.2", path="/").status_code == 300
    text = come(crowded_api, "192.0.2.3", path="/metrics").text
    assert 'request_duration_seconds_count{method="GET",route="/v3/volumes",status="429"} 1.0' in text


def test_what_an_address_asks_too_fast_is_not_written_down(crowded_api: Api) -> None:
    """Or somebody without a name could fill the disk, by the very limit that is to hold him."""
    with capture_logs() as lines:
        come(crowded_api, "192.0.2.1", method="PUT")
        come(crowded_api, "192.0.2.1", method="POST")
        come(crowded_api, "192.0.2.1", method="POST", path="/healthcheck")

    assert [line["method"] for line in lines if line["event"] == "request.answered"] == ["PUT"]


def test_who_looks_after_our_health_may_always(crowded_api: Api) -> None:
    answers = [come(crowded_api, "192.0.2.1", path="/healthcheck").status_code for _ in range(5)]

    assert answers == [200] * 5
    assert come(crowded_api, "192.0.2.1", path="/").status_code == 300

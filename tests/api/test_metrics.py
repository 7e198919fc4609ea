"""GET /metrics: what a scraper reads, by the library's own parser."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.api.builders import POOL
from tests.api.world import Api, Bell
from tests.databases import statements
from tests.store.given import in_virtual_time

from breezeblock import settings
from breezeblock.api import metrics
from breezeblock.api.app import build_app
from breezeblock.api.call import Services
from breezeblock.api.scrapes import KEPT_S, Scrapes
from breezeblock.env.byte_counts import ByteCounts
from breezeblock.env.real import real_env
from breezeblock.model.errors import Unavailable
from breezeblock.resources.measures import RECENT_US
from breezeblock.store import tables
from breezeblock.store.dialects import open_engine
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.run import Store
from breezeblock.testing.virtual import VirtualClock

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
QUEUE = POOL["queue"]


def scraped(api: Api, *, token: str | None = None) -> Samples:
    api.forget_scrapes()
    answer = api("GET", "/metrics", token=token)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((f"breezeblock_{name}", tuple(sorted(labels.items()))))


def now_us(api: Api) -> int:
    return api.now_us()


def operation(api: Api, number: int, **values: Any) -> dict[str, Any]:
    row = {
        "id": f"o{number}", "kind": "create_volume", "version": 1, "queue": QUEUE, "resource_type": "volume",
        "resource_id": "v", "project_id": "p", "user_id": "u", "request_id": "r", "payload_json": "{}",
        "created_at_us": now_us(api) - 60_000_000, "owner": None, "attempt": 0,
    }  # fmt: skip
    return row | values


def node(name: str, **values: Any) -> dict[str, Any]:
    row = {
        "incarnation": f"{name}-1", "name": name, "cluster": "breezeblock", "boot_id": "b", "state": "expired",
        "queues_json": json.dumps([QUEUE, "c@other"]), "version": "1", "lock_path": "l", "lock_id": "l",
        "keeper_pid": 1, "started_at_us": 1, "renewed_at_us": 1, "fence_tries": 0, "fence_error": None,
    }  # fmt: skip
    return row | values


def test_requests_are_counted_by_template_and_status(api: Api) -> None:
    """Not by URL: each volume would make a series of its own."""
    volume = api.given_volume()
    api("GET", f"/v3/p1/volumes/{volume}")
    api("GET", f"/v3/volumes/{volume}")
    api("GET", "/v3/p1/volumes/nothing")
    api("GET", "/no/such/place")
    api("PUT", f"/v3/p1/volumes/{volume}/action")

    found = scraped(api)

    name, route = "http_request_duration_seconds", "/v3/volumes/{volume_id}"
    assert of(found, f"{name}_count", method="GET", route=route, status="200") == 2
    assert of(found, f"{name}_count", method="GET", route=route, status="404") == 1
    assert of(found, f"{name}_bucket", method="GET", route=route, status="200", le="+Inf") == 2
    assert 0 < (of(found, f"{name}_sum", method="GET", route=route, status="200") or 0) < 5
    assert of(found, f"{name}_count", method="any", route="unknown", status="404") == 1
    assert of(found, f"{name}_count", method="any", route="unknown", status="405") == 1


def test_a_mistake_of_ours_is_counted_as_500(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what an alert looks for."""
    broken = "breezeblock.resources.measures.measure"
    monkeypatch.setattr(broken, lambda tx: 1 / 0)
    api("GET", "/metrics")
    monkeypatch.undo()

    found = scraped(api)

    assert of(found, "http_request_duration_seconds_count", method="GET", route="/metrics", status="500") == 1


def test_operations_are_counted_by_what_they_do(api: Api) -> None:
    """Those that wait, how long the oldest does, those that run, those that outlived a node."""
    api.insert(
        tables.operations,
        operation(api, 1),
        operation(api, 2, created_at_us=now_us(api) - 5_000_000),
        operation(api, 3, owner="n-1", attempt=2, created_at_us=1),
    )

    found = scraped(api)

    assert of(found, "operations", kind="create_volume", queue=QUEUE, state="waiting") == 2
    assert of(found, "operations", kind="create_volume", queue=QUEUE, state="running") == 1
    assert 60 <= (of(found, "queue_oldest_waiting_seconds", queue=QUEUE) or 0) < 90
    assert of(found, "operations_retried", kind="create_volume") == 1


def test_what_ended_lately_is_counted_by_outcome(api: Api) -> None:
    """And what ended long ago is not."""
    row = {
        "kind": "delete_volume", "queue": QUEUE, "resource_type": "volume", "resource_id": "v", "project_id": "p",
        "request_id": "r", "attempt": 0, "epoch": 1, "locks_json": "[]", "created_at_us": 1,
    }  # fmt: skip
    ended = (("done", 0), ("done", 1_000_000), ("parked", 0), ("done", RECENT_US + 5_000_000))
    rows = [
        {**row, "operation_id": f"o{number}", "outcome": outcome, "finished_at_us": now_us(api) - ago_us}
        for number, (outcome, ago_us) in enumerate(ended)
    ]
    api.insert(tables.operation_log, *rows)

    found = scraped(api)

    assert of(found, "operations_finished_recently", kind="delete_volume", outcome="done") == 2
    assert of(found, "operations_finished_recently", kind="delete_volume", outcome="parked") == 1


def test_an_expired_node_is_seen_until_it_is_fenced_everywhere(api: Api) -> None:
    """Backend by backend: what it may still write to, how often a fence failed, how one was done."""
    quiet = scraped(api)
    api.insert(tables.nodes, node("lost", fence_tries=3, fence_error="no answer"))
    both = scraped(api)
    api.insert(tables.node_backends, {"incarnation": "lost-1", "queue": QUEUE, "fenced_by": "storage"})
    api.insert(tables.node_backends, {"incarnation": "lost-1", "queue": "c@once", "fenced_by": None})
    other = scraped(api)

    assert of(other, "fences_pending", queue="c@once") == 1  # it used that one before, whatever it served at last
    assert (of(quiet, "nodes", state="expired"), of(both, "nodes", state="expired")) == (0, 1)
    assert [of(found, "fences_pending", queue=QUEUE) for found in (quiet, both, other)] == [0, 1, 0]
    assert of(other, "fences_pending", queue="c@other") == 1
    assert (of(quiet, "fences_failing"), of(both, "fences_failing")) == (0, 1)
    assert of(both, "fence_tries", node="lost") == 3
    assert of(other, "fenced", queue=QUEUE, method="storage") == 1


def test_leases_of_live_nodes_show_their_age(api: Api) -> None:
    """The oldest one, where two starts of a node are both alive; not of those that are dead."""
    api.insert(tables.nodes, node("a", state="up", renewed_at_us=now_us(api) - 3_000_000))
    api.insert(tables.nodes, node("a", incarnation="a-2", state="up", renewed_at_us=now_us(api)))
    api.insert(tables.nodes, node("b", state="fenced"))

    found = scraped(api)

    assert 3 <= (of(found, "lease_age_seconds", node="a") or 0) < 30
    assert of(found, "lease_age_seconds", node="b") is None


def test_events_of_nodes_are_counted(api: Api) -> None:
    """The last five minutes of them."""
    row = {"cluster": "c", "node": "n", "incarnation": "n-1", "event": "fenced", "detail": ""}
    api.insert(tables.node_events, {**row, "id": "1", "at_us": now_us(api)}, {**row, "id": "2", "at_us": 1})

    assert of(scraped(api), "node_events_recently", event="fenced") == 1


def test_events_of_the_last_hour_are_counted_by_node(api: Api) -> None:
    """Some happen seldom, and are no less true for it."""
    row = {"cluster": "c", "incarnation": "n-1", "detail": "", "event": "fenced"}
    ago_s = {"1": 0, "2": 600, "3": 3000, "4": 3700}
    for id_, ago in ago_s.items():
        api.insert(tables.node_events, {**row, "id": id_, "node": "n", "at_us": now_us(api) - ago * 1_000_000})
    api.insert(tables.node_events, {**row, "id": "5", "node": "m", "at_us": now_us(api), "event": "expired"})

    found = scraped(api)

    assert of(found, "node_events_last_hour", node="n", event="fenced") == 3
    assert of(found, "node_events_last_hour", node="m", event="expired") == 1
    assert of(found, "node_events_recently", event="fenced") == 1


def test_a_clock_that_is_ahead_is_seen_by_what_a_renewal_says(api: Api) -> None:
    """By the latest start of a node. The age of a lease is never below nothing."""
    api.insert(tables.nodes, node("a", state="up", started_at_us=1, renewed_at_us=now_us(api) - 50_000_000))
    latest = node("a", incarnation="a-2", state="up", started_at_us=2, renewed_at_us=now_us(api) + 90_000_000)
    api.insert(tables.nodes, latest, node("b", state="up", renewed_at_us=now_us(api) + 90_000_000))

    found = scraped(api)

    assert 60 < (of(found, "clock_ahead_seconds", node="a") or 0) <= 90
    assert (of(found, "lease_age_seconds", node="b"), (of(found, "lease_age_seconds", node="a") or 0) > 49) == (0, True)


def test_pools_show_their_capacity(api: Api) -> None:
    """As last reported."""
    found = scraped(api)

    for what in ("total", "free", "allocated"):
        assert of(found, "pool_gibibytes", pool=POOL["name"], what=what) == POOL.get(f"{what}_gib", 0)
    assert of(found, "pool_enabled", pool=POOL["name"]) == 1


def test_it_needs_no_project_and_no_administrator(api: Api) -> None:
    """As the health check: nothing of any project is in it."""
    assert of(scraped(api, token="user:p1"), "database_up") == 1


def without_a_database(folder: Path, rings: dict[str, int] | None = None) -> httpx.Response:
    """What an API answers that finds none. `rings`: the files in which processes count."""

    async def ask() -> httpx.Response:
        env = real_env()
        lane = SqliteLane(open_engine(f"sqlite:///{folder}/no/folder/x.db", now_us=env.clock.now_us), str(folder / "x"))
        chosen = settings.load(None, {"BREEZEBLOCK_SERVICE__DATA_DIR": str(folder)}).settings
        services = Services(store=Store(lane, env), env=env, doorbell=Bell(), settings=chosen, rings=rings or {})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=build_app(services))) as client:
            answer = await client.get("http://here/metrics")
        lane.close()
        return answer

    return asyncio.run(ask())


def test_without_a_database_it_still_tells_what_processes_know(tmp_path: Path) -> None:
    """That is when somebody looks."""
    answer = without_a_database(tmp_path)

    assert answer.status_code == 200
    assert "\nbreezeblock_database_up 0.0\n" in answer.text
    assert "\nbreezeblock_build_info{" in answer.text
    assert "breezeblock_nodes" not in answer.text


def test_bytes_of_backups_are_summed_over_processes(tmp_path: Path) -> None:
    """For each store that is configured, also where nothing was moved yet."""
    files = {name: os.memfd_create(name) for name in ("api-1", "node-1", "node-2")}
    for name, read in (("node-1", 3), ("node-2", 4)):
        ByteCounts(files[name], "default", stores=["default"]).add(read=read, stored=1)
    text = without_a_database(tmp_path, files).text
    for file in files.values():
        os.close(file)

    moved = {"read": 7, "stored": 2, "deduplicated": 0, "restored": 0}
    for what, size in moved.items():
        assert f'breezeblock_backup_bytes_total{{store="default",what="{what}"}} {size}.0\n' in text, text


def test_a_scrape_takes_the_same_few_statements_whatever_there_is(api: Api) -> None:
    """It is asked for every few seconds by every scraper."""
    with statements() as before:
        scraped(api)
    api.insert(tables.operations, *(operation(api, number, queue=f"c@{number}") for number in range(50)))
    api.insert(tables.nodes, *(node(f"n{number}") for number in range(20)))
    with statements() as after:
        scraped(api)

    assert len(after) == len(before) <= 9, after


def test_every_metric_that_is_declared_is_given_and_no_other(api: Api) -> None:
    """The page of reference is made from the same table."""
    api("GET", "/healthcheck")
    text = api("GET", "/metrics").text

    given = {family.name for family in text_string_to_metric_families(text)}

    assert given == {one.name for one in metrics.DECLARED}


# --- however many ask -------------------------------------------------------------------------------------------------


def test_within_a_second_it_is_made_once_for_all_who_ask(api: Api) -> None:
    """Anybody may ask for it, as often as he likes: no statement and no formatting is paid for each time."""
    first = api("GET", "/metrics", token=None)
    api("GET", "/v3/p1/volumes")

    with statements() as seen:
        again = [api("GET", "/metrics", token=None) for _ in range(5)]

    assert seen == []
    assert {one.content for one in again} == {first.content}
    assert of(scraped(api), "http_request_duration_seconds_count", method="GET", route="/v3/volumes", status="200") == 1


class Making:
    """Makes texts, slowly, and counts how often; the first one fails if that is wanted."""

    def __init__(self, *, fails: bool = False) -> None:
        self.made = self.at_once = self.at_once_most = 0
        self.fails = fails

    async def __call__(self) -> bytes:
        self.made += 1
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        await VirtualClock().sleep(0.5)
        self.at_once -= 1
        if self.fails and self.made == 1:
            raise Unavailable("gone")
        return f"{self.made}".encode()


def test_one_at_a_time_makes_it_and_a_second_later_anew() -> None:
    async def asks() -> list[bytes]:
        making, clock = Making(), VirtualClock()
        scrapes = Scrapes(clock)
        seen = set(await asyncio.gather(*(scrapes.text(making) for _ in range(50))))
        await clock.sleep(KEPT_S / 2)
        seen.add(await scrapes.text(making))
        assert seen == {b"1"}
        await clock.sleep(KEPT_S / 2)
        later = set(await asyncio.gather(*(scrapes.text(making) for _ in range(50))))
        assert making.at_once_most == 1
        return [*seen, *later]

    assert in_virtual_time(asks()) == [b"1", b"2"]


def test_what_could_not_be_made_is_not_kept() -> None:
    """All who have waited for it are told, and the next to ask finds it made."""

    async def asks() -> tuple[list[type], bytes]:
        making = Making(fails=True)
        scrapes = Scrapes(VirtualClock())
        failed = await asyncio.gather(*(scrapes.text(making) for _ in range(3)), return_exceptions=True)
        return [type(one) for one in failed], await scrapes.text(making)

    assert in_virtual_time(asks()) == ([Unavailable] * 3, b"2")

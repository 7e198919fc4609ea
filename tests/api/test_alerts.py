"""The alerts on what services say: by Prometheus' own tool, each on its condition, and on rows that the API tells of."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from tests.api.builders import POOL
from tests.api.test_metrics import QUEUE, node, now_us, operation, without_a_database
from tests.api.world import Api
from tests.servers.promtool import MINUTES, Case, check, evaluate, series_of

from breezeblock.resources import accounts
from breezeblock.store import tables

ROOT: Final = Path(__file__).resolve().parents[2]
ALERTS: Final = ROOT / "packaging" / "prometheus" / "alerts.yaml"
DASHBOARD: Final = ROOT / "packaging" / "grafana" / "breezeblock.json"

HTTP: Final = "breezeblock_http_request_duration_seconds"
OF_500: Final = f'{HTTP}_count{{method="GET",route="/v3",status="500"}}'
OF_A_BACKUP: Final = 'breezeblock_operations_finished_recently{kind="create_backup",outcome="failed"}'
OF_A_VOLUME: Final = 'breezeblock_operations_finished_recently{kind="create_volume",outcome="failed"}'
BELL: Final = 'breezeblock_doorbell_connected{instance="a",kind="rabbitmq",process="%s"}'
HOUR: Final = 'breezeblock_node_events_last_hour{node="n",event="%s"}'
GIB: Final = 'breezeblock_pool_gibibytes{pool="p",what="%s"}'


def always(value: float) -> str:
    return f"{value}+0x{MINUTES}"


def lately(value: float, *, minutes: int) -> str:
    """Nothing, until so many minutes before the end."""
    return f"0+0x{MINUTES - minutes - 1} {value}+0x{minutes}"


# Series, and whether the alert fires. Every alert is here on both sides of its condition.
CONDITIONS: Final[dict[str, list[tuple[dict[str, str], bool]]]] = {
    "BreezeblockApiAway": [
        ({'up{job="breezeblock"}': always(0)}, True),
        ({'up{job="breezeblock"}': f"1+0x{MINUTES - 2} 0 0"}, False),
        ({'up{job="another"}': always(0)}, False),
    ],
    "BreezeblockDatabaseAway": [
        ({"breezeblock_database_up": always(0)}, True),
        ({"breezeblock_database_up": always(1)}, False),
    ],
    "BreezeblockErrors": [
        ({OF_500: f"_x{MINUTES - 5} 1+0x5"}, True),
        ({OF_500: f"3+0x{MINUTES - 5} 4+0x5"}, True),
        ({OF_500: always(3)}, False),
    ],
    "BreezeblockSlow": [
        ({f'{HTTP}_bucket{{le="{le}"}}': f"0+{rate}x{MINUTES}" for le, rate in slow.items()}, fires)
        for slow, fires in (
            ({"2.5": 8, "5.0": 10, "+Inf": 10}, True),
            ({"2.5": 10, "5.0": 10, "+Inf": 10}, False),
        )
    ],
    "BreezeblockFenceFailed": [
        ({"breezeblock_fences_failing": always(1)}, True),
        ({"breezeblock_fences_failing": always(0)}, False),
    ],
    "BreezeblockFenceHangs": [
        ({'breezeblock_fences_pending{queue="q"}': always(1), "breezeblock_fences_failing": always(0)}, True),
        ({'breezeblock_fences_pending{queue="q"}': lately(1, minutes=5)}, False),
    ],
    "BreezeblockNodeFlaps": [({HOUR % "fenced": always(3)}, True), ({HOUR % "fenced": always(2)}, False)],
    "BreezeblockTooFewNodes": [
        ({'breezeblock_nodes{state="up"}': always(0)}, True),
        ({'breezeblock_nodes{state="up"}': always(1)}, True),
        ({'breezeblock_nodes{state="up"}': always(2)}, False),
    ],
    "BreezeblockClocksDiffer": [
        ({'breezeblock_clock_ahead_seconds{node="n"}': always(s)}, fires)
        for s, fires in ((3, True), (-31, True), (1, False), (-20, False))
    ],
    "BreezeblockOperationsQueued": [
        ({'breezeblock_queue_oldest_waiting_seconds{queue="q"}': f"0+60x{MINUTES}"}, True),
        ({'breezeblock_queue_oldest_waiting_seconds{queue="q"}': always(290)}, False),
    ],
    "BreezeblockOperationsGivenUp": [
        ({'breezeblock_operations_finished_recently{kind="k",outcome="parked"}': always(1)}, True),
        ({'breezeblock_operations_finished_recently{kind="k",outcome="cancelled"}': always(1)}, False),
    ],
    "BreezeblockOperationsKill": [
        ({'breezeblock_operations_retried{kind="k"}': always(1)}, True),
        ({'breezeblock_operations_retried{kind="k"}': lately(1, minutes=5)}, False),
    ],
    "BreezeblockOperationsFail": [({OF_A_VOLUME: always(5)}, True), ({OF_A_VOLUME: always(4)}, False)],
    "BreezeblockBackupsFail": [({OF_A_BACKUP: always(1)}, True), ({OF_A_BACKUP: always(0)}, False)],
    "BreezeblockBackendFull": [
        ({GIB % "total": always(100), GIB % "free": always(9)}, True),
        ({GIB % "total": always(100), GIB % "free": always(11)}, False),
        ({GIB % "total": always(0), GIB % "free": always(0)}, False),
    ],
    "BreezeblockBackendSilent": [
        ({'breezeblock_pool_report_age_seconds{pool="p"}': f"0+60x{MINUTES}"}, True),
        ({'breezeblock_pool_report_age_seconds{pool="p"}': always(12)}, False),
    ],
    "BreezeblockQuotaCheckFailed": [
        ({HOUR % accounts.EVENT: always(1)}, True),
        ({HOUR % "expired": always(1)}, False),
    ],
    "BreezeblockEventsNotTaken": [
        ({'breezeblock_events_oldest_seconds{receiver="r"}': f"0+60x{MINUTES}"}, True),
        ({'breezeblock_events_oldest_seconds{receiver="r"}': always(20)}, False),
    ],
    "BreezeblockEventsRefused": [
        ({'breezeblock_events_aside{receiver="r"}': always(1)}, True),
        ({'breezeblock_events_aside{receiver="r"}': always(0)}, False),
    ],
    "BreezeblockEventsLost": [
        ({'breezeblock_events_total{receiver="r",what="dropped"}': lately(4, minutes=9)}, True),
        ({'breezeblock_events_total{receiver="r",what="refused"}': lately(4, minutes=9)}, False),
    ],
    "BreezeblockDoorbellAway": [
        ({BELL % "api-1": always(0), BELL % "node-1": always(0)}, True),
        ({BELL % "api-1": always(0), BELL % "node-1": always(1)}, False),
    ],
}


def test_every_alert_fires_on_its_condition_and_not_beside_it(tmp_path: Path) -> None:
    """In one go, since the tool takes longer to start than to evaluate."""
    cases = [
        Case(f"{alert} {number}", series, [alert] if fires else [])
        for alert, conditions in CONDITIONS.items()
        for number, (series, fires) in enumerate(conditions)
    ]

    evaluate(tmp_path, ALERTS, cases)


def test_every_alert_has_a_condition_here() -> None:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]

    assert CONDITIONS.keys() == {rule["alert"] for group in groups for rule in group["rules"]}
    assert all({fires for _, fires in conditions} == {True, False} for conditions in CONDITIONS.values())


def test_another_set_of_alerts_is_a_failure(tmp_path: Path) -> None:
    """What the other tests here rest on."""
    series = {"breezeblock_database_up": always(0)}
    for firing in ([], ["BreezeblockSlow"], ["BreezeblockDatabaseAway", "BreezeblockSlow"]):
        with pytest.raises(AssertionError, match="BreezeblockDatabaseAway"):
            evaluate(tmp_path, ALERTS, [Case("wrong", series, firing)])


def test_prometheus_reads_the_alerts_and_what_the_dashboard_asks(tmp_path: Path) -> None:
    """Each panel's expressions as rules."""
    check(ALERTS)
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked)]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    check(file)


# --- on what an API says ----------------------------------------------------------------------------------------------


def test_of_a_service_in_good_health_nothing_is_told(api: Api, tmp_path: Path) -> None:
    """One other node is up, as the rows of these tests have none besides."""
    api.insert(tables.nodes, node("a", state="up", renewed_at_us=now_us(api)))
    api.insert(tables.nodes, node("b", state="up", renewed_at_us=now_us(api)))

    evaluate(tmp_path, ALERTS, [Case("healthy", series_of(api("GET", "/metrics").text), [])])


def test_what_is_wrong_is_told_by_what_the_api_says(api: Api, tmp_path: Path) -> None:
    """Most of what can be, in rows."""
    at_us = now_us(api)
    api.insert(tables.nodes, node("lost", fence_tries=3, fence_error="no answer"))
    api.insert(tables.nodes, node("fast", state="up", renewed_at_us=at_us + 60_000_000))
    api.insert(tables.operations, operation(api, 1, created_at_us=at_us - 900_000_000))
    api.insert(tables.operations, operation(api, 2, owner="n-1", attempt=2))
    api.insert(tables.pools, POOL | {"name": "c@old#pool", "queue": QUEUE, "total_gib": 100, "free_gib": 3})
    api.insert(tables.operation_log, *ended(at_us, 5, "create_volume", "failed"))
    api.insert(tables.operation_log, *ended(at_us, 1, "create_backup", "failed"))
    api.insert(tables.operation_log, *ended(at_us, 1, "delete_volume", "parked"))
    happened = {"cluster": "c", "node": "fast", "incarnation": "n-1", "detail": "", "at_us": at_us - 60_000_000}
    api.insert(tables.node_events, {**happened, "id": "0", "event": accounts.EVENT})
    api.insert(tables.node_events, *({**happened, "id": f"{number}", "event": "fenced"} for number in range(1, 4)))
    wrong = [
        "FenceFailed", "ClocksDiffer", "OperationsQueued", "OperationsKill", "BackendFull", "OperationsFail",
        "BackupsFail", "OperationsGivenUp", "QuotaCheckFailed", "NodeFlaps",
    ]  # fmt: skip

    series = series_of(api("GET", "/metrics").text)

    evaluate(tmp_path, ALERTS, [Case("ill", series, [f"Breezeblock{one}" for one in wrong])])


def ended(at_us: int, count: int, kind: str, outcome: str) -> list[dict[str, Any]]:
    row = {
        "kind": kind, "queue": QUEUE, "resource_type": "volume", "resource_id": "v", "project_id": "p", "epoch": 1,
        "request_id": "r", "attempt": 0, "locks_json": "[]", "created_at_us": 1, "finished_at_us": at_us, "outcome": outcome,
    }  # fmt: skip
    return [{**row, "operation_id": f"{kind}-{number}"} for number in range(count)]


def test_without_a_database_that_is_all_that_is_told(tmp_path: Path) -> None:
    """And not that there are no nodes: nobody knows."""
    series = series_of(without_a_database(tmp_path).text)

    evaluate(tmp_path, ALERTS, [Case("no database", series, ["BreezeblockDatabaseAway"])])

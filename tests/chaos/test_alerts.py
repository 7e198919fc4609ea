"""Alerts about a real service: what its metrics say while something is wrong, and which alerts Prometheus makes of it."""

import os
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine, update
from tests.chaos.test_fencing import Agent, agent, kill, processes, unsupervised
from tests.servers.promtool import MINUTES, Case, evaluate, series_of
from tests.service import Service, StartService, eventually

from breezeblock.api.scrapes import KEPT_S
from breezeblock.chaos.hurry import hurried
from breezeblock.resources import accounts
from breezeblock.store.tables import quota_usage

__all__ = ["agent"]

ALERTS: Final = Path(__file__).resolve().parents[2] / "packaging" / "prometheus" / "alerts.yaml"


def scraped(service: Service) -> str:
    return str(service.request("GET", "/metrics").body)


def value(service: Service, name: str, **labels: str) -> float:
    """0 as well where there is no such series."""
    found = [
        sample.value
        for family in text_string_to_metric_families(scraped(service))
        for sample in family.samples
        if sample.name == f"breezeblock_{name}" and labels.items() <= sample.labels.items()
    ]
    return max(found, default=0.0)


def going_on(service: Service) -> Mapping[str, str]:
    """Its series, if all goes on for half an hour as it has gone within this second: what waits goes on waiting.

    Each process tells for a second what it has told once.
    """
    began, before = time.monotonic(), series_of(scraped(service))
    time.sleep(KEPT_S + 0.5)
    after, passed_s = series_of(scraped(service)), time.monotonic() - began
    grew = {
        series: (_first(values) - _first(before[series])) * 60 / passed_s
        for series, values in after.items()
        if series in before and series.startswith("breezeblock_queue_oldest_waiting_seconds")
    }
    return {series: f"{_first(values)}+{max(0.0, grew.get(series, 0.0))}x{MINUTES}" for series, values in after.items()}


def _first(values: str) -> float:
    return float(values.partition("+0x")[0])


def alerts_of(service: Service, folder: Path, *expected: str) -> None:
    """Exactly these fire."""
    case = Case("real", going_on(service), [f"Breezeblock{one}" for one in expected])
    evaluate(folder, ALERTS, [case])


def test_a_node_that_nobody_can_fence_and_the_work_that_waits_for_it_are_told(
    running_service: StartService, agent: Agent, tmp_path: Path
) -> None:
    """Before, nothing is. The other node goes, too, so that nobody does what is asked for next."""
    service = running_service(nodes=3, workers=1, ttl_s=1.5, environ=agent.environ)
    alerts_of(service, tmp_path)
    agent.let("refuse")

    with unsupervised(service):
        for node in ("node-1", "node-2"):
            kill(service, processes(service, node))
        eventually(lambda: value(service, "fences_failing") == 2, message="no fence failed")
        os.kill(service.worker_pid("node-3") or 0, signal.SIGSTOP)
        service.create_volume()
        time.sleep(KEPT_S)  # whichever process tells knows of it from now on
        service_says = going_on(service)
        os.kill(service.worker_pid("node-3") or 0, signal.SIGCONT)

    expected = ["FenceFailed", "TooFewNodes", "OperationsQueued"]
    evaluate(tmp_path, ALERTS, [Case("real", service_says, [f"Breezeblock{one}" for one in expected])])


def test_a_node_that_flaps_is_told(running_service: StartService, tmp_path: Path) -> None:
    """It is frozen, taken for lost, killed and started again, three times; its work would have gone on elsewhere."""
    service = running_service(nodes=2, workers=1, ttl_s=1.0)

    for times in range(1, 4):
        pids = processes(service, "node-1")
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        eventually(partial(_was_fenced, service, times), message="it was not fenced")
        eventually(partial(_serves_again, service, pids), message="it was not started again")

    alerts_of(service, tmp_path, "NodeFlaps")


def _was_fenced(service: Service, times: int) -> bool:
    return value(service, "node_events_last_hour", node="node-1", event="fenced") == times


def _serves_again(service: Service, before: list[int]) -> bool:
    keeper = service.keeper_pids.get("node-1", before[0])
    return keeper != before[0] and keeper in service.serving_keepers()


def test_an_account_that_is_wrong_is_told_and_put_right_by_the_command_of_its_page(
    running_service: StartService, tmp_path: Path
) -> None:
    service = running_service(nodes=2, workers=1, environ=hurried(tmp_path / "site", every_s=0.2, again_s=0.5))
    service.wait_status(service.create_volume())
    url = service.environ.get("BREEZEBLOCK_DATABASE__URL") or f"sqlite:///{service.data}/breezeblock.db"
    with create_engine(url).begin() as tx:
        tx.execute(update(quota_usage).where(quota_usage.c.resource == "volumes").values(in_use=7))

    eventually(lambda: _told(service) == 1, message="nobody has looked")
    alerts_of(service, tmp_path, "QuotaCheckFailed")
    checked = service.command("db", "check")
    corrected = service.command("db", "recount", "admin")

    sentence = "Project admin is charged 7 volumes, but has 1."
    assert (checked.returncode, sentence in checked.stdout) == (1, True)
    assert (corrected.returncode, sentence in corrected.stdout) == (0, True)
    assert service.command("db", "check").returncode == 0
    assert service.command("db", "recount", "nobody").returncode == 1


def _told(service: Service) -> float:
    return max(
        value(service, "node_events_last_hour", node=node, event=accounts.EVENT) for node in ("node-1", "node-2")
    )

"""Whole services and their doorbells: nodes that hardly ever look by themselves, and servers that are not there."""

import time

import pytest
from tests.doorbells.bells import Kind
from tests.servers.ports import free_port
from tests.service import Service, StartService, eventually

# Nobody finds work by looking while a test lasts.
RARELY = {"BREEZEBLOCK_NODES__POLL_S": "300"}


def is_available(service: Service, volume_id: str) -> bool:
    return service.volume_status(volume_id) == "available"


def test_work_is_found_at_once(running_service: StartService, kind: Kind) -> None:
    """By the ring alone."""
    environ = {"BREEZEBLOCK_DOORBELL__KIND": kind.name, "BREEZEBLOCK_DOORBELL__URLS": kind.url} | RARELY
    service = running_service(nodes=2, workers=1, environ=environ)

    for volume_id in [service.create_volume() for _ in range(4)]:
        eventually(lambda volume_id=volume_id: is_available(service, volume_id), within_s=30)  # type: ignore[misc]

    kind_of_it = f'kind="{kind.name}"'
    told = service.request("GET", "/metrics").body
    rings = {what: value(told, f'doorbell_rings_total{{{kind_of_it},what="{what}"}}') for what in ("sent", "received")}
    assert min(rings.values()) >= 1
    places = ("api-1", "node-1", "node-2")
    assert [value(told, f'doorbell_connected{{{kind_of_it},process="{place}"}}') for place in places] == [1.0] * 3


def value(metrics: str, series: str) -> float:
    """One number of a scrape."""
    (line,) = [line for line in metrics.splitlines() if line.startswith(f"breezeblock_{series} ")]
    return float(line.rpartition(" ")[2])


@pytest.mark.parametrize("name", ["postgresql", "rabbitmq"])
def test_a_server_that_is_not_there_stops_nothing(running_service: StartService, name: str) -> None:
    """The service starts, does its work and ends, and each process says once what it misses."""
    scheme = {"postgresql": "postgresql://", "rabbitmq": "amqp://"}[name]
    url = f"{scheme}rings:hunter2@127.0.0.1:{free_port()}/rings"
    environ = {"BREEZEBLOCK_DOORBELL__KIND": name, "BREEZEBLOCK_DOORBELL__URLS": url}
    service = running_service(nodes=1, workers=1, environ=environ)

    volume_id = service.create_volume()
    eventually(lambda: is_available(service, volume_id), within_s=30)
    time.sleep(2.0)  # some attempts to connect
    service.end()

    said = [path.read_text() for path in sorted(service.data.rglob("*.log"))]
    assert [text.count("doorbell.lost") for text in said if "doorbell.lost" in text] == [
        1,
        2,
    ]  # of a node: its two ends
    assert "hunter2" not in "".join(said)


def test_without_a_doorbell_work_is_found_by_looking(running_service: StartService) -> None:
    """Nothing but time depends on it."""
    service = running_service(nodes=1, workers=1, environ={"BREEZEBLOCK_DOORBELL__KIND": "none"})

    volume_id = service.create_volume()

    eventually(lambda: is_available(service, volume_id), within_s=30)

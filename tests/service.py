"""A real service for tests: `breezeblock up` on a temporary folder and a free port, and what a test does with it.

    def test_something(running_service: StartService) -> None:
        service = running_service(nodes=2, ttl_s=1.5)
        service.request("POST", "/v3/admin/volumes", {"volume": {"size": 1}})

Put `from tests.service import running_service` into a `conftest.py`. When a test fails, the ends of all logs are printed.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from breezeblock.chaos.service import Answer, NotYet, Service, children, descendants, eventually, is_running, start

__all__ = [
    "Answer",
    "NotYet",
    "Service",
    "StartService",
    "children",
    "descendants",
    "eventually",
    "is_running",
    "running_service",
    "start",
]


class StartService(Protocol):
    """What the fixture gives: call it once or several times; the same `data` continues on the same folder."""

    def __call__(
        self,
        *,
        nodes: int = 2,
        workers: int = 2,
        ttl_s: float = 3.0,
        port: int = 0,
        data: Path | None = None,
        environ: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> Service: ...


@pytest.fixture
def running_service(tmp_path: Path) -> Iterator[StartService]:
    """Start services that are stopped when the test ends."""
    started: list[Service] = []

    def begin(*, data: Path | None = None, **options: Any) -> Service:
        service = start(data or tmp_path / f"service-{len(started)}", **options)
        started.append(service)
        return service

    yield begin
    # Printed before the end of the service adds its own lines. Pytest shows it only for tests that failed.
    for service in started:
        print(service.tail())
    for service in started:
        service.end()

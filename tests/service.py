"""A real service for tests: `breezeblock up` on a temporary folder and a free port, and what a test does with it.

    def test_something(running_service: StartService) -> None:
        service = running_service(nodes=2, ttl_s=1.5)
        service.request("POST", "/v3/admin/volumes", {"volume": {"size": 1}})

Put `from tests.service import running_service` into a `conftest.py`. When a test fails, the ends of all logs are printed.

Where the run has database servers (`tests/databases.py`), each service has a database of its own on them.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from sqlalchemy import make_url
from tests import databases
from tests.servers.database import Address

from breezeblock.chaos.service import Answer, NotYet, Service, children, descendants, eventually, is_running, start

__all__ = [
    "Answer",
    "NotYet",
    "OnServers",
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


# MariaDB counts idle transactions in whole seconds, so that a lease is longer there.
TTL_LEAST_S: Final = {"postgresql": 0.0, "mysql": 4.0, "mariadb": 4.0}
SERVER_OPTIONS: Final = {"BREEZEBLOCK_NODES__ONE_MACHINE": "true", "BREEZEBLOCK_DATABASE__CONNECTIONS": "4"}


class OnServers:
    """Gives each data folder its database on the servers of the run; on SQLite there is nothing to give.

    Of several nodes the processes use all, by way of a proxy that sends each connection to the next one, or each start of a
    service has one of its own, and the others for when that is gone.
    """

    def __init__(self, stack: ExitStack, proxy: Address | None) -> None:
        self._stack = stack
        self._proxy = proxy
        self._given: dict[Path, tuple[str, ...]] = {}
        self._starts = itertools.count()

    def options(self, data: Path, *, ttl_s: float, environ: Mapping[str, str] | None) -> dict[str, Any]:
        """The service's options, with the database among them."""
        if not databases.urls():
            return {"ttl_s": ttl_s, "environ": environ}
        if data not in self._given:
            self._given[data] = self._stack.enter_context(databases.fresh_database())
        urls = self._as_used(self._given[data])
        least_s = TTL_LEAST_S[make_url(urls[0]).get_backend_name()]
        own = {"BREEZEBLOCK_DATABASE__URL": urls[0], "BREEZEBLOCK_DATABASE__FAILOVER_URLS": json.dumps(urls[1:])}
        return {"ttl_s": max(ttl_s, least_s), "environ": {**SERVER_OPTIONS, **own, **(environ or {})}}

    def _as_used(self, urls: tuple[str, ...]) -> tuple[str, ...]:
        if self._proxy is None:
            return databases.rotated(urls, next(self._starts))
        at = make_url(urls[0]).set(host=self._proxy.host, port=self._proxy.port)
        return (at.render_as_string(hide_password=False),)


@pytest.fixture
def running_service(tmp_path: Path, database_proxy: Address | None) -> Iterator[StartService]:
    """Start services that are stopped when the test ends."""
    started: list[Service] = []
    with ExitStack() as stack:
        given = OnServers(stack, database_proxy)

        def begin(
            *,
            data: Path | None = None,
            ttl_s: float = 3.0,
            environ: Mapping[str, str] | None = None,
            **options: Any,
        ) -> Service:
            folder = data or tmp_path / f"service-{len(started)}"
            service = start(folder, **options, **given.options(folder, ttl_s=ttl_s, environ=environ))
            started.append(service)
            return service

        yield begin
        # Printed before the end of the service adds its own lines. Pytest shows it only for tests that failed.
        for service in started:
            print(service.tail())
        for service in started:
            service.end()

"""The whole API on SQLite in memory or the servers of the run, and rows for it: what tests of administrators' URLs stand on."""

import asyncio
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.exc import DBAPIError
from tests.api.world import checked
from tests.databases import statements
from tests.store.databases import TestDatabase

from breezeblock.api import app
from breezeblock.api.auth import IMPLIED, Asking, Caller
from breezeblock.api.call import Services
from breezeblock.env.real import real_env
from breezeblock.model.ids import ProjectId, UserId
from breezeblock.resources import types
from breezeblock.settings import Settings, load
from breezeblock.store import tables
from breezeblock.store.dialects import translate
from breezeblock.store.run import Store

T = TypeVar("T")

PROJECT = "p1"
NOW_US = 1_700_000_000_123_456
NOW = "2023-11-14T22:13:20.123456"
# Of callers that have limits of their own.
LIMITED = {"volumes": 3, "gigabytes": 5, "per_volume_gigabytes": 4}
VOLUME_TYPE = "10000000-0000-4000-8000-000000000001"
SAMPLES = Path(__file__).parents[2].parent / "shared" / "reference" / "block-storage-api-v3" / "samples"


class InlineLane:
    """One transaction at a time, in the caller's thread."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database

    async def write(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.write`."""
        try:
            with self._database.tx() as tx:
                return body(tx)
        except DBAPIError as error:
            raise translate(error, committing=False) from error

    async def read(self, body: Callable[[Connection], T]) -> T:
        """See `run.Lane.read`."""
        return await self.write(body)


@functools.cache
def database() -> TestDatabase:
    """One set of connections for all tests of the run."""
    return TestDatabase(lambda: NOW_US)


class NoDoorbell:
    def ring(self, queue: str) -> None:
        """Nobody listens."""


class AdminApi:
    """Requests in, answers out. `statements` are those of the latest request."""

    def __init__(self) -> None:
        self._database = database()
        self._database.empty()
        with self._database.tx() as tx:
            types.ensure_default_type(tx)
        self.statements: list[str] = []
        env = real_env()
        store = Store(InlineLane(self._database), env)
        services = Services(store=store, env=env, doorbell=NoDoorbell(), settings=settings())
        self._app = app.build_app(services, authenticate=authenticate)

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        version: str = "3.71",
        member: bool = False,
        token: str | None = None,
    ) -> httpx.Response:
        """One request below `/v3/p1`, by an administrator or a member of that project. `token`: by whom else."""
        token = token or ("member" if member else "admin")
        headers = {"OpenStack-API-Version": f"volume {version}", "X-Auth-Token": token}
        with statements() as self.statements:
            return checked(asyncio.run(self._send(method, f"http://test/v3/{PROJECT}/{path}", headers, body)))

    async def _send(self, method: str, url: str, headers: dict[str, str], body: object) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=self._app)) as client:
            return await client.request(method, url, headers=headers, json=body)

    def given(self, table: Table, **values: object) -> None:
        with self._database.tx() as tx:
            tx.execute(insert(table).values(**values))

    def many(self, count: int, given: Callable[[int], object]) -> None:
        """What is given, `count` times, by number."""
        for number in range(count):
            given(number)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self._database.tx() as tx:
            return [dict(row) for row in tx.execute(select(table).order_by(*table.primary_key)).mappings()]

    def given_type(self, name: str = "gold", *, id_: str = VOLUME_TYPE, specs: object = None, **values: object) -> str:
        text = json.dumps(specs or {})
        row = {"id": id_, "name": name, "extra_specs_json": text, "created_at_us": NOW_US, **values}
        self.given(tables.volume_types, **row)
        return id_

    def given_volume(self, **values: object) -> None:
        row = {
            "id": "v1", "project_id": PROJECT, "user_id": "u", "size_gib": 1, "status": "available",
            "availability_zone": "nova", "volume_type_id": VOLUME_TYPE, "charged_type_id": VOLUME_TYPE,
            "created_at_us": NOW_US,
        }  # fmt: skip
        self.given(tables.volumes, **(row | values))

    def given_node(self, name: str = "n1", *, queues: tuple[str, ...] = ("c@file",), **values: object) -> None:
        row = {
            "incarnation": f"{name}-1", "name": name, "cluster": "c", "boot_id": "b", "state": "up",
            "queues_json": json.dumps(queues), "version": "1", "lock_path": "l", "lock_id": "l", "keeper_pid": 1,
            "started_at_us": NOW_US, "renewed_at_us": NOW_US,
        }  # fmt: skip
        self.given(tables.nodes, **(row | values))

    def given_pool(self, name: str = "c@file#pool", **values: object) -> None:
        row = {
            "name": name, "queue": name.partition("#")[0], "allocated_gib": 3, "total_gib": 100, "free_gib": 90,
            "over_subscription_percent": 2000, "availability_zone": "nova", "reported_at_us": NOW_US,
            "capabilities_json": json.dumps({"storage_protocol": "file", "tier": "gold"}),
        }  # fmt: skip
        self.given(tables.pools, **(row | values))

    def given_message(self, id_: str = "m1", **values: object) -> None:
        row = {
            "id": id_, "project_id": PROJECT, "request_id": "req-1", "resource_type": "VOLUME", "resource_id": "v1",
            "event_id": "VOLUME_VOLUME_001_003", "user_message": "No pool can take it.", "created_at_us": NOW_US,
            "guaranteed_until_us": NOW_US,
        }  # fmt: skip
        self.given(tables.messages, **(row | values))


def settings() -> Settings:
    """The defaults, with pages small enough to fill."""
    return load(None, {}, {"service.data_dir": "/nowhere", "service.cluster": "c", "api.max_limit": 50}).settings


async def authenticate(asking: Asking) -> Caller:
    """`admin` is one, everybody else is a member; `limited admin` has limits of the own project besides."""
    *limited, role = asking.headers["x-auth-token"].split()
    roles = IMPLIED["admin" if role == "admin" else "member"]
    project_id = ProjectId(asking.url_project or asking.default_project)
    return Caller(UserId("u"), project_id, roles, quotas={PROJECT: LIMITED, "small": LIMITED} if limited else {})


def message_of(response: httpx.Response) -> str:
    """The sentence of a refusal."""
    (fault,) = response.json().values()
    assert fault["code"] == response.status_code
    return str(fault["message"])


def sample(name: str) -> Any:
    """The reference's own example of an answer, where the reference is at hand."""
    path = SAMPLES / name
    if not path.exists():
        pytest.skip("the reference's samples are not here")
    return json.loads(path.read_text(encoding="utf-8"))

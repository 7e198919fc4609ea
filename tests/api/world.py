"""The whole application on a real database, an SQLite file or the servers of the run, called without a socket."""

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.sql.schema import Table
from tests import databases
from tests.api.builders import (
    NODE,
    POOL,
    backup_row,
    default_type,
    group_row,
    group_snapshot_row,
    group_type_row,
    snapshot_row,
    volume_row,
)
from tests.conformance.answers import Answered, check

from breezeblock import settings
from breezeblock.api.app import build_app
from breezeblock.api.audit import Audit
from breezeblock.api.auth import IMPLIED, Asking, Authenticate, Caller, require_same_project
from breezeblock.api.call import Services
from breezeblock.api.policy import Policy
from breezeblock.api.scrapes import Scrapes
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.ids import ProjectId, UserId
from breezeblock.store import tables
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import Store

T = TypeVar("T")
AnyLane = SqliteLane | PooledLane | databases.Turns

ROWS = {
    "volumes": volume_row,
    "snapshots": snapshot_row,
    "backups": backup_row,
    "group_types": group_type_row,
    "volume_groups": group_row,
    "group_snapshots": group_snapshot_row,
}


def checked(answer: httpx.Response) -> httpx.Response:
    """The answer, once it is found to be as the API is described."""
    asked = answer.request
    path = asked.url.raw_path.partition(b"?")[0].decode("latin-1")
    spoken = answer.headers.get("OpenStack-API-Version", "")
    check(Answered(asked.method, path, asked.content, answer.status_code, answer.content, spoken))
    return answer


class Bell:
    """Remembers who was rung."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, queue: str) -> None:
        self.rung.append(queue)


async def tell_members_apart(asking: Asking) -> Caller:
    """As an identity service would: `user:project` is a member, and an administrator only if the user is `admin`.

    Whatever is in X-Service-Token is taken for the token of a service.
    """
    user, _, project = asking.headers.get("x-auth-token", "admin:admin").partition(":")
    if user != "admin":
        require_same_project(asking.url_project, project)
    return Caller(
        UserId(user),
        ProjectId(asking.url_project or project),
        IMPLIED["admin" if user == "admin" else "member"],
        is_service="x-service-token" in asking.headers,
    )


class Api:
    """A client and the world behind it. Requests go as a member of project `p1`, unless a token says otherwise."""

    def __init__(
        self,
        folder: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        believe_everyone: bool = False,
        authenticate: Authenticate = tell_members_apart,
        policy: Path | None = None,
        audit: Audit | None = None,
        receivers: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._loop = loop
        self.bell = Bell()
        chosen = {
            "BREEZEBLOCK_SERVICE__DATA_DIR": str(folder),
            "BREEZEBLOCK_AUTH__HOSTS": '["here"]',
            "BREEZEBLOCK_BACKUP_STORES__DEFAULT__TYPE": "folder",
            "BREEZEBLOCK_BACKUP_STORES__FAR__AVAILABILITY_ZONE": "attic",
            "BREEZEBLOCK_BACKUP_STORES__CINDERS__TYPE": "cinder-posix",
            "BREEZEBLOCK_BACKUP_STORES__CINDERS__PATH": str(folder / "cinder"),
        }
        self.settings = settings.load(None, chosen | dict(environ or {})).settings
        self._env: Env = real_env()
        # Of the servers of a cluster the application uses one and the test another, or both go round all of them.
        opening = _open_servers() if databases.urls() else _open_file(folder / "test.db")
        self._lane, self._hand = self._run(opening)
        self._store = Store(self._hand, self._env)
        store = Store(self._lane, self._env, receivers=receivers)
        self.services = services = Services(
            store=store,
            env=self._env,
            doorbell=self.bell,
            settings=self.settings,
            policy=Policy(env=self._env, file=policy),
            audit=audit,
        )
        app = build_app(services) if believe_everyone else build_app(services, authenticate=authenticate)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://here:8776")
        self.insert(tables.volume_types, default_type())
        self.insert(tables.nodes, NODE)
        self.insert(tables.pools, POOL)

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str | None = None,
        token: str | None = "user:p1",
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """One request, one answer. `version` is the minor number's whole microversion, such as "3.60"."""
        sent = dict(headers or {})
        if version is not None:
            sent.setdefault("OpenStack-API-Version", f"volume {version}")
        if token is not None:
            sent["X-Auth-Token"] = token
        if content is None and body is not None:
            content = json.dumps(body).encode()
        if content is not None:
            sent.setdefault("Content-Type", "application/json")
        return checked(self._run(self._client.request(method, path, headers=sent, content=content)))

    def insert(self, table: Table, *rows: dict[str, Any]) -> None:
        """Put rows straight into the database."""
        self._run(self._store.run(_insert, table, rows))

    def change(self, table: Table, id_: str, **values: Any) -> None:
        """Let the row have these values."""
        self._run(self._store.run(_change, table, id_, values))

    def given_volume(self, **values: Any) -> str:
        """A volume as if it had been created; returns its id."""
        return self.given("volumes", **values)

    def given(self, kind: str, **values: Any) -> str:
        """A volume, a snapshot or a backup as if it had been created; returns its id."""
        row = ROWS[kind](**values)
        self.insert(tables.metadata.tables[kind], row)
        return str(row["id"])

    def reset(self, rows: Sequence[tuple[Table, dict[str, Any]]]) -> None:
        """Make these all the rows that there are."""
        self._run(self._store.run(_reset, rows))

    def row(self, table: Table, id_: str) -> dict[str, Any]:
        return self._run(self._store.read(_row, table, id_))

    def rows(self, table: Table) -> list[dict[str, Any]]:
        return self._run(self._store.read(_rows, table))

    def forget_scrapes(self) -> None:
        """From now on `/metrics` tells what is then, as if its second had gone by."""
        object.__setattr__(self.services, "scrapes", Scrapes(self._env.clock))

    def limit_waiting(self, seconds: float) -> None:
        """From now on requests wait so long for what an operation finds out."""
        limits = msgspec.structs.replace(self.settings.api, answer_timeout_s=seconds)
        object.__setattr__(self.services, "settings", msgspec.structs.replace(self.settings, api=limits))

    def in_a_cloud(self, **auth: Any) -> None:
        """From now on it is as if Keystone said who asks; with these options of [auth]."""
        chosen = msgspec.structs.replace(self.settings.auth, strategy="keystone", **auth)
        object.__setattr__(self.services, "settings", msgspec.structs.replace(self.settings, auth=chosen))

    def now_us(self) -> int:
        """What the clock of this test and of the application says."""
        return self._env.clock.now_us()

    def count(self, table: Table) -> int:
        return self._run(self._store.read(_count, table))

    def close(self) -> None:
        self._run(self._client.aclose())
        self._lane.close()
        self._hand.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)


async def _open_file(path: Path) -> tuple[SqliteLane, SqliteLane]:
    def lane() -> SqliteLane:
        return SqliteLane(databases.sqlite_file(path, now_us=real_env().clock.now_us), str(path))

    return lane(), lane()


async def _open_servers() -> tuple[AnyLane, AnyLane]:
    at = databases.with_schema("api")
    opened = databases.open_lane(at, 0), databases.open_lane(at, 1)
    await opened[1].write(databases.empty)
    return opened


def _insert(tx: Connection, table: Table, rows: tuple[dict[str, Any], ...]) -> None:
    tx.execute(insert(table), list(rows))


def _change(tx: Connection, table: Table, id_: str, values: dict[str, Any]) -> None:
    assert tx.execute(update(table).where(table.c.id == id_).values(values)).rowcount == 1, f"{table.name} has no {id_}"


def _reset(tx: Connection, rows: Sequence[tuple[Table, dict[str, Any]]]) -> None:
    for table in reversed(tables.metadata.sorted_tables):
        if table is not tables.tx_done:
            tx.execute(delete(table))
    alike: dict[tuple[Table, tuple[str, ...]], list[dict[str, Any]]] = {}
    for table, row in rows:
        alike.setdefault((table, tuple(row)), []).append(row)
    for (table, _), several in alike.items():
        tx.execute(insert(table), several)


def _row(tx: Connection, table: Table, id_: str) -> dict[str, Any]:
    return dict(tx.execute(select(table).where(table.c.id == id_)).mappings().one())


def _rows(tx: Connection, table: Table) -> list[dict[str, Any]]:
    return [dict(row) for row in tx.execute(select(table)).mappings()]


def _count(tx: Connection, table: Table) -> int:
    return tx.execute(select(func.count()).select_from(table)).scalar_one()

"""The whole application in this process, called with bytes that no client library would send, on a real database."""

import asyncio
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import Connection, delete, func, insert, select
from tests import databases
from tests.api.builders import (
    GROUP_TYPE,
    NODE,
    POOL,
    START_US,
    backup_row,
    default_type,
    group_row,
    group_snapshot_row,
    group_type_row,
    snapshot_row,
    volume_row,
)

from breezeblock import settings
from breezeblock.api.app import build_app
from breezeblock.api.call import Services
from breezeblock.env.real import real_env
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import tables
from breezeblock.store.lanes import SqliteLane
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import Store

# No node is here, and the answer of one does not come in time; the request was accepted all the same.
TOO_LONG: Final = 504
PROJECT: Final = "p1"
VOLUME: Final = "aaaaaaaa-0000-4000-8000-000000000001"
BUSY_VOLUME: Final = "aaaaaaaa-0000-4000-8000-000000000002"
SNAPSHOT: Final = "bbbbbbbb-0000-4000-8000-000000000001"
TYPE: Final = "cccccccc-0000-4000-8000-000000000001"
MESSAGE: Final = "dddddddd-0000-4000-8000-000000000001"
GROUP: Final = "abababab-0000-4000-8000-000000000001"
GROUP_SNAPSHOT: Final = "abababab-0000-4000-8000-000000000002"
ATTACHED_VOLUME: Final = "aaaaaaaa-0000-4000-8000-000000000003"
ATTACHMENT: Final = "acacacac-0000-4000-8000-000000000001"
OFFERED_VOLUME: Final = "aaaaaaaa-0000-4000-8000-000000000004"
TRANSFER: Final = "adadadad-0000-4000-8000-000000000001"
QOS: Final = "aeaeaeae-0000-4000-8000-000000000001"
BACKUP: Final = "afafafaf-0000-4000-8000-000000000001"
# What is there before every request, and may be asked for by name.
KNOWN: Final = (
    VOLUME, BUSY_VOLUME, SNAPSHOT, TYPE, MESSAGE, DEFAULT_TYPE_ID, PROJECT, "gold", "default", "detail", "key",
    "breezeblock@file", "os-volume-type-access", "scheduler-stats", GROUP, GROUP_SNAPSHOT, GROUP_TYPE, ATTACHED_VOLUME,
    ATTACHMENT, OFFERED_VOLUME, TRANSFER, QOS, BACKUP, "node-1@file", "breezeblock@file#pool",
)  # fmt: skip

BASELINE: Final[tuple[tuple[Any, dict[str, Any]], ...]] = (
    (tables.volume_types, default_type()),
    (
        tables.volume_types,
        default_type() | {"id": TYPE, "name": "gold", "extra_specs_json": '{"key":"value"}', "is_public": True},
    ),
    (tables.nodes, NODE),
    (tables.pools, POOL | {"allocated_gib": 5}),
    (
        tables.volumes,
        volume_row(
            id=VOLUME, object_name=f"{VOLUME}.1.1", metadata_json='{"key":"value"}', charged_gib=1,
            charged_type_id=DEFAULT_TYPE_ID,
        ),
    ),
    (
        tables.volumes,
        volume_row(id=BUSY_VOLUME, status="error", charged_gib=1, charged_type_id=DEFAULT_TYPE_ID, pool_name=None),
    ),
    (
        tables.snapshots,
        snapshot_row(
            id=SNAPSHOT, volume_id=VOLUME, object_name=f"{SNAPSHOT}.1.1", metadata_json='{"key":"value"}',
            volume_type_id=DEFAULT_TYPE_ID, charged_gib=1, charged_type_id=DEFAULT_TYPE_ID,
        ),
    ),
    (
        tables.messages,
        {
            "id": MESSAGE, "project_id": PROJECT, "request_id": "req-1", "resource_type": "VOLUME",
            "resource_id": VOLUME, "event_id": "create_volume", "user_message": "No pool can take it.",
            "created_at_us": 1, "guaranteed_until_us": 2,
        },
    ),
    (tables.group_types, group_type_row()),
    (tables.volume_groups, group_row(id=GROUP)),
    (tables.group_volume_types, {"group_id": GROUP, "volume_type_id": DEFAULT_TYPE_ID}),
    (tables.group_snapshots, group_snapshot_row(id=GROUP_SNAPSHOT, group_id=GROUP)),
    (
        tables.volumes,
        volume_row(
            id=ATTACHED_VOLUME, object_name=f"{ATTACHED_VOLUME}.1.1", status="reserved", attach_status="reserved",
            group_id=GROUP, charged_gib=1, charged_type_id=DEFAULT_TYPE_ID,
        ),
    ),
    (
        tables.attachments,
        {
            "id": ATTACHMENT, "volume_id": ATTACHED_VOLUME, "project_id": PROJECT, "status": "reserved",
            "created_at_us": START_US,
        },
    ),
    (
        tables.volumes,
        volume_row(
            id=OFFERED_VOLUME, object_name=f"{OFFERED_VOLUME}.1.1", status="awaiting-transfer", charged_gib=1,
            charged_type_id=DEFAULT_TYPE_ID, image_metadata_json='{"key":"value"}',
        ),
    ),
    (
        tables.transfers,
        {
            "id": TRANSFER, "volume_id": OFFERED_VOLUME, "project_id": PROJECT, "name": "gift", "salt": "5a17",
            "key_hash": "0" * 64, "created_at_us": START_US,
        },
    ),
    (tables.qos_specs, {"id": QOS, "name": "quick", "consumer": "back-end", "created_at_us": START_US}),
    (tables.default_types, {"project_id": PROJECT, "volume_type_id": TYPE}),
    (tables.backups, backup_row(id=BACKUP, volume_id=VOLUME)),
    *(
        (tables.quota_usage, {"project_id": PROJECT, "resource": resource, "in_use": used})
        for resource, used in (
            ("volumes", 4), ("snapshots", 1), ("gigabytes", 5), ("groups", 1), ("backups", 1), ("backup_gigabytes", 1),
        )
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What came back: the whole of it, however it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def fault(self) -> dict[str, Any]:
        """The inside of an error in this API's form."""
        (inner,) = json.loads(self.body).values()
        assert inner["code"] == self.status
        return dict(inner)


class FuzzApi:
    """The application and its database, which holds BASELINE before every request."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        env = real_env()
        # No node is there: who waits for one waits in vain.
        environ = {"BREEZEBLOCK_SERVICE__DATA_DIR": str(folder), "BREEZEBLOCK_API__ANSWER_TIMEOUT_S": "0.01"}
        chosen = settings.load(None, environ).settings
        self._lane = self._loop.run_until_complete(_open(folder / "fuzz.db"))
        self._store = Store(self._lane, env)
        self._app = build_app(Services(store=self._store, env=env, doorbell=NobodyListens(), settings=chosen))
        self._commits = 0
        self.reset()
        self.baseline = self.digest()

    def close(self) -> None:
        self._lane.close()
        self._loop.close()

    def send(
        self, method: str, target: bytes, *, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b""
    ) -> Answer:
        """One request. `target` is what stands in the request line, path and query, as bytes."""
        path, _, query = target.partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote(path.decode("latin-1"), errors="replace"), "raw_path": path, "query_string": query,
            "root_path": "", "headers": headers or [], "server": ("127.0.0.1", 8776), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        return self._loop.run_until_complete(self._call(scope, body))

    async def _call(self, scope: dict[str, Any], body: bytes) -> Answer:
        start: dict[str, Any] = {}
        parts: list[bytes] = []
        asked = iter(({"type": "http.request", "body": body, "more_body": False},))

        async def receive() -> dict[str, Any]:
            return next(asked, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(parts))

    # --- the database -----------------------------------------------------------------------------------------------

    def has_changed(self) -> bool:
        """Whether anything was committed since the last reset."""
        return self._loop.run_until_complete(self._store.read(_commits)) != self._commits

    def digest(self) -> dict[str, str]:
        """Of each table but tx_done: how many rows, and a hash over all of them."""
        return self._loop.run_until_complete(self._store.read(_digest))

    def reset(self) -> None:
        """Back to BASELINE."""
        self._loop.run_until_complete(self._store.run(_reset))
        self._commits = self._loop.run_until_complete(self._store.read(_commits))


async def _open(path: Path) -> SqliteLane | PooledLane | databases.Turns:
    if databases.urls():
        lane = databases.open_lane(databases.with_schema("fuzz"), 0)
        await lane.write(databases.empty)
        return lane
    return SqliteLane(databases.sqlite_file(path, now_us=real_env().clock.now_us), str(path))


class NobodyListens:
    def ring(self, queue: str) -> None:
        """No node is there."""


def _reset(tx: Connection) -> None:
    for table in reversed(tables.metadata.sorted_tables):
        if table is not tables.tx_done:
            tx.execute(delete(table))
    for table, row in BASELINE:
        tx.execute(insert(table).values(**row))


def _commits(tx: Connection) -> int:
    return tx.execute(select(func.count()).select_from(tables.tx_done)).scalar_one()


def _digest(tx: Connection) -> dict[str, str]:
    found = {}
    for table in tables.metadata.sorted_tables:
        if table is tables.tx_done:
            continue
        rows = sorted(repr(tuple(row)) for row in tx.execute(select(table)))
        found[table.name] = (
            f"{len(rows)} rows, {hashlib.sha256(chr(10).join(rows).encode('utf-8', 'surrogatepass')).hexdigest()}"
        )
    return found

"""The keeper's few statements on the nodes table, as plain SQL over the bare database driver.

The keeper has to stay small and to renew whatever else happens, so it loads no SQLAlchemy. All statements may run twice:
registering looks first, renewing is an increment whose lost answer renews nothing, and the rest are guarded by state.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Cursor(Protocol):
    """What a statement answers."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> list[Any]: ...


class Executor(Protocol):
    """A database connection as the statements below need it: `?` marks parameters."""

    def execute(self, sql: str, parameters: Sequence[Any], /) -> Cursor: ...


class Lane(Protocol):
    """Runs a function in one writing transaction. Raises Unavailable, whether or not it was committed."""

    async def write(self, f: Callable[[Executor], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Registration:
    """What a keeper says of its node at the start."""

    incarnation: str
    name: str
    cluster: str
    boot_id: str
    version: str
    lock_path: str
    lock_id: str
    keeper_pid: int


@dataclass(frozen=True, slots=True)
class Predecessor:
    """An earlier start of the same node. `unfenced`: nobody has proved yet that it is dead."""

    incarnation: str
    lock_path: str
    lock_id: str
    unfenced: bool


class LeaseTable:
    """The nodes table, as its keeper writes it."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def predecessors(self, *, name: str, cluster: str, incarnation: str) -> list[Predecessor]:
        """Earlier starts under this name whose rows are still there."""
        query = (
            "SELECT incarnation, lock_path, lock_id, state NOT IN ('fenced', 'gone') FROM nodes"
            " WHERE name = ? AND cluster = ? AND incarnation != ?"
        )
        rows = await self._lane.write(lambda tx: tx.execute(query, (name, cluster, incarnation)).fetchall())
        return [Predecessor(row[0], row[1], row[2], bool(row[3])) for row in rows]

    async def register(self, me: Registration, *, now_us: int) -> None:
        """Enter the node as `up`. Registering twice is registering once."""

        def enter(tx: Executor) -> None:
            if tx.execute("SELECT 1 FROM nodes WHERE incarnation = ?", (me.incarnation,)).fetchall():
                return
            tx.execute(
                "INSERT INTO nodes (incarnation, name, cluster, boot_id, state, heartbeat, claims, fence_tries,"
                " fence_after_us, queues_json, kinds_json, version, lock_path, lock_id, keeper_pid, started_at_us)"
                " VALUES (?, ?, ?, ?, 'up', 1, 0, 0, 0, '[]', '{}', ?, ?, ?, ?, ?)",
                (
                    me.incarnation,
                    me.name,
                    me.cluster,
                    me.boot_id,
                    me.version,
                    me.lock_path,
                    me.lock_id,
                    me.keeper_pid,
                    now_us,
                ),
            )

        await self._lane.write(enter)

    async def renew(self, incarnation: str, *, now_us: int) -> bool:
        """Move the counter. False: this incarnation was expired, and everything of it must end."""
        sql = (
            "UPDATE nodes SET heartbeat = heartbeat + 1, renewed_at_us = ?"
            " WHERE incarnation = ? AND state IN ('up', 'draining')"
        )
        return await self._lane.write(lambda tx: tx.execute(sql, (now_us, incarnation)).rowcount > 0)

    async def drain(self, incarnation: str) -> None:
        """Claim nothing more; go on renewing until the worker is done."""
        sql = "UPDATE nodes SET state = 'draining' WHERE incarnation = ? AND state = 'up'"
        await self._lane.write(lambda tx: tx.execute(sql, (incarnation,)))

    async def bury(self, incarnation: str, *, now_us: int, event_id: str, detail: str) -> bool:
        """There is proof that no process of this incarnation is left: it is fenced, and its operations are taken from it.

        Revoked in the same transaction, as at every expiry; whoever comes first releases them. `detail` says what the proof
        is, for the node's history.
        """

        def fence(tx: Executor) -> bool:
            sql = (
                "UPDATE nodes SET state = 'fenced', changed_at_us = ?"
                " WHERE incarnation = ? AND state IN ('up', 'draining', 'expired')"
            )
            if tx.execute(sql, (now_us, incarnation)).rowcount == 0:
                return False
            tx.execute("UPDATE operations SET epoch = epoch + 1 WHERE owner = ?", (incarnation,))
            tx.execute(
                "INSERT INTO node_events (id, cluster, node, incarnation, event, detail, at_us)"
                " SELECT ?, cluster, name, incarnation, 'fenced', ?, ? FROM nodes WHERE incarnation = ?",
                (event_id, detail, now_us, incarnation),
            )
            return True

        return await self._lane.write(fence)

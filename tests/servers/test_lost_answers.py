"""Answers to COMMIT that are lost, for every kind of transaction that matters: what was asked for happens exactly once.

The same story is told twice on a real server, undisturbed and with the answer to each COMMIT lost on its way; afterwards the
database must be the same, row by row. On Galera each lost answer also moves the process on to another node.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from tests.servers.database import DatabaseServer
from tests.servers.galera import Galera
from tests.servers.postgresql import PostgreSQL
from tests.servers.proxy import Proxy
from tests.store.given import KINDS, ME, NOW_US, OTHER, POOL, QUEUE, UNLIMITED, new_snapshot, new_volume, origin

from breezeblock.env.real import real_env
from breezeblock.model.events import Event
from breezeblock.model.ids import MessageId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.protocol import membership, queue
from breezeblock.protocol.node_events import Note
from breezeblock.protocol.queue import DO, Claim
from breezeblock.resources import snapshots, types, volumes
from breezeblock.store import check, schema, tables
from breezeblock.store.endpoints import Endpoints
from breezeblock.store.pooled import PooledLane
from breezeblock.store.run import Store
from breezeblock.store.servers import Session

# Of an event: its id is made of its transaction's, which each run draws anew.
_DRAWN = ("id", "event_json")


class Teller:
    """Tells the story to a store. `before` is called ahead of each of its transactions."""

    def __init__(self, store: Store, before: Callable[[], None]) -> None:
        self._store = store
        self._before = before
        self._operations = itertools.count(1)

    async def tx(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._before()
        return await self._store.run(f, *args, **kwargs)

    def asks(self) -> Origin:
        number = next(self._operations)
        return msgspec.structs.replace(
            origin(operation_id=f"operation-{number}"), message_id=MessageId(f"message-{number}")
        )

    async def claim(self) -> Claim:
        """The one operation that there is to claim."""
        found = await self._store.read(queue.claimable, queue=QUEUE, kinds=KINDS, most=9, attempts=range(9))
        (claim,) = await self.tx(queue.claim, wanted=found, incarnation=ME, now_us=NOW_US)
        return claim  # type: ignore[no-any-return]


async def story(store: Store, before: Callable[[], None]) -> list[Any]:
    """Volumes and a snapshot are accepted, claimed, worked on, finished and deleted; then the node is lost."""
    teller = Teller(store, before)
    await store.run(_set_up)
    create: dict[str, Any] = {"quota_defaults": UNLIMITED}

    await teller.tx(volumes.begin_create, origin=teller.asks(), wanted=new_volume("v1"), **create)
    claim = await teller.claim()
    cancelled = await teller.tx(queue.save, claim, direction=DO, step="make", state_json='{"object": "v1.1.1"}')
    payload = volumes.CreateVolume(volume_id="v1", size_gib=1)
    await teller.tx(volumes.finish_create, claim, payload, {"object": "v1.1.1"}, now_us=NOW_US)

    await teller.tx(snapshots.begin_create, origin=teller.asks(), wanted=new_snapshot("s1"), **create)
    claim = await teller.claim()
    await teller.tx(queue.hand_back, claim)
    claim = await teller.claim()
    made = snapshots.CreateSnapshot(snapshot_id="s1", volume_id="v1", size_gib=1)
    await teller.tx(snapshots.finish_create, claim, made, {"object": "s1.1.1"}, now_us=NOW_US)

    await teller.tx(volumes.begin_delete, origin=teller.asks(), volume_id=VolumeId("v1"), cascade=True)
    claim = await teller.claim()
    gone = volumes.DeleteVolume(volume_id="v1", snapshot_ids=["s1"])
    await teller.tx(volumes.finish_delete, claim, gone, {}, now_us=NOW_US)

    await teller.tx(volumes.begin_create, origin=teller.asks(), wanted=new_volume("v2", size_gib=3), **create)
    await teller.claim()
    notes = [Note(f"note-{number}", OTHER, NOW_US) for number in range(2)]
    expired = await teller.tx(membership.expire, incarnation=ME, heartbeat=1, fencer=OTHER, note=notes[0])
    fenced = await teller.tx(membership.record_fenced, incarnation=ME, method="same_machine", note=notes[1])
    released = await teller.tx(membership.housekeeping, cluster="c", now_us=NOW_US)
    return [cancelled, expired, fenced, released]


def _set_up(tx: sa.Connection) -> None:
    for table in reversed(tables.metadata.sorted_tables):
        if table is not tables.tx_done:
            tx.execute(table.delete())
    types.ensure_default_type(tx)
    for name in (ME, OTHER):
        tx.execute(
            sa.insert(tables.nodes).values(
                incarnation=name, name=name, cluster="c", boot_id="b", state="up", heartbeat=1, claims=0,
                queues_json=f'["{QUEUE}"]', kinds_json="{}", version="1", lock_path=f"/run/{name}", lock_id="l",
                keeper_pid=1, started_at_us=NOW_US,
            )
        )  # fmt: skip
    tx.execute(
        sa.insert(tables.pools).values(name=POOL, queue=QUEUE, total_gib=100, free_gib=100, availability_zone="nova")
    )


def contents(tx: sa.Connection) -> dict[str, list[Any]]:
    """All rows, but for instants and for what only serves to tell that a transaction has happened."""
    found = {}
    for table in tables.metadata.sorted_tables:
        if table is not tables.tx_done:
            columns = [column for column in table.columns if not column.name.endswith("_us")]
            columns = [column for column in columns if table is not tables.events or column.name not in _DRAWN]
            found[table.name] = sorted(repr(tuple(row)) for row in tx.execute(sa.select(*columns)))
    texts = tx.execute(sa.select(tables.events.c.event_json)).scalars()
    told = [msgspec.structs.replace(msgspec.json.decode(text, type=Event), id="", at_us=0) for text in texts]
    return found | {"told": sorted(repr(event) for event in told)}


class Place:
    """A database behind proxies, one for each of its servers."""

    def __init__(self, urls: Sequence[str], proxies: Sequence[Proxy]) -> None:
        self._urls = urls
        self.proxies = proxies

    def tell(self, before: Callable[[], None]) -> tuple[list[Any], dict[str, list[Any]], list[str]]:
        """The story's own results, what is then in the database, and what is wrong with that."""

        async def use(store: Store) -> Any:
            results = await story(store, before)
            return results, await store.read(contents), await store.read(check.problems)

        return self._with_store(use)  # type: ignore[no-any-return]

    def _with_store(self, use: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
        async def main() -> Any:
            lane = PooledLane(Endpoints(self._urls, Session(ttl_s=30.0, connections=2)))
            try:
                return await use(Store(lane, real_env(), receivers=("billing", "log")))
            finally:
                lane.close()

        return asyncio.run(main())


@contextlib.contextmanager
def behind(servers: Sequence[DatabaseServer], name: str, protocol: Literal["postgresql", "mysql"]) -> Iterator[Place]:
    with contextlib.ExitStack() as opened:
        proxies = [opened.enter_context(Proxy(server, protocol=protocol)) for server in servers]
        schema.upgrade(servers[0].url(name))
        yield Place([server.url(name, via=proxy) for server, proxy in zip(servers, proxies, strict=True)], proxies)


def check_both(place: Place) -> None:
    undisturbed = place.tell(lambda: None)

    def lose() -> None:
        for proxy in place.proxies:
            proxy.lose_commits()

    lost = place.tell(lose)

    assert sum(proxy.lost for proxy in place.proxies) >= 15
    assert lost == undisturbed
    assert lost[2] == []
    assert len(lost[1]["told"]) == 2 * len(set(lost[1]["told"])) > 20


def test_each_transaction_happens_once_though_its_answer_is_lost(server: DatabaseServer) -> None:
    """On one server: the process connects again and asks."""
    protocol: Literal["postgresql", "mysql"] = "postgresql" if isinstance(server, PostgreSQL) else "mysql"
    server.create_database("lost")
    try:
        with behind([server], "lost", protocol) as place:
            check_both(place)
    finally:
        server.drop_database("lost")


def test_each_transaction_happens_once_though_another_node_is_asked(a_galera: Galera) -> None:
    """On a cluster: what one node has committed, the next one must know when it is asked."""
    a_galera.create_database("lost")
    try:
        with behind(a_galera.nodes[:2], "lost", "mysql") as place:
            check_both(place)
    finally:
        a_galera.drop_database("lost")

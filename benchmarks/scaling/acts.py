"""What clients and nodes do, by the service's own functions on the service's own connections: no SQL is written here."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from breezeblock import settings
from breezeblock.env.contract import Env
from breezeblock.env.real import real_env
from breezeblock.model.ids import Incarnation, MessageId, OperationId, ProjectId, UserId, VolumeId
from breezeblock.model.origin import Origin
from breezeblock.model.requests import NewVolume
from breezeblock.node.lease_lanes import open_lane
from breezeblock.node.lease_table import LeaseTable
from breezeblock.protocol import membership, queue, waiting
from breezeblock.protocol.node_events import Note
from breezeblock.protocol.queue import Claim, Wanted
from breezeblock.resources import listing, volumes
from breezeblock.store import tables
from breezeblock.store.run import Store
from breezeblock.wiring import open_database
from breezeblock.work.catalogue import CATALOGUE

from .plan import BIG, cluster_of, incarnation, queue_of, volume

KINDS: Final = {kind: operation.version for kind, operation in CATALOGUE.items()}
# The defaults of the settings: how many operations of a backend a node runs at once, and from which attempt on alone.
SLOTS: Final = 16
RISKY_FROM: Final = 3
NEWEST_FIRST: Final = (("created_at", "desc"),)


@dataclass(frozen=True, slots=True)
class World:
    """One process's way to the database."""

    env: Env
    store: Store
    url: str
    ttl_s: float


@contextmanager
def world(url: str, folder: str, *, connections: int) -> Iterator[World]:
    """On the event loop that runs."""
    environ = {
        "BREEZEBLOCK_DATABASE__URL": url,
        "BREEZEBLOCK_DATABASE__CONNECTIONS": str(connections),
        "BREEZEBLOCK_SERVICE__DATA_DIR": folder,
        "BREEZEBLOCK_NODES__ONE_MACHINE": "true",
    }
    env = real_env()
    chosen = settings.load(None, environ).settings
    database = open_database(chosen, env)
    try:
        yield World(env, database.store, url, chosen.nodes.ttl_s)
    finally:
        database.lane.close()


# --- clients ----------------------------------------------------------------------------------------------------------


class Client:
    """Requests about volumes, as the handlers of the API put them to the store."""

    def __init__(self, at: World, size: int, seed: object) -> None:
        self._at = at
        self._size = size
        self._random = random.Random(f"{seed}")
        # Those of the one big project, which stay: no operation is queued for them.
        self._big = [number for number in range(0, size, 10) if volume(number).project == BIG]

    def _numbers(self) -> int:
        """Of a volume that stays."""
        return self._random.randrange(0, self._size // 10) * 10

    async def show(self) -> None:
        """One volume by its id."""
        wanted = volume(self._numbers())
        await self._at.store.read(listing.one, listing.VOLUMES, id_=wanted.id, project_id=ProjectId(wanted.project))

    async def page(self, project: str | None, *, limit: int, marker: str | None = None, **where: Any) -> int:
        """One page of a list, newest first: how many rows it has."""
        conditions = tuple(
            listing.Condition(name, "has" if name == "metadata" else "eq", value) for name, value in where.items()
        )
        wanted = listing.Page(
            project_id=None if project is None else ProjectId(project),
            limit=limit,
            sort=NEWEST_FIRST,
            where=conditions,
            marker=marker,
        )
        found = await self._at.store.read(listing.page, listing.VOLUMES, wanted)
        return len(found.rows)

    def small_project(self) -> str:
        """Any but the big one."""
        while (found := volume(self._numbers()).project) == BIG:
            pass
        return found

    def marker(self) -> str:
        """A volume somewhere in the middle of the big project."""
        return volume(self._random.choice(self._big[len(self._big) // 4 : -len(self._big) // 4] or self._big)).id

    def name(self) -> str:
        """Of a volume of the big project."""
        return f"volume-{self._random.choice(self._big)}"

    async def create(self) -> None:
        """A volume of 1 GiB, in any project."""
        ids = self._at.env.ids
        origin = Origin(
            project_id=ProjectId(volume(self._numbers()).project),
            user_id=UserId("user"),
            is_admin=False,
            request_id=f"req-{ids.uuid()}",
            at_us=self._at.env.clock.now_us(),
            operation_id=OperationId(ids.uuid()),
            message_id=MessageId(ids.uuid()),
        )
        wanted = NewVolume(id=VolumeId(ids.uuid()), size_gib=1, name="new")
        accepted = await self._at.store.run(volumes.begin_create, origin=origin, wanted=wanted, quota_defaults={})
        assert accepted.queue is not None, "no pool took it"


# --- nodes ------------------------------------------------------------------------------------------------------------


class Member:
    """One node: its keeper's and its worker's statements. It has no slots, so it may have claimed any number."""

    def __init__(self, at: World, node: int) -> None:
        self._at = at
        self._lease = LeaseTable(open_lane([at.url], at.env.threads, ttl_s=at.ttl_s))
        self.become(node)

    def become(self, node: int) -> None:
        """Another node from now on, on the same connections."""
        self.me = Incarnation(incarnation(node))
        self.cluster = f"cluster-{cluster_of(node)}"
        self.queue = queue_of(cluster_of(node))

    async def renew(self) -> None:
        """One heartbeat."""
        assert await self._lease.renew(self.me, now_us=self._at.env.clock.now_us()), f"{self.me} is not up"

    async def observe(self) -> int:
        """What each node does about the others: how many they are."""
        rows = await self._at.store.probe(membership.read_nodes, cluster=self.cluster)
        assert not await self._at.store.read(membership.needs_housekeeping, cluster=self.cluster)
        return len(rows)

    async def kinds(self) -> None:
        """Which kinds of operations wait: twice a minute."""
        await self._at.store.read(waiting.waiting_kinds, cluster=self.cluster)

    async def look(self) -> list[Wanted]:
        """As a worker with all its slots free looks into its queue."""
        return await self._at.store.read(_look, name=self.queue, me=self.me)

    async def claim(self, wanted: list[Wanted]) -> list[Claim]:
        """Of what was seen, what we get. Raises NothingWon."""
        return await self._at.store.insist(
            queue.claim, wanted=wanted, incarnation=self.me, now_us=self._at.env.clock.now_us()
        )

    async def finish(self, claim: Claim) -> None:
        """The one transaction that ends an operation."""
        operation = CATALOGUE[claim.kind]
        payload = msgspec.json.decode(claim.payload_json, type=operation.payload)
        seq, epoch = claim.token(claim.resource_id)
        state = {"object": f"{claim.resource_id}.{seq}.{epoch}"}
        await self._at.store.insist(operation.finish, claim, payload, state, now_us=self._at.env.clock.now_us())

    async def checkpoint(self, claims: list[Claim]) -> None:
        """Progress is made: dying after it is no attempt."""
        for claim in claims:
            await self._at.store.insist(queue.guard, claim)

    # --- about another one --------------------------------------------------------------------------------------------

    def _note(self) -> Note:
        return Note.of(self._at.env, by="a survivor")

    async def heartbeat(self) -> int:
        """Where our own counter stands."""
        rows = await self._at.store.read(membership.read_nodes, cluster=self.cluster)
        return next(row.heartbeat for row in rows if row.incarnation == self.me)

    async def be_expired(self, heartbeat: int) -> None:
        """A survivor declares us expired, and revokes all that we have claimed."""
        assert await self._at.store.run(
            membership.expire, incarnation=self.me, heartbeat=heartbeat, fencer=None, note=self._note()
        )

    async def be_fenced(self) -> None:
        """There is proof that we are dead."""
        note = self._note()
        assert await self._at.store.run(membership.record_fenced, incarnation=self.me, method="test", note=note)

    async def be_released(self) -> None:
        """The standing rules: what we had claimed may be claimed by others."""
        now_us = self._at.env.clock.now_us()
        released = await self._at.store.run(membership.housekeeping, cluster=self.cluster, now_us=now_us)
        assert released == [self.queue], f"{released} was released"

    async def rise(self) -> None:
        """Be up again, as if nothing had happened, so that there are as many nodes as before."""
        await self._at.store.run(_raise, me=self.me)


def _look(tx: sa.Connection, *, name: str, me: Incarnation) -> list[Wanted]:
    queue.storage(tx)
    normal, _ = queue.claimable_apart(tx, queue=name, kinds=KINDS, most=SLOTS, risky_from=RISKY_FROM)
    queue.owned(tx, incarnation=me)
    return normal


def _raise(tx: sa.Connection, *, me: Incarnation) -> None:
    for table, values in (
        (tables.nodes, {"state": "up", "fencer": None, "changed_at_us": None}),
        (tables.node_backends, {"fenced_by": None, "fenced_at_us": None}),
    ):
        tx.execute(sa.update(table).where(table.c.incarnation == me).values(values))

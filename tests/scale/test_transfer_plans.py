"""Lists of transfers, and what operators ask about hosts and what is on them, follow indexes on every database."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.scale.fill import fill
from tests.scale.plans import explain
from tests.scale.statements import Statement, overheard
from tests.store.given import ME, UNLIMITED, Base, create_snapshot, create_volume, origin
from tests.upgrade.databases import Database

from breezeblock.model.errors import InvalidState
from breezeblock.model.ids import TransferId, VolumeId
from breezeblock.resources import hosts, listing, quotas, transfers, volumes
from breezeblock.resources.listing import Condition, Page
from breezeblock.resources.transfers import NewTransfer, key_hash
from breezeblock.store import schema, tables

V, T = VolumeId("v1"), TransferId("t1")
OFFERED = NewTransfer(
    id=T, volume_id=V, name="gift", no_snapshots=False, encrypted_too=False, salt="s", key_hash=key_hash("s", "key")
)
PAGES = (
    Page(project_id="p1", limit=10, sort=(("created_at", "desc"),), marker=T),
    Page(project_id=None, limit=10, sort=(("created_at", "asc"),)),
    Page(project_id="p1", limit=10, sort=(("name", "asc"),), where=(Condition("volume_id", "eq", V),)),
)
# What is on a host, a backend, and in a pool.
ON_HOST = tuple(Condition("host", "place", place) for place in ("n1", "n1@b", "n1@b#pool"))


@pytest.fixture(scope="module")
def statements() -> Iterator[dict[str, Statement]]:
    """All that these calls execute."""
    base = Base()
    given(base)
    with overheard() as found:
        ask(base)
    yield found
    base.close()


def ask(base: Base) -> None:
    base.run(transfers.offer, origin=origin(), wanted=OFFERED)
    for page in PAGES:
        base.run(transfers.list_transfers, page=page)
    base.run(transfers.get_transfer, origin=origin(), transfer_id=T)
    base.run(transfers.withdraw, origin=origin(), transfer_id=T)
    base.run(transfers.offer, origin=origin(), wanted=OFFERED)
    asked = origin(project_id="p2")
    # Where snapshots do not count in gigabytes, what they take is summed up.
    limits = {**UNLIMITED, quotas.SNAPSHOTS_USE_GIGABYTES: 0}
    base.run(transfers.accept, origin=asked, transfer_id=T, auth_key="key", quota_defaults=limits)
    base.run(hosts.held_on, host="n1@b", own_cluster="c")
    for where in ON_HOST:
        for project_id in ("p1", None):
            page = Page(project_id=project_id, limit=10, sort=(("created_at", "desc"),), where=(where,))
            for kind in (listing.VOLUMES, listing.SNAPSHOTS):
                base.run(listing.page, kind, page)
        base.run(listing.summarize_volumes, project_id="p1", where=(where,))
    with pytest.raises(InvalidState):  # what is asked before a volume goes with its snapshots
        base.change(tables.snapshots, "s1", project_id="p3")
        base.run(_delete)


def given(base: Base) -> None:
    """A volume with a snapshot, both at rest."""
    base.node(ME, name="n1")
    base.pool()
    create_volume(base, V)
    done = {"status": "available"}
    base.run(lambda tx: [tx.execute(table.delete()) for table in (tables.operation_locks, tables.operations)])
    base.change(tables.volumes, V, **done, object_name="v1.1.1")
    create_snapshot(base, "s1", V)
    base.run(lambda tx: [tx.execute(table.delete()) for table in (tables.operation_locks, tables.operations)])
    base.change(tables.snapshots, "s1", **done, object_name="s1.1.1")


def _delete(tx: sa.Connection) -> None:
    volumes.begin_delete(tx, origin=origin(project_id="p2"), volume_id=V, cascade=True)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ("sqlite", "postgresql", "mariadb"), indirect=True)
def test_transfers_and_hosts_read_no_big_table_from_end_to_end(
    database: Database, statements: dict[str, Statement]
) -> None:
    schema.upgrade(database.urls[0])
    with database.tx() as tx:
        fill(tx, 2_000)

    with database.tx() as tx:
        if database.kind == "postgresql":
            tx.exec_driver_sql("SET enable_seqscan = off")
        found = {text: explain(tx, one) for text, one in statements.items()}

    assert any("transfers" in text for text in found)
    assert {text: how for text, how in found.items() if how} == {}

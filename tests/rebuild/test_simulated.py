"""Whole simulated clusters whose database is replaced by an older one of the same run: nothing that was there is lost.

The run goes on after the dump, with faults, to its end. What the database says then is the truth that a rebuild does not know.
"""

import sqlite3
from contextlib import closing
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select
from tests.proof import PROOF
from tests.sim.seeds import seeds

from breezeblock.drivers.contract import ObjectName
from breezeblock.drivers.file_names import PART
from breezeblock.model import states
from breezeblock.protocol.archives import LIVE
from breezeblock.resources.rebuilding import Item, Outcome, Owner, Shelf
from breezeblock.resources.rebuilding_backups import Chest, Kept
from breezeblock.resources.rebuilding_database import Stock, rebuild
from breezeblock.store import check, tables
from breezeblock.store.dialects import open_engine
from breezeblock.testing.cluster import queue_of
from breezeblock.testing.database import Database, Seen
from breezeblock.testing.invariants import _objects
from breezeblock.testing.loop import Process
from breezeblock.testing.run import _Run
from breezeblock.testing.safe import STORE
from breezeblock.testing.tidied import onlooker
from breezeblock.testing.virtual import EPOCH_US

SEEDS: Final = seeds(quick=12, proof=600)
NOW_US: Final = EPOCH_US + 10**12
OPTIONS: Final[dict[str, Any]] = {
    "only": None, "fence": None, "beyond_drift": "", "theme": None, "without": (), "unasked": (), "brief": True,
}  # fmt: skip


class Dumped(_Run):
    """A run that keeps what the database was after one of its commits, and in the end all that is on storage."""

    def __init__(self, seed: int, database: Database) -> None:
        super().__init__(seed, database, OPTIONS)
        self.dump: sqlite3.Connection | None = None
        self.shelves: list[Shelf] = []
        self.chests: list[Chest] = []
        self._left = Random(f"{seed} dump").choice((5, 50, 150, 400))

    def _committed(self, seen: list[Seen], writer: Process | None) -> None:
        super()._committed(seen, writer)
        self._left -= 1
        if self._left == 0:
            self.dump = sqlite3.connect(":memory:")
            self._database.raw.backup(self.dump)

    async def _settle(self) -> None:
        await super()._settle()
        paths = await _objects(self._cluster)
        self.shelves = [
            await self._shelf(name, [path for path in paths if path.is_relative_to(self._cluster.root(f"#{name}"))])
            for name in self._cluster.backends
        ]
        self.chests = await self._opened()

    async def _shelf(self, name: str, paths: list[PurePosixPath]) -> Shelf:
        queue, highest, items = queue_of(name), dict[str, int](), []
        for path in paths:
            found = ObjectName.parse(path.name.removesuffix(PART))
            highest[found.resource_id] = max(found.seq, highest.get(found.resource_id, 0))
            if not path.name.endswith(PART):
                items.append(Item(found, queue, await self._cluster.disk.size(path)))
        return Shelf(queue, f"{queue}#{name}", "nova", items, highest, {})

    async def _opened(self) -> list[Chest]:
        env, chests = onlooker(), []
        for row in self._database.raw.execute("SELECT id FROM archives").fetchall():
            archive = self._cluster.safe.at_rest(row[0], env)
            if not await archive.is_there(row[0]):
                continue
            await archive.open(begin=False)
            kept = {}
            for name in await archive.manifest_names():
                manifest = await archive.read_manifest(name)
                header, packs = manifest.header, list(manifest.packs)
                kept[header.backup_id] = Kept(
                    header.backup_id, name, packs, header.volume_id, header.size_bytes, header.created_us, header.data_us,
                    header.name, header.project_id, header.parent, frozenset(await archive.missing_packs(packs)),
                )  # fmt: skip
            chests.append(Chest(STORE, row[0], archive.key_check, None, None, list(kept.values())))
        return chests


def rebuilt(tx: Connection, run: Dumped) -> Outcome:
    stock = Stock(run.shelves, run.chests, frozenset({STORE}), {})
    return rebuild(tx, stock=stock, owner=Owner("red", "ann"), use=frozenset(), now_us=NOW_US)


def resources(tx: Connection) -> dict[str, dict[str, Any]]:
    return {
        row["id"]: dict(row)
        for table in (tables.volumes, tables.snapshots)
        for row in tx.execute(select(table).where(~table.c.tombstone)).mappings()
    }


def wrong(tx: Connection, truth: Connection, run: Dumped, outcome: Outcome) -> list[str]:
    """Every way in which the new database would lose something, or give it to two."""
    found = check.problems(tx)
    there = {str(item.name): item for shelf in run.shelves for item in shelf.items}
    now, was = resources(tx), resources(truth)
    doubtful = " ".join(outcome.undecided)
    for id_, row in was.items():
        # One that an operator only says to be there has no object.
        if row["status"] in states.WITH_STORAGE and row["object_name"] in there:
            mine = now.get(id_)
            if mine is None:
                found.append(f"{id_} is lost")
            elif mine["object_name"] != row["object_name"] and row["object_name"] not in doubtful:
                found.append(f"{id_} is {mine['object_name']}, and was {row['object_name']}")
    for id_, row in now.items():
        if row["status"] == states.AVAILABLE and row["object_name"] not in there:
            found.append(f"{id_} is available without an object")
    for shelf in run.shelves:
        for id_, seq in shelf.highest.items():
            if id_ in now and now[id_]["op_seq"] < seq:
                found.append(f"{id_} would give its place {seq} again")
    live = set(tx.execute(select(tables.packs.c.id).where(tables.packs.c.state == LIVE)).scalars())
    mine_backups = {row["id"]: row for row in tx.execute(select(tables.backups)).mappings()}
    for known in truth.execute(select(tables.backups).where(tables.backups.c.manifest.is_not(None))).mappings():
        kept_as = mine_backups.get(known["id"])
        if known["status"] == states.AVAILABLE and (kept_as is None or kept_as["manifest"] != known["manifest"]):
            found.append(f"backup {known['id']} is lost: {kept_as and kept_as['status']}")
    for chest in run.chests:
        for kept in chest.kept:
            if lost := set(kept.packs) - live:
                found.append(f"packs {sorted(lost)} of {kept.backup_id} would be garbage")
    return found


@pytest.fixture(scope="module")
def database() -> Any:
    database = Database()
    yield database
    database.close()


@pytest.mark.timeout(1800 if PROOF else 300)
def test_nothing_is_lost_by_an_older_database(database: Database) -> None:
    print(f"seeds from {SEEDS[0]}")
    changed = 0
    for seed in SEEDS:
        run = Dumped(seed, database)
        run.go()
        if run.dump is None:
            continue
        engine = open_engine("sqlite://", now_us=lambda: NOW_US)
        with closing(run.dump), engine.connect() as older, database.reading() as truth:
            raw: sqlite3.Connection = older.connection.dbapi_connection  # type: ignore[assignment]
            run.dump.backup(raw)
            with older.begin():
                outcome = rebuilt(older, run)
                assert wrong(older, truth, run, outcome) == [], f"seed {seed}"
                changed += len(outcome.changed)
            with older.begin():
                assert rebuilt(older, run).changed == [], f"seed {seed}"
        engine.dispose()
    assert changed > 3 * len(SEEDS), "there was hardly anything to do"

"""What is checked of backups and their store, each with what it is there to find; and the runs that are about backups."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import pytest
import structlog
from sqlalchemy import insert
from tests.backup.given import ListBook, Volume, back_up

from breezeblock.backup.contract import StoreUnavailable
from breezeblock.backup.engine import Manifest
from breezeblock.backup.manifest import manifest_key
from breezeblock.backup.packs import pack_key
from breezeblock.store.tables import backups
from breezeblock.testing.counts import counted
from breezeblock.testing.database import Database
from breezeblock.testing.needed import Needed
from breezeblock.testing.objects import Far
from breezeblock.testing.run import simulate
from breezeblock.testing.safe import Safe
from breezeblock.testing.themes import ANYTHING
from breezeblock.testing.tidied import _check_manifests, onlooker

BACKUP, ARCHIVE = "44444444-0000-4000-8000-000000000001", "55555555-0000-4000-8000-000000000001"
BLOCK: Final = 64 * 1024


@pytest.fixture
def safe() -> Safe:
    return Safe(Random(1), ANYTHING)


@pytest.fixture
def nobody_runs() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


def backed_up(safe: Safe, database: Database) -> Manifest:
    """A backup in the store, and its row."""
    volume = Volume(4 * BLOCK)
    volume.write(0, Random(1).randbytes(3 * BLOCK))
    made = asyncio.run(back_up(safe.at_rest(ARCHIVE, onlooker()), volume, book=ListBook(), backup_id=BACKUP))
    database.begin_run(now_us=lambda: 1)
    row = {
        "id": BACKUP,
        "op_seq": 1,
        "tombstone": False,
        "project_id": "red",
        "user_id": "ann",
        "volume_id": "volume",
        "status": "available",
        "size_gib": 1,
        "object_count": 1,
        "stored_bytes": 1,
        "store": "safe",
        "container": "box",
        "host": "c@b",
        "metadata_json": "{}",
        "created_at_us": 1,
        "charged_gib": 1,
        "consumes_quota": True,
        "archive_id": ARCHIVE,
        "manifest": f"{BACKUP}.1.1",
    }
    with database.transaction() as tx:
        tx.execute(insert(backups), row)
    return made


def test_whoever_deletes_what_a_backup_needs_is_told_at_once(safe: Safe, database: Database) -> None:
    made = backed_up(safe, database)
    assert made.packs
    fell: list[str] = []
    needed = Needed(database.raw, safe, lambda invariant, what: fell.append(f"{invariant}: {what}"))
    safe.shelf.on_delete = needed.on_delete
    for key in (pack_key(ARCHIVE, BACKUP), manifest_key(ARCHIVE, f"{BACKUP}.1.2")):
        asyncio.run(safe.shelf.put(key, [b"of nobody"]))
        asyncio.run(safe.shelf.delete(key))
    assert fell == []

    for key in [pack_key(ARCHIVE, made.packs[0]), manifest_key(ARCHIVE, f"{BACKUP}.1.1")]:
        asyncio.run(safe.shelf.delete(key))

    assert [one.partition(" is deleted, ")[2] for one in fell] == [
        f"which backup {BACKUP} needs",
        f"which is the manifest of backup {BACKUP}",
    ]


def test_what_nobody_has_published_may_go(safe: Safe, database: Database) -> None:
    made = backed_up(safe, database)
    database.raw.execute("UPDATE backups SET manifest = NULL")
    fell: list[str] = []
    needed = Needed(database.raw, safe, lambda invariant, what: fell.append(what))
    safe.shelf.on_delete = needed.on_delete

    asyncio.run(safe.shelf.delete(pack_key(ARCHIVE, made.packs[0])))

    assert fell == []


class Away:
    """A store that answers nobody."""

    def store_delay_s(self, process: Any, call: str, key: str) -> float:
        return 0.0

    def store_refuses(self, process: Any, call: str, key: str) -> bool:
        return True


@pytest.mark.parametrize(
    ("forced", "refused", "is_excused"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_only_force_leaves_a_manifest_and_only_where_the_store_does_not_answer(
    safe: Safe, nobody_runs: None, forced: bool, refused: bool, is_excused: bool
) -> None:
    asyncio.run(safe.shelf.put(manifest_key(ARCHIVE, f"{BACKUP}.1.1"), [b"left"]))
    if refused:
        structlog.contextvars.bind_contextvars(operation_id="op-one")
        with pytest.raises(StoreUnavailable):
            asyncio.run(Far(safe.shelf, None, Away()).delete("a/b"))  # type: ignore[arg-type]
    fell: list[str] = []
    watcher: Any = SimpleNamespace(
        payloads=lambda kind: {"op-one": {"backup_id": BACKUP, "forced": forced}},
        violated=lambda invariant, what: fell.append(what),
    )
    cluster: Any = SimpleNamespace(safe=safe)

    _check_manifests(ARCHIVE, [], {}, watcher, cluster)

    assert (fell == []) is is_excused


def test_runs_about_backups_make_and_delete_many(database: Database) -> None:
    """Ten a run, where most have less than two."""
    counts: Counter[str] = Counter()
    for seed in (1, 2, 3):
        report = simulate(seed, database=database, only=[], theme="backups")
        assert "about backups" in str(report.history[0])
        counts += counted(report.history)

    assert counts["accepted create_backup"] + counts["accepted create_backup_of_snapshot"] >= 15
    assert counts["accepted delete_backup"] >= 6

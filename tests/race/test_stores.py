"""The same races below HTTP: several processes with stores of their own on one database."""

import os
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, insert, select
from tests import databases
from tests.api.builders import NODE, POOL, default_type, volume_row
from tests.race.model import Answered, State, explain
from tests.race.processes import PROJECT, Wanted, run_rounds

from breezeblock.chaos.database import Database, Servers, SqliteFile
from breezeblock.database_urls import sqlite_path
from breezeblock.env.real import real_env
from breezeblock.resources.types import DEFAULT_TYPE_ID
from breezeblock.store import schema, tables
from breezeblock.store.dialects import open_engine
from breezeblock.store.servers import Session, open_server

PROOF: Final = os.environ.get("BREEZEBLOCK_PROOF") == "1"
SEED: Final = int(os.environ.get("BREEZEBLOCK_SEED") or random.SystemRandom().randrange(2**32))
# On a server a round takes several times as long, and there are several servers.
ROUNDS: Final = (200 if PROOF else 40) if not databases.urls() else 60 if PROOF else 8
VOLUMES: Final = 4
PROCESSES: Final = 4
KINDS: Final = ("delete", "cascade", "extend", "retype", "snapshot", "clone", "force_delete", "reset")


def given_database(urls: Sequence[str], volume_ids: list[str]) -> Database:
    """A database of this release with these volumes at rest, each of 1 GiB and charged for."""
    schema.upgrade(urls[0])
    path = sqlite_path(urls[0])
    if path is None:
        engine = open_server(urls[0], Session(connections=1), reading=False)
    else:
        engine = open_engine(urls[0], now_us=real_env().clock.now_us)
    with engine.connect() as tx:
        if path is not None:
            tx.exec_driver_sql("BEGIN IMMEDIATE")  # its engine begins nothing by itself
        _insert(tx, volume_ids)
        tx.commit()
    engine.dispose()
    return Servers(urls) if path is None else SqliteFile(Path(path))


def _insert(tx: Connection, volume_ids: list[str]) -> None:
    charged = {"charged_gib": 1, "charged_type_id": DEFAULT_TYPE_ID}
    used = len(volume_ids)
    if tx.execute(select(tables.volume_types.c.id)).first() is None:
        tx.execute(insert(tables.volume_types).values(**default_type()))
    tx.execute(insert(tables.volume_types).values(**(default_type() | {"id": "gold-id", "name": "gold"})))
    tx.execute(insert(tables.nodes).values(**NODE))
    tx.execute(insert(tables.pools).values(**(POOL | {"allocated_gib": used})))
    rows = [volume_row(id=id_, object_name=f"{id_}.1.1", op_seq=1, **charged) for id_ in volume_ids]
    if not rows:
        return
    tx.execute(insert(tables.volumes), rows)
    for resource in ("volumes", "gigabytes", f"volumes_{DEFAULT_TYPE_ID}", f"gigabytes_{DEFAULT_TYPE_ID}"):
        tx.execute(insert(tables.quota_usage).values(project_id=PROJECT, resource=resource, in_use=used))


def test_transactions_of_several_processes_have_one_order(race_urls: tuple[str, ...]) -> None:
    """Each round thirty-two transactions on four fresh volumes: one order explains the answers for each of them."""
    chance = random.Random(f"{SEED}-stores")
    names = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(ROUNDS * VOLUMES)]
    database = given_database(race_urls, names)
    rounds = []
    for start in range(0, len(names), VOLUMES):
        wanted = [Wanted(chance.choice(KINDS), name) for name in names[start : start + VOLUMES] for _ in KINDS]
        chance.shuffle(wanted)
        rounds.append(wanted)

    found = run_rounds(race_urls, rounds, processes=PROCESSES)

    answers: dict[str, list[Answered]] = defaultdict(list)
    for one in found:
        answers[one.wanted.volume_id].append(Answered(one.wanted.kind, one.accepted, one.message))
    for name in names:
        assert len(answers[name]) == len(KINDS)
        told = "\n".join(map(str, sorted(answers[name])))
        assert explain(State(), answers[name]) is not None, f"no order explains these, BREEZEBLOCK_SEED={SEED}:\n{told}"
    assert database.contradictions() == []
    queued = {row["id"] for row in database.rows("SELECT id FROM operations")}
    assert queued == {one.operation_id for one in found if one.accepted and one.wanted.kind != "reset"}
    print(f"\nBREEZEBLOCK_SEED={SEED} {Counter((one.wanted.kind, one.accepted) for one in found)}")


def test_processes_share_one_quota_exactly(race_urls: tuple[str, ...]) -> None:
    """Sixty-four creates at once, and room for eleven."""
    database = given_database(race_urls, [])

    found = run_rounds(race_urls, [[Wanted("create", "")] * 64], processes=PROCESSES, quota=11)

    assert Counter(one.accepted for one in found) == {True: 11, False: 53}
    assert all("Quota exceeded for volumes" in one.message for one in found if not one.accepted)
    assert database.contradictions() == []

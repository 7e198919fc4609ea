"""Who else has a database open, before a command that must have it alone."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from breezeblock import settings
from breezeblock.commands import unused
from breezeblock.commands.failure import Failed
from breezeblock.commands.rebuild import Wanted, rebuild
from breezeblock.env.real import RealClock
from breezeblock.settings import Settings
from breezeblock.store.dialects import open_engine
from breezeblock.store.others import nodes_of_cluster, others

HOLDER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT * FROM t").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    """A database with one table, as any process of the service leaves it."""
    with sqlite3.connect(tmp_path / "breezeblock.db") as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    return settings.load(None, {"BREEZEBLOCK_SERVICE__DATA_DIR": str(tmp_path)}).settings


@contextmanager
def held(path: Path) -> Iterator[int]:
    """While another process has it open, as an API has that is idle. Gives its pid."""
    command = [sys.executable, "-S", "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        yield holder.pid
        holder.communicate()


def test_whoever_has_a_file_open_is_seen_and_oneself_is_not(chosen: Settings, tmp_path: Path) -> None:
    """Also an API that runs in another folder on this machine: it has no lock of this one, and no lease."""
    engine = open_engine(chosen.database.url, now_us=RealClock().now_us)
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        alone = others(connection)
        with held(tmp_path / "breezeblock.db") as pid:
            beside = others(connection)
        assert (alone, beside, others(connection)) == ([], [f"process {pid}"], [])
        assert nodes_of_cluster(connection)[1] == 1
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
        connection.exec_driver_sql("COMMIT")  # with all the locks that it had before the looks
    engine.dispose()


def test_a_rebuild_is_refused_while_anybody_has_the_database_open(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named; and nothing is begun."""
    monkeypatch.setattr(unused, "PATIENCE_S", 0.1)
    monkeypatch.setattr(unused, "LOOK_EVERY_S", 0.02)
    with (
        held(tmp_path / "breezeblock.db") as pid,
        pytest.raises(Failed, match=f"in use by process {pid}: stop every node"),
    ):
        rebuild(chosen, Wanted(None, frozenset(), dry_run=False, targets={}))
    asyncio.run(unused.require_unused(chosen))


def test_a_command_that_only_looks_is_waited_for(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a `status` that somebody runs every minute."""
    monkeypatch.setattr(unused, "LOOK_EVERY_S", 0.02)

    async def main() -> None:
        with held(tmp_path / "breezeblock.db"):
            waiting = asyncio.ensure_future(unused.require_unused(chosen))
            await asyncio.sleep(0.1)
            assert not waiting.done()
        await waiting

    asyncio.run(main())


def test_a_database_that_is_not_there_is_in_nobodys_use(tmp_path: Path) -> None:
    """Which is made anew by a rebuild."""
    chosen = settings.load(None, {"BREEZEBLOCK_SERVICE__DATA_DIR": str(tmp_path / "new")}).settings
    asyncio.run(unused.require_unused(chosen))

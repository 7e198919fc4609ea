"""Which blocks are where: a cache of the indexes of packs, on disk so that a large archive needs no large memory.

It may be lost or thrown away at any time: it is filled again from the packs themselves.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import structlog

from breezeblock.backup.packs import Entry, Place

__all__ = ["Known"]

T = TypeVar("T")

log = structlog.get_logger(__name__)

VERSION: Final = 1
LOCK_TIMEOUT_S: Final = 60.0
# What each one that is open keeps in memory.
CACHE_KIB: Final = 16 * 1024
# Below SQLite's smallest limit on the parameters of a statement.
HASHES_AT_ONCE: Final = 256
# How many packs that are gone may leave their rows behind before a pass over all rows removes them.
MOST_LEFT_BEHIND: Final = 256

# A pack's number is never given again, so rows of a pack that is gone never pass for those of another.
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS packs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS gone (number INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS blocks (hash BLOB, pack INTEGER, offset INTEGER, stored INTEGER, plain INTEGER,"
    " codec INTEGER, PRIMARY KEY (hash, pack)) WITHOUT ROWID",
)
_FIND: Final = "SELECT hash, pack, offset, stored, plain, codec FROM blocks WHERE hash IN ({}) ORDER BY hash, pack"
_ADD: Final = "INSERT OR IGNORE INTO blocks VALUES (?, {}, ?, ?, ?, ?)"
# The result codes for a file that is no sound database.
_UNSOUND: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Known:
    """The blocks of those packs that one writer may refer to. Its methods block, and may be called by any thread.

    Several writers may share one file, each with packs of its own that the others may not refer to: a block is kept
    once for each pack that has it, and is found in the writer's own packs only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._packs: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        self._database: sqlite3.Connection | None = None

    def __contains__(self, pack: str) -> bool:
        """Whether it knows what is in that pack, which is therefore in the store."""
        return pack in self._numbers

    def keep(self, usable: Iterable[str]) -> list[str]:
        """Forget all packs but these. Returns those whose indexes it does not have."""
        wanted = set(usable)
        with self._lock:
            self._safely(lambda database: self._keep(database, wanted), None)
            return sorted(wanted - self._numbers.keys())

    def add(self, packs: Sequence[tuple[str, Sequence[Entry]]]) -> None:
        """Remember what is in packs, which are in the store."""
        with self._lock:
            self._safely(lambda database: self._add(database, packs), None)

    def find(self, hashes: Sequence[bytes]) -> dict[bytes, Place]:
        """Where blocks are that are known. Of several places always the same one."""
        if not self._numbers or not hashes:
            return {}
        with self._lock:
            return self._safely(lambda database: self._find(database, hashes), {})

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _safely(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` returns; where the file cannot be used, `otherwise`, and from then on an empty cache without one."""
        try:
            if self._database is None:
                self._database = _opened(self._path)
            with self._database:
                return work(self._database)
        except sqlite3.DatabaseError as error:
            if self._path is None:
                raise
            log.warning("archive.cache_dropped", path=str(self._path), error=str(error))
            self._drop(unsound=error.sqlite_errorcode & 0xFF in _UNSOUND)
            return otherwise

    def _drop(self, *, unsound: bool) -> None:
        assert self._path is not None
        if self._database is not None:
            self._database.close()
            self._database = None
        if unsound:
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path = None
        self._packs.clear()
        self._numbers.clear()

    def _keep(self, database: sqlite3.Connection, wanted: set[str]) -> None:
        database.execute("BEGIN IMMEDIATE")
        rows = dict(database.execute("SELECT number, id FROM packs"))
        gone = [(number,) for number, pack in rows.items() if pack not in wanted]
        database.executemany("DELETE FROM packs WHERE number = ?", gone)
        database.executemany("INSERT INTO gone VALUES (?)", gone)
        if database.execute("SELECT count(*) FROM gone").fetchone()[0] > MOST_LEFT_BEHIND:
            database.execute("DELETE FROM blocks WHERE pack IN (SELECT number FROM gone)")
            database.execute("DELETE FROM gone")
        self._packs = {number: pack for number, pack in rows.items() if pack in wanted}
        self._numbers = {pack: number for number, pack in self._packs.items()}

    def _add(self, database: sqlite3.Connection, packs: Sequence[tuple[str, Sequence[Entry]]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        numbers: dict[str, int] = {}
        for pack, entries in packs:
            database.execute("INSERT OR IGNORE INTO packs (id) VALUES (?)", (pack,))
            (number,) = database.execute("SELECT number FROM packs WHERE id = ?", (pack,)).fetchone()
            database.executemany(_ADD.format(int(number)), entries)
            numbers[pack] = number
        database.execute("COMMIT")
        self._numbers |= numbers
        self._packs |= {number: pack for pack, number in numbers.items()}

    def _find(self, database: sqlite3.Connection, hashes: Sequence[bytes]) -> dict[bytes, Place]:
        found: dict[bytes, Place] = {}
        for start in range(0, len(hashes), HASHES_AT_ONCE):
            some = hashes[start : start + HASHES_AT_ONCE]
            for hash_, pack, *place in database.execute(_FIND.format(", ".join("?" * len(some))), some):
                if pack in self._packs and hash_ not in found:
                    found[hash_] = Place(self._packs[pack], *place)
        return found


def _opened(path: Path | None) -> sqlite3.Connection:
    """The database in a file; without one, in a file that has no name, is nobody else's, and goes with the connection."""
    database = sqlite3.connect(
        str(path) if path is not None else "", timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if path is None:
            database.execute("PRAGMA journal_mode = OFF")
        else:
            # After a power cut an older state is fine, a mixed one is not: it would name wrong places.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            for table in ("packs", "gone", "blocks"):
                database.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
    except sqlite3.Error:
        database.close()
        raise
    return database

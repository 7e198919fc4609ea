"""What commits do is written down by triggers, the same on every database: the checkers of chaos runs stand on it."""

from pathlib import Path

import pytest
from tests.servers.database import DatabaseServer

from breezeblock.chaos.database import Database, Servers, SqliteFile, Unreachable
from breezeblock.chaos.watching import read_events, watch

# The columns that are noted, and no others.
TABLES = (
    "CREATE TABLE volumes (id VARCHAR(36), status VARCHAR(36))",
    "CREATE TABLE snapshots (id VARCHAR(36), status VARCHAR(36))",
    "CREATE TABLE backups (id VARCHAR(36), status VARCHAR(36))",
    "CREATE TABLE operations (id VARCHAR(36), owner VARCHAR(36), epoch BIGINT, direction VARCHAR(8))",
    "CREATE TABLE operation_locks (resource_id VARCHAR(36), seq BIGINT, operation_id VARCHAR(36), exclusive BOOLEAN)",
    "CREATE TABLE operation_log (operation_id VARCHAR(36), outcome VARCHAR(16), kind VARCHAR(64))",
    "CREATE TABLE nodes (incarnation VARCHAR(36), state VARCHAR(16), fencer VARCHAR(36))",
    "CREATE TABLE node_backends (incarnation VARCHAR(36), queue VARCHAR(255), fenced_by VARCHAR(32))",
)
CHANGES = (
    "INSERT INTO volumes VALUES ('v', 'creating')",
    "UPDATE volumes SET status = 'creating' WHERE id = 'v'",  # no change
    "UPDATE volumes SET status = 'available' WHERE id = 'v'",
    "INSERT INTO snapshots VALUES ('s', 'creating')",
    "UPDATE snapshots SET status = 'error' WHERE id = 's'",
    "INSERT INTO operations VALUES ('o', NULL, 1, 'do')",
    "INSERT INTO operation_locks VALUES ('v', 3, 'o', true)",
    "INSERT INTO operation_locks VALUES ('s', 1, 'o', false)",
    "UPDATE operations SET owner = 'n', epoch = 2 WHERE id = 'o'",
    "UPDATE operations SET direction = 'undo' WHERE id = 'o'",
    "UPDATE operations SET epoch = 3 WHERE id = 'o'",  # taken away, by nobody yet
    "UPDATE operations SET owner = NULL WHERE id = 'o'",
    "INSERT INTO nodes VALUES ('n', 'up', NULL)",
    "UPDATE nodes SET state = 'expired', fencer = 'm' WHERE incarnation = 'n'",
    "INSERT INTO node_backends VALUES ('n', 'q', NULL)",
    "UPDATE node_backends SET fenced_by = 'storage' WHERE incarnation = 'n'",
    "INSERT INTO node_backends VALUES ('m', 'q', 'kill')",
    "INSERT INTO operation_log VALUES ('o', 'done', 'create_volume')",
)
NOTES = [
    ("volumes", "v", None, "creating"),
    ("volumes", "v", "creating", "available"),
    ("snapshots", "s", None, "creating"),
    ("snapshots", "s", "creating", "error"),
    ("locked", "o", "v", "3 1"),
    ("locked", "o", "s", "1 0"),
    ("claimed", "o", "n", "2"),
    ("turned", "o", "2", "undo"),
    ("node", "n", "expired", "m"),
    ("fenced", "n", "storage", "q"),
    ("fenced", "m", "kill", "q"),
    ("ended", "o", "done", "create_volume"),
]


def notes_of(database: Database) -> list[tuple[str, str, str | None, str | None]]:
    """Everything that was written down about the changes."""
    database.run(TABLES)
    watch(database)
    database.run(CHANGES)
    return [(one.what, one.id, one.before, one.after) for one in read_events(database)]


def test_sqlite_writes_down_what_commits_do(tmp_path: Path) -> None:
    """Only what has changed."""
    assert notes_of(SqliteFile(tmp_path / "breezeblock.db")) == NOTES


def test_a_server_writes_down_what_commits_do(server: DatabaseServer) -> None:
    """The same."""
    server.create_database("notes")

    assert notes_of(Servers([server.url("notes")])) == NOTES


def test_whoever_reads_a_server_that_is_gone_is_told(server: DatabaseServer) -> None:
    """And may ask again: what it reads when the server is back is all there."""
    server.create_database("noted")
    database = Servers([server.url("noted")])
    database.run(["CREATE TABLE one (number BIGINT)", "INSERT INTO one VALUES (1)"])
    reader = database.open()

    server.kill()
    with pytest.raises(Unreachable):
        reader.rows("SELECT number FROM one")
    reader.close()
    with pytest.raises(Unreachable):
        database.open()
    server.start()

    assert database.rows("SELECT number FROM one WHERE number > ?", 0) == [{"number": 1}]

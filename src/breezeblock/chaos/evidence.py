"""What a run has left behind: the calls on storage, the commits, the rows and the files, as plain values."""

import importlib
import inspect
import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from breezeblock import resources
from breezeblock.chaos.database import Database, Row
from breezeblock.drivers.file import MARKER
from breezeblock.drivers.recorded import CHANGES, Record
from breezeblock.model.states import BACKUP_TRANSITIONAL, SNAPSHOT_TRANSITIONAL, VOLUME_TRANSITIONAL
from breezeblock.store import tables
from breezeblock.store.transitions import Transition

__all__ = [
    "Call", "Rest", "Row", "Token", "declared_moves", "files_of_workers", "killed_holders", "read_calls", "read_rest",
    "unsettled",
]  # fmt: skip

# In the names of transitions that would let anything pass, or what is in error become available: operators' words, and what
# becomes of resources in a failover.
NOT_ASKED_FOR: Final = ("reset_status", "update_status", "force", "left_behind", "found_again")

Token = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Call:
    """One driver call of one worker. `end` is None when the worker was gone before it could say so."""

    incarnation: str
    pid: int
    number: int
    call: str
    object: str
    source: str
    tokens: Mapping[str, Token]
    start: float
    end: float | None
    error: str = ""
    errno: str = ""

    @property
    def changes(self) -> bool:
        """Whether it changes storage, or only looks."""
        return self.call in CHANGES


@dataclass(frozen=True, slots=True)
class Rest:
    """The database and the files when all has come to rest."""

    volumes: list[Row]
    snapshots: list[Row]
    operations: list[Row]
    log: list[Row]
    told: set[str]
    """Ids of the requests about which users were told something."""
    types: Mapping[str, str]
    contradictions: list[str]
    files: Mapping[str, int]
    """Name of a file on storage, half-made ones too -> its length."""
    heads: Mapping[str, bytes] = field(default_factory=dict)
    """Name of a file -> its first bytes."""
    backups: list[Row] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)
    """Files that backups have kept."""


def read_calls(folder: Path) -> list[Call]:
    """Every call of every worker. A last line that was cut off by a crash of the machine would be refused."""
    files = files_of_workers(folder, "calls")
    return [call for who, pid, text in files for call in parse_calls(text, incarnation=who, pid=pid)]


def files_of_workers(folder: Path, kind: str) -> Iterator[tuple[str, int, bytes]]:
    """What each worker has written down: its incarnation, its process id, and the text."""
    for path in sorted(folder.glob(f"*.{kind}")):
        incarnation, pid, _ = path.name.split(".")
        yield incarnation, int(pid), path.read_bytes()


def parse_calls(text: bytes, *, incarnation: str, pid: int) -> Iterator[Call]:
    """The calls of one worker from its file."""
    records = [msgspec.json.decode(line, type=Record) for line in text.splitlines()]
    ends = {record.number: record for record in records if record.ended}
    for begun in records:
        if not begun.ended:
            end = ends.get(begun.number)
            yield Call(
                incarnation, pid, begun.number, begun.call, begun.object, begun.source, begun.tokens, begun.boot_s,
                None if end is None else end.boot_s, end.error if end else "", end.errno if end else "",
            )  # fmt: skip


def killed_holders(up_log: Path) -> set[int]:
    """The processes that `up` killed since they held the database's write lock and did not move."""
    found = set()
    for line in up_log.read_text(encoding="utf-8", errors="replace").splitlines():
        if '"database.holder_killed"' in line:
            found.add(int(json.loads(line)["pid"]))
    return found


def unsettled(database: Database) -> list[str]:
    """Whatever is still under way; also a lost node that nobody has fenced, whatever it owned."""
    found = [
        f"node {row['incarnation']} is expired (fencer {row['fencer']})"
        for row in database.rows("SELECT * FROM nodes WHERE state = 'expired'")
    ]
    found += [
        f"operation {row['kind']} {row['id']} of {row['resource_id']}, owner {row['owner']}, attempt {row['attempt']}"
        for row in database.rows("SELECT * FROM operations")
    ]
    for table, busy in (
        ("volumes", VOLUME_TRANSITIONAL), ("snapshots", SNAPSHOT_TRANSITIONAL), ("backups", BACKUP_TRANSITIONAL),
    ):  # fmt: skip
        found += [
            f"{table} {row['id']} is {row['status']}"
            for row in database.rows(f"SELECT * FROM {table}")  # noqa: S608
            if row["status"] in busy
        ]
    return found


def read_rest(database: Database, storage: Path, *, head_bytes: int) -> Rest:
    """Everything at rest."""
    files = {path.name: path for path in storage.rglob("*") if path.is_file() and path.name != MARKER}
    return Rest(
        volumes=database.rows("SELECT * FROM volumes"),
        snapshots=database.rows("SELECT * FROM snapshots"),
        operations=database.rows("SELECT * FROM operations"),
        log=[row | {"locks": json.loads(row["locks_json"])} for row in database.rows("SELECT * FROM operation_log")],
        told={row["request_id"] for row in database.rows("SELECT request_id FROM messages")},
        types={row["id"]: row["name"] for row in database.rows("SELECT * FROM volume_types")},
        contradictions=database.contradictions(),
        files={name: path.stat().st_size for name, path in files.items()},
        heads={name: _head(path, head_bytes) for name, path in files.items()},
        backups=database.rows("SELECT * FROM backups"),
        kept={row["object_name"] for row in database.rows("SELECT object_name FROM kept_objects")},
    )


def _head(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        return file.read(length)


def declared_moves() -> dict[str, set[tuple[str | None, str]]]:
    """Table -> every status change that some transition declares for what the load asks for: it forces and resets nothing, and
    fails nothing over.

    None before means from any status.
    """
    found: dict[str, set[tuple[str | None, str]]] = {"volumes": set(), "snapshots": set(), "backups": set()}
    for transition in _transitions():
        by_force = any(word in transition.name for word in NOT_ASKED_FOR)
        if transition.table.name in found and not by_force:
            found[transition.table.name] |= set(transition.moves)
    return found


def _transitions() -> Iterator[Transition]:
    """Those that modules declare, and those that a function of theirs declares for a table."""
    for info in pkgutil.iter_modules(resources.__path__):
        module = importlib.import_module(f"{resources.__name__}.{info.name}")
        for value in list(vars(module).values()):
            if isinstance(value, Transition):
                yield value
            elif inspect.isfunction(value) and value.__module__ == module.__name__:
                yield from _made(value)


def _made(function: Any) -> Iterator[Transition]:
    signature = inspect.signature(function)
    if signature.return_annotation is not Transition:
        return
    for table, busy in ((tables.volumes, VOLUME_TRANSITIONAL), (tables.snapshots, SNAPSHOT_TRANSITIONAL)):
        known: dict[str, Any] = {"table": table, "transitional": tuple(sorted(busy))}
        yield function(**{name: known[name] for name in signature.parameters})

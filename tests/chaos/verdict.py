"""What must be true of a database and its storage after a load: found wrongs as sentences."""

import json
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from tests.chaos.load import ACCEPTED, BROKEN, REFUSED, UNAVAILABLE, Client, Load, Snapshot, Volume
from tests.service import Service

from breezeblock.env.real import real_env
from breezeblock.model.states import SNAPSHOT_TRANSITIONAL, VOLUME_TRANSITIONAL
from breezeblock.store.check import problems
from breezeblock.store.dialects import open_engine

Row = dict[str, Any]
GIB: Final = 1024**3
# Kinds of requests that leave no operation: they are done when they are answered.
AT_ONCE: Final = {"metadata"}
MARKER: Final = ".breezeblock-backend"
LOOK_EVERY_S: Final = 0.2


def database(service: Service) -> Path:
    return service.data / "breezeblock.db"


def rows(path: Path, query: str, *values: object) -> list[Row]:
    """Read beside the running service."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def unsettled(path: Path) -> list[str]:
    """Whatever is still under way."""
    found = [
        f"operation {row['kind']} {row['id']} owner {row['owner']}" for row in rows(path, "SELECT * FROM operations")
    ]
    for table, busy in (("volumes", VOLUME_TRANSITIONAL), ("snapshots", SNAPSHOT_TRANSITIONAL)):
        found += [f"{table} {row['id']} is {row['status']}" for row in rows(path, f"SELECT * FROM {table}")  # noqa: S608
                  if row["status"] in busy]  # fmt: skip
    return found


def settle(path: Path, *, within_s: float) -> float:
    """Wait until all is at rest; returns how long it took."""
    started = time.monotonic()
    while left := unsettled(path):
        if time.monotonic() - started > within_s:
            raise AssertionError(f"not at rest after {within_s} s: {left}")
        time.sleep(LOOK_EVERY_S)
    return time.monotonic() - started


def contradictions(path: Path) -> list[str]:
    """What the product's own check finds in the tables."""
    engine = open_engine(f"sqlite:///{path}", now_us=real_env().clock.now_us)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            found = problems(connection)
            connection.rollback()
            return found
    finally:
        engine.dispose()


def out_of_order(path: Path) -> list[str]:
    """Conflicting operations on a resource that did not run in the order in which their requests were accepted."""
    lines: dict[str, list[tuple[int, bool, Row]]] = defaultdict(list)
    for row in rows(path, "SELECT * FROM operation_log"):
        for resource_id, seq, exclusive in json.loads(row["locks_json"]):
            lines[resource_id].append((seq, exclusive, row))
    found = []
    for resource_id, line in lines.items():
        line.sort(key=lambda place: place[0])
        for (seq, exclusive, first), (after, also, second) in combinations(line, 2):
            if seq == after:
                found.append(f"{resource_id}: two operations have place {seq}")
            if (exclusive or also) and second["claimed_at_us"] < first["finished_at_us"]:
                found.append(
                    f"{resource_id}: {second['kind']} at {after} was claimed at {second['claimed_at_us']}, before "
                    f"{first['kind']} at {seq} had finished at {first['finished_at_us']}"
                )
    return found


def objects(folder: Path) -> Counter[str]:
    """Every file of a backend, unfinished ones too."""
    return Counter(path.name for path in folder.rglob("*") if path.is_file() and path.name != MARKER)


def not_on_storage(path: Path, folder: Path) -> list[str]:
    """Differences between rows and files, and volumes whose file has another size."""
    there = rows(path, "SELECT id, object_name, size_gib, 'volume' AS noun FROM volumes UNION ALL"
                       " SELECT id, object_name, size_gib, 'snapshot' FROM snapshots")  # fmt: skip
    named = Counter(row["object_name"] for row in there if row["object_name"])
    found = [f"object {name}: {named[name]} rows, {count} files" for name, count in (named | objects(folder)).items()
             if not named[name] == objects(folder)[name] == 1]  # fmt: skip
    for row in there:
        for file in folder.glob(f"*/{row['object_name']}") if row["object_name"] else ():
            if file.stat().st_size != row["size_gib"] * GIB:
                found.append(
                    f"{row['noun']} {row['id']} has {row['size_gib']} GiB, its file {file.stat().st_size} bytes"
                )
    return found


def wrongs(load: Load, service: Service) -> list[str]:
    """Everything that is not as the clients were told."""
    path = database(service)
    return [
        *contradictions(path),
        *out_of_order(path),
        *not_on_storage(path, service.data / "volumes" / "file"),
        *_requests(load, path),
        *(wrong for client in load.clients for wrong in _resources(client, path)),
        *_strangers(load, path),
    ]


def _requests(load: Load, path: Path) -> Iterator[str]:
    """Each accepted request is one finished operation, and a refused one is none."""
    logged: dict[str, list[Row]] = defaultdict(list)
    for row in rows(path, "SELECT * FROM operation_log"):
        logged[row["request_id"]].append(row)
    for asked in load.asked:
        done = logged.get(asked.request_id or "", [])
        if asked.outcome == BROKEN:
            yield f"{asked} is the service's own mistake"
        if asked.outcome in (REFUSED, UNAVAILABLE) and done:
            yield f"{asked} was refused, and is operation {done}"
        if asked.outcome == ACCEPTED and asked.kind not in AT_ONCE and [row["outcome"] for row in done] != ["done"]:
            yield f"{asked} was accepted, and ended as {[(row['outcome'], row['detail']) for row in done]}"
    for row in rows(path, "SELECT * FROM operation_log WHERE outcome != 'done'"):
        yield f"operation {row['kind']} of {row['resource_id']} ended as {row['outcome']}: {row['detail']}"


def _resources(client: Client, path: Path) -> Iterator[str]:
    types = {row["id"]: row["name"] for row in rows(path, "SELECT * FROM volume_types")}
    volumes = _by_name(rows(path, "SELECT * FROM volumes"))
    snapshots = _by_name(rows(path, "SELECT * FROM snapshots"))
    for volume in client.volumes:
        found = volumes.get(volume.name, [])
        yield from _existence("volume", volume, found)
        for row in found:
            yield from _volume(volume, row, types[row["volume_type_id"]])
        for snapshot in volume.snapshots:
            taken = snapshots.get(snapshot.name, [])
            yield from _existence("snapshot", snapshot, taken)
            for row in taken:
                if row["status"] != "available" or row["size_gib"] not in snapshot.sizes:
                    yield f"snapshot {snapshot} is {row['status']} with {row['size_gib']} GiB"


def _existence(noun: str, known: Volume | Snapshot, found: list[Row]) -> Iterator[str]:
    if len(found) > 1 or bool(found) not in known.there:
        yield f"{noun} {known.name} ({known.id}): {len(found)} rows, expected there: {known.there}"
    if found and known.id is not None and found[0]["id"] != known.id:
        yield f"{noun} {known.name} is {found[0]['id']}, and was accepted as {known.id}"


def _volume(volume: Volume, row: Row, type_name: str) -> Iterator[str]:
    if row["status"] != "available":
        yield f"volume {volume.name} ({row['id']}) is {row['status']}"
    if row["size_gib"] not in volume.sizes:
        yield f"volume {volume.name} ({row['id']}) has {row['size_gib']} GiB, expected {volume.sizes}"
    if not volume.types & {type_name, None}:
        yield f"volume {volume.name} ({row['id']}) has type {type_name}, expected {volume.types}"
    metadata = json.loads(row["metadata_json"])
    for key, values in volume.metadata.items():
        if metadata.get(key) not in values:
            yield f"volume {volume.name} ({row['id']}) has {key}={metadata.get(key)}, expected {values}"


def _strangers(load: Load, path: Path) -> Iterator[str]:
    """Rows that nobody asked for."""
    known = {one.name for client in load.clients for one in client.volumes}
    known |= {one.name for client in load.clients for one in client.known_snapshots()}
    for table in ("volumes", "snapshots"):
        for row in rows(path, f"SELECT * FROM {table}"):  # noqa: S608
            if row["name"] not in known:
                yield f"{table} {row['id']} ({row['name']}) was never asked for"


def _by_name(found: Iterable[Row]) -> dict[str, list[Row]]:
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in found:
        by_name[row["name"]].append(row)
    return by_name


def longest(path: Path) -> tuple[float, str]:
    """The longest time from acceptance to the end, and of what."""
    (row,) = rows(
        path,
        "SELECT kind, attempt, (finished_at_us - created_at_us) / 1e6 AS took FROM operation_log ORDER BY took DESC LIMIT 1",
    )
    return row["took"], f"{row['kind']}, {row['attempt']} attempts"

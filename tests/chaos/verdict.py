"""What must be true of a database and its storage after a load: found wrongs as sentences."""

import json
from collections import defaultdict
from collections.abc import Collection
from itertools import combinations
from pathlib import Path
from typing import Final

from tests.service import Service

from breezeblock.chaos import checker
from breezeblock.chaos.answers import Outage, broken_answers
from breezeblock.chaos.contents import HEAD_BYTES
from breezeblock.chaos.database import Database, Row, SqliteFile
from breezeblock.chaos.evidence import Rest, read_rest
from breezeblock.chaos.load import Load
from breezeblock.chaos.pardons import NONE
from breezeblock.chaos.run import settle as wait_for_rest

__all__ = [
    "contradictions",
    "database",
    "longest",
    "not_on_storage",
    "out_of_order",
    "rest",
    "rows",
    "settle",
    "wrongs",
]

NOTHING: Final[set[str]] = set()


def database(service: Service) -> Database:
    return service.database


def rows(of: Database | Path, query: str, *values: object) -> list[Row]:
    return _opened(of).rows(query, *values)


def contradictions(of: Database | Path) -> list[str]:
    return _opened(of).contradictions()


def _opened(of: Database | Path) -> Database:
    return SqliteFile(of) if isinstance(of, Path) else of


def settle(of: Database, *, within_s: float) -> float:
    """Wait until all is at rest; returns how long it took."""
    took_s, left = wait_for_rest(of, within_s=within_s)
    assert not left, f"not at rest after {within_s} s: {left}"
    return took_s


def out_of_order(of: Database) -> list[str]:
    """Conflicting operations on a resource that did not run in the order in which their requests were accepted."""
    lines: dict[str, list[tuple[int, bool, Row]]] = defaultdict(list)
    for row in rows(of, "SELECT * FROM operation_log"):
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


def not_on_storage(of: Database, folder: Path) -> list[str]:
    """Differences between rows and files, and volumes whose file has another size."""
    return _sentences(checker.storage(rest(of, folder), NONE))


def wrongs(load: Load, service: Service, outages: Collection[Outage]) -> list[str]:
    """Everything that is not as the clients were told. Only in these times may they be told to come again later."""
    at_rest = rest(database(service), service.data / "volumes" / "file")
    return [
        *at_rest.contradictions,
        *out_of_order(database(service)),
        *_sentences(checker.storage(at_rest, NONE)),
        *_sentences(checker.once(load.asked, at_rest, NONE, NOTHING).findings),
        *_sentences(broken_answers((*load.asked, *load.broken_reads), outages)),
        *_sentences(checker.expectations(load.clients, at_rest, NONE, NOTHING)),
        *_sentences(checker.data(load.clients, at_rest, NONE)[1]),
        *_sentences(checker.data_on_the_way(load.clients)[1]),
    ]


def rest(of: Database, folder: Path) -> Rest:
    """Everything in the database and on its storage."""
    return read_rest(of, folder, head_bytes=HEAD_BYTES)


def _sentences(found: list[checker.Finding]) -> list[str]:
    return [f"{one.invariant}: {one.text}" for one in found]


def longest(of: Database) -> tuple[float, str]:
    """The longest time from acceptance to the end, and of what."""
    (row,) = rows(
        of,
        "SELECT kind, attempt, (finished_at_us - created_at_us) / 1e6 AS took FROM operation_log ORDER BY took DESC LIMIT 1",
    )
    return row["took"], f"{row['kind']}, {row['attempt']} attempts"
